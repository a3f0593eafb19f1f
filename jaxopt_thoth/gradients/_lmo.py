import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Scalar
from .._validate import known_leaves
from ._wide import wide


class AbstractLMO(eqx.Module):
    """A linear minimization oracle: called with s, the point of a norm ball where `<s, d>` is least.

    `lmo(s) = argmin_{norm(d) <= radius} <s, d>`, so that `<s, lmo(s)> = -radius * dual_norm(s)`; it is invariant under
    positive factors of s, and zero at zero. It is computed in float32 at least, and returned in the dtype of s. A
    norm of matrices takes an array of more axes for the matrix of its output axis against all of the others.
    """

    radius: eqx.AbstractVar[Scalar]

    @abc.abstractmethod
    def direction(self, s: Array) -> Array:
        """The minimizer over the unit ball; s is in float32 at least."""

    @abc.abstractmethod
    def norm(self, x: Array) -> Scalar:
        """The norm whose ball it is."""

    @abc.abstractmethod
    def dual_norm(self, s: Array) -> Scalar:
        """The largest `<s, d>` over the unit ball."""

    def __call__(self, s: Array) -> Array:
        array = wide(s)
        point = self.radius.astype(array.dtype) * self.direction(array)
        return point.astype(jnp.result_type(s))


def radius_setting(radius: ArrayLike) -> Scalar:
    for known in known_leaves(radius):
        if known.ndim or not known > 0:
            raise ValueError(f"radius must be a positive number, got {known}; pass a value > 0.")
    return _tree.setting(radius)


def as_matrix(s: Array, output_axis: int, name: str) -> Float[Array, "out in"]:
    """The output axis against all of the others."""
    if s.ndim < 2:
        raise ValueError(
            f"{name} is for matrices, got the shape {s.shape}; give vectors an oracle of their own, for example "
            "LInfLMO(), in a pytree of oracles."
        )
    return jnp.moveaxis(s, output_axis, 0).reshape(s.shape[output_axis], -1)


def from_matrix(matrix: Array, s: Array, output_axis: int) -> Array:
    shape = list(s.shape)
    return jnp.moveaxis(matrix.reshape(shape.pop(output_axis), *shape), 0, output_axis)


def unit(s: Array, size: Array) -> Array:
    """`s / size`, and zero where the size is zero."""
    positive = size > 0
    return jnp.where(positive, s / jnp.where(positive, size, 1), 0)
