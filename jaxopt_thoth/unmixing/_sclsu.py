import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from ._ncls import ncls
from ._scene import Scene
from ._unmixing import Unmixing
from ._variability_input import from_variability, read_variability


def sclsu(pixels: ArrayLike | Scene, endmembers: ArrayLike, *, mask: ArrayLike | None = None) -> Unmixing:
    """Scaled constrained least squares: one brightness a pixel, `min |y - s E a|^2` over `s >= 0`, a in the simplex.

    Exact: nonnegative least squares, whose sum is the scale and whose fractions of it are the abundances. The extended
    linear mixing model with one scale for all endmembers and no other variability.

    Args:
        pixels: matrix (L, N), cube (H, W, L), or `Scene`.
        endmembers: (L, p), in the unit and the dtype of the pixels.
        mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite are left out anyway.

    Returns:
        `Unmixing` with abundances (p, N) or maps (NaN where masked), and in `diagnostics` the "scale" and the
        "residual" norm of each pixel (N,), and the "reconstruction" (L, N). Where the scale is zero, as in a pixel of
        zeros, any abundances fit, and equal ones are handed back.

    Raises:
        ValueError: when the arguments do not fit each other.

    Source: L. Drumetz, M.-A. Veganzones, S. Henrot, R. Phlypo, J. Chanussot, C. Jutten, "Blind hyperspectral unmixing
    using an extended linear mixing model to address spectral variability", 2016.

    Example:
        >>> import jax.numpy as jnp
        >>> found = sclsu(jnp.array([[0.3], [0.9]]), jnp.eye(2))
        >>> print([f"{float(a):.2f}" for a in found.abundances.ravel()], f"{float(found.diagnostics['scale'][0]):.2f}")
        ['0.25', '0.75'] 1.20
    """
    task = read_variability(pixels, endmembers, mask)
    scale, abundances = scaled_fit(task.pixels, task.spectra)
    rebuilt = jnp.matmul(task.spectra, scale[None, :] * abundances, precision="highest")
    residual = _tree.safe_sqrt(jnp.sum((task.pixels - rebuilt) ** 2, axis=0))
    return from_variability(
        task, task.spectra, abundances, None, scale=scale, residual=residual, reconstruction=rebuilt
    )


def scaled_fit(
    pixels: Float[Array, "L N"], spectra: Float[Array, "L p"]
) -> tuple[Float[Array, " N"], Float[Array, "p N"]]:
    """Scales (N,) and abundances (p, N)."""
    parts: Array = ncls(pixels, spectra)
    scale = jnp.sum(parts, axis=0)
    fractions = parts / jnp.where(scale > 0, scale, 1)[None, :]
    return scale, jnp.where(scale[None, :] > 0, fractions, 1 / parts.shape[0])
