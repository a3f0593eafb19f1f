from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._loop import while_loop
from .._types import Params, Scalar
from .._validate import require_positive
from ..mirror import AbstractMirrorMap
from ..smooth import FiniteSum


_MAX_HALVINGS = 50


class RelativeVariance(eqx.Module):
    """What `relative_variance` returns.

    Attributes:
        variance: the relative variance at the step size.
        solution: minimizer of f.
        minimizer: minimizer of f_eta.
        residual: larger of the two Newton decrements `g' H^-1 g / 2` at the minimizers, each about what its value is
            above the least one.
    """

    variance: Scalar
    solution: Params
    minimizer: Params
    residual: Scalar


def relative_variance(
    smooth: FiniteSum,
    mirror_map: AbstractMirrorMap,
    step_size: ArrayLike,
    start: Params,
    *,
    max_steps: int = 100,
) -> RelativeVariance:
    """Variance of stochastic mirror descent relative to its mirror map h at a step size eta, evaluated numerically.

    `(inf f - inf f_eta) / eta` with `f_eta(x) = f(x) - E divergence(x, x_new) / eta`, x_new the step from x at one
    random example. With mu the strong convexity of f relative to h and D the divergence to the minimizer, steps of size
    eta give `E D_new <= (1 - eta mu) D + eta^2 variance`. Without noise at the solution (interpolation) it is zero up
    to the eta that the relative smoothness of the examples allows, and for small eta it is half the expected square of
    the gradient at the solution in the norm of the inverse Hessian of h.

    Both infima are searched for by damped Newton steps on the dense Hessian, with the absolute values of its
    eigenvalues, from `start` and from there on: few parameters (some hundreds at most), in a domain that is open and
    whose mirror map keeps no equation. f_eta need not be convex; where it has several minima the result is a lower
    bound, and `vmap` over starts finds the best one.

    Hendrikx, "Investigating variance definitions for mirror descent with relative smoothness", 2024.

    Args:
        smooth: f as the mean of the functions of the examples, one drawn at a step; an expectation over a continuous
            distribution by the nodes and weights of a quadrature.
        mirror_map: the geometry, with a potential that can be differentiated twice.
        step_size: the positive number eta.
        start: where the searches begin, in the interior of the domain.
        max_steps: bound on the number of Newton steps of each search.

    Raises:
        TypeError: if `smooth` is no `FiniteSum`.
        ValueError: if `smooth` draws batches, `step_size` is not positive, or `start` is outside of the domain.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> term = jt.smooth.FiniteSum(lambda w, t: (w - t) ** 2 / 2, jnp.array([-1.0, 1.0]))
        >>> found = jt.solvers.relative_variance(term, jt.mirror.Euclidean(), 0.5, jnp.array(3.0))
        >>> print(found.variance, found.minimizer)  # of Euclidean steps: half that of the noise
        0.5 0.0
    """
    if not isinstance(smooth, FiniteSum):
        raise TypeError(f"smooth must be a FiniteSum, got {type(smooth).__name__}; pass examples with weights.")
    if smooth.batch_size != 1:
        raise ValueError(f"smooth must draw one example a step, got batch_size={smooth.batch_size}.")
    require_positive(step_size, "step_size")
    start = smooth.check(_tree.as_inexact(start))
    mirror_map.check(start, "start")
    dtype = _tree.dtype_of(start)
    eta = jnp.asarray(step_size).astype(dtype)
    solution, least, rest = _minimize(smooth.value, mirror_map, start, max_steps)
    shifted = lambda x: stochastic_objective(smooth, mirror_map, eta, x)
    # From the minimizer of f, so that the variance is never negative.
    minimizer, shifted_least, shifted_rest = _minimize(shifted, mirror_map, solution, max_steps)
    return RelativeVariance((least - shifted_least) / eta, solution, minimizer, jnp.maximum(rest, shifted_rest))


def stochastic_objective(smooth: FiniteSum, mirror_map: AbstractMirrorMap, step_size: Scalar, params: Params) -> Scalar:
    """`f(x) - E divergence(x, x_new) / eta`, at most f, and above its minimum for steps without noise."""
    dual = mirror_map.to_dual(params)

    def distance(example):
        gradient = jax.grad(smooth.evaluate)(params, example)
        return mirror_map.divergence(params, mirror_map.from_dual(mirror_map.dual_step(dual, gradient, step_size)))

    distances = jax.vmap(distance)(smooth.data)
    return smooth.value(params) - jnp.vdot(smooth.probabilities(distances.dtype), distances) / step_size


def _minimize(
    fn: Callable[[Params], Scalar], mirror_map: AbstractMirrorMap, start: Params, max_steps: int
) -> tuple[Params, Scalar, Scalar]:
    """Least point and value of a function of few parameters, and the Newton decrement there."""
    flat, unravel = ravel_pytree(start)
    value_of = lambda x: fn(unravel(x))
    eps = float(jnp.finfo(flat.dtype).eps)

    def newton(x: Float[Array, " p"]) -> tuple[Float[Array, " p"], Scalar]:
        gradient = jax.grad(value_of)(x)
        eigenvalues, vectors = jnp.linalg.eigh(jax.hessian(value_of)(x))
        # Down also along directions of negative curvature, and never by much more than the curvature seen.
        size = jnp.maximum(jnp.abs(eigenvalues), eps * jnp.max(jnp.abs(eigenvalues)))
        turned = vectors.T @ gradient
        scaled = jnp.where(size > 0, turned / jnp.where(size > 0, size, 1), 0)
        return -(vectors @ scaled), jnp.vdot(turned, scaled) / 2

    def body(carry):
        x, value, _, count, _ = carry
        direction, decrement = newton(x)

        def attempt(length):
            new = x + length * direction
            inside = mirror_map.contains(unravel(new))
            # Outside nothing is evaluated, for a domain may end in values that look low.
            new_value = value_of(jnp.where(inside, new, x))
            return new_value, inside & jnp.isfinite(new_value) & (new_value <= value - 1e-4 * length * 2 * decrement)

        def shorten(trial):
            length, *_, halvings = trial
            return length / 2, *attempt(length / 2), halvings + 1

        one = jnp.ones((), x.dtype)
        first = (one, *attempt(one), jnp.asarray(0, jnp.int32))
        length, new_value, passed, _ = while_loop(lambda t: ~t[2] & (t[3] < _MAX_HALVINGS), shorten, first)
        # Nothing passes where rounding hides what is left to gain.
        x = jnp.where(passed, x + length * direction, x)
        value = jnp.where(passed, new_value, value)
        more = passed & (decrement > 4 * eps * jnp.maximum(1, jnp.abs(value)))
        return x, value, decrement, count + 1, more

    infinite = jnp.asarray(jnp.inf, flat.dtype)
    carry = (flat, value_of(flat), infinite, jnp.asarray(0, jnp.int32), jnp.asarray(True))
    x, value, decrement, *_ = while_loop(lambda c: c[4] & (c[3] < max_steps), body, carry)
    return unravel(x), value, decrement
