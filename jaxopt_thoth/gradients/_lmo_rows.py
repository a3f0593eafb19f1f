from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._types import Scalar
from ._lmo import AbstractLMO, as_matrix, from_matrix, radius_setting, unit
from ._wide import wide


class _LineLMO(AbstractLMO):
    """Each line of a matrix normalized on its own."""

    # The axis along which a line runs.
    along: ClassVar[int]
    radius: Scalar
    output_axis: int = eqx.field(static=True)

    def __init__(self, radius: ArrayLike = 1.0, output_axis: int = 0):
        self.radius = radius_setting(radius)
        self.output_axis = output_axis

    def direction(self, s: Array) -> Array:
        matrix = self._matrix(s)
        sizes = jnp.broadcast_to(jnp.expand_dims(self._sizes(matrix), self.along), matrix.shape)
        return from_matrix(-unit(matrix, sizes), s, self.output_axis)

    def norm(self, x: Array) -> Scalar:
        return jnp.max(self._sizes(self._matrix(wide(x))), initial=0)

    def dual_norm(self, s: Array) -> Scalar:
        return jnp.sum(self._sizes(self._matrix(wide(s))))

    def _matrix(self, x: Array) -> Array:
        return as_matrix(x, self.output_axis, type(self).__name__)

    def _sizes(self, matrix: Array) -> Array:
        return _tree.safe_sqrt(jnp.sum(matrix * matrix, self.along))


class RowLMO(_LineLMO):
    """Linear minimization over matrices with rows of bounded Euclidean norm: each row normalized on its own.

    A row is what belongs to one index of the output axis. The norm is that of the operator from l2 to the maximum
    norm, the largest norm of a row; its dual is the sum of the norms of the rows. A row of zeros stays zero.

    J. Bernstein and L. Newhouse, "Old optimizer, new norm: an anthology", 2024.

    Args:
        radius: of the ball.
        output_axis: axis of the outputs: 0 for weights (out, in) as of equinox, 1 for (in, out).

    Raises:
        ValueError: if the radius is not positive; for an array of less than two axes.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> print(jt.gradients.RowLMO()(jnp.array([[3.0, -4.0], [0.0, 2.0]])))
        [[-0.6  0.8]
         [-0.  -1. ]]
    """

    along: ClassVar[int] = 1


class ColumnLMO(_LineLMO):
    """Linear minimization over matrices with columns of bounded Euclidean norm: each column normalized on its own.

    A column is what belongs to one index of the inputs. The norm is that of the operator from l1 to l2, the largest
    norm of a column, which suits one-hot inputs (embeddings); its dual is the sum of the norms of the columns.

    J. Bernstein and L. Newhouse, "Old optimizer, new norm: an anthology", 2024.

    Args:
        radius: of the ball.
        output_axis: axis of the outputs: 0 for weights (out, in) as of equinox, 1 for (in, out).

    Raises:
        ValueError: if the radius is not positive; for an array of less than two axes.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> print(jt.gradients.ColumnLMO()(jnp.array([[3.0, -2.0], [4.0, 0.0]])))
        [[-0.6  1. ]
         [-0.8 -0. ]]
    """

    along: ClassVar[int] = 0
