"""Deblur a noisy photograph of shapes by isotropic total variation, with a primal-dual method that certifies itself.

Run `python examples/tv_deblur_primal_dual.py [OUT.png]`; needs the `plot` extra. Total variation has no prox in closed
form, and neither has it behind a blur. Chambolle and Pock's method needs none: it sees the blur B and the differences D
as one operator K x = (B x, D x), with a prox for each image, and each of its steps costs one product with K and one
with its transpose. The duality gap bounds how far the objective still is from its least value.
"""

import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

import jaxopt_thoth as jt


SIZE = 96
WIDTH = 1.8
NOISE = 0.02
STRENGTH = 2e-3
STEPS = 400
EVERY = 5
# Okabe and Ito's vermilion, blue and green: told apart by every common kind of color vision.
METHODS = {
    "fixed steps": ("#d55e00", jt.ChambollePock(restart=False, adaptive=False, relaxation=0.5)),
    "balanced and over-relaxed": ("#0072b2", jt.ChambollePock(restart=False)),
    "restarted (the default)": ("#009e73", jt.ChambollePock()),
}
Image = Array


def make_image(n: int = SIZE) -> Image:
    """A ring, a tilted square, stripes of decreasing width and a ramp, between 0 and 1."""
    y, x = jnp.meshgrid((jnp.arange(n) + 0.5) / n, (jnp.arange(n) + 0.5) / n, indexing="ij")
    radius = jnp.hypot(x - 0.29, y - 0.3)
    ring = (radius < 0.2) & (radius > 0.09)
    square = jnp.abs(x - 0.74) + jnp.abs(y - 0.3) < 0.2
    edges = jnp.array([0.1, 0.2, 0.28, 0.36, 0.42, 0.48, 0.525, 0.57, 0.605, 0.64, 0.67, 0.7])
    stripes = (jnp.searchsorted(edges, x) % 2 == 1) & (y > 0.62) & (y < 0.88)
    blob = jnp.hypot(x - 0.85, (y - 0.75) / 1.4) < 0.085
    return 0.1 + 0.25 * y * (1 - x) + 0.55 * ring + 0.4 * square + 0.5 * stripes + 0.7 * blob


def gaussian_blur(n: int = SIZE, width: float = WIDTH) -> tuple[Callable[[Image], Image], Array]:
    """Convolution with a Gaussian on the torus, and its transfer function."""
    frequency = jnp.fft.fftfreq(n)
    transfer = jnp.exp(-2 * (jnp.pi * width) ** 2 * (frequency[:, None] ** 2 + frequency[None, :] ** 2))
    return lambda x: jnp.real(jnp.fft.ifft2(transfer * jnp.fft.fft2(x))), transfer


def differences(x: Image) -> Array:
    """The differences down and to the right of each pixel, (pixels, 2), zero across the border."""
    down = jnp.diff(x, axis=0, append=x[-1:])
    right = jnp.diff(x, axis=1, append=x[:, -1:])
    return jnp.stack([down, right], axis=-1).reshape(-1, 2)


def deblurring(blurred: Image, blur: Callable[[Image], Image]) -> jt.SaddlePoint:
    """Least squares behind the blur plus the lengths of the gradients, for gray values between 0 and 1."""
    fit = jt.penalties.Translated(jt.penalties.L2Squared(1.0), blurred)
    lengths = jt.penalties.GroupLasso(STRENGTH, jnp.arange(blurred.size))
    gray = jt.penalties.Box(0.0, 1.0)
    return jt.SaddlePoint(None, gray, jt.penalties.SeparableSum((fit, lengths)), lambda x: (blur(x), differences(x)))


def gaps(problem: jt.SaddlePoint, solver: jt.ChambollePock, start: Image) -> Array:
    """Duality gap after every few steps, relative to the objective; the steps are driven by hand."""
    params = problem.check(start)

    def advance(carry, _):
        params, state = jax.lax.fori_loop(0, EVERY, lambda _, carry: solver.step(problem, *carry), carry)
        return (params, state), problem.duality_gap(params) / problem.value(params)

    return jax.lax.scan(advance, (params, solver.init(problem, params)), length=STEPS // EVERY)[1]


def wiener(blurred: Image, transfer: Array, truth: Image) -> Image:
    """The best of the linear filters `B' / (B'B + ridge)`, chosen by the truth."""
    filtered = lambda ridge: jnp.real(jnp.fft.ifft2(transfer / (transfer**2 + ridge) * jnp.fft.fft2(blurred)))
    candidates = jax.vmap(filtered)(jnp.geomspace(1e-4, 1e-1, 30))
    return candidates[jnp.argmin(jnp.mean((candidates - truth) ** 2, axis=(1, 2)))]


def error_of(x: Image, truth: Image) -> float:
    return float(jnp.sqrt(jnp.mean((x - truth) ** 2)))


def main(picture: str = "tv_deblur_primal_dual.png") -> None:
    truth = make_image()
    blur, transfer = gaussian_blur()
    blurred = blur(truth) + NOISE * jax.random.normal(jax.random.key(0), truth.shape)
    problem = deblurring(blurred, blur)
    solution = jt.solve(problem, jt.ChambollePock(restart=False), blurred, stop=jt.stopping.DualityGap(1e-4))
    images = {
        "The truth": truth,
        "Blurred, with noise": blurred,
        "Best linear filter": wiener(blurred, transfer, truth),
        "Total variation": solution.params[0],
    }
    for name, image in images.items():
        print(f"{name:20s} root mean squared error {error_of(image, truth):.4f}")
    print(
        f"objective {float(problem.value(solution.params)):.4f}, at most "
        f"{float(problem.duality_gap(solution.params)):.1e} above the least, after {int(solution.num_steps)} steps"
    )
    curves = {name: (color, gaps(problem, solver, blurred)) for name, (color, solver) in METHODS.items()}
    draw(images, curves).savefig(picture, dpi=110)
    print(f"the picture is {picture}")


def draw(images: dict[str, Image], curves: dict[str, tuple[str, Array]]):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 6.0), facecolor="white")
    grid = figure.add_gridspec(
        2, 1, left=0.07, right=0.985, top=0.95, bottom=0.09, hspace=0.22, height_ratios=(1, 0.95)
    )
    top = grid[0].subgridspec(1, 4, wspace=0.05)
    truth = images["The truth"]
    for place, (name, image) in zip(top, images.items()):
        axes = figure.add_subplot(place)
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        suffix = "" if image is truth else f", error {error_of(image, truth):.3f}"
        axes.set_title(name + suffix, loc="left", fontsize=10)
        axes.axis("off")

    axes = figure.add_subplot(grid[1])
    for name, (color, curve) in curves.items():
        steps = EVERY * jnp.arange(1, len(curve) + 1)
        axes.semilogy(steps, curve, color=color, linewidth=1.7, label=name)
    axes.set_title("Duality gap, relative to the objective", loc="left", fontsize=11)
    axes.set_xlabel("step: one product with K and one with its transpose")
    axes.margins(x=0.01)
    axes.legend(fontsize=9, frameon=False, loc="upper right")
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:2])
