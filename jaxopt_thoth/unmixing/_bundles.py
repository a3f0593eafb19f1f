from functools import partial
from operator import index

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray

from .. import _tree, _validate
from .._types import IntScalar
from ._checks import check_count
from ._pixel_input import read_pixels
from ._scene import Scene
from ._spherical_clusters import spherical_clusters
from ._vca import vca


def bundles(
    pixels: ArrayLike | Scene,
    num_endmembers: int,
    *,
    key: PRNGKeyArray,
    num_draws: int = 10,
    fraction: ArrayLike = 0.1,
    mask: ArrayLike | None = None,
) -> tuple[Float[Array, "L M"], Int[Array, " M"]]:
    """Bundles of spectra of each material, from the image itself: endmembers of random subsets of it, clustered.

    VCA on each of `num_draws` random subsets of the pixels gives `M = num_draws * p` spectra, and k-means by the
    spectral angle sorts them into p groups.

    Args:
        pixels: matrix (L, N), cube (H, W, L), or `Scene`.
        num_endmembers: p, static.
        key: of the subsets, of VCA and of the clustering.
        num_draws: subsets, static.
        fraction: of the valid pixels that a subset holds, in (0, 1]; at least p + 1 pixels.
        mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite are left out anyway.

    Returns:
        Spectra (L, M) in the unit of the pixels, and the group (M,) of each, from 0 to p - 1; see `bundle_unmix`.

    Raises:
        ValueError: for pixels of a wrong shape or a setting out of range.

    Source: B. Somers, M. Zortea, A. Plaza, G. P. Asner, "Automated extraction of image-based endmember bundles for
    improved spectral unmixing", 2012.

    Example:
        >>> import jax
        >>> from jaxopt_thoth.unmixing import simulate_scene
        >>> scene = simulate_scene(jax.random.key(0), height=20, width=20, num_bands=30)
        >>> spectra, groups = bundles(scene, 3, key=jax.random.key(1))
        >>> spectra.shape, jnp.bincount(groups).tolist()
        ((30, 30), [10, 10, 10])
    """
    given = read_pixels(pixels, mask)
    check_count(num_endmembers, 2, given.values, given.mask)
    if num_endmembers > given.values.shape[0]:
        raise ValueError(f"num_endmembers must be at most the {given.values.shape[0]} bands, got {num_endmembers}.")
    if index(num_draws) < 1:
        raise ValueError(f"num_draws must be at least 1, got {num_draws}.")
    known = _validate.concrete(fraction)
    if known is not None and not 0 < known <= 1:
        raise ValueError(f"fraction must be in (0, 1], got {fraction}.")
    values = jnp.where(given.mask[None, :], given.values, 0)
    total = jnp.sum(given.mask)
    share = _tree.setting(fraction)
    wanted = jnp.maximum(jnp.round(share * total.astype(share.dtype)), num_endmembers + 1).astype(total.dtype)

    draw_key, cluster_key = jax.random.split(key)
    spectra = _draw(values, given.mask, wanted, jax.random.split(draw_key, num_draws), num_endmembers)
    spectra = jnp.moveaxis(spectra, 0, 1).reshape(values.shape[0], -1)
    return spectra, spherical_clusters(spectra, num_endmembers, cluster_key)


@partial(jax.jit, static_argnames="num_endmembers")
def _draw(
    values: Float[Array, "L N"], mask: Bool[Array, " N"], wanted: IntScalar, keys: PRNGKeyArray, num_endmembers: int
) -> Float[Array, "draws L p"]:
    """Endmembers of random subsets of the pixels of a size."""

    def draw(key: PRNGKeyArray) -> Array:
        order_key, vca_key = jax.random.split(key)
        # The ranks of random numbers, masked pixels last.
        numbers = jnp.where(mask, jax.random.uniform(order_key, mask.shape), 2.0)
        ranks = jnp.argsort(jnp.argsort(numbers))
        return vca(values, num_endmembers, key=vca_key, mask=mask & (ranks < wanted))[0]

    return jax.lax.map(draw, keys)
