"""Linear operators: dense, sparse and lineax matrices behind one interface."""

from ._as_operator import as_operator as as_operator
from ._base import AbstractOperator as AbstractOperator
from ._dense import DenseOperator as DenseOperator
from ._lineax import LineaxOperator as LineaxOperator
from ._norm import spectral_norm as spectral_norm
from ._row_scaled import RowScaled as RowScaled
from ._sparse import SparseOperator as SparseOperator
from ._standardized import Standardized as Standardized
from ._with_intercept import WithIntercept as WithIntercept
