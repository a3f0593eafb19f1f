"""Total variation of cubes as lengths of the differences, a penalty of a linear map."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Scalar
from ..penalties import AbstractPenalty, GroupLasso
from ._differences import differences


def edges(cube: Float[Array, "H W L"], periodic: bool, coupled: bool) -> Float[Array, "rows k"]:
    """The differences whose lengths are summed, one row each: of a pixel, or of a band of a pixel."""
    steps = differences(cube, periodic)
    rows = jnp.moveaxis(steps, 0, -1)
    return rows.reshape(-1, 2 * cube.shape[2] if coupled else 2)


def edge_lengths(cube: Float[Array, "H W L"], strength: Scalar, coupled: bool) -> AbstractPenalty:
    """The penalty of `edges`."""
    count = cube.shape[0] * cube.shape[1] * (1 if coupled else cube.shape[2])
    return GroupLasso(strength, jnp.arange(count), num_groups=count)
