import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import BoolScalar, Params, Scalar
from ..problems import Composite


def strict_complementarity_gap(problem: Composite, params: Params, step: ArrayLike = 1.0) -> Scalar:
    """Distance of a solution to the nearest kink of its prox: where it is near zero, derivatives of the solution jump.

    For a separable penalty it is the least common shift of the entries of `w - step * grad f(w)`, up or down, at which
    the prox begins or ceases to hold one of them fixed, found on a geometric grid (within a third of its value). Zero
    means that the solution sits on the border of its support, where `Implicit` returns one of several derivatives.

    Args:
        problem: a problem with a separable penalty.
        params: its solution.
        step: the step of the prox.

    Raises:
        ValueError: if the penalty is not separable.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> lasso = jt.Composite(jt.Quadratic(jnp.eye(2), jnp.array([-3.0, -0.5])), jt.penalties.L1(1.0))
        >>> gap = jt.implicit.strict_complementarity_gap(lasso, jnp.array([2.0, 0.0]))
        >>> bool(0.4 < gap < 0.7)
        True
    """
    if not problem.penalty.is_separable:
        raise ValueError(
            f"strict_complementarity_gap needs a separable penalty, and {type(problem.penalty).__name__} is not."
        )
    step = jnp.asarray(step, _tree.dtype_of(params))
    moved = _tree.add_scaled(params, -step, problem.smooth.gradient(params))
    scale = jnp.maximum(_tree.norm(moved), jnp.finfo(step.dtype).tiny)

    def active(shift: Scalar) -> Params:
        point = jax.tree.map(lambda z: z + shift, moved)
        slope = jax.jvp(lambda z: problem.penalty.prox(z, step), (point,), (jax.tree.map(jnp.ones_like, point),))[1]
        return jax.tree.map(lambda s: s > 0, slope)

    here = active(jnp.zeros_like(step))

    def changes(shift: Scalar) -> BoolScalar:
        differs = lambda there: [jnp.any(a != b) for a, b in zip(*map(jax.tree.leaves, (here, there)), strict=True)]
        return jnp.stack(differs(active(shift)) + differs(active(-shift))).any()

    shifts = scale * jnp.logspace(-12, 0, 97, dtype=step.dtype)
    changed = jax.lax.map(changes, shifts)
    return jnp.where(changed.any(), shifts[jnp.argmax(changed)], jnp.inf)
