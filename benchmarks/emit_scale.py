"""A synthetic scene of EMIT's size, 1242 x 1280 pixels of 285 bands (1.8 GB in float32), unmixed within 8 GiB.

The scene is written row by row into a file of a temporary folder, with known endmembers and fractions (Dirichlet, pure
to mixed, with 40 dB of noise, and a strip without data), and deleted at the end. Each method runs in a process of its
own, so that the peak of its resident memory is its own: `unmix_tiles` with endmembers from VCA on a sample and FCLSU,
and `edaa_tiles`. Both read the file in tiles, and the maps are compared with the truth. Scenes of 1/16 to the whole
of the rows show how time and memory grow. `--quick` takes a tenth of the rows; `--runs` sets the ensemble, `--steps`
the outer steps of a run.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _record import keep


HEIGHT, WIDTH, BANDS, COUNT = 1242, 1280, 285, 5
LIMIT_GIB, SNR_DB = 8.0, 40.0
METHODS = ("fclsu", "edaa")


def spectra() -> np.ndarray:
    """Smooth positive endmembers (L, p) of clearly different shape."""
    grid, rng = np.linspace(0, 1, BANDS)[:, None], np.random.default_rng(0)
    centers, widths = rng.uniform(0, 1, (3, 1, COUNT)), rng.uniform(0.05, 0.3, (3, 1, COUNT))
    bumps = sum(np.exp(-(((grid - c) / w) ** 2)) for c, w in zip(centers, widths, strict=True))
    return (0.1 + 0.6 * bumps / np.max(bumps, axis=0)).astype(np.float32)


def fractions(row: int) -> np.ndarray:
    """True fractions (p, W) of a row: of a concentration that varies along it, so that some pixels are nearly pure."""
    rng = np.random.default_rng([1, row])
    draws = rng.standard_gamma(np.linspace(0.1, 1, WIDTH)[None, :], (COUNT, WIDTH)) + 1e-30
    return (draws / draws.sum(axis=0)).astype(np.float32)


def has_data(row: int) -> np.ndarray:
    """Which pixels of a row have data: a scan leaves a triangle of the image empty."""
    return np.arange(WIDTH) >= 20 - row // 10


def write_scene(path: Path, height: int) -> float:
    """Write a cube (H, W, L), row by row; gives the standard deviation of the noise."""
    endmembers = spectra()
    noise = float(np.sqrt(np.mean((endmembers @ fractions(0)) ** 2) / 10 ** (SNR_DB / 10)))
    cube = np.lib.format.open_memmap(path, "w+", np.float32, (height, WIDTH, BANDS))
    for row in range(height):
        rng = np.random.default_rng([2, row])
        values = fractions(row).T @ endmembers.T + noise * rng.standard_normal((WIDTH, BANDS), np.float32)
        cube[row] = np.where(has_data(row)[:, None], values, -9999)
    cube.flush()
    return noise


def run(method: str, path: Path, out: Path, settings: argparse.Namespace) -> dict[str, Any]:
    """One method in this process, and what it took."""
    import jax

    from jaxopt_thoth import unmixing

    source = unmixing.open_scene(path, nodata=-9999)
    key = jax.random.key(0)
    begin, begin_cpu = time.perf_counter(), time.process_time()
    if method == "fclsu":
        corners = lambda sample: unmixing.vca(sample.pixels, COUNT, key=key, mask=sample.mask)[0]
        found = unmixing.unmix_tiles(source, corners, out, key=key, memory=settings.memory)
    else:
        lengths = {"ensemble": settings.runs, "num_steps": settings.steps}
        found = unmixing.edaa_tiles(source, COUNT, out, key=key, memory=settings.memory, **lengths)
    wall, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
    peak = peak_gib()
    angle, rmse = errors(method, found, source.height)
    return {
        "method": method,
        "rows": source.height,
        "pixels": source.num_pixels,
        "scene_gb": path.stat().st_size / 1e9,
        "wall_s": wall,
        "cpu_s": cpu,
        "peak_gib": peak,
        "mean_angle_deg": angle,
        "abundance_rmse_pct": rmse,
    }


def peak_gib() -> float:
    """Peak resident memory of this process; that of `getrusage` may be that of the parent before it became this one."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def errors(method: str, found: Any, height: int) -> tuple[float, float]:
    """Mean spectral angle, and root mean square error of the abundances over every pixel with data, in per cent."""
    from jaxopt_thoth.unmixing import align, metrics

    truth = spectra()
    order = align(found.endmembers, truth, criterion="spectral_angle")
    angle = float(np.mean(metrics.spectral_angle(found.endmembers[:, order].astype(np.float32), truth)))
    sizes = np.linalg.norm(truth, axis=0)[:, None] if method == "edaa" else 1.0
    maps, total, count = np.load(found.path, mmap_mode="r"), 0.0, 0
    for row in range(height):
        valid = has_data(row)
        # Fractions of pixels of unit norm are those of the pixels times the norms of the endmembers.
        estimate = np.array(maps[order, row][:, valid]) / sizes
        estimate /= estimate.sum(axis=0)
        total += float(np.sum((estimate - fractions(row)[:, valid]) ** 2))
        count += estimate.size
    return angle, 100 * float(np.sqrt(total / count))


def in_a_process(method: str, path: Path, out: Path, settings: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--method", method, "--scene", path, "--out", out, "--runs", settings.runs]
    command += ["--steps", settings.steps, "--memory", settings.memory]
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True, check=True)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(row, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--memory", type=float, default=3e9)
    for name in ("--method", "--scene", "--out"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.method is not None:
        print(json.dumps(run(given.method, Path(given.scene), Path(given.out), given)))
        return

    height = HEIGHT // 10 if given.quick else HEIGHT
    needed = 1.5 * height * WIDTH * BANDS * 4
    folder = Path(tempfile.mkdtemp())
    try:
        if shutil.disk_usage(folder).free < needed + 2e9:
            sys.exit(f"{folder} has no room for {needed / 1e9:.1f} GB: set TMPDIR to a folder that has.")
        rows = []
        for part in (16, 8, 4, 2, 1):
            scene = folder / "scene.npy"
            write_scene(scene, -(-height // part))
            rows += [in_a_process(method, scene, folder / "maps.npy", given) for method in METHODS]
            for name in ("scene.npy", "maps.npy", "maps.npy.journal.json"):
                (folder / name).unlink()
    finally:
        shutil.rmtree(folder)

    summary: dict[str, Any] = {"ensemble": given.runs, "steps": given.steps, "memory_setting_gb": given.memory / 1e9}
    for method in METHODS:
        own = [row for row in rows if row["method"] == method]
        summary[f"{method}_cpu_s_per_million_pixels"] = own[-1]["cpu_s"] / own[-1]["pixels"] * 1e6
        summary[f"{method}_cpu_growth_over_last_doubling"] = own[-1]["cpu_s"] / own[-2]["cpu_s"]
        summary[f"{method}_peak_within_{LIMIT_GIB:g}_gib"] = own[-1]["peak_gib"] <= LIMIT_GIB
    columns = ("method", "pixels", "scene_gb", "wall_s", "cpu_s", "peak_gib", "mean_angle_deg", "abundance_rmse_pct")
    name = "emit_scale_quick" if given.quick else "emit_scale"
    keep(name, "A scene of EMIT's size, read in tiles", rows, columns, summary)


if __name__ == "__main__":
    main()
