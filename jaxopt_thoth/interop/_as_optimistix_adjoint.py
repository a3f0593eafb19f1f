from typing import Any

from ..implicit import AbstractAdjoint, Implicit


def as_optimistix_adjoint(adjoint: AbstractAdjoint | None = None) -> Any:
    """The derivative of a composite solution as an adjoint of optimistix, for solvers of `as_optimistix_minimiser`.

    Args:
        adjoint: for example `implicit.Implicit()`, the default; not `Unrolled()`, for which optimistix has its own
            `RecursiveCheckpointAdjoint`.

    Raises:
        TypeError: if `adjoint` is of another kind or unrolls; in a solve, if another solver made the solution.

    Example:
        >>> import jax, jax.numpy as jnp, optimistix as optx, jaxopt_thoth as jt
        >>> from jaxopt_thoth import interop
        >>> def fit(strength):
        ...     solver = interop.as_optimistix_minimiser(jt.ProximalGradient(), jt.penalties.L1(strength))
        ...     fn = lambda y, target: jnp.sum((y - target) ** 2) / 2
        ...     adjoint = interop.as_optimistix_adjoint()
        ...     return optx.minimise(fn, solver, jnp.ones(2), args=jnp.array([3.0, 0.5]), adjoint=adjoint).value
        >>> print(jax.jacobian(fit)(1.0).round(3) + 0.0)
        [-1.  0.]
    """
    from ._optimistix import Adjoint

    adjoint = Implicit() if adjoint is None else adjoint
    if not isinstance(adjoint, AbstractAdjoint) or adjoint.unrolls:
        raise TypeError(
            f"adjoint must be one of jaxopt_thoth.implicit that does not unroll, got {type(adjoint).__name__}; "
            "pass Implicit(), or optimistix.RecursiveCheckpointAdjoint() to optimistix itself."
        )
    return Adjoint(adjoint)
