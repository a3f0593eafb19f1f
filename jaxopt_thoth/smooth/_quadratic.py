from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Scalar
from .._validate import concrete
from ..operators import AbstractOperator, as_operator, DenseOperator, spectral_norm
from ._base import AbstractSmooth


class Quadratic(AbstractSmooth):
    """The quadratic `1/2 <w, Q w> + <q, w> + constant`.

    Args:
        matrix: symmetric positive semidefinite Q, (p, p); dense, sparse, or a lineax operator.
        vector: q, (p,) or (p, k) for k columns at once; zero by default.
        constant: added to the value.

    Raises:
        ValueError: if Q is not square, a dense one not symmetric, or `vector` does not fit it.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import smooth
        >>> term = smooth.Quadratic(jnp.diag(jnp.array([1.0, 2.0])), jnp.array([-1.0, 0.0]))
        >>> print(term.value(jnp.array([1.0, 1.0])))
        0.5
    """

    matrix: AbstractOperator
    vector: Float[Array, "p *k"]
    constant: Scalar

    def __init__(self, matrix: Any, vector: ArrayLike | None = None, constant: ArrayLike = 0.0):
        self.matrix = as_operator(matrix)
        rows, columns = self.matrix.shape
        if rows != columns:
            raise ValueError(f"matrix must be square (p, p), got {(rows, columns)}.")
        if isinstance(self.matrix, DenseOperator):
            _require_symmetric(self.matrix.matrix)
        dtype = self.matrix.dtype
        self.vector = jnp.zeros((rows,), dtype) if vector is None else jnp.asarray(vector, dtype)
        if self.vector.shape[:1] != (rows,):
            raise ValueError(f"vector must have {rows} rows like matrix, got shape {self.vector.shape}.")
        self.constant = jnp.asarray(constant, dtype)

    @property
    def has_full_domain(self) -> bool:
        return True

    def value(self, params: Float[Array, "p *k"]) -> Scalar:
        return self.value_and_grad_at(params, self.image(params))[0]

    def image(self, params: Float[Array, "p *k"]) -> Float[Array, "p *k"]:
        return self.matrix.matvec(params)

    def value_and_grad_at(self, params: Float[Array, "p *k"], image: Any) -> tuple[Scalar, Array]:
        value = _tree.vdot(params, image) / 2 + _tree.vdot(self.vector, params) + self.constant
        return value, image + self.vector

    def hvp(self, params: Float[Array, "p *k"], vector: Float[Array, "p *k"]) -> Array:
        return self.matrix.matvec(vector)

    def hessian_block(self, params: Float[Array, " p"], indices: Array) -> Float[Array, "k k"]:
        """Rows and columns `indices` of the Hessian."""
        if isinstance(self.matrix, DenseOperator):
            return self.matrix.matrix[indices[:, None], indices]
        return self.matrix.columns(indices)[indices]

    def lipschitz(self) -> Scalar:
        return spectral_norm(self.matrix)

    def divergence(self, new, new_image, old, old_image, old_value, old_gradient) -> tuple[Scalar, Scalar]:
        change, image_change = new - old, new_image - old_image
        product, squared_change, squared_new, squared_image_change = _tree.inner_products(
            (change, image_change), (change, change), (new_image, new_image), (image_change, image_change)
        )
        size = 2 * _tree.safe_sqrt(squared_new) + _tree.safe_sqrt(squared_image_change)
        return product / 2, _tree.safe_sqrt(squared_change) * 4 * jnp.finfo(old_value.dtype).eps * size

    def check(self, params: Any) -> Any:
        if not isinstance(params, jax.Array) or params.shape != self.vector.shape:
            got = jax.tree.map(jnp.shape, params)
            raise ValueError(f"params must be an array of shape {self.vector.shape} like vector, got {got}.")
        return params.astype(self.vector.dtype)


def _require_symmetric(matrix: Float[Array, "p p"]) -> None:
    known = concrete(matrix)
    if known is None or not np.isfinite(known).all():
        return
    size = np.abs(known).max(initial=0)
    if np.abs(known - known.T).max(initial=0) > 100 * float(jnp.finfo(known.dtype).eps) * size:
        raise ValueError("matrix must be symmetric; pass (Q + Q.T) / 2, which has the same quadratic form.")
