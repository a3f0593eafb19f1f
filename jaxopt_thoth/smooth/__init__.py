"""Smooth terms f of a composite objective f + g."""

from ._base import AbstractSmooth as AbstractSmooth
from ._expectation import Expectation as Expectation
from ._finite_sum import FiniteSum as FiniteSum
from ._function_term import FunctionTerm as FunctionTerm
from ._linear_model import LinearModel as LinearModel
from ._quadratic import Quadratic as Quadratic
from ._stochastic import AbstractStochastic as AbstractStochastic
