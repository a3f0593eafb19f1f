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
from .._unmixing import Unmixing
from .._vca import vca
from ._msnet_net import MSNet
from ._network_input import angles, from_training, read_network, weighted_mean
from ._pgmsu import require_no_average
from ._pyramid import average_cells, edge_distance
from ._train import Keep, Rate, train


_STAIRS = optax.exponential_decay(1e-3, 30, 0.6, staircase=True)


def msnet(
    pixels: ArrayLike | Scene,
    num_endmembers: int,
    *,
    key: PRNGKeyArray,
    residual: ArrayLike = 0.1,
    edges: ArrayLike = 0.03,
    steps: int = 800,
    learning_rate: Rate = _STAIRS,
    weight_decay: ArrayLike = 1e-4,
    width: int = 48,
    keep: Keep = "last",
    optimizer: optax.GradientTransformation | None = None,
    normalization: Normalization = "pixel_l2",
    image_shape: tuple[int, int] | None = None,
    mask: ArrayLike | None = None,
    progress: Callable[[Any, Any], None] | None = None,
) -> Unmixing:
    """Blind unmixing by a convolutional autoencoder of three scales, whose maps agree on edges.

    Minimizes, summed over the image and its averages over cells of 2 x 2 and 4 x 4, the mean angle between pixels and
    reconstructions plus `residual` times their mean squared difference; plus `edges` times the mean difference between
    the details of the abundances of neighboring scales. The endmembers, one set for all scales, start at the pixels
    that VCA picks. Abundances are those of the whole resolution, with nothing dropped.

    Args:
        pixels: matrix (L, N), cube (H, W, L), or `Scene`.
        num_endmembers: p, at least 2 and at most L; static.
        key: random key of the start, the weights and what is dropped.
        residual: weight of the squared differences, a nonnegative scalar.
        edges: weight of the differences of details, a nonnegative scalar.
        steps: number of steps of training; static.
        learning_rate: a scalar, or a schedule of optax; by default 1e-3, times 0.6 after every 30 steps.
        weight_decay: factor of the parameters that is added to the gradient.
        width: of the layers, see `networks.MSNet`; static.
        keep: the "last" or the "best" network; static.
        optimizer: in place of Adam with this learning rate and decay.
        normalization: as in `edaa`.
        image_shape: (H, W) of a matrix of pixels, row-major; known for a cube or a scene.
        mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite are left out anyway.
        progress: called on the host as `progress(done, total)` steps.

    Returns:
        `Unmixing` with endmembers (L, p) of the normalized pixels, abundances (p, N) or maps (NaN where masked), and
        in `diagnostics` the "loss" of each step, "num_steps" and the trained "model".

    Raises:
        ValueError: for a setting out of range, an unknown name, or a missing image shape.

    Source: Y. Yu, Y. Ma, X. Mei, F. Fan, J. Huang, H. Li, "Multi-stage convolutional autoencoder network for
    hyperspectral unmixing", 2022.

    Example:
        >>> import jax
        >>> from jaxopt_thoth import unmixing
        >>> scene = unmixing.simulate_scene(jax.random.key(0), height=9, width=8, num_bands=20)
        >>> unmixing.msnet(scene, 3, key=jax.random.key(1), steps=3, width=4).abundances.shape
        (3, 72)
    """
    require_nonnegative(residual, "residual")
    require_nonnegative(edges, "edges")
    require_no_average(keep)
    task = read_network(pixels, mask, normalization, image_shape, num_endmembers=num_endmembers, width=width)
    start_key, model_key, train_key = jax.random.split(key, 3)
    _, first = vca(task.pixels, num_endmembers, key=start_key, mask=task.used)
    dtype = task.rows.dtype
    used = task.used.astype(dtype).reshape(*task.size)
    scales = [(task.image, used), average_cells(task.image, used, 2), average_cells(task.image, used, 4)]
    images, masks = zip(*scales, strict=True)
    settings = [_tree.setting(value).astype(dtype) for value in (residual, edges)]
    training = train(
        MSNet(task.rows[first].T, key=model_key, width=width),
        _Scales(images, masks, *settings),
        key=train_key,
        steps=steps,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        optimizer=optimizer,
        keep=keep,
        progress=progress,
    )
    found = training.model
    maps = found(images)[0].reshape(task.rows.shape[0], -1)
    return from_training(task, found.endmembers * task.unit, maps, training, model=found)


class _Scales(eqx.Module):
    images: tuple[Float[Array, "H W L"], ...]
    used: tuple[Float[Array, "H W"], ...]
    residual: Scalar
    edges: Scalar

    def __call__(self, model: MSNet, key: PRNGKeyArray, done: Scalar) -> tuple[Scalar, None]:
        maps = model(self.images, key=key)
        loss = self.edges * (edge_distance(maps[0], maps[1]) + edge_distance(maps[1], maps[2]))
        for image, used, abundances in zip(self.images, self.used, maps, strict=True):
            made = jnp.matmul(abundances, model.endmembers.T)
            weights = used / jnp.maximum(jnp.sum(used), 1)
            errors = angles(image, made) + self.residual * jnp.mean((image - made) ** 2, axis=-1)
            loss = loss + weighted_mean(errors, weights)
        return loss, None
