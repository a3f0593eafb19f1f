import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._loop import while_loop
from .._validate import require_positive


def isotonic(
    x: Float[ArrayLike, " n"], increasing: bool = True, weights: Float[ArrayLike, " n"] | None = None
) -> Float[Array, " n"]:
    """Isotonic regression: the projection onto `{z_1 <= ... <= z_n}` (or `>=`), in the norm `sum weights (z - x)^2`.

    Differentiable in `x` and `weights`, forward and reverse: the derivative averages over the constant blocks. Raises
    `ValueError` for known weights that are not positive.

    Pool adjacent violators (Best and Chakravarti, "Active set algorithms for isotonic regression; a unifying
    framework", 1990) as a state machine of `2n - 1` steps, of which a batch under `vmap` takes no more.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> projections.isotonic(jnp.array([1.0, 3.0, 2.0, 4.0])).tolist()
        [1.0, 2.5, 2.5, 4.0]
    """
    array = _tree.as_inexact(x)
    if array.ndim != 1:
        raise ValueError(f"x must be one vector, got shape {array.shape}; vmap over its leading axes.")
    if weights is not None:
        require_positive(weights, "weights")
    if array.size == 0:
        return array
    w = jnp.broadcast_to(_tree.match(1.0 if weights is None else weights, array), array.shape)
    return _pool(array, w) if increasing else -_pool(-array, w)


# Compiled on its own, or each call outside `jit` would compile the loop anew.
@jax.custom_jvp
@jax.jit
def _pool(x: Float[Array, " n"], w: Float[Array, " n"]) -> Float[Array, " n"]:
    n = x.shape[0]

    # A stack of blocks (mean, weight, first entry); each step merges the two on top, or pushes the next entry. The
    # number of steps is fixed, so that under vmap the predicate is not batched and the stacks are not selected.
    def step(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        count, top, following, mean, weight, first = carry
        below = jnp.maximum(top - 1, 0)
        merge = (top > 0) & (mean[below] > mean[top])
        push = ~merge & (following < n)
        entry = jnp.minimum(following, n - 1)
        mass = weight[below] + weight[top]
        merged = mean[below] + (mean[top] - mean[below]) * (weight[top] / mass)
        at = jnp.where(merge, below, jnp.where(push, top + 1, top))
        choose = lambda if_merge, if_push, other: jnp.where(merge, if_merge, jnp.where(push, if_push, other))
        return (
            count + 1,
            at,
            following + push.astype(following.dtype),
            mean.at[at].set(choose(merged, x[entry], mean[top])),
            weight.at[at].set(choose(mass, w[entry], weight[top])),
            first.at[at].set(choose(first[below], entry, first[top])),
        )

    one = jnp.asarray(1, jnp.int32)
    carry = (one, one - 1, one, x, w, jnp.zeros(n, jnp.int32))
    _, top, _, mean, _, first = while_loop(lambda carry: carry[0] < 2 * n, step, carry)
    order = jnp.arange(n, dtype=jnp.int32)
    starts = jnp.zeros(n, jnp.int32).at[first].add((order <= top).astype(jnp.int32))
    return mean[jnp.cumsum(starts) - 1]


@_pool.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    x, w = primals
    dx, dw = tangents
    z = _pool(x, w)
    jumps = jnp.concatenate([jnp.zeros(1, jnp.int32), (z[1:] != z[:-1]).astype(jnp.int32)])
    block = jnp.cumsum(jumps)
    pool = lambda terms: jax.ops.segment_sum(terms, block, x.shape[0], indices_are_sorted=True)[block]
    return z, pool(w * dx + dw * (x - z)) / pool(w)
