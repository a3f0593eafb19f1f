"""Approximate inverses of a Jacobian from secant pairs, as functions of a pytree and their transposes."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from .._types import Params


Flat = Float[Array, "d"]
Pairs = Float[Array, "m d"]


class _OnPytrees(eqx.Module):
    """A linear map of flat vectors as a module, so that the pairs are leaves."""

    apply: Callable = eqx.field(static=True)
    pairs: tuple[Array, ...]

    def __call__(self, v: Params) -> Params:
        flat, unravel = ravel_pytree(v)
        return unravel(self.apply(*self.pairs, flat))


def bfgs_inverse(steps: Pairs, differences: Pairs) -> tuple[_OnPytrees, _OnPytrees]:
    """The inverse of limited-memory BFGS by its two loops (Nocedal, 1980); symmetric."""
    curvature = jnp.sum(steps * differences, axis=1)
    good = curvature > 0
    rho = jnp.where(good, 1 / jnp.where(good, curvature, 1), 0)
    squares = jnp.sum(differences**2, axis=1)
    # The initial scaling is that of the last usable pair.
    last = steps.shape[0] - 1 - jnp.argmax(good[::-1])
    scale = jnp.where(good.any(), curvature[last] / jnp.where(good[last], squares[last], 1), 1)
    inverse = _OnPytrees(_two_loops, (steps, differences, rho, scale))
    return inverse, inverse


def _two_loops(steps: Pairs, differences: Pairs, rho: Array, scale: Array, v: Flat) -> Flat:
    def down(q: Flat, pair: tuple[Flat, Flat, Array]) -> tuple[Flat, Array]:
        s, y, r = pair
        alpha = r * (s @ q)
        return q - alpha * y, alpha

    def up(z: Flat, pair: tuple[Flat, Flat, Array, Array]) -> tuple[Flat, None]:
        s, y, r, alpha = pair
        return z + (alpha - r * (y @ z)) * s, None

    q, alphas = jax.lax.scan(down, v, (steps, differences, rho), reverse=True)
    return jax.lax.scan(up, scale * q, (steps, differences, rho, alphas))[0]


def broyden_inverse(steps: Pairs, differences: Pairs) -> tuple[_OnPytrees, _OnPytrees]:
    """The inverse of Broyden's good method (1965) from the identity, as the identity plus a product of two factors."""
    zero = jnp.zeros_like(steps)

    def update(factors: tuple[Pairs, Pairs], pair: tuple[Array, Flat, Flat]) -> tuple[tuple[Pairs, Pairs], None]:
        left, right = factors
        k, s, y = pair
        image = _low_rank(left, right, y)
        pulled = _low_rank(right, left, s)
        denominator = s @ image
        # A pair of zeros, and one that would make the inverse singular, is left out.
        usable = jnp.abs(denominator) > jnp.finfo(s.dtype).eps * jnp.linalg.norm(s) * jnp.linalg.norm(image)
        row = jnp.where(usable, (s - image) / jnp.where(usable, denominator, 1), 0)
        return (left.at[k].set(row), right.at[k].set(jnp.where(usable, pulled, 0))), None

    count = jnp.arange(steps.shape[0])
    left, right = jax.lax.scan(update, (zero, zero), (count, steps, differences))[0]
    return _OnPytrees(_low_rank, (left, right)), _OnPytrees(_low_rank, (right, left))


def _low_rank(left: Pairs, right: Pairs, v: Flat) -> Flat:
    return v + left.T @ (right @ v)
