# %% [markdown]
"""Unmix a file tile by tile within a bound on memory, interrupt the run, and go on with it.

Run `python examples/unmix_large_file.py [OUT.png]`; needs the `plot` extra. A scene of 240 x 320 pixels is written as
an ENVI file to a folder of its own; `unmix_tiles` finds the endmembers in a sample of its pixels, and goes through it
in tiles that take 16 MB and all computed from them. What to see: a run that is interrupted leaves its maps so far,
`resume` does only the rest, and the maps are those of the whole scene at once, to rounding.
"""

# %%
import sys
import tempfile
import time
from pathlib import Path

import jax
import matplotlib
import numpy as np

from jaxopt_thoth import unmixing


matplotlib.use("Agg")
import matplotlib.pyplot as plt


HEIGHT, WIDTH, BANDS, MATERIALS = 240, 320, 60, 4
MEMORY = 16e6


# %% An ENVI file: a raw block of numbers, band after band, and a text header.
def write_envi(path: Path, cube: np.ndarray) -> None:
    height, width, bands = cube.shape
    np.moveaxis(cube.astype("<f4"), -1, 0).tofile(path.with_suffix(".img"))
    path.with_suffix(".hdr").write_text(
        f"ENVI\nsamples = {width}\nlines = {height}\nbands = {bands}\nheader offset = 0\n"
        "file type = ENVI Standard\ndata type = 4\ninterleave = bsq\nbyte order = 0\n"
    )


class Interrupt(Exception):
    """Stands for a pulled plug."""


def stop_halfway(done: int, total: int) -> None:
    if done >= total // 2:
        raise Interrupt


def main(picture: str = "unmix_large_file.png") -> None:
    scene = unmixing.simulate_scene(
        jax.random.key(3), num_endmembers=MATERIALS, height=HEIGHT, width=WIDTH, num_bands=BANDS, snr_db=30.0
    )
    find = lambda sample: (
        unmixing.unmix(sample, MATERIALS, method="vca+fclsu", normalization="none", key=jax.random.key(1)).endmembers
    )
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "scene.hdr", Path(folder) / "maps.npy"
        write_envi(file, np.asarray(scene.cube()))
        size = file.with_suffix(".img").stat().st_size
        print(f"{HEIGHT} x {WIDTH} pixels, {BANDS} bands, {size / 1e6:.0f} MB; tiles within {MEMORY / 1e6:.0f} MB")
        common = {"key": jax.random.key(2), "sample": 5000, "memory": MEMORY}

        # %% A run that breaks off half way, and what it leaves.
        try:
            unmixing.unmix_tiles(file, find, out, progress=stop_halfway, **common)
        except Interrupt:
            print("interrupted half way")
        halfway = np.load(out)

        # %% Go on: only the rest is done.
        tiles = []
        begin = time.perf_counter()
        found = unmixing.unmix_tiles(
            file, find, out, resume=True, progress=lambda done, total: tiles.append((done, total)), **common
        )
        seconds = time.perf_counter() - begin
        print(f"resumed: the remaining {len(tiles)} tiles in {seconds:.1f} s")
        maps = np.load(out)

    # %% The same at once, which fits into memory here.
    at_once = np.asarray(scene.to_map(unmixing.fclsu(scene.pixels, found.endmembers)))
    difference = float(np.abs(maps[:MATERIALS] - at_once).max())
    report = unmixing.evaluate(found.endmembers, maps[:MATERIALS].reshape(MATERIALS, -1), scene)
    print(
        f"largest difference to the fit of the whole scene: {difference:.1e}; "
        f"mean angle {report['mean_spectral_angle']:.2f} degrees, abundance RMSE {report['abundance_rmse']:.2f} %"
    )

    # %% The picture.
    panels = {
        "after the interruption": np.where(halfway[MATERIALS] > 0, halfway[0], np.nan),
        "after the resumed run": maps[0],
        "reconstruction error": maps[MATERIALS],
    }
    figure, row = plt.subplots(1, 3, figsize=(10.8, 2.9), layout="constrained")
    for axes, (name, values) in zip(row, panels.items()):
        is_error = name == "reconstruction error"
        shown = axes.imshow(
            values,
            cmap="magma" if is_error else "viridis",
            vmin=0,
            vmax=None if is_error else 1,
        )
        axes.set_title(name, fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_facecolor("#d5d5d5")
        figure.colorbar(shown, ax=axes, shrink=0.85, label="rms over the bands" if is_error else "abundance")
    figure.savefig(picture, dpi=150)
    print(f"the picture is {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
