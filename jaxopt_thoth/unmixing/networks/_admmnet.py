from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from ..._types import Scalar
from ..._validate import require_nonnegative, require_positive
from .._scaled_pixels import Normalization
from .._scene import Scene
from .._unmixing import Unmixing
from .._vca import vca
from ._admmnet_net import ADMMNet
from ._misicnet import clip_endmembers
from ._network_input import Draw, draw_rows, from_training, read_network, used_first
from ._pgmsu import require_batch, require_no_average
from ._train import Keep, Rate, train


def admmnet(
    pixels: ArrayLike | Scene,
    num_endmembers: int,
    *,
    key: PRNGKeyArray,
    num_blocks: int = 2,
    strength: ArrayLike = 1e-3,
    penalty: ArrayLike = 0.01,
    steps: int | None = None,
    batch_size: int = 64,
    learning_rate: Rate = 1e-4,
    keep: Keep = "last",
    optimizer: optax.GradientTransformation | None = None,
    normalization: Normalization = "pixel_l2",
    image_shape: tuple[int, int] | None = None,
    mask: ArrayLike | None = None,
    progress: Callable[[Any, Any], None] | None = None,
) -> Unmixing:
    """Blind unmixing by an unrolled network: a few steps of ADMM as layers, and endmembers, learned from the pixels.

    Minimizes the mean squared residual over the matrices, thresholds and rates of the steps and over the endmembers,
    which start at the pixels that VCA picks and stay between 0 and the largest entry of the pixels.

    Args:
        pixels: matrix (L, N), cube (H, W, L), or `Scene`.
        num_endmembers: p, at least 2 and at most L; static.
        key: random key of the start and of the batches.
        num_blocks: number of unrolled steps; static.
        strength: of the l1 norm that the thresholds start from, for pixels of largest entry 1.
        penalty: parameter of ADMM that the matrices start from, positive.
        steps: number of steps of training; by default as many as read 300 times the number of pixels; static.
        batch_size: pixels a step, drawn with replacement; static.
        learning_rate: a scalar, or a schedule of optax.
        keep: the "last" or the "best" network (of the lowest loss of its batch); static.
        optimizer: in place of Adam with this learning rate.
        normalization: as in `edaa`.
        image_shape: not used; the method sees each pixel on its own.
        mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite are left out anyway.
        progress: called on the host as `progress(done, total)` steps.

    Returns:
        `Unmixing` with endmembers (L, p) of the normalized pixels, abundances (p, N) or maps (NaN where masked), and
        in `diagnostics` the "loss" of each step, "num_steps" and the trained "model".

    Raises:
        ValueError: for a setting out of range, an unknown name, or pixels of a wrong shape.

    Source: C. Zhou, M. Rodrigues, "ADMM-based hyperspectral unmixing networks for abundance and endmember estimation",
    2022.

    Example:
        >>> import jax
        >>> from jaxopt_thoth import unmixing
        >>> scene = unmixing.simulate_scene(jax.random.key(0), height=9, width=8, num_bands=20)
        >>> unmixing.admmnet(scene, 3, key=jax.random.key(1), steps=3).abundances.shape
        (3, 72)
    """
    require_nonnegative(strength, "strength")
    require_positive(penalty, "penalty")
    require_no_average(keep)
    require_batch(batch_size, 1)
    task = read_network(pixels, mask, normalization, image_shape, num_endmembers=num_endmembers, spatial=False)
    start_key, train_key = jax.random.split(key)
    _, first = vca(task.pixels, num_endmembers, key=start_key, mask=task.used)
    endmembers = jnp.clip(task.rows[first].T, 0, 1)
    training = train(
        ADMMNet(endmembers, num_blocks=num_blocks, strength=strength, penalty=penalty),
        _Residual(task.rows, used_first(task), batch_size),
        key=train_key,
        steps=300 * -(-task.rows.shape[0] // batch_size) if steps is None else steps,
        learning_rate=learning_rate,
        optimizer=optimizer,
        keep=keep,
        constrain=clip_endmembers,
        progress=progress,
    )
    found = training.model
    return from_training(task, found.endmembers * task.unit, found(task.rows), training, model=found)


class _Residual(eqx.Module):
    rows: Float[Array, "N L"]
    draw: Draw
    batch_size: int = eqx.field(static=True)

    def __call__(self, model: ADMMNet, key: PRNGKeyArray, done: Scalar) -> tuple[Scalar, None]:
        rows = draw_rows(self.draw, self.rows, self.batch_size, key)
        return jnp.mean((rows - jnp.matmul(model(rows), model.endmembers.T)) ** 2), None
