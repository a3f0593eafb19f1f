import equinox as eqx
import jax.numpy as jnp

from .. import _tree
from .._loop import while_loop
from .._types import BoolScalar, IntScalar, Params, Scalar
from ..smooth import AbstractSmooth


# Growth of the estimated Lipschitz constant when a step fails.
_GROWTH = 1.5


class InnerSolution(eqx.Module):
    """An approximate minimizer, its gradient, and what it cost.

    Attributes:
        params: the point.
        gradient: gradient there.
        residual: norm of the gradient.
        lipschitz: last estimate of the Lipschitz constant.
        num_gradients: gradients taken.
        converged: whether the residual is at most what was asked for.
    """

    params: Params
    gradient: Params
    residual: Scalar
    lipschitz: Scalar
    num_gradients: IntScalar
    converged: BoolScalar


class _Carry(eqx.Module):
    params: Params
    anchor: Params
    point: Params
    value: Scalar
    gradient: Params
    residual: Scalar
    lipschitz: Scalar
    least: Scalar
    least_at: IntScalar
    count: IntScalar


def minimize_to_residual(
    term: AbstractSmooth,
    params: Params,
    value: Scalar,
    gradient: Params,
    target: Scalar,
    strong_convexity: Scalar,
    lipschitz: Scalar,
    *,
    search: bool,
    max_steps: int,
) -> InnerSolution:
    """Accelerated gradient for known strong convexity, until the gradient's norm is at most `target`.

    The estimate sequence of Nesterov, started at the curvature mu, keeps it whatever the steps are: with
    `a_k = sqrt(mu / L_k)`, `v+ = (1 - a) v + a y - (a / mu) gradient(y)` and `y = (x + a v) / (1 + a)` gain a factor of
    `1 - a_k` with every step that passes its test, so that L may be searched for. A start that is good enough costs
    nothing: its value and gradient are given. Rounding ends the run too.
    """
    dtype = _tree.dtype_of(params)
    mu = strong_convexity.astype(dtype)
    rounding = float(jnp.finfo(dtype).eps)

    def step(carry: _Carry) -> _Carry:
        lipschitz = carry.lipschitz
        new = _tree.add_scaled(carry.point, -1 / lipschitz, carry.gradient)
        a = jnp.sqrt(mu / lipschitz)
        anchor = _tree.add_scaled(carry.anchor, a, _tree.sub(carry.point, carry.anchor))
        anchor = _tree.add_scaled(anchor, -a / mu, carry.gradient)
        if search:
            divergence, noise = term.divergence(new, None, carry.point, None, carry.value, carry.gradient)
            passed = divergence <= carry.residual**2 / (2 * lipschitz) * (1 + 1e-3) + noise
            new, anchor = _tree.where(passed, (new, anchor), (carry.params, carry.anchor))
            lipschitz = jnp.where(passed, lipschitz, _GROWTH * lipschitz)
            a = jnp.sqrt(mu / lipschitz)
        point = _tree.add_scaled(new, a / (1 + a), _tree.sub(anchor, new))
        value, gradient = term.value_and_grad(point)
        residual = _tree.norm(gradient)
        improved = residual < carry.least / 2
        return _Carry(
            params=new,
            anchor=anchor,
            point=point,
            value=value,
            gradient=gradient,
            residual=residual,
            lipschitz=lipschitz,
            least=jnp.where(improved, residual, carry.least),
            least_at=jnp.where(improved, carry.count, carry.least_at),
            count=carry.count + 1,
        )

    def unfinished(carry: _Carry) -> BoolScalar:
        # The gradient moves by this much when the point is rounded.
        floor = rounding * carry.lipschitz * _tree.norm(carry.point)
        # Theory halves the gradient well within this many steps; where it does not fall, rounding is what is left.
        patience = 100 + 20 * jnp.sqrt(carry.lipschitz / mu)
        stuck = (carry.count - carry.least_at).astype(dtype) > patience
        return (carry.residual > jnp.maximum(target, floor)) & ~stuck & (carry.count < max_steps)

    zero = jnp.asarray(0, jnp.int32)
    residual = _tree.norm(gradient)
    lipschitz = jnp.maximum(lipschitz.astype(dtype), mu)
    start = _Carry(params, params, params, value, gradient, residual, lipschitz, residual, zero, zero)
    end = while_loop(unfinished, step, start)
    return InnerSolution(end.point, end.gradient, end.residual, end.lipschitz, end.count, end.residual <= target)
