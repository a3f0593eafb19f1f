"""Fill in a third of the pixels of a photograph of shapes and cloth, with a denoiser in the place of a prox.

Run `python examples/plug_and_play.py [OUT.png]`; needs the `plot` extra. A proximal method asks of its penalty only the
prox, and the prox of a penalty is a denoiser. Plug-and-play methods turn this around: any denoiser will do. Here it is
non-local means, which averages the pixels whose surroundings look alike, and is the prox of nothing. Its weights are
those of a first guess, by total variation.

What to see: total variation flattens the weave of the cloth, and non-local means keeps more of it, in the images and
along one row (bottom right). The two plug-and-play methods solve the same equation and reach the same image.
"""

import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

import jaxopt_thoth as jt


SIZE = 64
NOISE = 0.04
REACH = 6
TV_STRENGTH = 0.03
STEP_SIZE = 1.5
ROUNDS = 3
WIDTH = 0.02
# Okabe and Ito's blue, vermilion and green: told apart by every common kind of color vision.
COLORS = ("#0072b2", "#d55e00", "#009e73")
Image = Array


def make_image(n: int = SIZE) -> Image:
    """A disc and a tilted square on woven cloth, between 0 and 1."""
    y, x = jnp.meshgrid((jnp.arange(n) + 0.5) / n, (jnp.arange(n) + 0.5) / n, indexing="ij")
    weave = jnp.where(x + 0.4 * y > 0.75, jnp.sin(50 * x + 25 * y) * jnp.sin(50 * y - 25 * x), 0)
    disc = jnp.hypot(x - 0.28, y - 0.28) < 0.17
    square = jnp.abs(x - 0.3) + jnp.abs(y - 0.74) < 0.2
    return jnp.clip(0.35 + 0.25 * weave + 0.5 * disc + 0.25 * square * (1 + x), 0, 1)


def shifts() -> Array:
    offsets = jnp.arange(-REACH, REACH + 1)
    return jnp.stack(jnp.meshgrid(offsets, offsets, indexing="ij"), axis=-1).reshape(-1, 2)


def window_mean(x: Image, radius: int = 2) -> Image:
    """Mean over the pixels within `radius` in either direction, on the torus."""
    for axis in (0, 1):
        x = sum(jnp.roll(x, k, axis) for k in range(-radius, radius + 1)) / (2 * radius + 1)
    return x


def weights(guide: Image, width: Array) -> Array:
    """How much each of the neighbors of a pixel looks like it in the guide, (neighbors, H, W), of sum one."""
    apart = jax.lax.map(lambda s: window_mean((guide - jnp.roll(guide, s, (0, 1))) ** 2), shifts())
    return jax.nn.softmax(-apart / (2 * width**2), axis=0)


def non_local_means(x: Image, weights: Array) -> Image:
    add = lambda total, part: (total + part[1] * jnp.roll(x, part[0], (0, 1)), None)
    return jax.lax.scan(add, jnp.zeros_like(x), (shifts(), weights))[0]


def fit(image: Image, known: Array) -> Callable[[Image], Array]:
    return lambda x: jnp.sum(jnp.where(known, x - image, 0) ** 2) / 2


def filled(image: Image, known: Array, guide: Image, width: Array, method: str = "proximal_gradient") -> jt.Solution:
    """The image that non-local means, with weights from the guide, and the known pixels agree on."""
    problem = jt.problems.Denoised(fit(image, known), non_local_means, STEP_SIZE, weights(guide, width))
    return jt.solve(problem, jt.solvers.PlugAndPlay(method, tol=1e-3), guide)


@jax.jit
def first_guesses(image: Image, known: Array) -> tuple[Image, Image]:
    """By total variation, and by non-local means from it: each round takes its weights from the last image."""
    smooth = jt.smooth.FunctionTerm(fit(image, known), lipschitz_constant=1.0)
    problem = jt.Composite(smooth, jt.penalties.TotalVariation2D(TV_STRENGTH, max_steps=200))
    solver = jt.ProximalGradient(line_search=False, tol=1e-3, max_steps=100)
    variation = jt.solve(problem, solver, jnp.where(known, image, 0.5)).params
    refine = lambda guide, _: (filled(image, known, guide, jnp.array(WIDTH)).params, None)
    return variation, jax.lax.scan(refine, variation, length=ROUNDS)[0]


def errors(image: Image, known: Array, guide: Image, width: Array, method: str, steps: int) -> Array:
    """Norm of the residual after each step, relative to that at the start; the steps are driven by hand."""
    problem = jt.problems.Denoised(fit(image, known), non_local_means, STEP_SIZE, weights(guide, width))
    solver = jt.solvers.PlugAndPlay(method, tol=1e-5)

    def advance(carry, _):
        params, state = solver.step(problem, *carry)
        return (params, state), problem.value(params)

    return jax.lax.scan(advance, (guide, solver.init(problem, guide)), length=steps)[1] / problem.value(guide)


def rmse(x: Image, y: Image, where: Array | None = None) -> Array:
    return jnp.sqrt(jnp.mean((x - y) ** 2, where=where))


def main(picture: str = "plug_and_play.png") -> None:
    keys = jax.random.split(jax.random.key(0))
    truth = make_image()
    known = jax.random.bernoulli(keys[0], 0.7, truth.shape)
    noisy = truth + NOISE * jax.random.normal(keys[1], truth.shape)

    variation, guide = first_guesses(noisy, known)
    found = {}
    for method in ("proximal_gradient", "admm"):
        found[method] = jax.jit(filled, static_argnames="method")(noisy, known, guide, jnp.array(WIDTH), method=method)
        print(
            f"{method:18s} error {float(rmse(found[method].params, truth)):.4f}, steps {int(found[method].num_steps)}"
        )
    print(f"{'total variation':18s} error {float(rmse(variation, truth)):.4f}")
    curves = {m: jax.jit(errors, static_argnums=(4, 5))(noisy, known, guide, jnp.array(WIDTH), m, 120) for m in found}
    images = {
        "The truth": truth,
        "What is known, noisy": jnp.where(known, noisy, jnp.nan),
        "Total variation": variation,
        "Non-local means": found["proximal_gradient"].params,
    }
    draw(images, curves).savefig(picture, dpi=110)
    print(f"the picture is {picture}")


def draw(images: dict[str, Image], curves: dict[str, Array]):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 5.9), facecolor="white")
    grid = figure.add_gridspec(
        2, 1, left=0.065, right=0.985, top=0.95, bottom=0.09, hspace=0.2, height_ratios=(1.05, 0.95)
    )
    top = grid[0].subgridspec(1, 4, wspace=0.05)
    bottom = grid[1].subgridspec(1, 2, wspace=0.17)
    truth = images["The truth"]
    for place, (name, image) in zip(top, images.items()):
        axes = figure.add_subplot(place)
        axes.set_facecolor("#56b4e9")
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        plain = image is truth or bool(jnp.any(jnp.isnan(image)))
        axes.set_title(name if plain else f"{name}, error {float(rmse(image, truth)):.3f}", loc="left", fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)

    axes = figure.add_subplot(bottom[0])
    for color, (method, curve) in zip(COLORS, curves.items()):
        axes.semilogy(jnp.arange(1, len(curve) + 1), curve, color=color, linewidth=1.7, label=method.replace("_", " "))
    axes.set_title("Residual of the fixed-point equation, relative", loc="left", fontsize=11)
    axes.set_xlabel("step: one denoising")
    axes.legend(fontsize=9, frameon=False, loc="upper right")

    row = int(0.55 * SIZE)
    right = figure.add_subplot(bottom[1])
    right.plot(truth[row], color="black", linewidth=1.0, linestyle=(0, (4, 2)), label="truth")
    for color, name in zip(COLORS[1:], ("Total variation", "Non-local means")):
        right.plot(images[name][row], color=color, linewidth=1.6, label=name.lower())
    right.set_title(f"Row {row}", loc="left", fontsize=11)
    right.set_xlabel("column")
    right.set_ylim(0, 1.05)
    right.legend(fontsize=9, frameon=False, ncols=3, loc="upper left", borderaxespad=0.2)
    for panel in (axes, right):
        panel.grid(alpha=0.25, linewidth=0.5)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8)
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:2])
