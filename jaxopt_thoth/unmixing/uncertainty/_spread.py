from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ... import _tree
from .._unmixing import Unmixing


class Spread(eqx.Module):
    """Abundances over repeated runs of a method.

    Attributes:
        mean: (p, N) or (p, H, W), over the runs that gave the pixel a number; NaN where none did.
        standard_deviation: like `mean`, with the number of those runs less one; NaN where fewer than two did.
        counts: (N,) or (H, W), how many of the runs gave the pixel a number.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxopt_thoth.unmixing import fclsu, uncertainty
        >>> pixels, endmembers = jnp.array([[0.5], [0.5]]), jnp.eye(2)
        >>> noise = jnp.full(2, 0.01)
        >>> fit = lambda y: fclsu(y, endmembers)
        >>> uncertainty.bootstrap_noise(fit, pixels, pixels, noise, key=jax.random.key(0), num_draws=5).mean.shape
        (2, 1)
    """

    mean: Float[Array, "p ..."]
    standard_deviation: Float[Array, "p ..."]
    counts: Int[Array, "..."]


def abundances_of(found: Unmixing | Array) -> Float[Array, "p ..."]:
    """The abundances that a method gave, as a result or alone."""
    return found.abundances if isinstance(found, Unmixing) else jnp.asarray(found)


def check_runs(count: int, least: int, name: str, chunk: int) -> None:
    """Raise `ValueError` for too few runs, or an empty chunk."""
    if count < least:
        raise ValueError(f"{name} must be at least {least}, got {count}.")
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}.")


# Counts, means, and sums of squares about them.
_Moments = tuple[Array, Array, Array]


def gather(run: Callable[[PRNGKeyArray], Array], keys: PRNGKeyArray, chunk: int) -> Spread:
    """Runs over the keys, `chunk` at once, whose abundances are summed up as they come.

    Updates of mean and squares run by run, after Welford, lose no digits and hold one chunk of maps at a time.
    """
    total = keys.shape[0]
    blocks = -(-total // chunk)
    padded = keys[jnp.arange(blocks * chunk) % total].reshape(blocks, chunk)
    fresh = (jnp.arange(blocks * chunk) < total).reshape(blocks, chunk)
    shape = jax.eval_shape(run, keys[0])

    def add(carry: _Moments, block: tuple[Array, Array]) -> tuple[_Moments, None]:
        maps = jax.vmap(run)(block[0])

        def one(carry: _Moments, inputs: tuple[Array, Array]) -> tuple[_Moments, None]:
            counts, mean, squares = carry
            values, counted = inputs
            known = jnp.isfinite(values) & counted
            counts = counts + known.astype(counts.dtype)
            change = jnp.where(known, values - mean, 0)
            mean = mean + change / jnp.maximum(counts, 1).astype(mean.dtype)
            return (counts, mean, squares + change * jnp.where(known, values - mean, 0)), None

        return jax.lax.scan(one, carry, (maps, block[1]))

    zeros = jnp.zeros(shape.shape, shape.dtype)
    (counts, mean, squares), _ = jax.lax.scan(add, (jnp.zeros(shape.shape, jnp.int32), zeros, zeros), (padded, fresh))
    freedom = jnp.maximum(counts - 1, 1).astype(mean.dtype)
    return Spread(
        mean=jnp.where(counts > 0, mean, jnp.nan),
        standard_deviation=jnp.where(counts > 1, _tree.safe_sqrt(squares / freedom), jnp.nan),
        counts=jnp.min(counts, axis=0),
    )


def aligned(maps: Float[Array, "p ..."], reference: Float[Array, "p ..."]) -> Float[Array, "p ..."]:
    """The maps in the order in which their distances to those of the reference are least in total; NaN do not count."""
    rows, wanted = (x.reshape(x.shape[0], -1) for x in (maps, reference))
    known = jnp.all(jnp.isfinite(rows), axis=0) & jnp.all(jnp.isfinite(wanted), axis=0)
    rows, wanted = (jnp.where(known[None, :], x, 0) for x in (rows, wanted))
    costs = jnp.sum((wanted[:, None, :] - rows[None, :, :]) ** 2, axis=-1)
    order, columns = optax.assignment.hungarian_algorithm(costs)
    return maps[columns[jnp.argsort(order)]]
