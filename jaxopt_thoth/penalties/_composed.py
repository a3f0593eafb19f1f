from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Scalar
from .._validate import concrete, require_positive
from ..operators import AbstractOperator, as_operator, DenseOperator
from ._base import AbstractPenalty
from ._parts import slack
from ._wrapper import AbstractWrapper


class Composed(AbstractWrapper):
    """A penalty after a semi-orthogonal operator, `g(A x)` with `A A' = scale * I`.

    `operator` (m, n) is an array, a sparse matrix, a lineax operator or one of `operators`: orthogonal transforms,
    tight frames seen from the analysis side, sums over disjoint blocks, selections of coordinates. `x` is a vector (n,)
    or a matrix (n, k). The prox costs one product with A, one with A' and one prox of g; it is the prox only on the
    operators with the property, along which derivatives in `operator` and `scale` must go. The conjugate is infinite
    off the range of A', where `dual_scale` is 0. There is no `minimal_subgradient`: a product with A is never zero
    exactly, and so hides the kinks of g. Raises `ValueError` for a known scale that is not positive, or for an
    operator known not to have the property (a dense one is checked in full, others on two vectors).

    Combettes and Pesquet, "A Douglas-Rachford splitting approach to nonsmooth convex variational signal recovery",
    2007, proposition 11.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> of_sum = penalties.Composed(penalties.NonNegative(), jnp.array([[1.0, 1.0]]), scale=2.0)
        >>> of_sum.prox(jnp.array([1.0, -3.0]), step=1.0).tolist()
        [2.0, -2.0]
    """

    operator: AbstractOperator
    scale: Scalar

    is_separable: ClassVar[bool] = False

    def __init__(self, penalty: AbstractPenalty, operator: Any, scale: ArrayLike = 1.0):
        require_positive(scale, "scale")
        self.penalty = penalty
        self.operator = as_operator(operator)
        self.scale = _tree.setting(scale)
        _require_semi_orthogonal(self.operator, self.scale)

    def _image(self, x: Array) -> Array:
        if x.ndim not in (1, 2) or x.shape[0] != self.operator.shape[1]:
            need = self.operator.shape[1]
            raise ValueError(
                f"x must be a vector ({need},) or a matrix ({need}, k) like operator, got shape {x.shape}."
            )
        return self.operator.matvec(x.astype(self.operator.dtype)).astype(x.dtype)

    def _back(self, image: Array) -> Array:
        """`A' image / scale`, the point of least norm with this image."""
        point = self.operator.rmatvec(image.astype(self.operator.dtype)).astype(image.dtype)
        return point / self.scale.astype(image.dtype)

    def _dual(self, u: Array) -> tuple[Array, Array]:
        """The dual variable `A u / scale` of g, and what of u is off the range of A'."""
        image = self._image(u)
        return image / self.scale.astype(u.dtype), u - self._back(image)

    def _is_inside(self, u: Array, outside: Array) -> Array:
        return jnp.max(jnp.abs(outside), initial=0) <= 16 * slack(u, jnp.max(jnp.abs(u), initial=0))

    def value(self, x: Float[Array, "n *k"]) -> Scalar:
        return self.penalty.value(self._image(x))

    def prox(self, x: Float[Array, "n *k"], step: ArrayLike) -> Float[Array, "n *k"]:
        image = self._image(x)
        inner = self.penalty.prox(image, self.scale.astype(x.dtype) * _tree.match(step, x))
        # A square operator leaves nothing of x, and zeros stay zeros.
        square = self.operator.shape[0] == self.operator.shape[1]
        return self._back(inner) if square else x + self._back(inner - image)

    def conjugate(self, dual: Float[Array, "n *k"]) -> Scalar:
        inner, outside = self._dual(dual)
        return jnp.where(self._is_inside(dual, outside), self.penalty.conjugate(inner), jnp.inf)

    def dual_scale(self, dual: Float[Array, "n *k"]) -> Scalar:
        inner, outside = self._dual(dual)
        return jnp.where(self._is_inside(dual, outside), self.penalty.dual_scale(inner), 0)

    def critical_strength(self, gradient_at_zero: Float[Array, "n *k"]) -> Scalar:
        inner, outside = self._dual(gradient_at_zero)
        critical = self.penalty.critical_strength(inner)
        return jnp.where(self._is_inside(gradient_at_zero, outside), critical, jnp.inf)


def _require_semi_orthogonal(operator: AbstractOperator, scale: Array) -> None:
    """Raise `ValueError` if `A A'` is known not to be `scale` times the identity."""
    rows = operator.shape[0]
    if isinstance(operator, DenseOperator):
        probes = jnp.eye(rows, dtype=operator.dtype)
    else:
        # Frequencies that no fast transform shares.
        phases = np.arange(rows)[:, None] * np.array([1.0, 2.0**0.5])[None, :]
        probes = jnp.asarray(np.cos(phases), operator.dtype)
    held = jax.tree.map(jax.lax.stop_gradient, operator.matvec(operator.rmatvec(probes)))
    images, factor = concrete(held), concrete(jax.lax.stop_gradient(scale))
    if images is None or factor is None:
        return
    unit = 1000 * float(jnp.finfo(operator.dtype).eps) * max(operator.shape) ** 0.5
    if not np.abs(images - factor * np.asarray(probes)).max(initial=0) <= unit * factor:
        size = float((images * np.asarray(probes)).sum() / max((np.asarray(probes) ** 2).sum(), 1e-30))
        raise ValueError(
            f"operator must satisfy A A' = scale * I with scale = {factor}, and does not (the mean of the diagonal is "
            f"{size:.6g}); pass another scale, or keep A in the smooth term or a splitting method."
        )
