import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Scalar


def weighted_direction_distance(u: Float[ArrayLike, "m d"], u_ref: Float[ArrayLike, "k d"]) -> Scalar:
    """How far the directions of hidden units are from those of reference units: 0 if each is among them, at most 2.

    The distance `sqrt(2 - 2 cos)` from each row of `u` to the nearest direction of `u_ref`, averaged with weights
    proportional to the squared norms of the rows of `u`. Leave biases out. Rows of zero length have no weight, and no
    direction to be near to.

    Args:
        u: weights of the units, of shape (m, d).
        u_ref: those of the reference, of shape (k, d).

    Raises:
        ValueError: if the arguments are no matrices of equally many columns, or `u_ref` has no row.

    L. Chizat and F. Bach, "Implicit bias of gradient descent for wide two-layer neural networks trained with the
    logistic loss", 2020, for the view of a layer as a measure over directions.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import solvers
        >>> units = jnp.array([[3.0, 0.0], [0.0, 1.0]])
        >>> print(solvers.weighted_direction_distance(units, jnp.array([[2.0, 0.0]])).round(4))
        0.1414
    """
    here, there = _tree.setting(u), _tree.setting(u_ref)
    if here.ndim != 2 or there.ndim != 2 or here.shape[1] != there.shape[1] or not there.shape[0]:
        raise ValueError(f"u and u_ref must have shapes (m, d) and (k, d) with k > 0, got {here.shape}, {there.shape}.")
    units, masses = _directions(here)
    references, lengths = _directions(there)
    cosines = jnp.matmul(units, references.T, precision=lax.Precision.HIGHEST)
    nearest = jnp.argmax(jnp.where((lengths > 0)[None], cosines, -jnp.inf), axis=1)
    # The difference of the two unit vectors: by way of the cosine, half of the digits of a small distance are lost.
    distances = _tree.safe_sqrt(jnp.sum((units - references[nearest]) ** 2, axis=1))
    total = jnp.sum(masses)
    return jnp.sum(masses * distances) / jnp.where(total > 0, total, 1)


def _directions(rows: Array) -> tuple[Array, Array]:
    """Rows of unit length, zero where there is none, and their squared lengths."""
    squares = jnp.sum(rows**2, axis=1)
    lengths = jnp.sqrt(jnp.where(squares > 0, squares, 1))
    return jnp.where(squares > 0, 1 / lengths, 0)[:, None] * rows, squares
