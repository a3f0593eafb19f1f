from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from ... import _tree
from ..._types import Scalar
from ..._validate import require_nonnegative
from .._scaled_pixels import Normalization
from .._scene import Scene
from .._sivm import sivm
from .._unmixing import Unmixing
from ._misicnet_net import MiSiCNet
from ._network_input import from_training, read_network, weighted_mean
from ._train import Keep, Rate, train


def misicnet(
    pixels: ArrayLike | Scene,
    num_endmembers: int,
    *,
    key: PRNGKeyArray,
    volume: ArrayLike = 1e-2,
    steps: int = 8000,
    learning_rate: Rate = 1e-3,
    width: int = 256,
    keep: Keep = "average",
    smoothing: ArrayLike = 0.99,
    optimizer: optax.GradientTransformation | None = None,
    normalization: Normalization = "pixel_l2",
    image_shape: tuple[int, int] | None = None,
    mask: ArrayLike | None = None,
    progress: Callable[[Any, Any], None] | None = None,
) -> Unmixing:
    """Blind unmixing by a deep image prior for the maps, and endmembers of small volume learned beside it.

    Minimizes the mean over pixels of `|y - E a|^2 / 2` plus `volume |E - m|^2`, m the mean pixel, over the weights of a
    network that turns noise into abundances, and over E between 0 and the largest entry of the pixels. E starts at the
    pixels that `sivm` picks. The published code sums over pixels: its strength is `volume` times their number, 100 in
    the code and 0.1 in its settings, which for Samson are 1e-2 and 1e-5 here.

    Args:
        pixels: matrix (L, N), cube (H, W, L), or `Scene`.
        num_endmembers: p, at least 2 and at most L; static.
        key: random key of the noise and of the weights.
        volume: strength of the pull of the endmembers towards the mean, a nonnegative scalar.
        steps: number of steps of training; static.
        learning_rate: a scalar, or a schedule of optax.
        width: channels of the network; static.
        keep: the moving "average" of the abundances beside the last endmembers, or the "last" or "best" network's.
        smoothing: weight of what was before in the average.
        optimizer: in place of Adam with this learning rate.
        normalization: as in `edaa`.
        image_shape: (H, W) of a matrix of pixels, row-major; known for a cube or a scene.
        mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite are left out anyway.
        progress: called on the host as `progress(done, total)` steps.

    Returns:
        `Unmixing` with endmembers (L, p) of the normalized pixels, abundances (p, N) or maps (NaN where masked), and
        in `diagnostics` the "loss" of each step, "num_steps" and the trained "model".

    Raises:
        ValueError: for a setting out of range, an unknown name, or a missing image shape.

    Source: B. Rasti, B. Koirala, P. Scheunders, J. Chanussot, "MiSiCNet: Minimum simplex convolutional network for deep
    hyperspectral unmixing", 2022.

    Example:
        >>> import jax
        >>> from jaxopt_thoth import unmixing
        >>> scene = unmixing.simulate_scene(jax.random.key(0), height=9, width=8, num_bands=20)
        >>> unmixing.misicnet(scene, 3, key=jax.random.key(1), steps=3, width=4).abundances.shape
        (3, 72)
    """
    require_nonnegative(volume, "volume")
    task = read_network(pixels, mask, normalization, image_shape, num_endmembers=num_endmembers, width=width)
    noise_key, model_key, train_key = jax.random.split(key, 3)
    noise = jax.random.uniform(noise_key, (*task.size, task.rows.shape[1]), task.rows.dtype)
    _, first = sivm(task.pixels, num_endmembers, mask=task.used)
    model = MiSiCNet(jnp.clip(task.rows[first].T, 0, 1), key=model_key, width=width)
    strength = _tree.setting(volume).astype(task.rows.dtype)
    training = train(
        model,
        _SmallVolume(noise, task.rows, task.weights, strength),
        key=train_key,
        steps=steps,
        learning_rate=learning_rate,
        optimizer=optimizer,
        keep=keep,
        smoothing=smoothing,
        constrain=clip_endmembers,
        progress=progress,
    )
    found = training.model
    maps = training.average if keep == "average" else found(noise).reshape(task.rows.shape[0], -1)
    return from_training(task, found.endmembers * task.unit, maps, training, model=found)


def clip_endmembers(model: Any) -> Any:
    """The model with the endmembers within the range of the pixels."""
    return eqx.tree_at(lambda m: m.endmembers, model, jnp.clip(model.endmembers, 0, 1))


class _SmallVolume(eqx.Module):
    noise: Float[Array, "H W L"]
    rows: Float[Array, "N L"]
    weights: Float[Array, " N"]
    volume: Scalar

    def __call__(self, model: MiSiCNet, key: PRNGKeyArray, done: Scalar) -> tuple[Scalar, Array]:
        maps = model(self.noise).reshape(self.rows.shape[0], -1)
        residual = self.rows - jnp.matmul(maps, model.endmembers.T)
        fit = weighted_mean(jnp.sum(residual**2, axis=1), self.weights) / 2
        mean = jnp.matmul(self.weights, self.rows)
        spread = jnp.sum((model.endmembers - mean[:, None]) ** 2)
        return fit + self.volume * spread, maps
