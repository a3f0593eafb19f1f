from collections.abc import Callable
from typing import Any, get_args, Literal

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from .. import _tree, _validate
from .._types import Scalar
from ._pixel_groups import sum_groups


# Pixels a block: the temporaries of a reduction stay in cache, and far below the size of a scene.
_BLOCK = 512
Normalization = Literal["pixel_l2", "perspective", "none"]


class ScaledPixels(eqx.Module):
    """The matrix `Y diag(scale)`, never formed: normalized pixels at the memory of the raw ones.

    Attributes:
        values: Y, (L, N).
        scale: (N,), a factor for each pixel; zero takes a pixel out of every product.
    """

    values: Float[Array, "L N"]
    scale: Float[Array, " N"]

    def project(self, spectra: Float[Array, "L k"]) -> Float[Array, "k N"]:
        """Inner products of k spectra with the scaled pixels."""
        return jnp.matmul(spectra.T, self.values, precision=lax.Precision.HIGHEST) * self.scale[None, :]

    def combine(self, weights: Float[Array, "k N"]) -> Float[Array, "L k"]:
        """The k combinations of the scaled pixels with these weights."""
        return jnp.matmul(self.values, (weights * self.scale[None, :]).T, precision=lax.Precision.HIGHEST)

    def take(self, indices: Int[Array, "..."]) -> Float[Array, "L ..."]:
        """The scaled pixels at `indices`."""
        return self.values[:, indices] * self.scale[indices][None]

    def gram(self) -> Float[Array, "L L"]:
        """Sum over pixels of their outer products, block after block."""
        bands = self.values.shape[0]

        def add(total: Array, block: Array) -> Array:
            return total + jnp.matmul(block, block.T, precision=lax.Precision.HIGHEST)

        return self._reduce(add, jnp.zeros((bands, bands), self.values.dtype))

    def squared_norms(self) -> Float[Array, " N"]:
        """Squared norm of each scaled pixel."""
        return jnp.sum(self.values * self.values, axis=0) * self.scale**2

    def residual_norms(self, endmembers: Float[Array, "L p"], abundances: Float[Array, "p N"]) -> tuple[Scalar, Scalar]:
        """Sums of absolute values and of squares of `Y diag(scale) - E A` over the pixels of nonzero scale."""

        def add(totals: tuple[Scalar, Scalar], block: Array, fractions: Array) -> tuple[Scalar, Scalar]:
            residual = block - jnp.matmul(endmembers, fractions, precision=lax.Precision.HIGHEST)
            return totals[0] + jnp.sum(jnp.abs(residual)), totals[1] + jnp.sum(residual * residual)

        zero = jnp.zeros((), self.values.dtype)
        kept = jnp.where(self.scale > 0, abundances, 0)
        return self._reduce(add, (zero, zero), kept)

    def _reduce(self, add: Callable[..., Any], start: Any, *along: Float[Array, "k N"]) -> Any:
        """Fold `add` over blocks of pixels from zeros on, so that no temporary has the size of the scene."""

        def fold(values: Array, scale: Array, *along: Array) -> Any:
            count = scale.shape[0]
            size = min(_BLOCK, count)

            def body(total: Any, k: Array) -> tuple[Any, None]:
                # The last block is moved back inside the image, and its overlap with the one before is zeroed.
                first = jnp.minimum(k * size, count - size)
                fresh = first + jnp.arange(size) >= k * size
                cut = lambda x: lax.dynamic_slice_in_dim(x, first, size, axis=-1)
                weight = jnp.where(fresh, cut(scale), 0)
                blocks = [jnp.where(fresh[None, :], cut(x), 0) for x in along]
                return add(total, cut(values) * weight[None, :], *blocks), None

            return lax.scan(body, start, jnp.arange(-(-count // size)))[0]

        return sum_groups(fold, self.values, self.scale, *along)


def scale_pixels(values: Float[Array, "L N"], normalization: Normalization, mask: Bool[Array, " N"]) -> ScaledPixels:
    """Pixels under a named normalization; masked and zero pixels get scale zero.

    "pixel_l2" divides by the norm. "perspective" divides by the component along the mean direction: it forgets the
    brightness as well, and keeps mixtures of endmembers convex combinations of them, which unit norms do not; but it
    amplifies the noise of dark pixels. "none" keeps the pixels.

    Raises:
        ValueError: for another name, or when every pixel is known to be masked or zero, which no scale mends.
    """
    if normalization not in get_args(Normalization):
        raise ValueError(f"normalization must be one of {get_args(Normalization)}, got {normalization!r}.")
    if normalization == "none":
        return ScaledPixels(values, mask.astype(values.dtype))
    sizes = _tree.safe_sqrt(jnp.sum(values * values, axis=0))
    if normalization == "perspective":
        mean = ScaledPixels(values, _inverse(sizes, mask)).combine(mask[None, :].astype(values.dtype))[:, 0]
        sizes = jnp.matmul(mean / _tree.norm(mean), values, precision=lax.Precision.HIGHEST)
    scale = _inverse(sizes, mask)
    known = _validate.concrete(jnp.any(scale > 0))
    if known is not None and not known:
        raise ValueError("no pixel is left: every one is masked or zero.")
    return ScaledPixels(values, scale)


def _inverse(sizes: Float[Array, " N"], mask: Bool[Array, " N"]) -> Float[Array, " N"]:
    usable = mask & (sizes > 0)
    return jnp.where(usable, 1 / jnp.where(usable, sizes, 1), 0)
