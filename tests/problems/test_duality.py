"""Weak and strong duality, for every loss with every kind of penalty, against a solution to rounding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import losses, penalties, problems


N, P, K = 12, 4, 3
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(N, P)))
SIGNS = np.sign(RNG.normal(size=N))
FLOATS = RNG.normal(size=N)
LOSSES = {
    "squared": jt.LinearModel(losses.Squared(), X, FLOATS),
    "logistic": jt.LinearModel(losses.Logistic(), X, SIGNS),
    "squared hinge": jt.LinearModel(losses.SquaredHinge(), X, SIGNS),
    "smoothed hinge": jt.LinearModel(losses.SmoothedHinge(), X, SIGNS),
    "huber": jt.LinearModel(losses.Huber(0.7), X, FLOATS),
    "poisson": jt.LinearModel(losses.Poisson(), X, RNG.poisson(2.0, N)),
    "safe logistic": jt.LinearModel(losses.SafeLogistic(), X, SIGNS),
    "gamma": jt.LinearModel(losses.Gamma(), X, np.exp(FLOATS)),
    "weighted": jt.LinearModel(losses.Logistic(), X, SIGNS, np.arange(N) % 3),
    "multinomial": jt.LinearModel(losses.Multinomial(), X, RNG.integers(0, K, N)),
}
PENALTIES = {
    "l1": penalties.L1(0.05),
    "ridge": penalties.L2Squared(0.1),
    "elastic net": penalties.ElasticNet(0.05, 0.1),
    "group lasso": penalties.GroupLasso(0.05, np.array([0, 0, 1, 1])),
    "box": penalties.Box(-0.2, 0.3),
    "nonnegative": penalties.NonNegative(),
    "simplex": penalties.Simplex(0.8),
    "l1 ball": penalties.L1Ball(0.5),
    "l2 ball": penalties.L2Ball(0.5),
}
PAIRS = [(loss, "l1") for loss in LOSSES] + [("squared", g) for g in PENALTIES if g != "l1"]
PAIRS += [("poisson", "elastic net"), ("multinomial", "box")]
# Their conjugates are finite on a cone, into which no factor but zero brings a dual point: a bound, and a loose one.
LOOSE = {"nonnegative"}


def start_of(loss):
    return jnp.full((P, K) if loss == "multinomial" else (P,), 0.1)


@functools.cache
def observed(loss, penalty):
    problem = jt.Composite(LOSSES[loss], PENALTIES[penalty])
    start = start_of(loss)
    solver = jt.ProximalGradient(tol=1e-11, max_steps=20_000)
    directions = jnp.asarray(RNG.normal(size=(16, *start.shape)))

    @jax.jit
    def observe(problem):
        solution = jt.solve(problem, solver, start)
        near = lambda d: problem.penalty.prox(solution.params + d, 1.0)
        points = jax.vmap(near)(directions * jnp.logspace(-6, 0, 16).reshape(-1, *[1] * start.ndim))
        look = lambda w: (problem.duality_gap(w), problem.value(w))
        return solution, look(solution.params), jax.vmap(look)(points)

    return observe(problem)


@pytest.mark.parametrize(("loss", "penalty"), PAIRS)
def test_gap_vanishes_at_the_solution_and_bounds_the_distance_to_it_elsewhere(loss, penalty):
    solution, (gap, least), (gaps, values) = observed(loss, penalty)
    assert solution.result == jt.RESULTS.converged
    assert gap >= -1e-14
    assert gap <= 1e-9 or penalty in LOOSE
    # Weak duality: the gap is at least the suboptimality, hence nonnegative.
    assert jnp.all(values >= least - 1e-12)
    assert jnp.all(gaps >= values - least - 1e-9)
    assert jnp.all(jnp.isfinite(values))


def test_gap_needs_a_linear_model():
    problem = jt.Composite(jt.Quadratic(jnp.eye(2)), penalties.L1(1.0))
    with pytest.raises(TypeError, match="LinearModel"):
        problem.duality_gap(jnp.zeros(2))
    with pytest.raises(TypeError, match="FixedPointResidual"):
        problems.duality_gap(problem.smooth, problem.penalty, jnp.zeros(2))


def test_gap_needs_a_conjugate():
    class Odd(penalties.Zero):
        def conjugate(self, dual):
            return penalties.AbstractPenalty.conjugate(self, dual)

    with pytest.raises(NotImplementedError, match="Odd has no closed-form conjugate"):
        jt.Composite(LOSSES["squared"], Odd()).duality_gap(start_of("squared"))
