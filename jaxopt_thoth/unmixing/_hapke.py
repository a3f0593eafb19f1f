import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _tree, _validate
from .._result import RESULTS
from .._types import Scalar
from .._validate import require_nonnegative
from ._fclsu import fclsu
from ._mixing_model import as_mixture, read_supervised
from ._pixel_input import as_given
from ._scene import Scene
from ._unmixing import Unmixing


class Hapke(eqx.Module):
    """Intimate mixtures, linear in the single-scattering albedo w of the grains: `w(y) = sum_i a_i w(e_i)`.

    Reflectance relative to a white surface is `w / ((1 + 2 m g) (1 + 2 m0 g))` with `g = sqrt(1 - w)`, m and m0 the
    cosines of the angles of view and of incidence: isotropic scattering, no opposition effect. It grows with w from 0
    to 1. Abundances are fractions of the scattering cross section of the grains.

    Args:
        cos_view: m; with both cosines at 0 the model is linear.
        cos_incidence: m0.

    Raises:
        ValueError: for a negative cosine.

    Source: B. Hapke, "Bidirectional reflectance spectroscopy: 1. Theory", 1981.

    Example:
        >>> import jax.numpy as jnp
        >>> endmembers = jnp.array([[0.8, 0.2], [0.2, 0.6], [0.1, 0.3]])
        >>> model = Hapke()
        >>> pixels = model.mix(endmembers, jnp.array([[0.25], [0.75]]))
        >>> print([f"{float(a):.3f}" for a in model.unmix(pixels, endmembers).abundances.ravel()])
        ['0.250', '0.750']
    """

    cos_view: Scalar
    cos_incidence: Scalar

    def __init__(self, cos_view: ArrayLike = 1.0, cos_incidence: ArrayLike = 1.0):
        require_nonnegative(cos_view, "cos_view")
        require_nonnegative(cos_incidence, "cos_incidence")
        self.cos_view = _tree.setting(cos_view)
        self.cos_incidence = _tree.setting(cos_incidence)

    def reflectance(self, albedo: ArrayLike) -> Float[Array, "..."]:
        """The reflectance of single-scattering albedos of any shape; one beyond 1 counts as 1."""
        values = jnp.minimum(_tree.as_inexact(albedo), 1)
        view, incidence = _tree.match(self.cos_view, values), _tree.match(self.cos_incidence, values)
        root = _tree.safe_sqrt(1 - values)
        return values / ((1 + 2 * view * root) * (1 + 2 * incidence * root))

    def albedo(self, reflectance: ArrayLike) -> Float[Array, "..."]:
        """The single-scattering albedo of reflectances of any shape, the inverse; a reflectance beyond 1 counts as 1.

        The root g of `(1 + 4 m m0 r) g^2 + 2 (m + m0) r g = 1 - r`, in the form that does not cancel as r nears 1.
        Noise may leave reflectances slightly below 0: the formula goes on to them.
        """
        values = jnp.minimum(_tree.as_inexact(reflectance), 1)
        view, incidence = _tree.match(self.cos_view, values), _tree.match(self.cos_incidence, values)
        half = (view + incidence) * values
        square = 1 + 4 * view * incidence * values
        sizes = half + _tree.safe_sqrt(half**2 + square * (1 - values))
        # Zero only at reflectance one under cosines of 0, where the numerator is zero too.
        root = (1 - values) / jnp.where(sizes > 0, sizes, 1)
        return 1 - root**2

    def mix(self, endmembers: ArrayLike, abundances: ArrayLike) -> Float[Array, "L N"]:
        """Reflectances (L, N) of endmembers (L, p), reflectances too, and abundances (p, N).

        Raises:
            ValueError: when the shapes or the dtypes disagree, or reflectances are not between 0 and 1.
        """
        spectra, fractions = as_mixture(endmembers, abundances)
        _require_reflectance(spectra)
        return self.reflectance(jnp.matmul(self.albedo(spectra), fractions, precision="highest"))

    def unmix(self, pixels: ArrayLike | Scene, endmembers: ArrayLike, *, mask: ArrayLike | None = None) -> Unmixing:
        """Abundances by exact fully constrained least squares between albedos.

        Args:
            pixels: reflectances, matrix (L, N), cube (H, W, L), or `Scene`.
            endmembers: reflectances (L, p) of the dtype of the pixels.
            mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite are left out anyway.

        Returns:
            `Unmixing` with abundances (p, N) or maps, NaN where masked.

        Raises:
            ValueError: when the arguments do not fit each other, or endmembers are not between 0 and 1.
        """
        given, spectra = read_supervised(pixels, endmembers, mask)
        _require_reflectance(spectra)
        # Inside of the domain, where a pixel that does not count may be anything.
        values = jnp.where(given.mask[None, :], given.values, 0)
        found = fclsu(self.albedo(values), self.albedo(spectra))
        finite = jnp.all(jnp.isfinite(found))
        abundances = jnp.where(given.mask[None, :], found, jnp.nan)
        result = RESULTS.where(finite, RESULTS.converged, RESULTS.nonfinite)
        return as_given(Unmixing(spectra, abundances, result), given)


def _require_reflectance(endmembers: Float[Array, "L p"]) -> None:
    known = _validate.concrete(endmembers)
    if known is not None and not np.all((known >= 0) & (known <= 1)):
        raise ValueError(
            f"endmembers must be reflectances between 0 and 1, got {known.min():g} to {known.max():g}; divide them by "
            "the scale of the file."
        )
