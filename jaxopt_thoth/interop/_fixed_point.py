from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import ArrayLike

from .._types import Params
from ..problems import Composite


def as_fixed_point(step: ArrayLike) -> Callable[[Params, Composite], Params]:
    """The forward-backward map as `fn(params, problem)`, in the form that optimistix's fixed-point solvers take.

    Its fixed points are the solutions of a convex composite problem, which the zeros of a gradient are not: with the
    problem passed as `args`, the implicit adjoint of optimistix differentiates the solution rightly.

    Args:
        step: step size, at most `1 / lipschitz` of the smooth term for plain iteration to converge.

    Example:
        >>> import jax.numpy as jnp, optimistix as optx, jaxopt_thoth as jt
        >>> from jaxopt_thoth import interop
        >>> problem = jt.Composite(jt.Quadratic(jnp.eye(2), jnp.array([-3.0, 1.0])), jt.penalties.L1(1.0))
        >>> solver = optx.FixedPointIteration(rtol=1e-6, atol=1e-6)
        >>> print(optx.fixed_point(interop.as_fixed_point(0.5), solver, jnp.ones(2), args=problem).value.round(3))
        [2. 0.]
    """
    size = jnp.asarray(step, jnp.result_type(float))

    def forward_backward(params: Params, problem: Composite) -> Params:
        return problem.forward_backward(params, size)

    return forward_backward
