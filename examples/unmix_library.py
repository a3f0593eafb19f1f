# %% [markdown]
"""Unmix by a spectral library of 240 minerals: which five are there, and how much of each in every pixel.

Run `python examples/unmix_library.py [OUT.png]`; needs the `plot` extra. The scene is DC1 of the literature where its
file `dc1.npz` is at hand (in the folder named by JAXOPT_THOTH_DATA, else in `shared/data` beside the repository), with
noise at 30 dB, and a simulated one of that kind otherwise. What to see: sparse regression spreads the abundances over
look-alikes of the true atoms; `sunaa`, whose endmembers are convex mixtures of atoms, finds the five, and comes near
the fit that knows them; with piecewise smooth maps on top, `sunaa_tv` passes it.
"""

# %%
import os
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

from jaxopt_thoth import unmixing


matplotlib.use("Agg")
import matplotlib.pyplot as plt


LEVEL_DB = 30.0


# %% The scene, its library, and which atoms are true.
def find_scene() -> tuple[str, unmixing.Scene]:
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get("JAXOPT_THOTH_DATA", default)) / "dc1.npz"
    if path.exists():
        print("DC1: the scene of the literature")
        return "DC1", unmixing.load_scene(path)
    print("DC1 is not at hand (set JAXOPT_THOTH_DATA to the folder of dc1.npz): a simulated scene instead")
    sizes = {"height": 60, "width": 60, "num_bands": 100}
    scene = unmixing.simulate_scene(jax.random.key(0), num_endmembers=5, snr_db=jnp.inf, **sizes)
    others = unmixing.simulate_scene(jax.random.key(1), num_endmembers=35, height=8, width=8, num_bands=100)
    library = jnp.concatenate([scene.endmembers, others.endmembers], axis=1)
    return "Simulated scene", unmixing.Scene(
        scene.pixels, 60, 60, endmembers=scene.endmembers, abundances=scene.abundances, library=library
    )


def main(picture: str = "unmix_library.png") -> None:
    title, scene = find_scene()
    true, library = scene.endmembers, scene.library
    p, image = true.shape[1], (scene.height, scene.width)
    clean = jnp.matmul(true, scene.abundances, precision="highest")
    pixels = unmixing.awgn(clean, LEVEL_DB, key=jax.random.key(0))
    print(f"{scene.height} x {scene.width} pixels, {scene.num_bands} bands, {library.shape[1]} atoms, {LEVEL_DB:g} dB")

    # %% The methods, and the fit that knows the true atoms.
    methods = {
        "sunsal": lambda: unmixing.sunsal(pixels, library, 0.1, num_endmembers=p),
        "mua": lambda: unmixing.mua(pixels, library, num_endmembers=p, image_shape=image),
        "sunaa": lambda: unmixing.sunaa(pixels, library, num_endmembers=p),
        "sunaa_tv": lambda: unmixing.sunaa_tv(pixels, library, num_endmembers=p, image_shape=image),
    }
    places = jnp.argmin(jnp.sum((library[:, :, None] - true[:, None, :]) ** 2, axis=0), axis=0)
    oracle = unmixing.fclsu(pixels, true)
    maps = {"truth": scene.abundances, "the atoms known": oracle}
    errors = {"the atoms known": float(unmixing.metrics.sre(oracle, scene.abundances))}
    mass = {}
    for name, call in methods.items():
        begin = time.perf_counter()
        found = jax.block_until_ready(call())
        seconds = time.perf_counter() - begin
        parts = found.library_abundances
        maps[name] = parts[places]
        errors[name] = float(unmixing.metrics.sre(parts[places], scene.abundances))
        mass[name] = np.sort(np.asarray(jnp.mean(jnp.maximum(parts, 0), axis=1)))[::-1]
        share = float(jnp.sum(parts[places]) / jnp.sum(parts))
        print(
            f"{name:8s} signal to error {errors[name]:5.1f} dB, {100 * share:5.1f} % on the true atoms, "
            f"{seconds:.1f} s with compilation"
        )
    print(f"with the atoms known, fclsu: {errors['the atoms known']:.1f} dB")

    # %% The picture: the map of one mineral, and how the abundance spreads over the atoms.
    figure = plt.figure(figsize=(12.4, 2.6), layout="constrained")
    grid = figure.add_gridspec(1, 7, width_ratios=[1, 1, 1, 1, 1, 1, 1.7])
    panels = []
    for k, (name, values) in enumerate(maps.items()):
        axes = figure.add_subplot(grid[k])
        shown = axes.imshow(np.asarray(values[1]).reshape(image), cmap="viridis", vmin=0, vmax=1)
        note = f"\n{errors[name]:.1f} dB" if name in errors else f"\n{title}"
        axes.set_title(name + note, fontsize=9)
        panels.append(axes)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.colorbar(
        shown, ax=panels, location="bottom", shrink=0.4, aspect=40, label="abundance of the second material"
    )
    axes = figure.add_subplot(grid[6])
    colors = {"sunsal": "#d55e00", "mua": "#cc79a7", "sunaa": "#0072b2", "sunaa_tv": "#009e73"}
    for name, values in mass.items():
        axes.semilogy(np.arange(1, 31), np.maximum(values[:30], 1e-7), color=colors[name], label=name)
    axes.annotate(f"the true {p}", (p, 0.3), (3, 0), textcoords="offset points", fontsize=8, color="#6b6b6b")
    axes.axvline(p, color="#6b6b6b", linewidth=0.8, dashes=(3, 3))
    axes.set_ylim(1e-6, 1)
    axes.set_xlabel("atoms, largest first", fontsize=9)
    axes.set_ylabel("mean abundance")
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    for edge in ("top", "right"):
        axes.spines[edge].set_visible(False)
    figure.savefig(picture, dpi=150)
    print(f"the picture is {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
