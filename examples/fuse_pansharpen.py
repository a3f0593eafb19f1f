"""Fuse a coarse hyperspectral image with a sharp image of few bands, the sensors' responses being estimated first.

Run `python examples/fuse_pansharpen.py [OUT.png]`; needs the `plot` extra. A scene of 40 bands is seen by a
hyperspectral sensor with pixels four times too large, and by a sharp one with four broad bands, both with noise. From
these two images alone come the broad bands' spectral responses and the point spread. With them the images are fused,
in closed form by a Sylvester equation, and under a total variation that aligns the edges of all bands. Below, a single
panchromatic band has to do: its details are injected, or weighed against the data as an inverse problem. Each title
gives the peak signal-to-noise ratio over all 40 bands. Four bands tell much more than one: fusion gains ten decibels
and more over interpolation, pansharpening, sharp as its edges are, one to three.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxopt_thoth import restoration


SIZE, BANDS, FACTOR, OFFSET = 60, 40, 4, 1
RANK = 5
NOISE = 0.005
# False color of the pictures.
SHOWN = (34, 20, 6)


def make_scene(key: Array) -> Array:
    """A cube of fields, roads, a lake and a town, (H, W, L), with spectra that vary a little everywhere."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    labels = (np.floor(4 * (x + 0.3 * y)) + 2 * np.floor(3 * (y - 0.2 * x))).astype(int) % 3
    labels[np.abs(y - 0.55 - 0.1 * np.sin(5 * x)) < 0.02] = 3
    labels[np.abs(x - 0.62 + 0.15 * y) < 0.018] = 3
    labels[np.hypot(x - 0.25, 1.3 * (y - 0.3)) < 0.16] = 4
    town = (x > 0.66) & (y > 0.62) & ((np.floor(x * 40) % 4 > 0) & (np.floor(y * 40) % 3 > 0))
    labels[town] = 3
    wavelengths = np.linspace(0, 1, BANDS)
    bumps = lambda *parts: 0.1 + sum(a * np.exp(-(((wavelengths - c) / w) ** 2)) for a, c, w in parts)
    spectra = np.stack(
        [
            bumps((0.15, 0.3, 0.1), (0.6, 0.9, 0.25)),
            bumps((0.5, 0.7, 0.4)),
            bumps((0.3, 0.45, 0.15), (0.3, 0.95, 0.2)),
            bumps((0.45, 0.2, 0.5)),
            bumps((0.25, 0.05, 0.15)),
        ]
    )
    shade = 1 + 0.15 * np.sin(9 * x + 4 * y) * np.cos(7 * y) + 0.05 * rng.normal(size=(SIZE, SIZE))
    return jnp.asarray(spectra[labels] * shade[..., None])


def responses() -> tuple[Array, Array]:
    """The four broad bands and the panchromatic one, (4, L) and (1, L), rows that sum to one."""
    w = jnp.linspace(0, 1, BANDS)
    broad = jnp.exp(-(((w[None, :] - jnp.array([0.1, 0.35, 0.6, 0.87])[:, None]) / 0.11) ** 4))
    pan = jnp.where((w > 0.1) & (w < 0.8), 1.0, 0.0)[None, :]
    return broad / jnp.sum(broad, 1, keepdims=True), pan / jnp.sum(pan, 1, keepdims=True)


def point_spread() -> Array:
    """A Gaussian kernel of about the size of a coarse pixel, wider across than along the track."""
    side = lambda width: jnp.exp(-((jnp.arange(-4.0, 5.0) / width) ** 2) / 2)
    kernel = jnp.outer(side(1.5), side(2.0))
    return kernel / jnp.sum(kernel)


def main(picture: str = "fuse_pansharpen.png") -> None:
    truth = make_scene(jax.random.key(0))
    response, pan_response = responses()
    kernel = point_spread()
    keys = jax.random.split(jax.random.key(1), 3)
    noisy = lambda image, key: image + NOISE * jax.random.normal(key, image.shape)
    keep = restoration.Downsample(FACTOR, OFFSET)
    coarse = noisy(keep(restoration.Blur(kernel, "symmetric")(truth)), keys[0])
    broad, pan = noisy(truth @ response.T, keys[1]), noisy(truth @ pan_response.T, keys[2])[:, :, 0]

    grid = {"factor": FACTOR, "offset": OFFSET}
    sensors = restoration.estimate_sensors(coarse, broad, (9, 9), **grid, kernel_smoothness=1e-2)
    print(f"kernel: largest error {jnp.abs(sensors.kernel - kernel).max():.4f} of {kernel.max():.4f}")
    images = {
        "Coarse, interpolated": restoration.upsample(coarse, **grid),
        "Fused in closed form": restoration.fuse(
            coarse, broad, sensors.kernel, sensors.response, **grid, rank=RANK, strength=3e-2
        ),
        "Fused, total variation": restoration.fuse_variational(
            coarse, broad, sensors.kernel, sensors.response, **grid, rank=RANK, strength=3e-4, tol=2e-3
        ).cube,
        "The truth": truth,
        "Panchromatic": pan,
        "Pansharpened, injected": restoration.pansharpen(coarse, pan, sensors.kernel, **grid),
        "Pansharpened, total variation": restoration.pansharpen_variational(
            coarse, pan, sensors.kernel, **grid, strength=3e-4, tol=2e-3
        ).cube,
    }
    for name, image in images.items():
        if image.ndim == 3 and image is not truth:
            psnr, ergas = restoration.psnr(image, truth), restoration.ergas(image, truth, factor=FACTOR)
            quality = restoration.quality_index(image, truth)
            print(f"{name:30s} PSNR {psnr:5.2f} dB   ERGAS {ergas:5.2f}   quality index {quality:.3f}")
    draw(images, truth, (response, sensors.response), (kernel, sensors.kernel)).savefig(picture, dpi=110)
    print(f"the picture is {picture}")


def draw(images: dict[str, Array], truth: Array, rows: tuple[Array, Array], kernels: tuple[Array, Array]):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.0, 6.6), facecolor="white")
    axes = figure.subplots(
        2, 4, gridspec_kw={"left": 0.01, "right": 0.985, "top": 0.95, "bottom": 0.07, "wspace": 0.06}
    )
    shown = truth[:, :, jnp.array(SHOWN)]
    low, high = jnp.percentile(shown, 1), jnp.percentile(shown, 99)
    for place, (name, image) in zip(axes.ravel(), images.items()):
        if image.ndim == 3:
            place.imshow(jnp.clip((image[:, :, jnp.array(SHOWN)] - low) / (high - low), 0, 1), interpolation="nearest")
        else:
            place.imshow(image, cmap="gray", interpolation="nearest")
        is_estimate = image.ndim == 3 and image is not truth
        suffix = f", {restoration.psnr(image, truth):.1f} dB" if is_estimate else ""
        place.set_title(name + suffix, loc="left", fontsize=9.5)
        place.axis("off")
    place = axes[1, 3]
    for color, true, found in zip(("#0072b2", "#009e73", "#e69f00", "#d55e00"), *rows, strict=True):
        place.plot(found, color=color, linewidth=1.8)
        place.plot(true, color=color, linewidth=1, linestyle=":")
    place.set_title("Responses, estimated and true (dotted)", loc="left", fontsize=9.5)
    place.set_xlabel("hyperspectral band", fontsize=8)
    place.set_yticks([])
    place.set_ylim(top=1.75 * float(rows[0].max()))
    place.spines[["top", "right", "left"]].set_visible(False)
    place.tick_params(labelsize=8)
    for left, title, kernel in zip((0.06, 0.55), ("true kernel", "estimated"), kernels, strict=True):
        inset = place.inset_axes((left, 0.62, 0.3, 0.3))
        inset.imshow(kernel, cmap="viridis", vmin=0, vmax=float(kernels[0].max()))
        inset.set_title(title, fontsize=8, pad=2)
        inset.axis("off")
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:2])
