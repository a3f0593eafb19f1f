from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from .._result import RESULTS
from ._archetypal_analysis import archetypal_analysis
from ._atgp import atgp
from ._edaa import edaa
from ._fclsu import fclsu
from ._mvc_nmf import mvc_nmf
from ._mvsa import mvsa
from ._n_findr import nfindr
from ._nmf import nmf
from ._pixel_input import read_pixels
from ._ppi import ppi
from ._robust_archetypal_analysis import robust_archetypal_analysis
from ._scaled_pixels import Normalization, scale_pixels
from ._scene import Scene
from ._sisal import sisal
from ._sivm import sivm
from ._spa import spa
from ._unmixing import Unmixing
from ._vca import vca


# Those that draw at random run several times, and the largest simplex is kept.
_DRAWN: dict[str, Callable[..., Any]] = {"vca": vca, "nfindr": nfindr, "ppi": partial(ppi, num_skewers=1000)}
_SELECTED: dict[str, Callable[..., Any]] = {"sivm": sivm, "atgp": atgp, "spa": spa}
_FITTED: dict[str, Callable[..., Any]] = {"sisal": sisal, "mvsa": mvsa}
_BLIND: dict[str, Callable[..., Unmixing]] = {
    "aa": archetypal_analysis,
    "robust-aa": robust_archetypal_analysis,
    "nmf": nmf,
    "mvc-nmf": mvc_nmf,
}
METHODS = ("edaa", *_BLIND, *(f"{name}+fclsu" for name in (*_DRAWN, *_SELECTED, *_FITTED)))


def unmix(
    scene: Scene,
    num_endmembers: int,
    *,
    method: str = "edaa",
    key: PRNGKeyArray,
    ensemble: int | None = None,
    normalization: Normalization = "pixel_l2",
    progress: Callable[[Any, Any], None] | None = None,
) -> Unmixing:
    """Unmix a scene by a named method: blind, from the number of endmembers alone.

    Args:
        scene: the scene; masked pixels are left out and come back as NaN.
        num_endmembers: p, at least 2 and at most the number of bands.
        method: "edaa" (archetypes by entropic descent), "aa" and "robust-aa" (archetypal analysis, of squared distances
            and of distances), "nmf" and "mvc-nmf" (nonnegative factors, plain and of small volume), or exact fully
            constrained least squares on pixels picked by "vca+fclsu", "nfindr+fclsu", "ppi+fclsu", "sivm+fclsu",
            "atgp+fclsu" or "spa+fclsu", or on the simplex fitted by "sisal+fclsu" or "mvsa+fclsu".
        key: random key; used by all but SiVM, ATGP, SPA, SISAL and MVSA.
        ensemble: number of runs of EDAA, VCA, N-FINDR and PPI, 10 by default; of those of an extraction the largest
            simplex is kept.
        normalization: as in `edaa`, for every method.
        progress: called on the host as `progress(done, total)`.

    Raises:
        ValueError: for an unknown method, a number of endmembers out of range, or an ensemble below one.

    Example:
        >>> import jax
        >>> from jaxopt_thoth import unmixing
        >>> scene = unmixing.simulate_scene(jax.random.key(0), height=16, width=16, num_bands=30)
        >>> unmixing.unmix(scene, 3, method="vca+fclsu", key=jax.random.key(1)).abundances.shape
        (3, 256)
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}.")
    if not 2 <= num_endmembers <= scene.num_bands:
        raise ValueError(
            f"the number of endmembers must be between 2 and the number of bands {scene.num_bands}, "
            f"got {num_endmembers}."
        )
    if ensemble is not None and ensemble < 1:
        raise ValueError(f"ensemble must be at least 1, got {ensemble}.")
    if method == "edaa":
        return edaa(
            scene,
            num_endmembers,
            key=key,
            ensemble=ensemble or 10,
            normalization=normalization,
            progress=progress,
        )
    if method in _BLIND:
        found = _BLIND[method](scene, num_endmembers, key=key, normalization=normalization)
        if progress is not None:
            progress(1, 1)
        return found
    return _extract_and_fit(scene, num_endmembers, method, key, ensemble or 10, normalization, progress)


def _extract_and_fit(
    scene: Scene,
    num_endmembers: int,
    method: str,
    key: PRNGKeyArray,
    ensemble: int,
    normalization: Normalization,
    progress: Callable[[Any, Any], None] | None,
) -> Unmixing:
    given = read_pixels(scene)
    scaled = scale_pixels(given.values, normalization, given.mask)
    used = scaled.scale > 0
    pixels = given.values * scaled.scale[None, :]
    name = method.removesuffix("+fclsu")
    indices, result = None, None
    if name in _DRAWN:
        extract = lambda k: _DRAWN[name](pixels, num_endmembers, key=k, mask=used)
        spectra, chosen = jax.lax.map(extract, jax.random.split(key, ensemble))
        best = jnp.argmax(jax.vmap(_log_volume)(spectra))
        endmembers, indices = spectra[best], chosen[best]
    elif name in _SELECTED:
        endmembers, indices = _SELECTED[name](pixels, num_endmembers, mask=used)
    else:
        simplex = _FITTED[name](pixels, num_endmembers, mask=used)
        endmembers, result = simplex.endmembers, simplex.result
    abundances = jnp.where(used[None, :], fclsu(pixels, endmembers), jnp.nan)
    if progress is not None:
        progress(1, 1)
    finite = jnp.all(jnp.isfinite(endmembers))
    return Unmixing(
        endmembers=endmembers,
        abundances=abundances,
        result=RESULTS.where(finite, RESULTS.converged if result is None else result, RESULTS.nonfinite),
        indices=indices,
        pixel_scale=jnp.where(used, 1 / jnp.where(used, scaled.scale, 1), jnp.nan),
    )


def _log_volume(spectra: Array) -> Array:
    """Logarithm of the volume of a simplex, up to a constant of its dimension."""
    edges = spectra[:, 1:] - spectra[:, :1]
    return jnp.linalg.slogdet(jnp.matmul(edges.T, edges, precision=jax.lax.Precision.HIGHEST))[1]
