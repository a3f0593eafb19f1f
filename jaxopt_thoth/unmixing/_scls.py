import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ._ucls import as_supervised, ucls


def scls(pixels: ArrayLike, endmembers: ArrayLike) -> Float[Array, "p N"]:
    """Abundances by least squares under the sum-to-one constraint alone, `min_a |y - E a|^2` over `sum a = 1`.

    The last endmember is eliminated, `a_p = 1 - sum of the others`, which leaves plain least squares on differences of
    endmembers: these need to be affinely independent only.

    Args:
        pixels: (L, N), any unit.
        endmembers: (L, p), p at most L + 1, in the unit of the pixels.

    Returns:
        (p, N) numbers of any sign; every column sums to one.

    Raises:
        ValueError: when the arguments are not matrices of as many bands and one dtype, p exceeds L + 1, or the
            endmembers are known not to be finite or affinely independent; traced dependent ones give NaN.

    Source: D. Heinz, C.-I. Chang, "Fully constrained least squares linear spectral mixture analysis method for
    material quantification in hyperspectral imagery", 2001.

    Example:
        >>> import jax.numpy as jnp
        >>> endmembers = jnp.array([[1.0, 0.0], [0.0, 1.0]])
        >>> print(scls(jnp.array([[2.5], [0.5]]), endmembers).ravel())
        [ 1.5 -0.5]
    """
    values, spectra = as_supervised(pixels, endmembers)
    if spectra.shape[1] == 1:
        return jnp.ones((1, values.shape[1]), values.dtype)
    last = spectra[:, -1:]
    others = ucls(values - last, spectra[:, :-1] - last)
    return jnp.concatenate([others, 1 - jnp.sum(others, axis=0, keepdims=True)])
