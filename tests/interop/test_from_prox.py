"""A prox of jaxopt's form as a penalty, and the shapes in which other packages call the facade."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import interop, penalties
from jaxopt_thoth.interop import jaxopt


N, P = 20, 5
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(N, P)))
Y = jnp.asarray(RNG.normal(size=N))
SQUARED = jt.LinearModel(jt.losses.Squared(), X, Y)
START = jnp.zeros(P)


@pytest.mark.parametrize(
    "solver", [jt.ProximalGradient(tol=1e-11), jt.DavisYin(tol=1e-11)], ids=["accelerated", "splitting"]
)
def test_a_prox_is_as_good_as_the_penalty(solver):
    fit = lambda penalty: jt.solve(jt.Composite(SQUARED, penalty), solver, START).params
    found, slope = jax.jvp(lambda s: fit(interop.from_prox(jaxopt.prox.prox_lasso, s)), (0.1,), (1.0,))
    expected, expected_slope = jax.jvp(lambda s: fit(penalties.L1(s)), (0.1,), (1.0,))
    np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_allclose(slope, expected_slope, atol=1e-7)


def test_numbers_are_leaves_and_counts_are_not():
    seen = []

    def prox(x, hyperparams, scaling):
        seen.append(None)
        strength, times = hyperparams
        assert isinstance(times, int)
        return x / (1 + times * strength * scaling)

    fit = lambda s: jt.solve(jt.Composite(SQUARED, interop.from_prox(prox, (s, 2))), jt.ProximalGradient(), START)
    run = jax.jit(fit)
    assert run(0.1).result == jt.RESULTS.converged
    traced = len(seen)
    ridge = jnp.linalg.solve(X.T @ X / N + 0.4 * jnp.eye(P), X.T @ Y / N)
    np.testing.assert_allclose(run(0.2).params, ridge, atol=1e-6)
    assert len(seen) == traced


def test_bad_input():
    with pytest.raises(TypeError, match="prox must be a function"):
        interop.from_prox(0.1)
    problem = jt.Composite(SQUARED, interop.from_prox(jaxopt.prox.prox_lasso, 0.1))
    with pytest.raises(NotImplementedError, match="history"):
        jt.solve(problem, jt.ProximalGradient(), START, history=True)


def test_h_transforms_by_a_prox_of_a_pytree_of_hyperparameters():
    # As OTT-JAX calls it: the regularizer is the hyperparameter, x a keyword, and the run is inside of vmap and grad.
    slope = jnp.asarray(RNG.normal(size=P))
    concave = lambda y: slope @ y - 0.75 * jnp.sum(y**2)
    cost = penalties.ElasticNet(0.7, 1.0)

    def transform(x):
        solver = jaxopt.ProximalGradient(
            fun=lambda z, x: -concave(x - z), prox=lambda v, h, tau: h.prox(v, tau), tol=1e-9, maxiter=500
        )
        z = jax.lax.stop_gradient(solver.run(x, cost, x=x).params)
        return cost.value(z) - concave(x - z)

    points = jnp.asarray(3 * RNG.normal(size=(8, P)))
    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(transform)))(points)
    # One prox, of the two parabolas together.
    best = penalties.L1(0.7).prox((1.5 * points - slope[None]) / 2.5, 1 / 2.5)
    np.testing.assert_allclose(values, jax.vmap(cost.value)(best) - jax.vmap(concave)(points - best), atol=1e-12)
    np.testing.assert_allclose(gradients, -jax.vmap(jax.grad(concave))(points - best), atol=1e-7)


def test_values_that_cancel_do_not_shorten_the_steps():
    # Near zero in sum though not in their terms, values tell a curvature that is only rounding.
    target = jnp.asarray(30 * RNG.normal(size=P))
    shift = jnp.sum(target**2)

    def fit(offset):
        term = jt.FunctionTerm(lambda w: jnp.sum(w**2) - 2 * target @ w + shift + offset, ())
        return jt.solve(jt.Composite(lambda w: term.fn(w), penalties.L1(8.0)), jt.ProximalGradient(tol=1e-10), START)

    best = penalties.L1(8.0).prox(target, 0.5)
    for offset in jnp.linspace(0, 1e-2, 7) - (jnp.sum((best - target) ** 2)):
        solution = fit(offset)
        assert solution.result == jt.RESULTS.converged and solution.num_steps < 100
        np.testing.assert_allclose(solution.params, best, rtol=1e-9)
