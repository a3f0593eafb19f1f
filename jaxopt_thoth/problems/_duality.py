from jaxtyping import Array, Float

from .. import _tree
from .._types import Params, Scalar
from ..operators import WithIntercept
from ..penalties import AbstractPenalty, ExceptLast
from ..smooth import AbstractSmooth, LinearModel


def duality_gap(
    smooth: AbstractSmooth, penalty: AbstractPenalty, params: Params, dual: Float[Array, "n *k"] | None = None
) -> Scalar:
    """Fenchel duality gap of `1/n sum_i loss(a_i w) + g(w)` at the dual point given by the residuals.

    The dual point is `u_i = loss'(a_i w)`, scaled down into the domain of the conjugate of g; the gap
    `P(w) - D(u)` with `D(u) = -1/n sum_i loss*(u_i) - g*(-A'u/n)` bounds `P(w) - min P` for every w. Weights of the
    rows take the place of 1/n, and an intercept (`ExceptLast`) asks for a weighted sum of zero, which
    `loss.balance_dual` brings about. The gap is summed from the slacks of Fenchel's inequality, so that its rounding is
    theirs.

    Args:
        smooth: a `LinearModel`.
        penalty: the term g.
        params: the point w.
        dual: another dual point, (n,) or (n, k) in the domain of the conjugate of the loss; it is balanced and scaled.

    Raises:
        TypeError: if the smooth term is not a `LinearModel`.
        NotImplementedError: if the loss or the penalty has no conjugate.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> model = jt.LinearModel(jt.losses.Squared(), jnp.eye(2), jnp.array([3.0, 1.0]))
        >>> gap = jt.problems.duality_gap(model, jt.penalties.L1(0.5), jnp.array([2.0, 0.0]))
        >>> bool(abs(gap) < 1e-6)  # the solution
        True
    """
    return _primal_and_gap(smooth, penalty, params, dual)[1]


def primal_dual(
    smooth: AbstractSmooth, penalty: AbstractPenalty, params: Params, dual: Float[Array, "n *k"] | None = None
) -> tuple[Scalar, Scalar]:
    """The objective at `params` and the dual objective, a lower bound of the minimum, as in `duality_gap`.

    The best of several primal values and the best of several dual values bound the minimum from both sides. In single
    precision the sums are compensated, so that a relative difference of about 1e-6 means something.

    Raises:
        TypeError: if the smooth term is not a `LinearModel`.
        NotImplementedError: if the loss or the penalty has no conjugate.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> model = jt.LinearModel(jt.losses.Squared(), jnp.eye(2), jnp.array([3.0, 1.0]))
        >>> primal, dual = jt.problems.primal_dual(model, jt.penalties.L1(0.5), jnp.zeros(2))
        >>> float(primal), float(dual) < 1.5
        (2.5, True)
    """
    primal, gap = _primal_and_gap(smooth, penalty, params, dual)
    return primal, primal - gap


def _primal_and_gap(
    smooth: AbstractSmooth, penalty: AbstractPenalty, params: Params, dual: Array | None
) -> tuple[Scalar, Scalar]:
    if not isinstance(smooth, LinearModel):
        raise TypeError(
            f"The duality gap needs a LinearModel as smooth term, got {type(smooth).__name__}; "
            "stop on FixedPointResidual instead."
        )
    loss, targets = smooth.loss, smooth.targets
    scores = smooth.image(params)
    dual = loss.derivative(scores, targets) if dual is None else dual
    free = isinstance(penalty, ExceptLast)
    if free:
        dual = loss.balance_dual(dual, targets, smooth.row_weights)
    correlation = _tree.scale(-1.0, smooth.design.rmatvec(smooth.share(dual)))
    if free and isinstance(smooth.design, WithIntercept):
        # What is left of a sum that cancels is rounding, of more rows than a penalty could allow for.
        correlation = correlation.at[-1].set(0)
    factor = penalty.dual_scale(correlation)
    dual, correlation = factor * dual, factor * correlation
    mean = lambda rows: _tree.compensated_sum(smooth.share(rows))
    value = penalty.value(params)
    slack = value + penalty.conjugate(correlation) - _tree.vdot(correlation, params)
    gap = mean(loss.fenchel_young(scores, dual, targets)) + slack
    return mean(loss(scores, targets)) + value, gap
