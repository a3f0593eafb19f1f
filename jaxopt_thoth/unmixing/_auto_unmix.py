from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, PRNGKeyArray

from .._result import RESULTS
from ._edaa import edaa
from ._fclsu import fclsu
from ._mixing_test import mixes_ideally
from ._ml_simplex import ml_simplex
from ._pixel_input import as_given, read_pixels
from ._scaled_pixels import scale_pixels
from ._scene import Scene
from ._unmixing import Unmixing


_matmul = partial(jnp.matmul, precision=lax.Precision.HIGHEST)
# Relative excess of squared residual up to which archetypes are kept.
_EXCESS = 0.1


def auto_unmix(
    pixels: ArrayLike | Scene,
    num_endmembers: int,
    *,
    key: PRNGKeyArray,
    ensemble: int = 10,
    normalization: Literal["auto"] = "auto",
    mask: ArrayLike | None = None,
    progress: Callable[[Any, Any], None] | None = None,
) -> Unmixing:
    """Blind unmixing that asks the pixels which model is theirs: archetypes of unit pixels, or a simplex about them.

    Where fractions that sum to one and white noise do not explain the pixels (shade, spectra that vary, most real
    scenes: the p-th principal component is more than noise), the result is that of `edaa` on pixels of unit norm. Where
    they do, endmembers and abundances are those of the pixels in their own unit: archetypes, found under a perspective
    projection, if they fit the pixels nearly as well as the simplex of maximum likelihood, `ml_simplex`; else that
    simplex, since there are no pure pixels then. Nothing in it looks at the truth, and it has no setting.

    Args:
        pixels: matrix (L, N), cube (H, W, L), or `Scene`; any unit.
        num_endmembers: p, at least 2 and at most L; static.
        key: random key of the starts of `edaa`.
        ensemble: its number of runs.
        normalization: "auto", as described.
        mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite or zero are left out anyway.
        progress: called on the host as `progress(done, total)` runs.

    Returns:
        `Unmixing`; its `diagnostics` are those of `edaa` with `ideal`, whether mixing explains the pixels, and
        `simplex`, whether the simplex was taken. `weights` are those of the archetypes.

    Raises:
        ValueError: as `edaa`, and for another normalization.

    Example:
        >>> import jax
        >>> from jaxopt_thoth import unmixing
        >>> scene = unmixing.simulate_scene(jax.random.key(0), height=24, width=24, num_bands=40, purity=0.8)
        >>> found = unmixing.auto_unmix(scene, 3, key=jax.random.key(1), ensemble=2)
        >>> bool(found.diagnostics["ideal"]), bool(found.diagnostics["simplex"])
        (True, True)
    """
    if normalization != "auto":
        raise ValueError(f"normalization must be 'auto', got {normalization!r}; edaa takes the others.")
    given = read_pixels(pixels, mask)
    values, usable = given.values, given.mask & jnp.any(given.values != 0, axis=0)
    if not 2 <= num_endmembers <= values.shape[0]:
        raise ValueError(
            f"num_endmembers must be between 2 and the number of bands {values.shape[0]}, got {num_endmembers}."
        )
    # Here as well, since only known pixels are refused.
    unit = scale_pixels(values, "pixel_l2", usable).scale
    return as_given(_auto_unmix(values, usable, unit, key, num_endmembers, ensemble, progress), given)


@partial(jax.jit, static_argnames=("num_endmembers", "ensemble", "progress"))
def _auto_unmix(
    values: Array,
    usable: Array,
    unit: Array,
    key: PRNGKeyArray,
    num_endmembers: int,
    ensemble: int,
    progress: Callable[[Any, Any], None] | None,
) -> Unmixing:
    ideal = mixes_ideally(values, usable, num_endmembers)
    scale = jnp.where(ideal, scale_pixels(values, "perspective", usable).scale, unit)
    found = edaa(
        values * scale[None, :],
        num_endmembers,
        key=key,
        ensemble=ensemble,
        normalization="none",
        mask=usable,
        progress=progress,
    )
    weights, diagnostics = found.weights, found.diagnostics
    assert weights is not None and diagnostics is not None
    raw = weights * scale[:, None]
    raw = raw / jnp.sum(raw, axis=0, keepdims=True)

    def in_own_unit(_: None) -> tuple[Array, Array, Array, Array, Array]:
        archetypes = _matmul(values, raw)
        simplex = ml_simplex(values, num_endmembers, mask=usable)
        fits = [(spectra, fclsu(values, spectra)) for spectra in (archetypes, simplex.endmembers)]
        errors = [jnp.sum(jnp.square(jnp.where(usable[None, :], values - _matmul(e, a), 0))) for e, a in fits]
        mixed = (errors[0] > (1 + _EXCESS) * errors[1]) & (simplex.result == RESULTS.converged)
        spectra, abundances = (jnp.where(mixed, new, old) for old, new in zip(*fits, strict=True))
        return spectra, abundances, raw, usable.astype(values.dtype), mixed

    def as_found(_: None) -> tuple[Array, Array, Array, Array, Array]:
        abundances = jnp.nan_to_num(found.abundances)
        return found.endmembers, abundances, weights, scale, jnp.zeros((), bool)

    spectra, abundances, chosen, divided, mixed = lax.cond(ideal, in_own_unit, as_found, None)
    used = divided > 0
    return eqx.tree_at(
        lambda u: (u.endmembers, u.abundances, u.weights, u.pixel_scale, u.diagnostics),
        found,
        (
            spectra,
            jnp.where(used[None, :], abundances, jnp.nan),
            chosen,
            jnp.where(used, 1 / jnp.where(used, divided, 1), jnp.nan),
            {**diagnostics, "ideal": ideal, "simplex": mixed},
        ),
    )
