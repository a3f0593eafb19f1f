"""Objectives of jaxopt with its definitions and scalings, for `fun` of its solvers."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ... import losses
from ..._types import Scalar
from ._linear_operator import LinearOperator as LinearOperator


Data = tuple[Any, Any]


class CompositeLinearFunction:
    """A function `subfun(linop @ params, *args) + <params, b(*args)>`: the kind that `BlockCoordinateDescent` takes.

    A subclass gives `subfun`, `make_linop` (a `LinearOperator`), `columnwise_lipschitz_const` (of the gradient in each
    row of the parameters) and, where there is one, the linear term `b`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import objective
        >>> class Sum(objective.CompositeLinearFunction):
        ...     def subfun(self, predictions, X):
        ...         return jnp.sum(predictions**2) / 2
        ...     def make_linop(self, X):
        ...         return objective.LinearOperator(X)
        ...     def columnwise_lipschitz_const(self, X):
        ...         return self.make_linop(X).column_l2_norms(squared=True)
        >>> print(Sum()(jnp.array([1.0, 2.0]), jnp.eye(2)))
        2.5
    """

    def subfun(self, predictions: Array, *args: Any, **kwargs: Any) -> Scalar:
        """The function of the predictions `linop @ params`."""
        raise NotImplementedError

    def make_linop(self, *args: Any, **kwargs: Any) -> LinearOperator:
        """The linear map of the parameters to the predictions."""
        raise NotImplementedError

    def columnwise_lipschitz_const(self, *args: Any, **kwargs: Any) -> Float[Array, " p"]:
        """Lipschitz constant of the gradient in each row of the parameters."""
        raise NotImplementedError

    def b(self, *args: Any, **kwargs: Any) -> Array | None:
        """The linear term, in the shape of the parameters; None for none."""
        return None

    def __call__(self, params: Array, *args: Any, **kwargs: Any) -> Scalar:
        value = self.subfun(self.make_linop(*args, **kwargs).matvec(params), *args, **kwargs)
        b = self.b(*args, **kwargs)
        return value if b is None else value + jnp.vdot(params, jnp.asarray(b, params.dtype))


class _RowLosses(CompositeLinearFunction):
    """Mean over the rows of `data = (X, y)` of one of our losses of the predictions."""

    loss: losses.AbstractLoss

    def encoded(self, y: Any) -> Array:
        """The targets as the loss takes them."""
        return jnp.asarray(y)

    def mean_loss(self, predictions: Array, y: Any) -> Scalar:
        return jnp.mean(self.loss(predictions, self.encoded(y)))

    def subfun(self, predictions: Array, data: Data) -> Scalar:
        return self.mean_loss(predictions, data[1])

    def make_linop(self, data: Data) -> LinearOperator:
        return LinearOperator(data[0])

    def columnwise_lipschitz_const(self, data: Data) -> Float[Array, " p"]:
        # jaxopt leaves the mean out of its constants, and its steps are short by as much.
        squares = self.make_linop(data).column_l2_norms(squared=True)
        return squares * (jnp.asarray(self.loss.curvature, squares.dtype) / jnp.size(data[1]))


class LeastSquares(_RowLosses):
    """Half the mean of squares, `|X W - y|^2 / (2 n)` over all n entries of y, of `data = (X, y)`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import objective
        >>> print(objective.least_squares(jnp.zeros(2), (jnp.eye(2), jnp.array([1.0, 2.0]))))
        1.25
    """

    loss = losses.Squared()


class BinaryLogreg(_RowLosses):
    """Mean logistic loss of `data = (X, y)`, with labels y of 0 and 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import objective
        >>> print(f"{objective.binary_logreg(jnp.zeros(2), (jnp.eye(2), jnp.array([0, 1]))):.4f}")
        0.6931
    """

    loss = losses.Logistic()

    def encoded(self, y: Any) -> Array:
        return jnp.where(jnp.asarray(y).astype(bool), 1, -1)


class MulticlassLogreg(_RowLosses):
    """Mean softmax cross-entropy of `data = (X, y)`, with classes y from 0 and parameters (features, classes).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import objective
        >>> print(f"{objective.multiclass_logreg(jnp.zeros((2, 4)), (jnp.eye(2), jnp.array([0, 3]))):.4f}")
        1.3863
    """

    loss = losses.Multinomial()


class MulticlassLinearSvmDual(CompositeLinearFunction):
    """Negative dual objective of the multiclass linear SVM, of `l2reg` and `data = (X, Y)`, Y being one-hot.

    Its parameters beta are (samples, classes), each row on the simplex, and the value is
    `|X' (Y - beta)|^2 / (2 l2reg) + <beta, Y - 1>`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import objective
        >>> print(objective.multiclass_linear_svm_dual(jnp.full((2, 2), 0.5), 1.0, (jnp.eye(2), jnp.eye(2))))
        -0.5
    """

    def subfun(self, predictions: Array, l2reg: ArrayLike, data: Data) -> Scalar:
        residual = self.make_linop(l2reg, data).matvec(jnp.asarray(data[1], predictions.dtype)) - predictions
        return jnp.vdot(residual, residual) / (2 * jnp.asarray(l2reg, residual.dtype))

    def make_linop(self, l2reg: ArrayLike, data: Data) -> LinearOperator:
        return LinearOperator(data[0].T)

    def columnwise_lipschitz_const(self, l2reg: ArrayLike, data: Data) -> Float[Array, " n"]:
        squares = self.make_linop(l2reg, data).column_l2_norms(squared=True)
        return squares / jnp.asarray(l2reg, squares.dtype)

    def b(self, l2reg: ArrayLike, data: Data) -> Array:
        return jnp.asarray(data[1]) - 1


least_squares = LeastSquares()
binary_logreg = BinaryLogreg()
multiclass_logreg = MulticlassLogreg()
multiclass_linear_svm_dual = MulticlassLinearSvmDual()


def ridge_regression(params: Float[Array, "p *k"], l2reg: ArrayLike, data: Data) -> Scalar:
    """`least_squares` plus `l2reg / 2 |params|^2`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import objective
        >>> print(objective.ridge_regression(jnp.ones(2), 0.5, (jnp.eye(2), jnp.zeros(2))))
        1.0
    """
    return least_squares(params, data) + _ridge(params, l2reg)


def multiclass_logreg_with_intercept(params: tuple[Array, Array], data: Data) -> Scalar:
    """`multiclass_logreg` of the scores `X W + b`, `(W, b)` being the parameters.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import objective
        >>> data = (jnp.eye(2), jnp.array([0, 1]))
        >>> print(f"{objective.multiclass_logreg_with_intercept((jnp.zeros((2, 2)), jnp.zeros(2)), data):.4f}")
        0.6931
    """
    weights, intercept = params
    scores = LinearOperator(data[0]).matvec(weights)
    return multiclass_logreg.mean_loss(scores + jnp.broadcast_to(intercept, scores.shape), data[1])


def l2_multiclass_logreg(W: Float[Array, "p k"], l2reg: ArrayLike, data: Data) -> Scalar:
    """`multiclass_logreg` plus `l2reg / 2 |W|^2`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import objective
        >>> print(f"{objective.l2_multiclass_logreg(jnp.ones((2, 2)), 0.5, (jnp.eye(2), jnp.array([0, 1]))):.4f}")
        1.6931
    """
    return multiclass_logreg(W, data) + _ridge(W, l2reg)


def l2_multiclass_logreg_with_intercept(params: tuple[Array, Array], l2reg: ArrayLike, data: Data) -> Scalar:
    """`multiclass_logreg_with_intercept` plus `l2reg / 2 |W|^2`; the intercept is free.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth.interop.jaxopt import objective
        >>> data = (jnp.eye(2), jnp.array([0, 1]))
        >>> print(f"{objective.l2_multiclass_logreg_with_intercept((jnp.ones((2, 2)), jnp.ones(2)), 0.5, data):.4f}")
        1.6931
    """
    return multiclass_logreg_with_intercept(params, data) + _ridge(params[0], l2reg)


def _ridge(params: Array, l2reg: ArrayLike) -> Scalar:
    return jnp.asarray(l2reg, params.dtype) / 2 * jnp.sum(params**2)
