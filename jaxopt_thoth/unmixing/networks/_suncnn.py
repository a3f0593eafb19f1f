from collections.abc import Callable
from typing import Any

import optax
from jaxtyping import ArrayLike, PRNGKeyArray

from ... import _tree
from ..._result import RESULTS
from .._library_input import from_abundances, read_library
from .._scene import Scene
from .._unmixing import Unmixing
from ._image_prior import fit_image_prior
from ._network_input import read_network
from ._train import Keep, Rate


def suncnn(
    pixels: ArrayLike | Scene,
    library: ArrayLike,
    *,
    num_endmembers: int | None = None,
    key: PRNGKeyArray,
    steps: int = 20_000,
    learning_rate: Rate = 1e-3,
    width: int = 256,
    keep: Keep = "average",
    smoothing: ArrayLike = 0.99,
    optimizer: optax.GradientTransformation | None = None,
    image_shape: tuple[int, int] | None = None,
    mask: ArrayLike | None = None,
    progress: Callable[[Any, Any], None] | None = None,
) -> Unmixing:
    """Abundances of the atoms of a library by a deep image prior, `undip` with the library in place of endmembers.

    The fractions of all atoms are a softmax, so that they are nonnegative and sum to one; there is no penalty.

    Args:
        pixels: matrix (L, N), cube (H, W, L), or `Scene`.
        library: (L, M) spectra of the unit and the dtype of the pixels.
        num_endmembers: how many atoms, those of the largest total abundance, are handed back as `endmembers` with
            their `abundances`; all by default; static.
        key: random key of the noise and of the weights.
        steps: number of steps of training; static.
        learning_rate: a scalar, or a schedule of optax.
        width: channels of the network; static.
        keep: as in `undip`.
        smoothing: weight of what was before in the average.
        optimizer: in place of Adam with this learning rate.
        image_shape: (H, W) of a matrix of pixels, row-major; known for a cube or a scene.
        mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite are left out anyway.
        progress: called on the host as `progress(done, total)` steps.

    Returns:
        `Unmixing` with `library_abundances` (M, N), the `indices` of the endmembers, and in `diagnostics` the "loss"
        of each step, "num_steps" and the trained "model"; maps are (.., H, W) for a cube, and NaN where masked.

    Raises:
        ValueError: for a library of other bands or dtype, a setting out of range, or a missing image shape.

    Source: B. Rasti, B. Koirala, "SUnCNN: Sparse unmixing using unsupervised convolutional neural network", 2022.

    Example:
        >>> import jax
        >>> from jaxopt_thoth import unmixing
        >>> scene = unmixing.simulate_scene(jax.random.key(0), height=9, width=8, num_bands=20)
        >>> found = unmixing.suncnn(scene, scene.endmembers, key=jax.random.key(1), steps=3, width=4)
        >>> found.library_abundances.shape
        (3, 72)
    """
    library_task = read_library(pixels, library, num_endmembers, mask, image_shape, spatial=True)
    task = read_network(pixels, mask, "none", image_shape, width=width)
    abundances, training = fit_image_prior(
        task,
        library_task.library / task.unit,
        key=key,
        steps=steps,
        learning_rate=learning_rate,
        width=width,
        keep=keep,
        smoothing=smoothing,
        optimizer=optimizer,
        progress=progress,
    )
    result = RESULTS.where(_tree.all_finite(abundances), training.result, RESULTS.nonfinite)
    diagnostics = {"loss": training.loss, "num_steps": training.num_steps, "model": training.model}
    return from_abundances(library_task, abundances.T, num_endmembers, result, diagnostics)
