# %% [markdown]
"""Fit known endmembers: what each constraint on the abundances is worth, and the strength of the noise it bears.

Run `python examples/unmix_supervised.py [OUT.png]`; needs the `plot` extra. The endmembers of a simulated scene are
given; `ucls`, `scls`, `ncls` and `fclsu` fit the abundances without a constraint, summing to one, nonnegative, and
both. What to see: each constraint lowers the error, the more the noisier the pixels are, and `fclsu`, which is exact,
costs little. All levels of noise go through one compiled program, by `jax.vmap`.
"""

# %%
import sys
import time

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

from jaxopt_thoth import unmixing


matplotlib.use("Agg")
import matplotlib.pyplot as plt


METHODS = {
    "ucls": (unmixing.ucls, "#cc79a7", "none"),
    "scls": (unmixing.scls, "#d55e00", "sum to one"),
    "ncls": (unmixing.ncls, "#009e73", "nonnegative"),
    "fclsu": (unmixing.fclsu, "#0072b2", "both"),
}
LEVELS = np.arange(10.0, 41.0, 5.0)
SHOWN = 1  # the level of the maps, 15 dB


def main(picture: str = "unmix_supervised.png") -> None:
    # %% One scene, and the same pixels at seven levels of noise.
    scene = unmixing.simulate_scene(
        jax.random.key(0), num_endmembers=4, height=48, width=48, num_bands=80, snr_db=jnp.inf
    )
    key = jax.random.key(1)
    noisy = jax.vmap(lambda level: unmixing.awgn(scene.pixels, level, key=key))(jnp.asarray(LEVELS, jnp.float32))

    # %% Four fits, each of all levels at once.
    errors, maps = {}, {}
    for name, (fit, _, constraint) in METHODS.items():
        run = jax.jit(jax.vmap(lambda pixels, fit=fit: fit(pixels, scene.endmembers)))
        jax.block_until_ready(run(noisy))
        begin = time.perf_counter()
        abundances = jax.block_until_ready(run(noisy))
        seconds = time.perf_counter() - begin
        maps[name] = np.asarray(scene.to_map(abundances[SHOWN]))
        errors[name] = 100 * np.sqrt(np.mean(np.square(np.asarray(abundances - scene.abundances)), axis=(1, 2)))
        print(
            f"{name:6s} (constraint: {constraint:11s}) abundance RMSE {errors[name][0]:5.2f} % at {LEVELS[0]:g} dB, "
            f"{errors[name][-1]:.2f} % at {LEVELS[-1]:g} dB; {seconds / LEVELS.size:.3f} s a scene"
        )

    # %% The picture: one material at 15 dB, and the error over the noise.
    figure = plt.figure(figsize=(11.0, 2.7), layout="constrained")
    grid = figure.add_gridspec(1, 6, width_ratios=[1, 1, 1, 1, 1, 1.9])
    truth = np.asarray(scene.to_map(scene.abundances))
    shown = {"truth": truth, **maps}
    panels = []
    for k, (name, values) in enumerate(shown.items()):
        axes = figure.add_subplot(grid[k])
        image = axes.imshow(values[0], cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(name, color=METHODS[name][1] if name in METHODS else "#222222", fontsize=10)
        panels.append(axes)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.colorbar(
        image, ax=panels, location="bottom", shrink=0.4, aspect=40, label=f"abundance at {LEVELS[SHOWN]:g} dB"
    )
    axes = figure.add_subplot(grid[5])
    for name, (_, color, constraint) in METHODS.items():
        axes.semilogy(LEVELS, errors[name], "o-", color=color, markersize=3, label=f"{name}: {constraint}")
    axes.set_xlabel("signal-to-noise ratio, dB")
    axes.set_ylabel("abundance RMSE, %")
    axes.legend(frameon=False, fontsize=7)
    for edge in ("top", "right"):
        axes.spines[edge].set_visible(False)
    figure.savefig(picture, dpi=150)
    print(f"the picture is {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
