from collections.abc import Callable
from typing import Any

import optax
from jaxtyping import ArrayLike, PRNGKeyArray

from .._checks import as_spectra, same_dtype
from .._scaled_pixels import Normalization
from .._scene import Scene
from .._sivm import sivm
from .._unmixing import Unmixing
from ._image_prior import fit_image_prior
from ._network_input import from_training, read_network
from ._train import Keep, Rate


def undip(
    pixels: ArrayLike | Scene,
    num_endmembers: int | None = None,
    *,
    endmembers: ArrayLike | None = None,
    key: PRNGKeyArray,
    steps: int = 3000,
    learning_rate: Rate = 1e-3,
    width: int = 256,
    keep: Keep = "average",
    smoothing: ArrayLike = 0.99,
    optimizer: optax.GradientTransformation | None = None,
    normalization: Normalization = "none",
    image_shape: tuple[int, int] | None = None,
    mask: ArrayLike | None = None,
    progress: Callable[[Any, Any], None] | None = None,
) -> Unmixing:
    """Abundances by a deep image prior: a convolutional network turns noise into maps that fit the pixels.

    Nothing but the scene itself is learned from; that a network prefers smooth maps is the regularization, and the
    number of steps its strength. The abundances are a moving average over the steps.

    Args:
        pixels: matrix (L, N), cube (H, W, L), or `Scene`.
        num_endmembers: p, of endmembers that `sivm` picks; or give the endmembers; static.
        endmembers: (L, p) spectra, in the unit of the normalized pixels.
        key: random key of the noise and of the weights.
        steps: number of steps of training; static.
        learning_rate: a scalar, or a schedule of optax.
        width: channels of the network; static.
        keep: hand back the moving "average" of the abundances, or those of the "last" or the "best" network; static.
        smoothing: weight of what was before in the average.
        optimizer: in place of Adam with this learning rate.
        normalization: as in `edaa`.
        image_shape: (H, W) of a matrix of pixels, row-major; known for a cube or a scene.
        mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite are left out anyway.
        progress: called on the host as `progress(done, total)` steps.

    Returns:
        `Unmixing` with the endmembers, abundances (p, N) or maps (p, H, W) (NaN where masked), the `indices` of those
        that were picked, and in `diagnostics` the "loss" of each step, "num_steps" and the trained "model".

    Raises:
        ValueError: unless exactly one of `num_endmembers` and `endmembers` is given; for a setting out of range, or a
            missing image shape.

    Source: B. Rasti, B. Koirala, P. Scheunders, P. Ghamisi, "UnDIP: Hyperspectral unmixing using deep image prior",
    2022.

    Example:
        >>> import jax
        >>> from jaxopt_thoth import unmixing
        >>> scene = unmixing.simulate_scene(jax.random.key(0), height=9, width=8, num_bands=20)
        >>> found = unmixing.undip(scene, endmembers=scene.endmembers, key=jax.random.key(1), steps=3, width=4)
        >>> found.abundances.shape
        (3, 72)
    """
    if (num_endmembers is None) == (endmembers is None):
        raise ValueError("give either num_endmembers or endmembers, and not both.")
    task = read_network(pixels, mask, normalization, image_shape, num_endmembers=num_endmembers, width=width)
    indices = None
    if endmembers is None:
        assert num_endmembers is not None
        _, indices = sivm(task.pixels, num_endmembers, mask=task.used)
        spectra = task.rows.T[:, indices]
    else:
        given = as_spectra(endmembers, "endmembers", "(L, p)")
        same_dtype(task.rows, "pixels", given, "endmembers")
        if given.shape[0] != task.rows.shape[1]:
            raise ValueError(
                f"endmembers {given.shape} must have as many rows as the pixels have bands ({task.rows.shape[1]})."
            )
        spectra = given / task.unit
    abundances, training = fit_image_prior(
        task,
        spectra,
        key=key,
        steps=steps,
        learning_rate=learning_rate,
        width=width,
        keep=keep,
        smoothing=smoothing,
        optimizer=optimizer,
        progress=progress,
    )
    return from_training(task, spectra * task.unit, abundances, training, indices=indices, model=training.model)
