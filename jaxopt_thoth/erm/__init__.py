"""Empirical risk minimization: linear models with losses, penalties, weights and intercepts, to a certified gap."""

from . import criterion as criterion
from ._critical_strength import critical_strength as critical_strength
from ._cross_validate import cross_validate as cross_validate, CrossValidation as CrossValidation
from ._fit import Fit as Fit, fit as fit
from ._folds import folds as folds
from ._path import Path as Path, path as path
from ._problem import Problem as Problem
