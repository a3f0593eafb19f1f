from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._types import Scalar
from ._lmo import AbstractLMO, as_matrix, from_matrix, radius_setting, unit
from ._wide import wide


class NuclearLMO(AbstractLMO):
    """Linear minimization over matrices of bounded sum of singular values, `-radius * u v'` of the largest of them.

    A step of rank one. "svd" is exact. "power" takes power iteration from a fixed vector of scattered entries: a point
    of the ball whose value falls short of the best one by about `(s2 / s1)^(4 num_steps)`, s1 and s2 the largest
    singular values, and then so does `dual_norm`.

    M. Jaggi, "Revisiting Frank-Wolfe: projection-free sparse convex optimization", 2013.

    Args:
        radius: of the ball.
        method: "svd" or "power".
        num_steps: number of power iterations, of two products with the matrix each.
        output_axis: axis of the outputs, against which all others are one; plays no part for a matrix.

    Raises:
        ValueError: if a setting is out of range; for an array of less than two axes.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> print(jt.gradients.NuclearLMO()(jnp.diag(jnp.array([1.0, -2.0]))).round(6) + 0.0)
        [[0. 0.]
         [0. 1.]]
    """

    radius: Scalar
    method: Literal["svd", "power"] = eqx.field(static=True)
    num_steps: int = eqx.field(static=True)
    output_axis: int = eqx.field(static=True)

    def __init__(
        self,
        radius: ArrayLike = 1.0,
        method: Literal["svd", "power"] = "svd",
        *,
        num_steps: int = 20,
        output_axis: int = 0,
    ):
        if method not in ("svd", "power"):
            raise ValueError(f'method must be "svd" or "power", got {method!r}.')
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {num_steps}.")
        self.radius = radius_setting(radius)
        self.method = method
        self.num_steps = num_steps
        self.output_axis = output_axis

    def direction(self, s: Array) -> Array:
        matrix = as_matrix(s, self.output_axis, "NuclearLMO")
        left, right, _ = self._leading(matrix)
        return from_matrix(-left[:, None] @ right[None, :], s, self.output_axis)

    def norm(self, x: Array) -> Scalar:
        return jnp.sum(jnp.linalg.svd(as_matrix(wide(x), self.output_axis, "NuclearLMO"), compute_uv=False))

    def dual_norm(self, s: Array) -> Scalar:
        return self._leading(as_matrix(wide(s), self.output_axis, "NuclearLMO"))[2]

    def _leading(self, matrix: Array) -> tuple[Array, Array, Scalar]:
        if self.method == "svd":
            left, values, right = jnp.linalg.svd(matrix, full_matrices=False)
            some = (values[0] > 0).astype(matrix.dtype)
            return some * left[:, 0], right[0], values[0]
        size = _tree.stable_norm(matrix)
        scaled = unit(matrix, size)
        # Squares of whole numbers times an irrational one come close to no pattern that a matrix may have.
        places = jnp.arange(1, matrix.shape[1] + 1).astype(matrix.dtype)
        start = jnp.cos(2**0.5 * places * places)

        def turn(_: int, right: Array) -> Array:
            return _unit_vector(scaled.T @ _unit_vector(scaled @ right))

        right = jax.lax.fori_loop(0, self.num_steps, turn, _unit_vector(start))
        image = scaled @ right
        length = _tree.norm(image)
        return unit(image, length), right, size * length


def _unit_vector(vector: Array) -> Array:
    return unit(vector, _tree.norm(vector))
