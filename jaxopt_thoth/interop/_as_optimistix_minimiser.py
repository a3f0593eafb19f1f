from typing import Any

from ..penalties import AbstractPenalty, Zero
from ..solvers import AbstractSolver, ProximalGradient


def as_optimistix_minimiser(solver: AbstractSolver | None = None, penalty: AbstractPenalty | None = None) -> Any:
    """One of our solvers as an optimistix minimizer: `optimistix.minimise(fn, solver, y0)` then minimizes fn + penalty.

    `fn(y, args)` is the smooth term. Tolerance and error are those of our solver (`max_steps` that of `minimise`), and
    `rtol` and `atol` have no say. The implicit adjoint that optimistix takes by default asks for the zeros of the
    gradient of fn, which is right for the penalty `Zero` alone: pass `adjoint=as_optimistix_adjoint()` to differentiate
    any other solution.

    Args:
        solver: the method with its settings; `ProximalGradient()` by default.
        penalty: the term that goes with fn; `Zero()` by default. Its leaves are leaves of the minimizer.

    Raises:
        TypeError: if `solver` or `penalty` is of another kind.

    Example:
        >>> import jax.numpy as jnp, optimistix as optx, jaxopt_thoth as jt
        >>> from jaxopt_thoth import interop
        >>> fn = lambda y, target: jnp.sum((y - target) ** 2) / 2
        >>> solver = interop.as_optimistix_minimiser(jt.ProximalGradient(), jt.penalties.L1(1.0))
        >>> print(optx.minimise(fn, solver, jnp.ones(2), args=jnp.array([3.0, 0.5])).value.round(3))
        [2. 0.]
    """
    from ._optimistix import Minimiser

    solver = ProximalGradient() if solver is None else solver
    penalty = Zero() if penalty is None else penalty
    if not isinstance(solver, AbstractSolver):
        raise TypeError(
            f"solver must be one of ours, got {type(solver).__name__}; pass for example ProximalGradient()."
        )
    if not isinstance(penalty, AbstractPenalty):
        raise TypeError(f"penalty must be one of jaxopt_thoth.penalties, got {type(penalty).__name__}; pass L1(0.1).")
    return Minimiser(solver, penalty)
