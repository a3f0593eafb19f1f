import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._loop import while_loop
from .._sequential import read, sequential, write
from .._validate import require_positive


def isotonic(
    x: Float[ArrayLike, " n"], increasing: bool = True, weights: Float[ArrayLike, " n"] | None = None
) -> Float[Array, " n"]:
    """Isotonic regression: the projection onto `{z_1 <= ... <= z_n}` (or `>=`), in the norm `sum weights (z - x)^2`.

    Differentiable in `x` and `weights`, forward and reverse: the derivative averages over the constant blocks, whose
    entries are equal to the last bit. Raises `ValueError` for known weights that are not positive.

    Pool adjacent violators (Best and Chakravarti, "Active set algorithms for isotonic regression; a unifying
    framework", 1990) as a state machine of at most `2n - 1` steps.

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


@jax.custom_jvp
def _pool(x: Float[Array, " n"], w: Float[Array, " n"]) -> Float[Array, " n"]:
    return _pool_adjacent_violators(x, w)


@_pool.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    x, w = primals
    dx, dw = tangents
    z = _pool(x, w)
    jumps = jnp.concatenate([jnp.zeros(1, jnp.int32), (z[1:] != z[:-1]).astype(jnp.int32)])
    block = jnp.cumsum(jumps)
    pool = lambda terms: jax.ops.segment_sum(terms, block, x.shape[0], indices_are_sorted=True)[block]
    return z, pool(w * dx + dw * (x - z)) / pool(w)


@sequential
def _pool_adjacent_violators(x: Float[Array, " n"], w: Float[Array, " n"]) -> Float[Array, " n"]:
    n = x.shape[0]
    one = jnp.asarray(1, jnp.int32)

    # One block grows, the finished ones below it lie on a stack: a step merges the top of the stack into it, or puts it
    # there and begins with the next entry.
    def step(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        i, top, mean, weight, means, weights, ends = carry
        # Written at each step, above the stack if nothing is put there.
        means, weights, ends = write(means, top, mean), write(weights, top, weight), write(ends, top, i)
        under = jnp.maximum(top - 1, 0)
        below, mass = read(means, under), read(weights, under)
        merge = (top > 0) & (below > mean)
        total = weight + mass
        following = jnp.minimum(i + 1, n - 1)
        return (
            jnp.where(merge, i, i + 1),
            jnp.where(merge, top - 1, top + 1),
            jnp.where(merge, mean + (below - mean) * (mass / total), read(x, following)),
            jnp.where(merge, total, read(w, following)),
            means,
            weights,
            ends,
        )

    zeros = jnp.zeros_like(x)
    carry = (one - 1, one - 1, x[0], w[0], zeros, zeros, jnp.zeros(n, jnp.int32))
    _, _, _, _, means, _, ends = while_loop(lambda carry: carry[0] < n, step, carry)

    def fill(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        i, block, z = carry
        return i + 1, block + (read(ends, block) == i).astype(jnp.int32), write(z, i, read(means, block))

    return while_loop(lambda carry: carry[0] < n, fill, (one - 1, one - 1, zeros))[2]
