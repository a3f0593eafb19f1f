"""Euclidean projections onto sets: pure functions, differentiable in the point and in the set."""

from ._affine import affine as affine
from ._birkhoff import birkhoff as birkhoff
from ._box import box as box
from ._box_hyperplane import box_hyperplane as box_hyperplane
from ._capped_simplex import capped_simplex as capped_simplex
from ._halfspace import halfspace as halfspace
from ._hyperplane import hyperplane as hyperplane
from ._isotonic import isotonic as isotonic
from ._l1_ball import l1_ball as l1_ball
from ._l2_ball import l2_ball as l2_ball
from ._linf_ball import linf_ball as linf_ball
from ._monotone_nonnegative import monotone_nonnegative as monotone_nonnegative
from ._nonnegative import nonnegative as nonnegative
from ._psd import psd as psd
from ._second_order_cone import second_order_cone as second_order_cone
from ._simplex import simplex as simplex
from ._sparse_simplex import sparse_simplex as sparse_simplex
from ._sphere import sphere as sphere
from ._stiefel import stiefel as stiefel
from ._top_k import top_k as top_k
from ._transport import transport as transport
