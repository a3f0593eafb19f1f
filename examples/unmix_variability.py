# %% [markdown]
"""Spectra that vary over the image: what a fit that does not know it does wrong, and the models that do.

Run `python examples/unmix_variability.py [OUT.png]`; needs the `plot` extra. In a simulated scene the brightness of
each material changes over the image, as slopes and grain sizes make it, by a factor between 0.5 and 1.5. What to see:
`fclsu`, with the mean spectra given, takes a dark spectrum for a mixture with another material; `sclsu`, one
brightness a pixel, and `elmm`, one for each material in each pixel, give the maps back, and the brightness too. `plmm`
lets spectra stray a little in any form, which so large a change of brightness is not.
"""

# %%
import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

from jaxopt_thoth import unmixing


matplotlib.use("Agg")
import matplotlib.pyplot as plt


SIZE, MATERIALS, BANDS = 48, 3, 80
METHODS = ("fclsu", "sclsu", "elmm", "plmm")


# %% The scene: maps and spectra of a simulated one, and a brightness of each material in each pixel.
def make_scene() -> tuple[unmixing.Scene, np.ndarray]:
    """The scene, and the scales (p, N)."""
    scene = unmixing.simulate_scene(
        jax.random.key(4), num_endmembers=MATERIALS, height=SIZE, width=SIZE, num_bands=BANDS, correlation_length=9.0
    )
    y, x = np.meshgrid(np.linspace(0, 1, SIZE), np.linspace(0, 1, SIZE), indexing="ij")
    waves = [np.sin(7 * x + 2 * k) * np.cos(5 * y - 1.5 * k) for k in range(MATERIALS)]
    scales = 1 + 0.5 * np.stack(waves).reshape(MATERIALS, -1)
    pixels = scene.endmembers @ (jnp.asarray(scales, jnp.float32) * scene.abundances)
    return eqx.tree_at(lambda s: s.pixels, scene, unmixing.awgn(pixels, 35.0, key=jax.random.key(1))), scales


def main(picture: str = "unmix_variability.png") -> None:
    scene, scales = make_scene()

    # %% Four methods with the mean spectra given.
    found, errors = {}, {}
    for name in METHODS:
        begin = time.perf_counter()
        found[name] = jax.block_until_ready(
            unmixing.unmix(scene, method=name, endmembers=scene.endmembers, key=jax.random.key(0))
        )
        seconds = time.perf_counter() - begin
        errors[name] = float(unmixing.evaluate(scene.endmembers, found[name].abundances, scene)["abundance_rmse"])
        print(f"{name:5s} abundance RMSE {errors[name]:5.2f} %, {seconds:.1f} s with compilation")
    covered = np.asarray(scene.abundances) > 0.3
    estimate = np.asarray(found["elmm"].diagnostics["scales"])
    correlation = np.corrcoef(estimate[covered], scales[covered])[0, 1]
    print(f"elmm: brightness where a material covers 30 % and more correlates {correlation:.3f} with the truth")

    # %% The picture: the map of the first material by each method, and its brightness.
    figure, table = plt.subplots(2, 5, figsize=(10.4, 4.5), layout="constrained")
    truth = np.asarray(scene.to_map(scene.abundances))[0]
    for axes, (name, values) in zip(
        table[0],
        {"truth": truth, **{name: np.asarray(scene.to_map(f.abundances))[0] for name, f in found.items()}}.items(),
    ):
        shown = axes.imshow(values, cmap="viridis", vmin=0, vmax=1)
        axes.set_title(name + (f": RMSE {errors[name]:.1f} %" if name in errors else ": first material"), fontsize=9)
    figure.colorbar(shown, ax=table[0, 4], label="abundance", shrink=0.9)
    hidden = np.where(covered[0].reshape(SIZE, SIZE), 1.0, np.nan)
    panels = {
        "true brightness": scales[0],
        "by elmm": estimate[0],
        "by sclsu": np.asarray(found["sclsu"].diagnostics["scale"]),
    }
    for axes, (name, values) in zip(table[1], panels.items()):
        shown = axes.imshow(values.reshape(SIZE, SIZE) * hidden, cmap="RdBu_r", vmin=0.4, vmax=1.6)
        axes.set_title(name, fontsize=9)
    figure.colorbar(shown, ax=table[1, 2], label="brightness", shrink=0.9)
    for axes in table.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    for axes in table[1, 3:]:
        axes.set_axis_off()
    table[1, 3].text(
        0,
        0.5,
        "Brightness of the first material,\nwhere it covers 30 % and more.\nsclsu has one for all materials.",
        fontsize=9,
        va="center",
    )
    figure.savefig(picture, dpi=150)
    print(f"the picture is {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
