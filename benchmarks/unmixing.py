"""Blind unmixing of several kinds of scenes: spectral angle and abundance error of one default against other methods.

Samson, and simulated scenes of 64 x 64 pixels, 120 bands and 30 dB: pure pixels or none, three to nine endmembers,
smooth and patchy maps, and fractions drawn apart for each pixel. Every method has one setting for all scenes. Five keys
on a draw of each scene, ten on Samson: mean and worst over keys, and the ratio of the worst to the best. Then the
choice among the runs of an ensemble: rank of the chosen run and excess of its angle over that of the best, for the
consensus and for the published rule. Samson needs `samson.npz` in the data folder. `--quick`
takes two keys and fewer kinds.
"""

import sys
from collections.abc import Callable
from typing import Any

from _record import data_file, keep, pin_to_one_core


pin_to_one_core()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from jaxopt_thoth import unmixing  # noqa: E402
from jaxopt_thoth.unmixing._ensemble_rules import consensus, least_coherent  # noqa: E402


SNR_DB = 30.0
SIDE, BANDS = 64, 120
PATCHY = {"correlation_length": 1.5}
KINDS: dict[str, dict[str, Any]] = {
    "pure, smooth, p = 3": {"num_endmembers": 3},
    "pure, smooth, p = 5": {"num_endmembers": 5},
    "pure, smooth, p = 9": {"num_endmembers": 9},
    "pure, patchy, p = 5": {"num_endmembers": 5, **PATCHY},
    "mixed to 0.8, smooth, p = 3": {"num_endmembers": 3, "purity": 0.8},
    "mixed to 0.7, smooth, p = 5": {"num_endmembers": 5, "purity": 0.7},
    "mixed to 0.8, patchy, p = 3": {"num_endmembers": 3, "purity": 0.8, **PATCHY},
    "mixed to 0.7, patchy, p = 5": {"num_endmembers": 5, "purity": 0.7, **PATCHY},
}
INDEPENDENT = {"mixed to 0.8, independent, p = 3": (3, 0.8), "mixed to 0.6, independent, p = 9": (9, 0.6)}
METHODS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "auto (ours)": ("auto", {}, True),
    "EDAA, our starts and choice": ("edaa", {}, True),
    "EDAA, published starts and choice": ("edaa", {"start": "uniform", "selection": "least_coherent"}, True),
    "archetypal analysis": ("aa", {}, True),
    "VCA, FCLSU": ("vca+fclsu", {}, True),
    "SISAL, FCLSU": ("sisal+fclsu", {"normalization": "none"}, False),
    "maximum likelihood, FCLSU": ("ml-simplex+fclsu", {"normalization": "none"}, False),
}
OURS, PEERS = "auto (ours)", ("EDAA, published starts and choice", "archetypal analysis", "VCA, FCLSU", "SISAL, FCLSU")


def independent(seed: int, p: int, purity: float) -> unmixing.Scene:
    """Fractions of each pixel uniform in the simplex, those above `purity` drawn again."""
    truth = unmixing.simulate_scene(
        jax.random.key(seed), num_endmembers=p, height=SIDE, width=SIDE, num_bands=BANDS, snr_db=jnp.inf
    )
    drawn = np.random.default_rng(seed).dirichlet(np.ones(p), 40 * SIDE**2)
    fractions = jnp.asarray(drawn[drawn.max(axis=1) <= purity][: SIDE**2].T, jnp.float32)
    noisy = unmixing.awgn(truth.endmembers @ fractions, SNR_DB, key=jax.random.key(seed))
    return unmixing.Scene(noisy, SIDE, SIDE, endmembers=truth.endmembers, abundances=fractions)


def scenes(quick: bool) -> dict[str, tuple[int, list[unmixing.Scene]]]:
    draws = range(1)
    found: dict[str, tuple[int, list[unmixing.Scene]]] = {}
    path = data_file("samson.npz")
    if path is not None:
        found["Samson"] = (3, [unmixing.load_scene(path)])
    for name, kind in KINDS.items():
        drawn = [
            unmixing.simulate_scene(
                jax.random.key(draw), height=SIDE, width=SIDE, num_bands=BANDS, snr_db=SNR_DB, **kind
            )
            for draw in draws
        ]
        found[name] = (kind["num_endmembers"], drawn)
    for name, (p, purity) in INDEPENDENT.items():
        found[name] = (p, [independent(draw, p, purity) for draw in draws])
    return dict(list(found.items())[::3]) if quick else found


def errors(scene: unmixing.Scene, found: unmixing.Unmixing) -> tuple[float, float]:
    report = unmixing.evaluate(found.endmembers, found.abundances, scene)
    return report["mean_spectral_angle"], report["abundance_rmse"]


def quality(kind: str, p: int, drawn: list[unmixing.Scene], keys: int) -> list[dict[str, Any]]:
    rows = []
    for name, (method, settings, is_random) in METHODS.items():
        seeds = range(keys if is_random else 1)
        call = lambda scene, seed, method=method, settings=settings: unmixing.unmix(
            scene, p, method=method, key=jax.random.key(seed), **settings
        )
        table = np.array([[errors(scene, call(scene, seed)) for seed in seeds] for scene in drawn])
        ratios = table[..., 0].max(axis=1) / table[..., 0].min(axis=1)
        rows.append(
            {
                "scene": kind,
                "method": name,
                "angle_deg": float(table[..., 0].mean()),
                "median_deg": float(np.median(table[..., 0])),
                "worst_deg": float(table[..., 0].max()),
                "worst_over_best": float(ratios.max()),
                "rmse_pct": float(table[..., 1].mean()),
                "worst_pct": float(table[..., 1].max()),
                "runs": int(table[..., 0].size),
            }
        )
        print(rows[-1], flush=True)
    return rows


def choices(kind: str, p: int, scene: unmixing.Scene, ensembles: int) -> dict[str, Any]:
    """Mean rank, from 1 of 10, of the run each rule chooses, and the mean excess of its angle over that of the best."""
    rules: dict[str, Callable[..., Any]] = {
        "consensus": lambda spectra, l1, l2: consensus(spectra, l2)[0],
        "published": lambda spectra, l1, l2: least_coherent(spectra, l1),
    }
    ranks: dict[str, list[float]] = {name: [] for name in rules}
    excess: dict[str, list[float]] = {name: [] for name in rules}
    for seed in range(ensembles):
        runs = [
            unmixing.edaa(scene, p, key=key, ensemble=1, start="uniform", normalization="pixel_l2")
            for key in jax.random.split(jax.random.key(seed), 10)
        ]
        angles = np.array([errors(scene, run)[0] for run in runs])
        spectra = jnp.stack([run.endmembers for run in runs])
        fits = [jnp.stack([run.diagnostics[name][0] for run in runs]) for name in ("fit_l1", "fit_l2")]
        for name, rule in rules.items():
            chosen = int(rule(spectra, *fits))
            ranks[name].append(1 + int((angles < angles[chosen]).sum()))
            excess[name].append(float(angles[chosen] - angles.min()))
    return {f"{kind}: mean rank, {name}": float(np.mean(r)) for name, r in ranks.items()} | {
        f"{kind}: mean excess in deg, {name}": float(np.mean(e)) for name, e in excess.items()
    }


def main() -> None:
    quick = "--quick" in sys.argv
    kinds = scenes(quick)
    rows = []
    for kind, (p, drawn) in kinds.items():
        keys = 2 if quick else 10 if kind == "Samson" else 5
        rows += quality(kind, p, drawn, keys)
        # A process may hold only so many programs.
        jax.clear_caches()
    summary: dict[str, Any] = {"asked": "no worse than the best peer on each scene, worst key within 1.5 times of best"}
    for kind in kinds:
        here = {row["method"]: row for row in rows if row["scene"] == kind}
        for measure in ("angle_deg", "rmse_pct"):
            best = min(here[name][measure] for name in PEERS)
            summary[f"{kind}: {measure} over that of the best peer"] = here[OURS][measure] / best
    for kind in ("Samson", "pure, smooth, p = 9"):
        if kind in kinds:
            p, drawn = kinds[kind]
            summary |= choices(kind, p, drawn[0], 1 if quick else 5)
    columns = [
        "scene",
        "method",
        "angle_deg",
        "median_deg",
        "worst_deg",
        "worst_over_best",
        "rmse_pct",
        "worst_pct",
        "runs",
    ]
    keep("unmixing", "Blind unmixing of several kinds of scenes, float32", rows, columns, summary)


if __name__ == "__main__":
    main()
