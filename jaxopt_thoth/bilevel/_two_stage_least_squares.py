import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Scalar
from .._validate import concrete, require_nonnegative


class TwoStageLeastSquares(eqx.Module):
    """What `two_stage_least_squares` returns; calling it with treatments (n, p) predicts outcomes (n,).

    Attributes:
        coefficients: effect of each treatment on the outcome (p,).
        intercept: the constant of the second stage.
        first_stage: coefficients (k, p) of the treatments on the instruments.
        fitted: treatments (n, p) that the instruments predict.
    """

    coefficients: Float[Array, " p"]
    intercept: Scalar
    first_stage: Float[Array, "k p"]
    fitted: Float[Array, "n p"]

    def __call__(self, treatments: Float[Array, "n p"]) -> Float[Array, " n"]:
        return treatments @ self.coefficients + self.intercept


def two_stage_least_squares(
    instruments: Float[Array, "n k"],
    treatments: Float[Array, "n p"],
    outcomes: Float[Array, " n"],
    ridge1: ArrayLike = 0.0,
    ridge2: ArrayLike = 0.0,
) -> TwoStageLeastSquares:
    """Linear effect of treatments on outcomes, freed of confounding by instruments: least squares, twice.

    The first stage regresses the treatments on the instruments, the second the outcomes on the treatments that the
    first predicts. Each minimizes half the mean squared error plus `ridge / 2 |coefficients|^2`, with an intercept
    that is not penalized; where the solution is not unique, it is the one of least norm. With features of a network
    in place of instruments and treatments it is the closed form of the last layers in instrumental regression.

    Theil, "Repeated least squares applied to complete equation systems", 1953; Xu, Chen, Srinivasan, de Freitas,
    Doucet and Gretton, "Learning deep features in instrumental variable regression", 2021 (with ridges).

    Args:
        instruments: what moves the treatments but not the outcome otherwise (n, k).
        treatments: causes to estimate the effect of (n, p).
        outcomes: what they act on (n,).
        ridge1: strength of the penalty of the first stage.
        ridge2: strength of the penalty of the second stage.

    Raises:
        ValueError: if the shapes do not fit, a ridge is negative, or there are fewer instruments than treatments and
            no second ridge: then the effect is not determined.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> z, u = jnp.array([[-1.0], [-1.0], [1.0], [1.0]]), jnp.array([-1.0, 1.0, -1.0, 1.0])
        >>> x = z[:, 0] + u  # confounded: u moves the outcome too
        >>> print(jt.bilevel.two_stage_least_squares(z, x[:, None], 1.5 * x + 2 * u).coefficients.round(3))
        [1.5]
    """
    require_nonnegative(ridge1, "ridge1")
    require_nonnegative(ridge2, "ridge2")
    z, x, o = (_tree.as_inexact(a) for a in (instruments, treatments, outcomes))
    if z.ndim != 2 or x.ndim != 2 or o.ndim != 1 or not z.shape[0] == x.shape[0] == o.shape[0]:
        raise ValueError(
            "instruments (n, k), treatments (n, p) and outcomes (n,) must share n, got shapes "
            f"{z.shape}, {x.shape} and {o.shape}; a single instrument or treatment is a column, a[:, None]."
        )
    known = concrete(ridge2)
    if z.shape[1] < x.shape[1] and known is not None and known == 0:
        raise ValueError(
            f"{z.shape[1]} instruments do not determine the effects of {x.shape[1]} treatments; pass more instruments "
            "or ridge2 > 0."
        )
    middle = jnp.mean(x, axis=0, keepdims=True)
    centered = z - jnp.mean(z, axis=0, keepdims=True)
    first = ridge_regression(centered, x - middle, ridge1)
    with jax.default_matmul_precision("highest"):
        shifted = centered @ first
    mean = jnp.mean(o)
    coefficients = ridge_regression(shifted, (o - mean)[:, None], ridge2)[:, 0]
    return TwoStageLeastSquares(coefficients, mean - jnp.vdot(middle[0], coefficients), first, shifted + middle)


def ridge_regression(design: Array, targets: Array, ridge: ArrayLike) -> Array:
    """Coefficients (k, p) of half the mean squared error with a ridge; of least norm where they are not unique."""
    n, k = design.shape
    with jax.default_matmul_precision("highest"):
        gram = design.T @ design / n + jnp.asarray(ridge, design.dtype) * jnp.eye(k, dtype=design.dtype)
        right = design.T @ targets / n
    operator = lx.MatrixLinearOperator(gram, lx.positive_semidefinite_tag)
    solve = lambda b: lx.linear_solve(operator, b, lx.AutoLinearSolver(well_posed=False), throw=False).value
    return jax.vmap(solve, in_axes=1, out_axes=1)(right)
