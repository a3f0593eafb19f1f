"""Solvers, and the functions that drive them."""

from ._base import AbstractSolver as AbstractSolver
from ._proximal_gradient import ProximalGradient as ProximalGradient, ProximalGradientState as ProximalGradientState
from ._solve import solve as solve
from ._solve_batched import solve_batched as solve_batched
from ._solve_path import solve_path as solve_path
