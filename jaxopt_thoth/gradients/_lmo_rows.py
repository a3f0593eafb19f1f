import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._types import Scalar
from ._lmo import AbstractLMO, as_matrix, from_matrix, radius_setting, unit
from ._wide import wide


class RowLMO(AbstractLMO):
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

    radius: Scalar
    output_axis: int = eqx.field(static=True)

    def __init__(self, radius: ArrayLike = 1.0, output_axis: int = 0):
        self.radius = radius_setting(radius)
        self.output_axis = output_axis

    def direction(self, s: Array) -> Array:
        matrix = as_matrix(s, self.output_axis, "RowLMO")
        sizes = jnp.broadcast_to(_norms(matrix, 1)[:, None], matrix.shape)
        return from_matrix(-unit(matrix, sizes), s, self.output_axis)

    def norm(self, x: Array) -> Scalar:
        return jnp.max(_norms(as_matrix(wide(x), self.output_axis, "RowLMO"), 1), initial=0)

    def dual_norm(self, s: Array) -> Scalar:
        return jnp.sum(_norms(as_matrix(wide(s), self.output_axis, "RowLMO"), 1))


class ColumnLMO(AbstractLMO):
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

    radius: Scalar
    output_axis: int = eqx.field(static=True)

    def __init__(self, radius: ArrayLike = 1.0, output_axis: int = 0):
        self.radius = radius_setting(radius)
        self.output_axis = output_axis

    def direction(self, s: Array) -> Array:
        matrix = as_matrix(s, self.output_axis, "ColumnLMO")
        sizes = jnp.broadcast_to(_norms(matrix, 0)[None, :], matrix.shape)
        return from_matrix(-unit(matrix, sizes), s, self.output_axis)

    def norm(self, x: Array) -> Scalar:
        return jnp.max(_norms(as_matrix(wide(x), self.output_axis, "ColumnLMO"), 0), initial=0)

    def dual_norm(self, s: Array) -> Scalar:
        return jnp.sum(_norms(as_matrix(wide(s), self.output_axis, "ColumnLMO"), 0))


def _norms(matrix: Array, axis: int) -> Array:
    return _tree.safe_sqrt(jnp.sum(matrix * matrix, axis))
