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
from ._network_input import Draw, draw_rows, from_training, read_network, used_first
from ._pgmsu_net import PGMSU
from ._train import Keep, Rate, train


def pgmsu(
    pixels: ArrayLike | Scene,
    num_endmembers: int,
    *,
    key: PRNGKeyArray,
    divergence: ArrayLike = 0.1,
    volume: ArrayLike = 0.5,
    anchor: ArrayLike = 0.1,
    steps: int = 2000,
    batch_size: int | None = None,
    learning_rate: Rate = 1e-3,
    width: int = 4,
    latent: int = 4,
    keep: Keep = "last",
    optimizer: optax.GradientTransformation | None = None,
    normalization: Normalization = "pixel_l2",
    image_shape: tuple[int, int] | None = None,
    mask: ArrayLike | None = None,
    progress: Callable[[Any, Any], None] | None = None,
) -> Unmixing:
    """Blind unmixing with endmembers that vary from pixel to pixel, by a variational autoencoder.

    The squared residual of a pixel, plus `divergence` times that of its code from a standard normal one (in the mean,
    and at least 0.2); in the first half of the training plus `anchor` times the squared distance of its endmembers from
    those that VCA picks, in the second half plus `volume` times their variance around their own mean.

    Args:
        pixels: matrix (L, N), cube (H, W, L), or `Scene`; negative entries cannot be reached by the endmembers.
        num_endmembers: p, at least 2 and at most L; static.
        key: random key of the start, the weights, the batches and the codes.
        divergence: weight of the Kullback-Leibler divergence, a nonnegative scalar.
        volume: weight of the variance among the endmembers of a pixel, a nonnegative scalar.
        anchor: weight of the distance from the first endmembers, a nonnegative scalar.
        steps: number of steps of training; static.
        batch_size: pixels a step, drawn with replacement; a tenth of all by default; static.
        learning_rate: a scalar, or a schedule of optax.
        width: of the layers, see `networks.PGMSU`; static.
        latent: size of the code of a pixel; static.
        keep: the "last" or the "best" network (of the lowest loss of its batch); static.
        optimizer: in place of Adam with this learning rate.
        normalization: as in `edaa`.
        image_shape: not used; the method sees each pixel on its own.
        mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite are left out anyway.
        progress: called on the host as `progress(done, total)` steps.

    Returns:
        `Unmixing` with the mean endmembers (L, p) of the normalized pixels, abundances (p, N) or maps (NaN where
        masked), and in `diagnostics` the "pixel_endmembers" (N, L, p) (of the mean code; NaN where masked), the "loss"
        of each step, "num_steps" and the trained "model".

    Raises:
        ValueError: for a setting out of range, an unknown name, or pixels of a wrong shape.

    Source: S. Shi, M. Zhao, L. Zhang, Y. Altmann, J. Chen, "Probabilistic generative model for hyperspectral unmixing
    accounting for endmember variability", 2022.

    Example:
        >>> import jax
        >>> from jaxopt_thoth import unmixing
        >>> scene = unmixing.simulate_scene(jax.random.key(0), height=9, width=8, num_bands=20)
        >>> found = unmixing.pgmsu(scene, 3, key=jax.random.key(1), steps=3, width=1)
        >>> found.abundances.shape, found.diagnostics["pixel_endmembers"].shape
        ((3, 72), (72, 20, 3))
    """
    for name, value in (("divergence", divergence), ("volume", volume), ("anchor", anchor)):
        require_nonnegative(value, name)
    require_no_average(keep)
    task = read_network(
        pixels, mask, normalization, image_shape, num_endmembers=num_endmembers, spatial=False, width=width
    )
    count, bands = task.rows.shape
    size = require_batch(max(count // 10, 2) if batch_size is None else batch_size, 2)
    start_key, model_key, train_key = jax.random.split(key, 3)
    _, first = vca(task.pixels, num_endmembers, key=start_key, mask=task.used)
    weigh = lambda value: _tree.setting(value).astype(task.rows.dtype)
    training = train(
        PGMSU(bands, num_endmembers, key=model_key, width=width, latent=latent, dtype=task.rows.dtype),
        _Evidence(
            task.rows,
            used_first(task),
            task.rows[first].T,
            weigh(divergence),
            weigh(volume),
            weigh(anchor),
            size,
        ),
        key=train_key,
        steps=steps,
        learning_rate=learning_rate,
        optimizer=optimizer,
        keep=keep,
        progress=progress,
    )
    seen = training.model(task.rows)
    spectra = seen.endmembers * task.unit
    share = task.weights[:, None, None]
    mean = jnp.sum(spectra * share, axis=0)
    each = jnp.where(task.used[:, None, None], spectra, jnp.nan)
    return from_training(task, mean, seen.abundances, training, pixel_endmembers=each, model=training.model)


def require_no_average(keep: Keep) -> None:
    """Raise `ValueError` where the outputs of a step are those of a batch."""
    if keep == "average":
        raise ValueError('keep must be "last" or "best" for a method that draws parts of the scene, got "average".')


def require_batch(size: int, least: int) -> int:
    """The size, where it is at least `least`; else `ValueError`."""
    if size < least:
        raise ValueError(f"batch_size must be at least {least}, got {size}.")
    return size


class _Evidence(eqx.Module):
    rows: Float[Array, "N L"]
    draw: Draw
    first: Float[Array, "L p"]
    divergence: Scalar
    volume: Scalar
    anchor: Scalar
    batch_size: int = eqx.field(static=True)

    def __call__(self, model: PGMSU, key: PRNGKeyArray, done: Scalar) -> tuple[Scalar, None]:
        batch_key, code_key = jax.random.split(key)
        rows = draw_rows(self.draw, self.rows, self.batch_size, batch_key)
        seen = model(rows, key=code_key)
        per_pixel = lambda x: jnp.sum(x) / self.batch_size
        fit = per_pixel((rows - jnp.einsum("nlp,np->nl", seen.endmembers, seen.abundances)) ** 2)
        logs = seen.log_variance
        divergence = jnp.maximum(per_pixel(seen.mean**2 + jnp.exp(logs) - logs - 1) / 2, 0.2)
        drift = per_pixel((seen.endmembers - self.first[None]) ** 2)
        spread = jnp.mean((seen.endmembers - jnp.mean(seen.endmembers, axis=2, keepdims=True)) ** 2)
        phase = jnp.where(done < 0.5, self.anchor * drift, self.volume * spread)
        return fit + self.divergence * divergence + phase, None
