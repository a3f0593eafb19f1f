import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._loop import while_loop
from ._fclsu import fclsu
from ._ucls import as_supervised


# The first bound on the sum of the abundances, in units of |y| / max |e|, and the factor by which it grows.
_FIRST_BOUND = 4.0
_GROWTH = 8.0
_MOST_ROUNDS = 12


def ncls(pixels: ArrayLike, endmembers: ArrayLike) -> Float[Array, "p N"]:
    """Abundances by nonnegative least squares, exact: `min_a |y - E a|^2` over `a >= 0`, with no constraint on the sum.

    Abundances of a sum of at most T are those of fully constrained least squares on `[T E, 0]`, the last endmember
    being shade; where shade has a positive weight the bound T is idle and the solution that of the cone. T grows until
    that holds in each pixel. Derivatives are those of `fclsu`.

    Args:
        pixels: (L, N), any unit.
        endmembers: (L, p), in the unit of the pixels.

    Returns:
        (p, N) nonnegative numbers.

    Raises:
        ValueError: when the arguments are not matrices of as many bands and one dtype.

    Source: C. Lawson, R. Hanson, "Solving Least Squares Problems", 1974 (the problem).

    Example:
        >>> import jax.numpy as jnp
        >>> endmembers = jnp.array([[1.0, 0.0], [0.0, 1.0]])
        >>> print([f"{float(a):.2f}" for a in ncls(jnp.array([[2.5], [-0.5]]), endmembers).ravel()])
        ['2.50', '0.00']
    """
    return _ncls(*as_supervised(pixels, endmembers))


# Compiled as a whole: the functions of the loop are new ones at each call, and would be compiled anew.
@jax.jit
def _ncls(values: Float[Array, "L N"], spectra: Float[Array, "L p"]) -> Float[Array, "p N"]:
    frozen_values, frozen = jax.lax.stop_gradient((values, spectra))
    sizes = jnp.sqrt(jnp.sum(frozen * frozen, axis=0))
    size = jnp.max(sizes)
    # A zero spectrum is one more shade: any share of it fits, and it gets none.
    shades = (sizes == 0)[:, None]
    lengths = _tree.safe_sqrt(jnp.sum(frozen_values * frozen_values, axis=0))
    bound = _FIRST_BOUND * lengths / jnp.where(size > 0, size, 1)
    bound = jnp.where(bound > 0, bound, 1)

    def fractions(values: Array, spectra: Array, bound: Array) -> Array:
        shade = jnp.zeros((spectra.shape[0], 1), spectra.dtype)
        return fclsu(values / bound[None, :], jnp.concatenate([spectra, shade], axis=1))

    def grow(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        bound, _, rounds = carry
        shares = fractions(frozen_values, frozen, bound)
        tight = shares[-1] + jnp.sum(jnp.where(shades, shares[:-1], 0), axis=0) <= 0
        return jnp.where(tight, _GROWTH * bound, bound), jnp.any(tight), rounds + 1

    def unsettled(carry: tuple[Array, Array, Array]) -> Array:
        return carry[1] & (carry[2] < _MOST_ROUNDS)

    start = (bound, jnp.asarray(True), jnp.asarray(0, jnp.int32))
    bound = while_loop(unsettled, grow, start)[0]
    return jnp.where(shades, 0, bound[None, :] * fractions(values, spectra, bound)[:-1])
