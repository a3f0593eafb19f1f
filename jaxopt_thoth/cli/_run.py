"""One method on one scene."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.typing import ArrayLike

from ..plotting._fit import rebuilt_pixels
from ..unmixing import Scene, uncertainty, unmix, Unmixing
from ..unmixing._methods import Plan
from ._errors import bad_input, InputError
from ._progress import Reporter
from ._timing import Stopwatch, stopwatch


def run_method(
    scene: Scene,
    count: int | None,
    method: str,
    plan: Plan,
    spectra: ArrayLike | None,
    *,
    seed: int,
    ensemble: int | None,
    normalization: Any,
    settings: dict[str, Any],
    reporter: Reporter,
) -> tuple[Unmixing, Stopwatch]:
    """Unmix and time it.

    Raises:
        InputError: when the library refuses the arguments, or numbers are not finite.
    """
    with stopwatch() as watch, bad_input():
        unmixing = _call(scene, count, method, plan, spectra, seed, ensemble, normalization, settings, reporter.advance)
        jax.block_until_ready(unmixing)
        # Progress reported from compiled code may still be on its way.
        jax.effects_barrier()
    if not np.isfinite(unmixing.endmembers).all():
        raise InputError(f"{method} met numbers that are not finite; try another --seed or --method")
    return unmixing, watch


def deviation_of(
    scene: Scene,
    found: Unmixing,
    method: str,
    plan: Plan,
    spectra: ArrayLike | None,
    *,
    draws: int,
    seed: int,
    ensemble: int | None,
    normalization: Any,
    settings: dict[str, Any],
) -> np.ndarray:
    """Standard deviation (p, N) of the abundances over pixels drawn anew: the fit with residuals of other pixels."""
    scale = 1.0 if found.pixel_scale is None else np.asarray(found.pixel_scale)
    fitted = rebuilt_pixels(found) * scale

    def again(pixels: jax.Array) -> jax.Array:
        drawn = eqx.tree_at(lambda s: s.pixels, scene, pixels)
        count = found.num_endmembers
        return _call(drawn, count, method, plan, spectra, seed, ensemble, normalization, settings, None).abundances

    pixels = np.where(np.asarray(scene.mask), np.asarray(scene.pixels), np.nan)
    with bad_input():
        spread = uncertainty.bootstrap_noise(
            lambda values: again(jax.numpy.nan_to_num(values)),
            pixels,
            fitted.astype(pixels.dtype),
            key=jax.random.fold_in(jax.random.key(seed), 2),
            num_draws=draws,
            reference=found.abundances,
        )
    return np.asarray(spread.standard_deviation)


def _call(
    scene: Scene,
    count: int | None,
    method: str,
    plan: Plan,
    spectra: ArrayLike | None,
    seed: int,
    ensemble: int | None,
    normalization: Any,
    settings: dict[str, Any],
    progress: Any,
) -> Unmixing:
    given = {"library" if plan.uses_library else "endmembers": spectra}
    return unmix(
        scene,
        count,
        method=method,
        # The simulated scene has used up the seed's own key.
        key=jax.random.fold_in(jax.random.key(seed), 1),
        ensemble=ensemble,
        normalization=normalization,
        progress=progress,
        **given,
        **settings,
    )
