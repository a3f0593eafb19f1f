import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import BoolScalar, IntScalar, Params, Scalar
from ..problems import Composite
from ._complementarity import strict_complementarity_gap
from ._linearization import Linearization


class Diagnostics(eqx.Module):
    """What the derivative of a solution rests on.

    Attributes:
        residual: norm of the fixed-point residual over the step; the derivative errs in its order.
        support_size: number of entries at which the prox moves with its argument, or None if it is not separable.
        support_exceeded: whether these are more than `max_support`, where `Implicit(max_support=...)` falls back on
            conjugate gradient; None without a bound.
        complementarity_gap: `strict_complementarity_gap`, or None if the penalty is not separable.
    """

    residual: Scalar
    support_size: IntScalar | None
    support_exceeded: BoolScalar | None
    complementarity_gap: Scalar | None


def diagnose(
    problem: Composite, params: Params, step: ArrayLike = 1.0, *, max_support: int | None = None
) -> Diagnostics:
    """How far a solution is from the conditions under which its implicit derivative is exact.

    Args:
        problem: the problem whose solution was differentiated.
        params: its (approximate) solution.
        step: the step of the prox.
        max_support: the bound given to `Implicit`, if any.

    Raises:
        ValueError: if `max_support` is given and the penalty is not separable.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> lasso = jt.Composite(jt.Quadratic(jnp.eye(2), jnp.array([-3.0, -0.5])), jt.penalties.L1(1.0))
        >>> found = jt.implicit.diagnose(lasso, jnp.array([2.0, 0.0]), max_support=1)
        >>> print(found.residual, found.support_size, found.support_exceeded)
        0.0 1 False
    """
    separable = problem.penalty.is_separable
    if max_support is not None and not separable:
        raise ValueError(
            f"max_support needs a separable penalty, and {type(problem.penalty).__name__} is not; leave it at None."
        )
    step = jnp.asarray(step, _tree.dtype_of(params))
    at = Linearization(problem, params, step)
    residual = _tree.norm(_tree.sub(params, at.image)) / step
    if not separable:
        return Diagnostics(residual, None, None, None)
    slopes = at.prox_jacobian(jax.tree.map(jnp.ones_like, params))
    counts = jax.tree.map(lambda slope: jnp.sum(slope > 0), slopes)
    size = jax.tree.reduce(jnp.add, counts, jnp.asarray(0))
    exceeded = None if max_support is None else size > max_support
    return Diagnostics(residual, size, exceeded, strict_complementarity_gap(problem, params, step))
