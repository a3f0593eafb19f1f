from typing import Any

import lineax as lx
from jaxtyping import Array, ArrayLike, PyTree

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative


class Ridge(lx.AbstractLinearSolver[Any]):
    """Linear solver of the system with `strength` added to the diagonal, for operators that may be singular.

    The relative error of a well-posed solution is about `strength * |A^-1|`.

    Args:
        solver: the lineax solver of the shifted system.
        strength: what is added to the diagonal.

    Raises:
        TypeError: if `solver` is no lineax solver.
        ValueError: if `strength` is negative.

    Example:
        >>> import jax, jax.numpy as jnp, lineax as lx, jaxopt_thoth as jt
        >>> flat = lambda x, a: (x[0] + x[1] - a) ** 2 / 2  # only the sum is known
        >>> solver = jt.implicit.Ridge(lx.LU(), 1e-4)
        >>> fit = jt.implicit.custom_argmin(flat, linear_solver=solver)(lambda start, a: jnp.array([a / 2, a / 2]))
        >>> print(jax.jacobian(fit, 1)(jnp.zeros(2), 3.0).round(3))
        [0.5 0.5]
    """

    solver: lx.AbstractLinearSolver
    strength: Scalar

    def __init__(self, solver: lx.AbstractLinearSolver, strength: ArrayLike):
        if not isinstance(solver, lx.AbstractLinearSolver):
            raise TypeError(f"solver must be a lineax solver, got {type(solver).__name__}; for example lineax.LU().")
        require_nonnegative(strength, "strength")
        self.solver = solver
        self.strength = _tree.setting(strength)

    def init(self, operator: lx.AbstractLinearOperator, options: dict[str, Any]) -> Any:
        linear = lx.linearise(operator)
        shifted = lambda v: _tree.add_scaled(linear.mv(v), self.strength, v)
        tags = lx.positive_semidefinite_tag if lx.is_positive_semidefinite(operator) else ()
        return self.solver.init(lx.FunctionLinearOperator(shifted, operator.in_structure(), tags), options)

    def compute(
        self, state: Any, vector: PyTree[Array], options: dict[str, Any]
    ) -> tuple[PyTree[Array], lx.RESULTS, dict[str, Any]]:
        return self.solver.compute(state, vector, options)

    def transpose(self, state: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return self.solver.transpose(state, options)

    def conj(self, state: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return self.solver.conj(state, options)

    def assume_full_rank(self) -> bool:
        return True

    def transposed(self) -> "Ridge":
        """The solver for transposed operators."""
        transposed = getattr(self.solver, "transposed", None)
        return self if transposed is None else Ridge(transposed(), self.strength)
