from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Shaped

from .. import _tree
from .._types import Scalar
from .._validate import concrete
from ..losses import AbstractLoss, Multinomial
from ..operators import AbstractOperator, as_operator, WithIntercept
from ..penalties import AbstractPenalty, ExceptLast
from ..problems import Composite
from ..smooth import LinearModel


class Problem(eqx.Module):
    """Minimize the weighted mean of `loss((X w + b)_i, target_i)` plus `penalty(w)`: what `fit` solves.

    A pytree whose leaves (strengths, weights, targets, design) are batched and differentiated. Every column of w (one
    an output, task or class) has its own intercept b, which no penalty touches.

    Args:
        loss: pointwise loss, for example `losses.Logistic()`.
        penalty: on w, (p,) or (p, k), for example `penalties.L1(0.1)`.
        design: the matrix X, (n, p): dense, SciPy sparse, BCOO, a lineax operator, or one of `operators`.
        targets: (n,) or (n, k), as the loss takes them.
        weights: of the rows, (n,), nonnegative; None weighs all alike, and 0 leaves a row out.
        fit_intercept: whether there is an intercept b; else it is zero.
        num_classes: for `losses.Multinomial`; None counts the targets, which have to be known then.

    Raises:
        TypeError: if the loss or the penalty is of another kind.
        ValueError: if shapes do not fit, the targets are not what the loss takes, or the classes cannot be counted.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> from jaxopt_thoth import erm
        >>> problem = erm.Problem(jt.losses.Squared(), jt.penalties.L1(0.1), jnp.eye(3), jnp.array([1.0, 2.0, 6.0]))
        >>> problem.composite.value(jnp.zeros(3)).round(3).item()
        6.833
    """

    loss: AbstractLoss
    penalty: AbstractPenalty
    design: AbstractOperator
    targets: Shaped[Array, "n *k"]
    weights: Float[Array, " n"] | None
    fit_intercept: bool = eqx.field(static=True)
    num_classes: int | None = eqx.field(static=True)

    def __init__(
        self,
        loss: AbstractLoss,
        penalty: AbstractPenalty,
        design: Any,
        targets: ArrayLike,
        *,
        weights: ArrayLike | None = None,
        fit_intercept: bool = False,
        num_classes: int | None = None,
    ):
        if not isinstance(loss, AbstractLoss):
            raise TypeError(f"loss must be one of jaxopt_thoth.losses, got {type(loss).__name__}; build it first.")
        if not isinstance(penalty, AbstractPenalty):
            raise TypeError(
                f"penalty must be one of jaxopt_thoth.penalties, got {type(penalty).__name__}; build it first."
            )
        model = LinearModel(loss, as_operator(design), targets, weights)
        self.loss, self.design, self.targets, self.weights = model.loss, model.design, model.targets, model.weights
        self.penalty = penalty
        self.fit_intercept = bool(fit_intercept)
        self.num_classes = _count_classes(self.targets, num_classes) if isinstance(loss, Multinomial) else None

    @property
    def coef_shape(self) -> tuple[int, ...]:
        """Shape of w: (p,), or (p, k) for k outputs."""
        outputs = self.targets.shape[1:] if self.num_classes is None else (self.num_classes,)
        return (self.design.shape[1], *outputs)

    @property
    def model(self) -> LinearModel:
        """The data term as a function of w alone, without the intercept."""
        return LinearModel(self.loss, self.design, self.targets, self.weights)

    @property
    def composite(self) -> Composite:
        """The problem that solvers take; with an intercept its last parameter is `b / intercept_scale`."""
        return self.composite_at(self.intercept_scale) if self.fit_intercept else self.composite_at(1.0)

    def composite_at(self, scale: Scalar | float) -> Composite:
        """The same with another constant in the column of the intercept."""
        if not self.fit_intercept:
            return Composite(self.model, self.penalty)
        design = WithIntercept(self.design, scale)
        return Composite(LinearModel(self.loss, design, self.targets, self.weights), ExceptLast(self.penalty))

    @property
    def intercept_scale(self) -> Scalar:
        """The constant of the column of the intercept: a third of the root mean square norm of a row."""
        squared = jax.lax.stop_gradient(jnp.vdot(self.model.row_weights, self.design.squared_row_norms()))
        # The solution does not depend on it; larger constants raise the curvature, smaller ones slow the intercept.
        return _tree.safe_sqrt(jnp.where(squared > 0, 0.1 * squared, 1))

    def join(self, coef: Float[Array, "p *k"], intercept: Float[Array, " *k"]) -> Float[Array, "q *k"]:
        """The parameters of `composite` that stand for w and b."""
        if not self.fit_intercept:
            return coef
        return jnp.concatenate([coef, (intercept / self.intercept_scale)[None]])

    def split(self, params: Float[Array, "q *k"]) -> tuple[Float[Array, "p *k"], Float[Array, " *k"]]:
        """w and b of the parameters of `composite`."""
        if not self.fit_intercept:
            return params, jnp.zeros(params.shape[1:], params.dtype)
        return params[:-1], self.intercept_scale * params[-1]

    def constant_model(self) -> Float[Array, "q *k"]:
        """Parameters of w = 0 with the best intercept, where `fit` starts."""
        model = self.model
        coef = jnp.zeros(self.coef_shape, self.design.dtype)
        if not self.fit_intercept:
            return coef
        return self.join(coef, self.loss.best_constant(self.targets, model.row_weights, self.num_classes))


def _count_classes(targets: Array, num_classes: int | None) -> int:
    known = concrete(targets)
    if num_classes is None:
        if known is None:
            raise ValueError("num_classes must be given for Multinomial where the targets are traced.")
        return int(known.max()) + 1
    if known is not None and known.max() >= num_classes:
        raise ValueError(f"num_classes must exceed the classes of targets, got {num_classes} for {known.max()}.")
    return num_classes
