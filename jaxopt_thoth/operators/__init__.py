"""Linear operators: dense, sparse and lineax matrices behind one interface."""

from ._as_operator import as_operator as as_operator
from ._base import AbstractOperator as AbstractOperator
from ._dense import DenseOperator as DenseOperator
from ._lineax import LineaxOperator as LineaxOperator
from ._norm import spectral_norm as spectral_norm
from ._sparse import SparseOperator as SparseOperator
