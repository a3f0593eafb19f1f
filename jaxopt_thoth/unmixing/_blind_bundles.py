from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike, PRNGKeyArray

from ._bundle_unmix import bundle_unmix
from ._bundles import bundles
from ._pixel_input import as_given, read_pixels
from ._scaled_pixels import Normalization, scale_pixels
from ._scene import Scene
from ._unmixing import Unmixing


def blind_bundles(
    pixels: ArrayLike | Scene,
    num_endmembers: int,
    *,
    key: PRNGKeyArray,
    num_draws: int = 10,
    fraction: ArrayLike = 0.1,
    norm: Literal["none", "group", "fractional"] = "none",
    strength: ArrayLike = 1e-3,
    power: ArrayLike = 0.1,
    max_steps: int = 30,
    tol: ArrayLike = 1e-6,
    normalization: Normalization = "pixel_l2",
    mask: ArrayLike | None = None,
) -> Unmixing:
    """Blind unmixing by bundles: `bundles` finds several spectra of each material, `bundle_unmix` fits them all.

    Args:
        pixels, num_endmembers, num_draws, fraction: as in `bundles`.
        key: as in `bundles`.
        norm, strength, power, max_steps, tol: as in `bundle_unmix`.
        normalization, mask: as in `edaa`.

    Returns:
        What `bundle_unmix` gives, with the "library" (L, M) and its "groups" (M,) in the `diagnostics`, and the
        "reconstruction" (L, N).

    Raises:
        ValueError: for pixels of a wrong shape or a setting out of range.

    Example:
        >>> import jax
        >>> from jaxopt_thoth.unmixing import simulate_scene
        >>> scene = simulate_scene(jax.random.key(0), height=20, width=20, num_bands=30)
        >>> blind_bundles(scene, 3, key=jax.random.key(1), num_draws=2).library_abundances.shape
        (6, 400)
    """
    given = read_pixels(pixels, mask)
    scaled = scale_pixels(given.values, normalization, given.mask)
    used = scaled.scale > 0
    values = jnp.where(used[None, :], given.values * scaled.scale[None, :], 0)
    library, groups = bundles(values, num_endmembers, key=key, num_draws=num_draws, fraction=fraction, mask=used)
    # A spectrum is a mixture of light: below zero it is noise.
    library = jnp.maximum(library, 0)
    found = bundle_unmix(
        values,
        library,
        groups,
        strength,
        num_groups=num_endmembers,
        norm=norm,
        power=power,
        max_steps=max_steps,
        tol=tol,
        mask=used,
    )
    assert found.library_abundances is not None
    rebuilt = jnp.matmul(library, found.library_abundances, precision=jax.lax.Precision.HIGHEST)
    size = jnp.where(used, 1 / jnp.where(used, scaled.scale, 1), jnp.nan)
    further = {**(found.diagnostics or {}), "library": library, "groups": groups, "reconstruction": rebuilt}
    found = eqx.tree_at(
        lambda u: (u.pixel_scale, u.diagnostics),
        found,
        (size, further),
        is_leaf=lambda leaf: leaf is None or isinstance(leaf, dict),
    )
    return as_given(found, given)
