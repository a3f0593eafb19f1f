from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from ..._types import Scalar
from .._scaled_pixels import Normalization
from .._scene import Scene
from .._unmixing import Unmixing
from ._cnnaeu_net import CNNAEU
from ._network_input import angles, from_training, read_network, weighted_mean
from ._pgmsu import require_batch, require_no_average
from ._train import Keep, Rate, train


_RMS = optax.scale_by_rms(decay=0.99, eps=1e-16, eps_in_sqrt=True)


def cnnaeu(
    pixels: ArrayLike | Scene,
    num_endmembers: int,
    *,
    key: PRNGKeyArray,
    steps: int = 2000,
    batch_size: int = 15,
    patch: int = 40,
    learning_rate: Rate = 3e-4,
    width: int = 48,
    side: int = 11,
    keep: Keep = "last",
    optimizer: optax.GradientTransformation | None = None,
    normalization: Normalization = "pixel_l2",
    image_shape: tuple[int, int] | None = None,
    mask: ArrayLike | None = None,
    progress: Callable[[Any, Any], None] | None = None,
) -> Unmixing:
    """Blind unmixing by a convolutional autoencoder whose decoder sees the neighborhood of a pixel.

    Minimizes the mean angle between pixels and their reconstructions over random patches of the image, by RMSprop. The
    decoder is kept nonnegative, as in the paper, and what it makes of one material alone is an endmember. Angles do not
    see brightness: the endmembers share one factor, the least-squares fit to the pixels. Starting from random weights,
    it depends on the key. Patches are drawn anew in each step, where the published code draws a number of them,
    proportional to the image, once.

    Args:
        pixels: matrix (L, N), cube (H, W, L), or `Scene`.
        num_endmembers: p, at least 2 and at most L; static.
        key: random key of the weights, the patches and what is dropped.
        steps: number of steps of training; static.
        batch_size: patches a step; static.
        patch: side of a patch, cut to the image; static.
        learning_rate: a scalar, or a schedule of optax.
        width: channels of the network; static.
        side: of the decoder's neighborhood, odd; static.
        keep: the "last" or the "best" network (of the lowest loss of its batch); static.
        optimizer: in place of RMSprop with this learning rate.
        normalization: as in `edaa`.
        image_shape: (H, W) of a matrix of pixels, row-major; known for a cube or a scene.
        mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite are left out anyway.
        progress: called on the host as `progress(done, total)` steps.

    Returns:
        `Unmixing` with endmembers (L, p), abundances (p, N) or maps (NaN where masked), and in `diagnostics` the "loss"
        of each step (radians), "num_steps" and the trained "model".

    Raises:
        ValueError: for a setting out of range, an unknown name, or a missing image shape.

    Source: B. Palsson, M. Ulfarsson, J. Sveinsson, "Convolutional autoencoder for spectral-spatial hyperspectral
    unmixing", 2021.

    Example:
        >>> import jax
        >>> from jaxopt_thoth import unmixing
        >>> scene = unmixing.simulate_scene(jax.random.key(0), height=9, width=8, num_bands=20)
        >>> unmixing.cnnaeu(scene, 3, key=jax.random.key(1), steps=3, width=4, side=3).abundances.shape
        (3, 72)
    """
    require_no_average(keep)
    require_batch(batch_size, 1)
    if patch < 2:
        raise ValueError(f"patch must be at least 2, got {patch}.")
    task = read_network(pixels, mask, normalization, image_shape, num_endmembers=num_endmembers, width=width)
    model_key, train_key = jax.random.split(key)
    bands, dtype = task.rows.shape[1], task.rows.dtype
    size = (min(patch, task.size[0]), min(patch, task.size[1]))
    training = train(
        CNNAEU(bands, num_endmembers, key=model_key, width=width, side=side, dtype=dtype),
        _PatchAngles(task.image, task.used.astype(dtype).reshape(*task.size), size, batch_size),
        key=train_key,
        steps=steps,
        learning_rate=learning_rate,
        scaling=_RMS,
        optimizer=optimizer,
        keep=keep,
        constrain=_nonnegative_decoder,
        progress=progress,
    )
    found = training.model
    maps = found(task.image)
    made = found.decode(maps).reshape(task.rows.shape)
    product, square = (jnp.sum(task.weights[:, None] * made * other) for other in (task.rows, made))
    factor = product / jnp.where(square > 0, square, 1)
    return from_training(
        task,
        found.endmembers * factor * task.unit,
        maps.reshape(task.rows.shape[0], -1),
        training,
        model=found,
    )


def _nonnegative_decoder(model: CNNAEU) -> CNNAEU:
    return eqx.tree_at(lambda m: m.decode.weight, model, jax.nn.relu(model.decode.weight))


class _PatchAngles(eqx.Module):
    image: Float[Array, "H W L"]
    used: Float[Array, "H W"]
    size: tuple[int, int] = eqx.field(static=True)
    batch_size: int = eqx.field(static=True)

    def __call__(self, model: CNNAEU, key: PRNGKeyArray, done: Scalar) -> tuple[Scalar, None]:
        row_key, column_key, drop_key = jax.random.split(key, 3)
        rows, columns = (
            jax.random.randint(k, (self.batch_size,), 0, whole - part + 1)
            for k, whole, part in zip((row_key, column_key), self.used.shape, self.size, strict=True)
        )
        bands = self.image.shape[-1]

        def cut(row: Int[Array, ""], column: Int[Array, ""]) -> tuple[Array, Array]:
            zero = jnp.zeros_like(row)
            image = jax.lax.dynamic_slice(self.image, (row, column, zero), (*self.size, bands))
            return image, jax.lax.dynamic_slice(self.used, (row, column), self.size)

        patches, used = jax.vmap(cut)(rows, columns)
        between = angles(patches, model.decode(model(patches, key=drop_key)))
        return weighted_mean(between, used / jnp.maximum(jnp.sum(used), 1)), None
