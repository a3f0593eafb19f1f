import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._loop import while_loop


def epigraph_linf(x: Float[ArrayLike, "..."], t: ArrayLike) -> tuple[Float[Array, "..."], Float[Array, ""]]:
    """Euclidean projection of the pair `(x, t)` onto the epigraph of the largest magnitude, `{(z, s): max |z| <= s}`.

    All entries of `x` are one vector, and `t` is a scalar; the pair `(z, s)` is returned. Differentiable in both,
    forward and reverse. Raises `ValueError` for a `t` that is not a scalar.

    Parikh and Boyd, "Proximal algorithms", 2014, section 6.6.2: the entries are clipped at the bound `s`, the root of a
    convex piecewise linear function, which Newton's method reaches from the left in finitely many steps.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> z, s = projections.epigraph_linf(jnp.array([3.0, -0.5]), 1.0)
        >>> z.tolist(), s.item()
        ([2.0, -0.5], 2.0)
    """
    array, level = pair(x, t)
    magnitude = jnp.abs(array)
    bound = bound_of(magnitude.reshape(-1), level)
    return jnp.where(magnitude > bound, jnp.sign(array) * bound, jnp.where(bound > 0, array, 0)), bound


def pair(x: ArrayLike, t: ArrayLike) -> tuple[Array, Array]:
    array = _tree.as_inexact(x)
    level = jnp.asarray(t).astype(array.dtype)
    if level.ndim != 0:
        raise ValueError(f"t must be a scalar, got shape {level.shape}; vmap over the leading axes of x and t.")
    return array, level


# Compiled on its own, or each call outside `jit` would compile the loop anew.
@jax.custom_jvp
@jax.jit
def bound_of(v: Float[Array, " n"], t: Float[Array, ""]) -> Float[Array, ""]:
    """The root `s` of `sum (v - s)_+ = s - t`, or zero where it is negative, for nonnegative `v`."""

    def newton(s: Array) -> Array:
        count = jnp.sum(v > s).astype(v.dtype)
        return s + (jnp.sum(jax.nn.relu(v - s)) + (t - s)) / (count + 1)

    def climbs(carry: tuple[Array, Array, Array]) -> Array:
        old, new, step = carry
        # Each climb drops an entry from the active set.
        return (new > old) & (step <= v.size + 1)

    def climb(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        _, new, step = carry
        return new, jnp.maximum(new, newton(new)), step + 1

    start = jax.nn.relu(t)
    return while_loop(climbs, climb, (start, jnp.maximum(start, newton(start)), jnp.asarray(0)))[1]


@bound_of.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (v, t), (dv, dt) = primals, tangents
    s = bound_of(v, t)
    active = v > s
    slope = (jnp.sum(jnp.where(active, dv, 0)) + dt) / (jnp.sum(active).astype(v.dtype) + 1)
    return s, jnp.where(s > 0, slope, 0)
