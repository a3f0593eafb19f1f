"""Laws that hold for every loss: a new loss is one row of the table."""

from dataclasses import dataclass
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth import losses


@dataclass(frozen=True)
class Case:
    """A loss, two targets, its values at score zero, a target it refuses, and duals in and out of its domain.

    The duals are those of a positive target; for a loss of signs they are mirrored with the target.
    """

    loss: Any
    targets: tuple
    at_zero: tuple
    bad_target: Any
    duals_inside: tuple = ()
    duals_outside: tuple = ()


SIGNS = (-1, 1)
CASES = {
    "Squared": Case(losses.Squared(), (-1.5, 2.0), (1.125, 2.0), np.nan, (-9.0, 9.0)),
    "Logistic": Case(losses.Logistic(), SIGNS, (np.log(2), np.log(2)), 0, (-0.5, -1.0, 0.0), (0.1, -1.1)),
    "SquaredHinge": Case(losses.SquaredHinge(), SIGNS, (0.5, 0.5), 0, (-7.0, 0.0), (0.1,)),
    "SmoothedHinge": Case(losses.SmoothedHinge(), SIGNS, (0.5, 0.5), 2, (-1.0, 0.0), (0.1, -1.1)),
    "SmoothedHinge(0.3)": Case(losses.SmoothedHinge(0.3), SIGNS, (0.85, 0.85), 2, (-1.0, 0.0), (0.1, -1.1)),
    "Huber": Case(losses.Huber(), (-0.5, 3.0), (0.125, 2.5), np.inf, (-1.0, 1.0), (1.1, -1.1)),
    "Huber(0.4)": Case(losses.Huber(0.4), (-0.5, 3.0), (0.12, 1.12), np.inf, (-0.4, 0.4), (0.5, -0.5)),
    "SafeLogistic": Case(losses.SafeLogistic(), SIGNS, (np.exp(-1), np.exp(-1)), 0, (-0.5, -1.0, 0.0), (0.1, -1.1)),
    "Gamma": Case(losses.Gamma(), (0.5, 2.0), (0.5, 2.0), 0, (-5.0, 1.0), (1.1,)),
    "Hinge": Case(losses.Hinge(), SIGNS, (1, 1), 0, (-1.0, 0.0), (0.1, -1.1)),
    "Pinball": Case(losses.Pinball(0.3), (-1.5, 2.0), (1.05, 0.6), np.nan, (-0.3, 0.7), (-0.35, 0.75)),
    "EpsilonInsensitive": Case(losses.EpsilonInsensitive(0.5), (-1.5, 2), (1, 1.5), np.nan, (-1, 1), (1.1, -1.1)),
    "Poisson": Case(losses.Poisson(), (0, 3), (1.0, 1.0), -1, (5.0, 0.0), (-3.1,)),
}
case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@jax.jit
def profile(loss, z, y):
    """Everything that the laws compare, compiled once a loss."""

    def row(s, t):
        value, slope = jax.value_and_grad(loss)(s, t)
        second = (jax.hessian(loss)(s, t), jax.grad(loss.derivative)(s, t))
        return value, slope, loss.derivative(s, t), *second

    return jax.vmap(row)(z, y)


def pairs(case):
    # The grid avoids the kinks of every loss in the table; ties are tested by their values alone.
    z, y = np.meshgrid(np.linspace(-6.03, 6.11, 401), np.asarray(case.targets, float))
    return jnp.asarray(z.ravel()), jnp.asarray(y.ravel())


@case
def test_value_at_zero(case):
    np.testing.assert_allclose(case.loss(jnp.zeros(2), jnp.asarray(case.targets)), case.at_zero, rtol=1e-12)


@case
def test_derivatives_are_those_of_autodiff(case):
    _, slope, closed, by_value, by_slope = profile(case.loss, *pairs(case))
    np.testing.assert_allclose(closed, slope, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(by_slope, by_value, rtol=1e-9, atol=1e-11)


@case
def test_curvature_is_the_supremum(case):
    second = profile(case.loss, *pairs(case))[3]
    assert second.min() >= 0
    if case.loss.has_bounded_curvature:
        # That of the safe logistic loss is approached at the margin alone, between two points of the grid.
        rtol = 1e-2 if isinstance(case.loss, losses.SafeLogistic) else 1e-3
        np.testing.assert_allclose(second.max(), case.loss.curvature, rtol=rtol)
        assert second.max() <= case.loss.curvature * (1 + 1e-12)
    else:
        assert case.loss.curvature == jnp.inf
    if case.loss.is_quadratic:
        np.testing.assert_allclose(second, second[0], rtol=1e-12)


@pytest.mark.parametrize("loss", [losses.Squared(), losses.Huber()])
def test_second_derivative_at_a_fitted_residual(loss):
    assert jax.hessian(loss)(jnp.asarray(1.0), jnp.asarray(1.0)) == 1


@case
def test_conjugate_is_the_supremum(case):
    grid = np.linspace(-40, 40, 40_001)
    scores = jnp.asarray([-2.3, -0.4, 0.2, 0.9, 1.7])
    for y in case.targets:
        dual = case.loss.derivative(scores, jnp.full(5, y))
        values = np.asarray(case.loss(jnp.asarray(grid), jnp.full(grid.size, y)))
        brute = (np.asarray(dual)[:, None] * grid - values).max(1)
        np.testing.assert_allclose(case.loss.conjugate(dual, jnp.full(5, y)), brute, rtol=1e-5, atol=1e-5)


@case
def test_conjugate_domain(case):
    inside, outside = len(case.duals_inside), len(case.duals_outside)
    y = case.targets[1]
    dual = jnp.asarray(case.duals_inside + case.duals_outside)
    targets = jnp.full(inside + outside, y)
    values = case.loss.conjugate(dual, targets)
    assert jnp.isfinite(values[:inside]).all()
    assert (values[inside:] == jnp.inf).all()
    assert not jnp.isnan(jax.grad(lambda v: case.loss.conjugate(v, targets).sum())(dual)).any()
    if case.targets == SIGNS:
        np.testing.assert_array_equal(case.loss.conjugate(-dual, -targets), values)


@case
def test_fenchel_young(case):
    loss = case.loss

    @jax.jit
    def gaps(z, u, y):
        gap = lambda v: loss(z, y) + loss.conjugate(v, y) - z * v
        return gap(u), gap(loss.derivative(z, y))

    numbers = st.floats(-5, 5, allow_subnormal=False)

    @hypothesis.settings(deadline=None, max_examples=30)
    @hypothesis.given(numbers, numbers, st.sampled_from(case.targets))
    def law(z, u, y):
        inequality, equality = gaps(*(jnp.asarray(number, float) for number in (z, u, y)))
        assert inequality >= -1e-12
        assert abs(equality) <= 1e-9

    law()


@case
def test_divergence(case):
    new, y = pairs(case)
    new, y = new[::20], y[::20]
    old = jnp.asarray(np.random.default_rng(1).normal(size=new.shape))
    expected = case.loss(new, y) - case.loss(old, y) - case.loss.derivative(old, y) * (new - old)
    divergence = case.loss.divergence(new, old, y)
    np.testing.assert_allclose(divergence, expected, rtol=1e-9, atol=1e-12)
    assert (divergence >= -1e-12).all()


@pytest.mark.parametrize("loss", [losses.Squared(), losses.Poisson()])
def test_divergence_survives_what_a_difference_of_values_does_not(loss):
    new, old, y = (jnp.asarray(number, jnp.float32) for number in (8.001, 8.0, 1.0))
    change = float(new) - float(old)
    exact = 0.5 * change**2 if isinstance(loss, losses.Squared) else np.exp(8.0) * (np.expm1(change) - change)
    np.testing.assert_allclose(loss.divergence(new, old, y), exact, rtol=2e-3)


@case
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_dtype_in_is_dtype_out(case, dtype):
    z, y = jax.ShapeDtypeStruct((2,), dtype), np.asarray(case.targets)
    for method in (case.loss, case.loss.derivative, case.loss.conjugate, lambda s, t: case.loss.divergence(s, s, t)):
        result = jax.eval_shape(method, z, y)
        assert result.dtype == dtype and result.shape == (2,)


@case
def test_extreme_scores_have_finite_derivatives(case):
    limit = 80.0 if isinstance(case.loss, losses.Poisson | losses.Gamma) else 500.0
    scores = jnp.asarray([-limit, -80.0, 80.0, limit], jnp.float32)
    for y in case.targets:
        parts = profile(case.loss, scores, jnp.full(4, y, jnp.float32))
        assert all(jnp.isfinite(part).all() for part in parts)


@case
def test_bad_targets_name_the_mend(case):
    case.loss.check_targets(np.asarray(case.targets))
    with pytest.raises(ValueError, match=rf"targets of {type(case.loss).__name__} must be .*; (map|drop|pass) "):
        case.loss.check_targets(np.asarray([case.bad_target]))
    jax.eval_shape(lambda y: case.loss.check_targets(y), jnp.zeros(1))


@pytest.mark.parametrize("loss, name", [(losses.Huber, "delta"), (losses.SmoothedHinge, "gamma")])
def test_settings_are_leaves(loss, name):
    traces = []

    @jax.jit
    def value(term, z):
        traces.append(1)
        return term(z, jnp.ones(()))

    values = [value(loss(setting), jnp.asarray(-2.0)) for setting in (0.5, 1, 2.0)]
    assert len(traces) == 1
    batch = jax.vmap(lambda s: loss(s)(jnp.asarray(-2.0), jnp.asarray(1)))(jnp.asarray([0.5, 1.0, 2.0]))
    np.testing.assert_allclose(batch, values, rtol=1e-12)
    with pytest.raises(ValueError, match=f"{name} must be positive.*pass a value > 0"):
        loss(0.0)


def test_limits_of_the_settings():
    """A huge delta makes Huber the squared loss; a tiny gamma makes the smoothed hinge the hinge."""
    z, y = jnp.linspace(-3, 3, 31), jnp.ones(31)
    np.testing.assert_allclose(losses.Huber(1e3)(z, y), losses.Squared()(z, y), rtol=1e-12)
    np.testing.assert_allclose(losses.SmoothedHinge(1e-9)(z, y), jax.nn.relu(1 - z), atol=1e-8)
