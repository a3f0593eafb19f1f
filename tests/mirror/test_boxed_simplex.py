"""The entropic projection onto a simplex with bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import jaxopt_thoth as jt
from jaxopt_thoth import mirror, penalties, projections


ENTROPY = mirror.NegativeEntropy()
N = 9
RNG = np.random.default_rng(0)
prox = jax.jit(lambda dual, lower, upper: ENTROPY.prox(dual, penalties.Box(lower, upper), 0.7))


def bisected(dual, lower, upper):
    """`clip(exp(dual + t), lower, upper)` with sum one."""
    mass = lambda t: np.clip(np.exp(dual + t), lower, upper).sum() - 1
    t = scipy.optimize.brentq(mass, -60, 60, xtol=1e-15, rtol=1e-15)
    return np.clip(np.exp(dual + t), lower, upper)


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_against_bisection(scale):
    for _ in range(20):
        dual = scale * RNG.normal(size=N)
        lower = RNG.uniform(size=N) / N * (RNG.uniform(size=N) < 0.5)
        upper = lower + RNG.uniform(0.1, 0.6, N)
        found = prox(jnp.asarray(dual), jnp.asarray(lower), jnp.asarray(upper))
        np.testing.assert_allclose(found, bisected(dual, lower, upper), atol=1e-13)
        np.testing.assert_allclose(found.sum(), 1, rtol=1e-14)


def test_idle_bounds_change_nothing_and_ties_and_tight_ones_are_exact():
    dual = jnp.asarray(RNG.normal(size=N))
    np.testing.assert_allclose(prox(dual, jnp.zeros(N), jnp.full(N, jnp.inf)), jax.nn.softmax(dual), rtol=1e-13)
    np.testing.assert_allclose(prox(jnp.zeros(N), jnp.zeros(N), jnp.full(N, 1 / N)), 1 / N, rtol=1e-13)
    at_lower = jnp.asarray(RNG.dirichlet(np.ones(N)))
    np.testing.assert_allclose(prox(dual, at_lower, jnp.ones(N)), at_lower, atol=1e-14)
    # Two caps that are met leave the rest to the others, and a masked entry at its bound.
    dual = jnp.array([5.0, 4.0, 1.0, 0.0, -jnp.inf, 0, 0, 0, 0])
    upper = jnp.full(N, 0.3)
    found = prox(dual, jnp.zeros(N).at[4].set(0.05), upper)
    np.testing.assert_allclose(found[:2], 0.3, rtol=1e-14)
    np.testing.assert_allclose(found[4], 0.05, rtol=1e-14)
    np.testing.assert_allclose(found[2] / found[3], np.e, rtol=1e-13)


def test_logits_of_any_size_in_float32_and_slices():
    dual = jnp.array([[3e4, 2e4, -3e4], [0.0, 0.0, 0.0]], jnp.float32)
    capped = penalties.Indicator(projections.capped_simplex, 1.0, 0.6, axis=1)
    found = mirror.NegativeEntropy(axis=1).prox(dual, capped, 1.0)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, [[0.6, 0.4, 0], [1 / 3] * 3], rtol=1e-6)
    across = mirror.NegativeEntropy(axis=0).prox(
        dual.T, penalties.Indicator(projections.capped_simplex, 1.0, 0.6, axis=0), 1.0
    )
    np.testing.assert_array_equal(across, found.T)


def test_derivatives_are_those_of_the_point():
    dual, lower, upper = jnp.asarray(RNG.normal(size=N)), jnp.full(N, 0.03), jnp.full(N, 0.2)
    direction = jnp.asarray(RNG.normal(size=N))
    h = 1e-6
    for place in range(3):
        args = [dual, lower, upper]
        tangents = [jnp.zeros(N)] * 3
        tangents[place] = direction * (1 if place == 0 else 0.01)
        forward = jax.jvp(prox, args, tangents)[1]
        ends = [prox(*(a + sign * h * t for a, t in zip(args, tangents))) for sign in (1, -1)]
        np.testing.assert_allclose(forward, (ends[0] - ends[1]) / (2 * h), atol=1e-8)
    assert jnp.isfinite(jax.jacrev(prox)(dual.at[0].set(-jnp.inf), jnp.zeros(N), upper)).all()


def test_mirror_descent_on_the_capped_simplex():
    target = jnp.asarray(RNG.dirichlet(np.full(N, 0.5)))
    problem = lambda penalty: jt.Composite(jt.Quadratic(jnp.eye(N), -target), penalty)
    for penalty in (
        penalties.Indicator(projections.capped_simplex, 1.0, 0.2),
        penalties.Indicator(projections.box_hyperplane, 0.0, 0.2, 1.0, 1.0),
    ):
        solution = jt.solve(problem(penalty), jt.MirrorDescent(ENTROPY, tol=1e-9), jnp.full(N, 1 / N))
        assert solution.result == jt.RESULTS.converged
        np.testing.assert_allclose(solution.params, projections.capped_simplex(target, 1.0, 0.2), atol=1e-8)
    # A box alone is not what entropic descent keeps.
    with pytest.raises(ValueError, match="indicator"):
        jt.solve(problem(penalties.Box(0.0, 0.5)), jt.MirrorDescent(ENTROPY), jnp.full(N, 1 / N))


@pytest.mark.parametrize(
    ("penalty", "match"),
    [
        (penalties.Box(0.0, 0.1), "upper must leave"),
        (penalties.Box(0.2, 1.0), "lower must leave"),
        (penalties.Box(-2.0, -1.0), "upper must leave"),
        (penalties.Indicator(projections.capped_simplex, 2.0, 0.5), "total of capped_simplex must be 1"),
        (penalties.Indicator(projections.box_hyperplane, 0.0, 1.0, 2.0, 1.0), "normal of box_hyperplane must be 1"),
    ],
)
def test_another_set_is_refused(penalty, match):
    with pytest.raises(ValueError, match=match):
        ENTROPY.prox(jnp.zeros(N), penalty, 1.0)


def test_axes_that_differ_are_refused_and_traced_empty_sets_are_not_a_number():
    capped = penalties.Indicator(projections.capped_simplex, 1.0, 0.6, axis=0)
    with pytest.raises(ValueError, match="axis"):
        mirror.NegativeEntropy(axis=1).prox(jnp.zeros((3, 4)), capped, 1.0)
    assert jnp.isnan(prox(jnp.zeros(N), jnp.zeros(N), jnp.full(N, 0.1))).all()
    totals = jax.jit(lambda r: ENTROPY.prox(jnp.zeros(3), penalties.Indicator(projections.capped_simplex, r, 0.6), 1.0))
    assert jnp.isnan(totals(0.9)).all() and jnp.isfinite(totals(1.0)).all()
