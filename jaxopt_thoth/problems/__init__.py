"""Problems: the pytrees that are solved, batched and differentiated."""

from ._base import AbstractProblem as AbstractProblem
from ._composite import Composite as Composite
from ._denoised import Denoised as Denoised
from ._duality import duality_gap as duality_gap, primal_dual as primal_dual
from ._least_squares import LeastSquares as LeastSquares
from ._matrix_game import MatrixGame as MatrixGame
from ._one_hidden_layer import OneHiddenLayer as OneHiddenLayer
from ._quadratic_program import QuadraticPoint as QuadraticPoint, QuadraticProgram as QuadraticProgram
from ._saddle_point import SaddlePoint as SaddlePoint
from ._variational_inequality import VariationalInequality as VariationalInequality
