"""Which unmixing method when: what the candidates reach in ten situations, and what they cost.

Simulated scenes of 40 x 40 pixels, 60 bands and four materials unless the situation says otherwise, the median of
three draws; CPU seconds are those of a call that is compiled, on one core. The situations with many atoms and at 20 dB
on DC1 are taken from `results/library_unmixing.json`. `python docs/which_unmixing_method.py` builds the page from the
record. Takes some minutes; `--quick` takes one draw of each.
"""

import sys

from _record import keep, pin_to_one_core, RESULTS


pin_to_one_core()

import json  # noqa: E402
import statistics  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import equinox as eqx  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from jaxopt_thoth import unmixing  # noqa: E402


SIZE, BANDS, MATERIALS, DRAWS = 40, 60, 4, 3
Found = unmixing.Unmixing
Scenes = Callable[[jax.Array], unmixing.Scene]
PLAIN = {"normalization": "none"}


def simulated(key: jax.Array, **changes: Any) -> unmixing.Scene:
    """A scene of the size of all situations."""
    sizes: dict[str, Any] = {"height": SIZE, "width": SIZE, "num_bands": BANDS, "num_endmembers": MATERIALS}
    return unmixing.simulate_scene(key, **(sizes | {"snr_db": 30.0} | changes))


def with_pixels(scene: unmixing.Scene, pixels: jax.Array, key: jax.Array, snr_db: float = 30.0) -> unmixing.Scene:
    """The scene with the same truth and other pixels."""
    return eqx.tree_at(lambda s: s.pixels, scene, unmixing.awgn(pixels, snr_db, key=key))


def mixed(key: jax.Array) -> unmixing.Scene:
    return simulated(key, purity=0.7)


def shaded(key: jax.Array) -> unmixing.Scene:
    scene = simulated(key)
    light = 0.4 + 0.8 * jax.random.uniform(jax.random.fold_in(key, 1), (scene.num_pixels,))
    return with_pixels(scene, scene.endmembers @ scene.abundances * light[None, :], jax.random.fold_in(key, 2))


def varied(key: jax.Array) -> unmixing.Scene:
    """Each material has a brightness of its own in each pixel, and a smooth change of its form."""
    scene = simulated(key)
    light_key, form_key, noise_key = jax.random.split(jax.random.fold_in(key, 1), 3)
    shape = (MATERIALS, scene.num_pixels)
    light = 1 + 0.25 * jax.random.uniform(light_key, shape, minval=-1.0)
    tilt = 0.1 * jax.random.normal(form_key, shape)
    slope = jnp.linspace(-1.0, 1.0, BANDS)
    spectra = scene.endmembers[:, :, None] * light[None] * (1 + slope[:, None, None] * tilt[None])
    return with_pixels(scene, jnp.einsum("lpn,pn->ln", spectra, scene.abundances), noise_key)


def with_library(scene: unmixing.Scene, key: jax.Array, atoms: int = 30) -> unmixing.Scene:
    """The truth is in the library, among spectra of other materials."""
    decoys = unmixing.simulate_scene(
        jax.random.fold_in(key, 3), num_endmembers=atoms - MATERIALS, height=8, width=8, num_bands=BANDS
    ).endmembers
    library = jnp.concatenate([decoys, scene.endmembers], axis=1)
    return eqx.tree_at(lambda s: s.library, scene, library, is_leaf=lambda leaf: leaf is None)


def smooth(key: jax.Array) -> unmixing.Scene:
    return with_library(simulated(key, correlation_length=10.0, snr_db=20.0), key)


def bent(key: jax.Array) -> unmixing.Scene:
    """Mixed by the polynomial model, each pixel bent by an amount of its own."""
    scene, model = simulated(key), unmixing.PolynomialPostNonlinear()
    amount = 0.4 * jax.random.uniform(jax.random.fold_in(key, 1), (1, scene.num_pixels))
    return with_pixels(scene, model.mix(scene.endmembers, scene.abundances, amount), jax.random.fold_in(key, 2))


# Situation: the scenes, whether the truth is given as endmembers, and the candidates with their settings.
SITUATIONS: dict[str, tuple[Scenes, bool, dict[str, dict[str, Any]]]] = {
    "pure pixels": (
        simulated,
        False,
        {"auto": {}} | dict.fromkeys(("vca+fclsu", "sivm+fclsu", "sisal+fclsu", "edaa", "aa"), PLAIN),
    ),
    "highly mixed, no abundance above 0.7": (
        mixed,
        False,
        {"auto": {}}
        | dict.fromkeys(("ml-simplex+fclsu", "sisal+fclsu", "mvsa+fclsu", "mvc-nmf", "edaa", "vca+fclsu"), PLAIN),
    ),
    "shade: a brightness of each pixel, endmembers given": (
        shaded,
        True,
        {"fclsu": {}, "sclsu": {}, "elmm": {}},
    ),
    "a library of 30 spectra, the truth in it": (
        lambda key: with_library(simulated(key), key),
        False,
        {"sunaa": {}, "fasun": {}, "sunsal": {}, "sunaa-tv": {}},
    ),
    "smooth maps, 20 dB, a library": (
        smooth,
        False,
        {"sunaa-tv": {}, "sunaa": {}, "mua": {}, "sunsal": {}},
    ),
    "nonlinear mixing, endmembers given": (bent, True, {name: {} for name in ("ppnm", "gbm", "fclsu")}),
    "spectral variability, endmembers given": (
        varied,
        True,
        {name: {} for name in ("elmm", "sclsu", "plmm", "fclsu")},
    ),
}
KNOWN = {
    "many atoms: 240 spectra of DC1, 30 dB": 30,
    "noise: DC1, 20 dB": 20,
}
LIBRARY_NAMES = {"SUnAA": "sunaa", "SUnAA with total variation": "sunaa-tv", "MUA": "mua", "SUnSAL": "sunsal"}
LIBRARY_NAMES |= {"CLSUnSAL": "clsunsal", "S2WSU": "s2wsu", "FaSUn, 1000 steps": "fasun", "SUnS, 1000 steps": "suns"}


def _call(scene: unmixing.Scene, method: str, settings: dict[str, Any]) -> Found:
    return jax.block_until_ready(unmixing.unmix(scene, MATERIALS, method=method, key=jax.random.key(0), **settings))


def simulated_rows(draws: int) -> Iterator[dict[str, Any]]:
    for situation, (scenes, is_given, candidates) in SITUATIONS.items():
        drawn = [scenes(key) for key in jax.random.split(jax.random.key(5), draws)]
        for method, settings in candidates.items():
            angles, errors, seconds = [], [], []
            for number, scene in enumerate(drawn):
                given = {"endmembers": scene.endmembers} if is_given else {}
                call = partial(_call, scene, method, settings | given)
                found = call()
                if number == 0:
                    begin = time.process_time()
                    call()
                    seconds.append(time.process_time() - begin)
                report = unmixing.evaluate(found.endmembers, found.abundances, scene)
                angles.append(float(report["mean_spectral_angle"]))
                errors.append(float(report["abundance_rmse"]))
            row = {
                "situation": situation,
                "method": method,
                "angle_deg": None if is_given else statistics.median(angles),
                "rmse_pct": statistics.median(errors),
                "sre_db": None,
                "seconds": statistics.median(seconds),
                "draws": draws,
            }
            print(row, flush=True)
            yield row


def recorded_rows() -> Iterator[dict[str, Any]]:
    """The library methods on DC1, measured by `library_unmixing.py`."""
    known = json.loads((RESULTS / "library_unmixing.json").read_text())["rows"]
    for situation, level in KNOWN.items():
        for row in known:
            if row["snr_db"] == level and row["method"] in LIBRARY_NAMES:
                yield {
                    "situation": situation,
                    "method": LIBRARY_NAMES[row["method"]],
                    "sre_db": float(row["sre_db"]),
                    "seconds": float(row["cpu_s"]),
                    "draws": row["draws"],
                }


def large_file_rows() -> Iterator[dict[str, Any]]:
    """A file of 48 MB in tiles that take 16 MB, beside the whole at once."""
    height, width = 400, 300
    scene = unmixing.simulate_scene(
        jax.random.key(1), num_endmembers=MATERIALS, height=height, width=width, num_bands=100, snr_db=30.0
    )
    spectra, truth = scene.endmembers, np.asarray(scene.abundances)
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "scene.npy", Path(folder) / "maps.npy"
        np.save(file, np.asarray(scene.cube()).astype(np.float32))

        def tiles() -> np.ndarray:
            unmixing.unmix_tiles(file, spectra, out, memory=16e6)
            return np.load(out)[:MATERIALS].reshape(MATERIALS, -1)

        def whole() -> np.ndarray:
            loaded = jnp.asarray(np.load(file).reshape(-1, 100).T)
            return np.asarray(unmixing.fclsu(loaded, spectra))

        for method, call in (("fclsu in tiles of 16 MB (`unmix_tiles`)", tiles), ("fclsu at once", whole)):
            call()
            for path in Path(folder).glob("maps*"):
                path.unlink()
            begin = time.process_time()
            maps = call()
            seconds = time.process_time() - begin
            yield {
                "situation": "a file larger than memory, endmembers given (here 48 MB)",
                "method": method,
                "rmse_pct": 100 * float(np.sqrt(np.mean((maps - truth) ** 2))),
                "seconds": seconds,
                "is_reference": method == "fclsu at once",
                "draws": 1,
            }


def main(arguments: list[str]) -> None:
    draws = 1 if "--quick" in arguments else DRAWS
    rows = [*simulated_rows(draws), *recorded_rows(), *large_file_rows()]
    keep(
        "which_method",
        "Which unmixing method when",
        rows,
        ["situation", "method", "angle_deg", "rmse_pct", "sre_db", "seconds", "draws"],
        {},
    )


if __name__ == "__main__":
    main(sys.argv[1:])
