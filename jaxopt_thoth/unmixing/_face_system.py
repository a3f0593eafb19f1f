"""What the exact solvers over the simplex share: a Gram matrix that is definite, with unchanged minimizers."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Scalar


def curvature(gram: Float[Array, "p p"]) -> Scalar:
    """Mean diagonal entry of a Gram matrix, 1 when it is zero: the unit in which gradients are judged."""
    mean = jnp.trace(gram) / gram.shape[0]
    return jnp.where(mean > 0, mean, 1)


def positive_on_simplex(gram: Float[Array, "p p"]) -> Float[Array, "p p"]:
    """The Gram matrix plus a constant: the same minimizers on the simplex, where the weights sum to one.

    It is definite on a face as soon as the vertices are affinely independent, while the original also fails when
    they are linearly dependent (a shade endmember of zeros, or more endmembers than bands plus one).
    """
    return gram + curvature(gram)
