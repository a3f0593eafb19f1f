"""What UnDIP and SUnCNN share: a network that makes abundances out of noise, for spectra that are given."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from ..._types import Scalar
from ._network_input import NetworkInput, weighted_mean
from ._train import Keep, Rate, train, Training
from ._undip_net import UnDIPNet


class FitOfSpectra(eqx.Module):
    """Mean squared residual of the pixels in use, over bands too."""

    noise: Float[Array, "H W L"]
    rows: Float[Array, "N L"]
    weights: Float[Array, " N"]
    spectra: Float[Array, "L p"]

    def __call__(self, model: UnDIPNet, key: PRNGKeyArray, done: Scalar) -> tuple[Scalar, Array]:
        maps = model(self.noise).reshape(self.rows.shape[0], -1)
        residual = self.rows - jnp.matmul(maps, self.spectra.T)
        return weighted_mean(jnp.mean(residual**2, axis=1), self.weights), maps


def fit_image_prior(
    task: NetworkInput,
    spectra: Float[Array, "L p"],
    *,
    key: PRNGKeyArray,
    steps: int,
    learning_rate: Rate,
    width: int,
    keep: Keep,
    smoothing: Any,
    optimizer: optax.GradientTransformation | None,
    progress: Callable[[Any, Any], None] | None,
) -> tuple[Float[Array, "N p"], Training]:
    """Abundances as rows, for spectra in the unit of the task."""
    noise_key, model_key, train_key = jax.random.split(key, 3)
    bands, dtype = task.rows.shape[1], task.rows.dtype
    noise = jax.random.uniform(noise_key, (*task.size, bands), dtype)
    model = UnDIPNet(bands, spectra.shape[1], key=model_key, width=width, dtype=dtype)
    training = train(
        model,
        FitOfSpectra(noise, task.rows, task.weights, spectra),
        key=train_key,
        steps=steps,
        learning_rate=learning_rate,
        optimizer=optimizer,
        keep=keep,
        smoothing=smoothing,
        progress=progress,
    )
    if keep == "average":
        return training.average, training
    return training.model(noise).reshape(task.rows.shape[0], -1), training
