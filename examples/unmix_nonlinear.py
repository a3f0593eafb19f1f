# %% [markdown]
"""Nonlinear mixing: four models on pixels that one of them made, and how the data choose among them.

Run `python examples/unmix_nonlinear.py [OUT.png]`; needs the `plot` extra. Light that met several materials in turn
mixes their products: pixels are made by the polynomial model with a curvature that grows from left to right, and are
unmixed by each model with the endmembers given. What to see: the linear fit errs the more the stronger the bend, the
polynomial model gives the maps and the curvature back, and the residual, which needs no truth, names the model to
trust.
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


SIZE, MATERIALS, BANDS = 40, 3, 60
METHODS = {"fclsu": "#6b6b6b", "fan": "#cc79a7", "gbm": "#e69f00", "ppnm": "#0072b2"}


def main(picture: str = "unmix_nonlinear.png") -> None:
    # %% Pixels of the polynomial model, without a bend at the left border and with a strong one at the right.
    scene = unmixing.simulate_scene(
        jax.random.key(2), num_endmembers=MATERIALS, height=SIZE, width=SIZE, num_bands=BANDS, correlation_length=6.0
    )
    bend = np.broadcast_to(np.linspace(0, 0.45, SIZE, dtype=np.float32), (SIZE, SIZE)).reshape(1, -1)
    model = unmixing.PolynomialPostNonlinear()
    pixels = unmixing.awgn(model.mix(scene.endmembers, scene.abundances, bend), 35.0, key=jax.random.key(1))
    scene = eqx.tree_at(lambda s: s.pixels, scene, pixels)

    # %% Each model, and what it leaves of the pixels.
    errors, profiles, residuals, bends = {}, {}, {}, None
    for name in METHODS:
        begin = time.perf_counter()
        found = jax.block_until_ready(
            unmixing.unmix(scene, method=name, endmembers=scene.endmembers, key=jax.random.key(0))
        )
        seconds = time.perf_counter() - begin
        rebuilt = scene.endmembers @ found.abundances
        if found.diagnostics is not None:
            rebuilt = found.diagnostics["reconstruction"]
        squares = np.mean(np.square(np.asarray(found.abundances - scene.abundances)), axis=0)
        profiles[name] = 100 * np.sqrt(squares.reshape(SIZE, SIZE).mean(axis=0))
        errors[name] = 100 * float(np.sqrt(squares.mean()))
        residuals[name] = float(jnp.linalg.norm(rebuilt - pixels) / jnp.linalg.norm(pixels))
        if name == "ppnm":
            bends = np.asarray(found.diagnostics["parameters"])[0].reshape(SIZE, SIZE)
        print(
            f"{name:5s} abundance RMSE {errors[name]:5.2f} %, relative residual {residuals[name]:.4f}, "
            f"{seconds:.1f} s with compilation"
        )
    chosen = min(residuals, key=residuals.__getitem__)
    print(f"the least residual is that of {chosen}; noise alone leaves {10 ** (-35 / 20):.4f}")

    # %% The picture.
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11.0, 3.3), layout="constrained")
    columns = np.linspace(0, 0.45, SIZE)
    for name, color in METHODS.items():
        left.plot(columns, profiles[name], color=color, label=name)
        middle.scatter(residuals[name], errors[name], color=color)
        place = (5, -12 if name == "gbm" else 4)
        middle.annotate(name, (residuals[name], errors[name]), place, textcoords="offset points", color=color)
    left.set_xlabel("curvature of the mixing")
    left.set_ylabel("abundance RMSE, %")
    left.legend(frameon=False, fontsize=8)
    middle.axvline(10 ** (-35 / 20), color="#6b6b6b", linewidth=0.8, dashes=(3, 3))
    middle.set_xlabel("relative residual (dashed: the noise)")
    middle.set_ylabel("abundance RMSE, %")
    middle.margins(0.18)
    shown = right.imshow(bends, cmap="magma", vmin=0, vmax=0.5)
    right.set_title("curvature found by ppnm; true: 0 to 0.45, left to right", fontsize=9)
    right.set_xticks([])
    right.set_yticks([])
    figure.colorbar(shown, ax=right)
    for axes in (left, middle):
        for edge in ("top", "right"):
            axes.spines[edge].set_visible(False)
    figure.savefig(picture, dpi=150)
    print(f"the picture is {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
