import jax.numpy as jnp

from .. import _tree
from .._types import Params, Scalar
from ..penalties import AbstractPenalty
from ..smooth import AbstractSmooth, LinearModel


def duality_gap(smooth: AbstractSmooth, penalty: AbstractPenalty, params: Params) -> Scalar:
    """Fenchel duality gap of `1/n sum_i loss(a_i w) + g(w)` at the dual point given by the residuals.

    The dual point is `u_i = loss'(a_i w)`, scaled down into the domain of the conjugate of g; the gap
    `P(w) - D(u)` with `D(u) = -1/n sum_i loss*(u_i) - g*(-A'u/n)` bounds `P(w) - min P` for every w.

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
    if not isinstance(smooth, LinearModel):
        raise TypeError(
            f"The duality gap needs a LinearModel as smooth term, got {type(smooth).__name__}; "
            "stop on FixedPointResidual instead."
        )
    n = smooth.num_rows
    scores = smooth.image(params)
    dual = smooth.loss.derivative(scores, smooth.targets)
    correlation = _tree.scale(-1.0, smooth.design.rmatvec(dual / n))
    factor = penalty.dual_scale(correlation)
    conjugate = jnp.sum(smooth.loss.conjugate(factor * dual, smooth.targets)) / n
    primal = jnp.sum(smooth.loss(scores, smooth.targets)) / n + penalty.value(params)
    return primal + conjugate + penalty.conjugate(_tree.scale(factor, correlation))
