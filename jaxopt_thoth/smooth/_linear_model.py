from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Shaped

from .. import _tree
from .._types import Scalar
from .._validate import concrete
from ..losses import AbstractLoss, Multinomial
from ..operators import AbstractOperator, as_operator, DenseOperator, RowScaled, spectral_norm
from ._base import AbstractSmooth
from ._quadratic import Quadratic


class LinearModel(AbstractSmooth):
    """Mean over rows of a loss of a linear score, `1/n sum_i loss((A w)_i, target_i)`, or a weighted mean.

    The mean makes a penalty's strength agree with scikit-learn's `alpha`. Parameters are (p,), or (p, k) for k
    outputs, whose losses add up within a row.

    Args:
        loss: pointwise loss, for example `losses.Squared()`.
        design: the matrix A, (n, p): dense, SciPy sparse, BCOO, or a lineax operator.
        targets: (n,) or (n, k), as the loss takes them.
        weights: of the rows, (n,), nonnegative; only their ratios matter. None weighs all rows alike.

    Raises:
        ValueError: if the rows of `targets` and `design` differ, the targets are not what the loss takes, or `weights`
            are not one nonnegative number a row, some above zero.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import losses, smooth
        >>> model = smooth.LinearModel(losses.Squared(), jnp.eye(2), jnp.array([1.0, 2.0]))
        >>> print(model.value(jnp.zeros(2)))
        1.25
    """

    loss: AbstractLoss
    design: AbstractOperator
    targets: Shaped[Array, "n *k"]
    weights: Float[Array, " n"] | None

    def __init__(self, loss: AbstractLoss, design: Any, targets: ArrayLike, weights: ArrayLike | None = None):
        self.loss = loss
        self.design = as_operator(design)
        self.targets = jnp.asarray(targets)
        if self.targets.shape[:1] != self.design.shape[:1]:
            raise ValueError(
                f"targets must have {self.design.shape[0]} rows like design, got shape {self.targets.shape}."
            )
        loss.check_targets(self.targets)
        if jnp.issubdtype(self.targets.dtype, jnp.inexact) or not isinstance(loss, Multinomial):
            self.targets = self.targets.astype(self.design.dtype)
        self.weights = None if weights is None else _as_weights(weights, self.design)

    @property
    def num_rows(self) -> int:
        """Number of rows n of the design."""
        return self.design.shape[0]

    @property
    def row_weights(self) -> Float[Array, " n"]:
        """The share of each row in the mean, (n,): its weight over the sum of all."""
        if self.weights is None:
            return jnp.full((self.num_rows,), 1 / self.num_rows, self.design.dtype)
        return self.weights / jnp.sum(self.weights)

    def share(self, rows: Float[Array, "n *k"]) -> Float[Array, "n *k"]:
        """Values of the rows, each times its share in the mean."""
        if self.weights is None:
            return rows / self.num_rows
        return rows * _tree.along_rows(self.row_weights, rows)

    @property
    def has_full_domain(self) -> bool:
        return self.loss.has_bounded_curvature

    def value(self, params: Float[Array, "p *k"]) -> Scalar:
        return self._value(self.image(params))

    def _value(self, scores: Array) -> Scalar:
        losses = self.loss(scores, self.targets)
        if self.weights is not None:
            return _tree.inner_products((self.share(jnp.ones_like(losses)), losses))[0]
        (total,) = _tree.inner_products((losses, jnp.ones_like(losses)))
        return total / self.num_rows

    def image(self, params: Float[Array, "p *k"]) -> Float[Array, "n *k"]:
        """The scores A w, (n,) or (n, k)."""
        return self.design.matvec(params)

    def value_and_grad_at(self, params: Any, image: Float[Array, "n *k"]) -> tuple[Scalar, Array]:
        slope = self.share(self.loss.derivative(image, self.targets))
        return self._value(image), self.design.rmatvec(slope)

    def hvp(self, params: Float[Array, "p *k"], vector: Float[Array, "p *k"]) -> Array:
        return self.design.rmatvec(self.share(self._curved(params, self.image(vector))))

    def curvature_along(self, params: Float[Array, "p *k"], vector: Float[Array, "p *k"]) -> Scalar:
        image = self.image(vector)
        curved = self._curved(params, image)
        if self.weights is not None:
            return _tree.inner_products((image, self.share(curved)))[0]
        (product,) = _tree.inner_products((image, curved))
        return product / self.num_rows

    def _curved(self, params: Array, scores: Array) -> Array:
        slope = lambda scores: self.loss.derivative(scores, self.targets)
        return jax.jvp(slope, (self.image(params),), (scores,))[1]

    def hessian_block(self, params: Float[Array, " p"], indices: Array) -> Float[Array, "k k"]:
        """Rows and columns `indices` of the Hessian, from those columns of the design alone."""
        columns = self.design.columns(indices)
        slope = lambda scores: self.loss.derivative(scores, self.targets)
        scores = self.image(params)
        curvature = self.share(jax.jvp(slope, (scores,), (jnp.ones_like(scores),))[1])
        return jnp.matmul(columns.T, curvature[:, None] * columns, precision=jax.lax.Precision.HIGHEST)

    def lipschitz(self) -> Scalar | None:
        if not self.loss.has_bounded_curvature:
            return None
        curvature = jnp.asarray(self.loss.curvature, self.design.dtype)
        if self.weights is None:
            return curvature * spectral_norm(self.design) ** 2 / self.num_rows
        factors = _tree.safe_sqrt(self.row_weights)
        dense = isinstance(self.design, DenseOperator)
        weighted = self.design.matrix * factors[:, None] if dense else RowScaled(self.design, factors)  # type: ignore[attr-defined]
        return curvature * spectral_norm(weighted) ** 2

    def divergence(self, new, new_image, old, old_image, old_value, old_gradient) -> tuple[Scalar, Scalar]:
        eps = jnp.finfo(old_value.dtype).eps
        losses = self.loss.divergence(new_image, old_image, self.targets)
        n = 1 if self.weights is not None else self.num_rows
        weigh = self.share if self.weights is not None else lambda rows: rows
        if not self.loss.has_bounded_curvature:
            return jnp.sum(weigh(losses)) / n, 8 * eps * (1 + jnp.abs(old_value))
        curvature = jnp.asarray(self.loss.curvature, old_value.dtype)
        difference = new_image - old_image
        squared_change, squared_new = _tree.inner_products(
            (weigh(difference), difference), (weigh(new_image), new_image)
        )
        bound = curvature * squared_change / (2 * n)
        # What the difference of two rounded images loses, through the curvature bound |A d|^2 / 2n.
        change = _tree.safe_sqrt(squared_change)
        lost = 4 * eps * (2 * _tree.safe_sqrt(squared_new) + change)
        noise = curvature * (change + lost) * lost / n
        if self.loss.is_quadratic:
            return bound, noise
        # The bound takes over where rounding drowns the difference of losses.
        divergence = jnp.sum(weigh(losses)) / n
        resolved = divergence > 800 * eps * (1 + jnp.abs(old_value))
        return jnp.where(resolved, jnp.minimum(divergence, bound), bound), noise

    def as_quadratic(self) -> Quadratic:
        """The same function through the Gram matrix A'A / n: one (p, p) product a step, whatever the number of rows.

        Raises:
            TypeError: unless the loss is quadratic in the score.
        """
        if not self.loss.is_quadratic:
            raise TypeError(f"Only a quadratic loss has a Gram form; {type(self.loss).__name__} is not quadratic.")
        columns = self.design.columns(jnp.arange(self.design.shape[1]))
        if self.weights is not None:
            linear = -self.design.rmatvec(self.share(self.targets))
            return Quadratic(self.design.rmatvec(self.share(columns)), linear, jnp.sum(self.share(self.targets**2)) / 2)
        n = self.num_rows
        gram = self.design.rmatvec(columns) / n
        return Quadratic(gram, -self.design.rmatvec(self.targets) / n, jnp.sum(self.targets**2) / (2 * n))

    def check(self, params: Any) -> Any:
        outputs = self.targets.shape[1:]
        rows = self.design.shape[1]
        if not isinstance(params, jax.Array) or params.shape[:1] != (rows,) or params.ndim > 2:
            got = jax.tree.map(jnp.shape, params)
            raise ValueError(f"params must be an array of shape ({rows},) or ({rows}, k) for this design, got {got}.")
        if isinstance(self.loss, Multinomial):
            self._check_classes(params)
        elif params.shape[1:] != outputs:
            raise ValueError(
                f"params must have shape {(rows, *outputs)} for targets of shape {self.targets.shape}, "
                f"got {params.shape}."
            )
        return params.astype(self.design.dtype)

    def _check_classes(self, params: Array) -> None:
        if params.ndim != 2:
            raise ValueError(f"Multinomial needs params of shape (p, number of classes), got {params.shape}.")
        classes = concrete(self.targets)
        if classes is not None and np.any(classes >= params.shape[1]):
            raise ValueError(
                f"targets reach class {classes.max()}, but params of shape {params.shape} score classes "
                f"0 to {params.shape[1] - 1}."
            )


def _as_weights(weights: ArrayLike, design: AbstractOperator) -> Array:
    array = jnp.asarray(weights).astype(design.dtype)
    if array.shape != design.shape[:1]:
        raise ValueError(f"weights must have shape ({design.shape[0]},), one a row of design, got {array.shape}.")
    known = concrete(array)
    if known is not None and not (np.all(known >= 0) and np.all(np.isfinite(known)) and np.any(known > 0)):
        raise ValueError("weights must be finite and nonnegative, and some above zero; leave a row out by weight 0.")
    return array
