"""What functions of one input become on a batch of rows, and the checks of batches."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .. import _tree
from .._types import Scalar


Batch = tuple[Any, ...]
# Arguments: hyper-parameters, prediction, then the row of each part of the batch.
PointwiseLoss = Callable[..., Scalar]


def as_batch(batch: Any, name: str) -> Batch:
    """A tuple of pytrees of arrays, or `ValueError` unless they share one number of rows, at least one."""
    if not isinstance(batch, tuple | list) or not batch:
        raise ValueError(f"{name} must be a tuple (inputs, ...) of arrays, got {type(batch).__name__}.")
    batch = jax.tree.map(jnp.asarray, tuple(batch))
    shapes = [leaf.shape for leaf in jax.tree.leaves(batch)]
    if not shapes or any(len(shape) == 0 for shape in shapes) or len({shape[0] for shape in shapes}) != 1:
        raise ValueError(f"the arrays of {name} must share their first axis, got shapes {shapes}; give one row each.")
    if shapes[0][0] == 0:
        raise ValueError(f"{name} has no rows; pass at least one example.")
    return batch


def num_rows(batch: Any) -> int:
    return jax.tree.leaves(batch)[0].shape[0]


def predict(model: Callable[[Any], Array], inputs: Any) -> Array:
    """Predictions (n, ...) of a model of one input; raises `TypeError` where it returns anything but an array."""
    values = jax.vmap(model)(inputs)
    if not isinstance(values, jax.Array) or not jnp.issubdtype(values.dtype, jnp.inexact):
        raise TypeError(f"model must map one input to one floating-point array, got {jax.tree.structure(values)}.")
    return values


def flat_rows(values: Array) -> Array:
    return values.reshape(values.shape[0], -1)


def loss_rows(loss: PointwiseLoss, hyper: Any, values: Array, batch: Batch, name: str) -> Array:
    """Losses (n,) of predictions (n, ...); raises `ValueError` where the loss of one row is not a scalar."""
    rows = jax.vmap(lambda value, example: loss(hyper, value, *example))(values, batch)
    if rows.ndim != 1:
        raise ValueError(f"{name} must return a scalar for each example, got shape {rows.shape[1:]}; sum over it.")
    return rows


def mean_loss(loss: PointwiseLoss, hyper: Any, values: Array, batch: Batch, name: str) -> Scalar:
    return jnp.mean(loss_rows(loss, hyper, values, batch, name))


def relative_residual(residual: Any, scale: Any) -> Scalar:
    """Norm of the residual over that of what it is compared with, 0 where both vanish."""
    top, bottom = _tree.norm(residual), _tree.norm(scale)
    return jnp.where(top > 0, top / jnp.where(bottom > 0, bottom, 1), jnp.where(jnp.isnan(top), top, 0))
