"""Denoise a signal and an image by total variation, the strength chosen without the truth.

Run `python examples/denoise_tv.py [OUT.png]`; needs the `plot` extra. Stein's unbiased estimate of the risk (SURE) is
what the error is expected to be: it takes the noise level and the trace of the derivative of the denoiser. Here one
random direction estimates the trace, by one forward derivative through the prox.
"""

import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

import jaxopt_thoth as jt


NOISE = 0.15
# Okabe and Ito's blue, vermilion and green: told apart by every common kind of color vision.
COLORS = ("#0072b2", "#d55e00", "#009e73")
Prox = Callable[[Array, Array], Array]


def make_signal(n: int = 400) -> Array:
    """Plateaus of unlike length, and a jump up after each jump down."""
    ends = jnp.array([40, 110, 130, 220, 260, 330, 360, n])
    heights = jnp.array([0.0, 1.0, 0.3, 0.75, -0.2, 0.4, 1.2, 0.55])
    return heights[jnp.searchsorted(ends, jnp.arange(n), side="right")]


def make_image(n: int = 64) -> Array:
    """A disc, a tilted square and a ramp."""
    y, x = jnp.meshgrid(jnp.linspace(0, 1, n), jnp.linspace(0, 1, n), indexing="ij")
    disc = (x - 0.3) ** 2 + (y - 0.32) ** 2 < 0.2**2
    square = jnp.abs(x - 0.68) + jnp.abs(y - 0.62) < 0.24
    return 0.25 * x + 0.7 * disc + 0.45 * square


def noise_level(noisy: Array) -> Array:
    """Standard deviation of the noise from the median absolute difference of neighbors, which the jumps hardly move."""
    differences = jnp.diff(noisy, axis=-1) / jnp.sqrt(2.0)
    return jnp.median(jnp.abs(differences)) / 0.6745


def choose(prox: Prox, noisy: Array, truth: Array, strengths: Array, key: Array) -> tuple[Array, ...]:
    """Denoised data at the strength of least estimated error, and estimated and true errors at every strength."""
    variance = noise_level(noisy) ** 2
    probe = jax.random.rademacher(key, noisy.shape, noisy.dtype)

    def attempt(strength: Array) -> tuple[Array, Array, Array]:
        denoised, change = jax.jvp(lambda x: prox(x, strength), (noisy,), (probe,))
        sure = jnp.mean((denoised - noisy) ** 2) - variance + 2 * variance * jnp.mean(probe * change)
        return denoised, sure, jnp.mean((denoised - truth) ** 2)

    # One after another: in a batch each would take as many steps as the slowest.
    denoised, estimates, errors = jax.lax.map(attempt, strengths)
    best = jnp.argmin(estimates)
    return strengths, best, denoised[best], estimates, errors


def main(picture: str = "denoise_tv.png") -> None:
    keys = jax.random.split(jax.random.key(0), 4)
    signal, image = make_signal(), make_image()
    noisy_signal = signal + NOISE * jax.random.normal(keys[0], signal.shape)
    noisy_image = image + NOISE * jax.random.normal(keys[1], image.shape)
    cases = {
        "Signal": (lambda x, s: jt.penalties.TotalVariation1D(s).prox(x, 1.0), noisy_signal, signal, (0.05, 3.0)),
        "Image, anisotropic": (
            lambda x, s: jt.penalties.TotalVariation2D(s, isotropic=False).prox(x, 1.0),
            noisy_image,
            image,
            (0.02, 0.6),
        ),
        "Image, isotropic": (
            lambda x, s: jt.penalties.TotalVariation2D(s).prox(x, 1.0),
            noisy_image,
            image,
            (0.02, 0.6),
        ),
    }
    found = {}
    for name, (prox, noisy, truth, ends) in cases.items():
        found[name] = choose(prox, noisy, truth, jnp.geomspace(*ends, 16), keys[2])
        strengths, best, denoised, _, errors = found[name]
        before, after = (float(jnp.sqrt(jnp.mean((x - truth) ** 2))) for x in (noisy, denoised))
        print(
            f"{name:18s} noise {float(noise_level(noisy)):.3f}, strength {float(strengths[best]):.3f}: "
            f"root mean squared error {before:.3f} before, {after:.3f} after, {float(errors.min()) ** 0.5:.3f} at best"
        )
    draw(noisy_signal, signal, noisy_image, image, found).savefig(picture, dpi=110)
    print(f"the picture is {picture}")


def draw(noisy_signal: Array, signal: Array, noisy_image: Array, image: Array, found: dict):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 6.2), facecolor="white")
    grid = figure.add_gridspec(
        2, 1, left=0.055, right=0.985, top=0.95, bottom=0.02, hspace=0.3, height_ratios=(1, 1.05)
    )
    top = grid[0].subgridspec(1, 2, width_ratios=(1.9, 1), wspace=0.17)
    bottom = grid[1].subgridspec(1, 4, wspace=0.06)

    axes = figure.add_subplot(top[0])
    axes.plot(noisy_signal, ".", color="0.6", markersize=3.5, label="noisy")
    axes.plot(signal, color="black", linewidth=1.0, linestyle=(0, (4, 2)), label="truth")
    axes.plot(found["Signal"][2], color=COLORS[0], linewidth=1.6, label="denoised")
    axes.set_title("A signal, denoised", loc="left", fontsize=11)
    axes.set_xlabel("sample")
    axes.margins(x=0.01)
    axes.set_ylim(top=2.0)
    axes.legend(fontsize=9, frameon=False, ncols=3, loc="upper left", borderaxespad=0.2)
    plain(axes)

    axes = figure.add_subplot(top[1])
    for color, (name, (strengths, best, _, estimates, errors)) in zip(COLORS, found.items()):
        axes.semilogx(strengths, errors, color=color, linewidth=1.6, label=name)
        axes.plot(strengths, estimates, "o", color=color, markersize=4, mfc="white")
        axes.plot(strengths[best], errors[best], "D", color=color, markersize=7)
    axes.plot([], [], "o", color="0.4", markersize=4, mfc="white", label="its estimate (SURE)")
    axes.plot([], [], "D", color="0.4", markersize=7, label="chosen")
    axes.set_title("Mean squared error", loc="left", fontsize=11)
    axes.set_xlabel("strength")
    axes.set_ylim(-0.004, 0.026)
    axes.legend(fontsize=8, frameon=False, ncols=2, loc="upper left", borderaxespad=0.2, columnspacing=1)
    plain(axes)

    def title_of(name: str, x: Array) -> str:
        return f"{name}, error {float(jnp.sqrt(jnp.mean((x - image) ** 2))):.3f}"

    panels = {"An image": image, title_of("Noisy", noisy_image): noisy_image}
    for name in ("anisotropic", "isotropic"):
        denoised = found[f"Image, {name}"][2]
        panels[title_of(name.capitalize(), denoised)] = denoised
    for place, (title, pixels) in zip(bottom, panels.items()):
        axes = figure.add_subplot(place)
        axes.imshow(pixels, cmap="gray", vmin=-0.15, vmax=1.15, interpolation="nearest")
        axes.set_title(title, loc="left", fontsize=10)
        axes.axis("off")
    return figure


def plain(axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


if __name__ == "__main__":
    main(*sys.argv[1:2])
