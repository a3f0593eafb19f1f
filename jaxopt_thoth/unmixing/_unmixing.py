from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, Int


class Unmixing(eqx.Module):
    """The result of an unmixing method: spectra of the materials and their fractions in each pixel.

    Args:
        endmembers: (L, p), in the unit of the pixels that the method worked on.
        abundances: (p, N) fractions, or (p, H, W) when a cube (H, W, L) went in.
        result: how the method ended, an item of `jaxopt_thoth.RESULTS`; None for methods that always succeed.
        indices: (p,) selected pixels or atoms of the library, where the method selects.
        weights: (N, p) or (M, p) convex weights whose combination of pixels or atoms are the endmembers.
        pixel_scale: (N,) the factor each pixel was divided by before the fit (its norm, or 1), NaN where masked; None
            stands for ones.
        diagnostics: further arrays by name.
        library_abundances: (M, N) fractions of all atoms of a library, or (M, H, W), where the method has one.

    Example:
        >>> import jax.numpy as jnp
        >>> Unmixing(jnp.ones((4, 2)), jnp.full((2, 6), 0.5)).num_endmembers
        2
    """

    endmembers: Float[Array, "L p"]
    abundances: Float[Array, "p ..."]
    result: Any = None
    indices: Int[Array, " p"] | None = None
    weights: Float[Array, "n p"] | None = None
    pixel_scale: Float[Array, " N"] | None = None
    diagnostics: dict[str, Any] | None = None
    library_abundances: Float[Array, "M ..."] | None = None

    @property
    def num_endmembers(self) -> int:
        """Number of endmembers, p."""
        return self.endmembers.shape[-1]
