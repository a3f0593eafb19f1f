"""Euclidean projections onto convex sets: pure functions, differentiable in the point and in the set."""

from ._box import box as box
from ._halfspace import halfspace as halfspace
from ._hyperplane import hyperplane as hyperplane
from ._l1_ball import l1_ball as l1_ball
from ._l2_ball import l2_ball as l2_ball
from ._linf_ball import linf_ball as linf_ball
from ._nonnegative import nonnegative as nonnegative
from ._simplex import simplex as simplex
