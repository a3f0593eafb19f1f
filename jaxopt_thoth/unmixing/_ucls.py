import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, ArrayLike, Float

from .. import _validate
from .._types import BoolScalar
from ._checks import as_pixels, as_spectra, same_dtype


def ucls(pixels: ArrayLike, endmembers: ArrayLike) -> Float[Array, "p N"]:
    """Abundances by unconstrained least squares, `min_a |y - E a|^2`, by one orthogonal factorization of E.

    Args:
        pixels: (L, N), any unit.
        endmembers: (L, p) of full column rank, in the unit of the pixels.

    Returns:
        (p, N) numbers of any sign and sum.

    Raises:
        ValueError: when the arguments are not matrices of as many bands and one dtype, p exceeds L, or the endmembers
            are known not to be finite or independent; where they are traced, dependent ones give NaN.

    Source: D. Heinz, C.-I. Chang, "Fully constrained least squares linear spectral mixture analysis method for
    material quantification in hyperspectral imagery", 2001.

    Example:
        >>> import jax.numpy as jnp
        >>> endmembers = jnp.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
        >>> print(ucls(jnp.array([[0.5], [-1.0], [7.0]]), endmembers).ravel())
        [ 0.5 -0.5]
    """
    values, spectra = as_supervised(pixels, endmembers)
    if spectra.shape[1] > spectra.shape[0]:
        raise ValueError(f"endmembers {spectra.shape} must not be more than the bands; pass (L, p) with p <= L.")
    independent = _independent(spectra)
    known = _validate.concrete(independent)
    if known is not None and not known:
        raise ValueError(
            "endmembers must be linearly independent (of scls affinely), and without zeros; leave duplicates out, or "
            "choose fclsu."
        )
    operator, solver = lx.MatrixLinearOperator(spectra), lx.QR()
    state = solver.init(operator, {})

    def one(pixel: Array) -> Array:
        return lx.linear_solve(operator, pixel, solver, state=state, throw=False).value

    # Solved once for each band: a triangular solve with the pixels themselves would gather them from their devices.
    with jax.default_matmul_precision("highest"):
        inverse = jax.vmap(one, out_axes=1)(jnp.eye(spectra.shape[0], dtype=spectra.dtype))
        return jnp.matmul(jnp.where(independent, inverse, jnp.nan), values)


@jax.jit
def _independent(spectra: Float[Array, "L p"]) -> BoolScalar:
    sizes = jnp.linalg.svd(jax.lax.stop_gradient(spectra), compute_uv=False)
    return sizes[-1] > max(spectra.shape) * jnp.finfo(spectra.dtype).eps * sizes[0]


def as_supervised(pixels: ArrayLike, endmembers: ArrayLike) -> tuple[Float[Array, "L N"], Float[Array, "L p"]]:
    """Both arguments as matrices of as many bands and one dtype; raises `ValueError` otherwise."""
    values, spectra = as_pixels(pixels), as_spectra(endmembers, "endmembers", "(L, p)")
    same_dtype(values, "pixels", spectra, "endmembers")
    if values.shape[0] != spectra.shape[0]:
        raise ValueError(
            f"pixels {values.shape} and endmembers {spectra.shape} must have as many bands (rows); transpose one?"
        )
    return values, spectra
