"""AID, ITD and HOAG: where they end, what their hypergradients cost in accuracy, and the contract of solvers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth.bilevel import AID, Bilevel, HOAG, hypergradient, ITD


LOG_BEST = -2.888421  # of the lasso of the reference problems, where F is .5798053025


def _quadratic():
    rng = np.random.default_rng(0)
    design, target = jnp.asarray(rng.normal(size=(15, 4))), jnp.asarray(rng.normal(size=15))
    goal = jnp.asarray(rng.normal(size=4))
    inner = lambda w, h: jnp.mean((design @ w - target) ** 2) / 2 + jnp.sum((w - h) ** 2) / 2
    outer = lambda w, h: jnp.sum((w - goal) ** 2) / 2 + 0.05 * jnp.sum(h**2)
    gram, moment = design.T @ design / 15, design.T @ target / 15
    solve = lambda h: jnp.linalg.solve(gram + jnp.eye(4), moment + h)
    # F is quadratic: one Newton step is its minimizer.
    value = lambda h: outer(solve(h), h)
    zero = jnp.zeros(4)
    best = -jnp.linalg.solve(jax.hessian(value)(zero), jax.grad(value)(zero))
    return Bilevel(outer, inner), solve, value, best


QUADRATIC, SOLVE, VALUE, BEST = _quadratic()
SLOW = pytest.mark.slow
FIXED = jt.ProximalGradient(0.3)
SOLVERS = {
    "aid": AID(optax.sgd(0.5), max_steps=300, tol=1e-7),
    "itd": ITD(optax.sgd(0.5), FIXED, inner_steps=40, max_steps=300, tol=1e-7),
    "itd forward": ITD(optax.sgd(0.5), FIXED, inner_steps=40, max_steps=300, tol=1e-7, differentiation="forward"),
    "hoag": HOAG(max_steps=300, tol=1e-7),
    "hoag quadratic": HOAG(schedule="quadratic", max_steps=300, tol=1e-6),
    "hoag adam": HOAG(optax.sgd(0.5), schedule="exact", max_steps=300, tol=1e-7),
}


@pytest.mark.parametrize("name", [n if n in ("aid", "itd", "hoag") else pytest.param(n, marks=SLOW) for n in SOLVERS])
def test_reaches_the_minimizer_of_a_quadratic(name):
    solution = jt.solve(QUADRATIC, SOLVERS[name], (jnp.zeros(4), jnp.zeros(4)))
    assert solution.result == jt.RESULTS.converged
    np.testing.assert_allclose(solution.params.hyper, BEST, atol=1e-5)
    np.testing.assert_allclose(solution.params.params, SOLVE(solution.params.hyper), atol=1e-4)


def test_hoag_goes_down_to_the_kink_of_the_best_lasso_strength(references):
    _, problem, (_, params) = references("lasso_scalar")
    # The least value lies where the support changes: there the derivative jumps from -.011 to .065 and never vanishes.
    solution = jt.solve(problem, HOAG(max_steps=60), (jnp.log(0.5), jnp.zeros_like(params)))
    assert solution.state.inner_converged
    np.testing.assert_allclose(solution.params.hyper, LOG_BEST, atol=0.04)
    assert 0.5798053 - 1e-6 <= problem.value(solution.params) <= 0.5798053 + 5e-4


def test_hoag_on_the_logistic_reference(references):
    _, problem, (_, params) = references("logistic_scalar")
    solution = jt.solve(problem, HOAG(tol=1e-7, max_steps=300), (-1.0, jnp.zeros_like(params)))
    np.testing.assert_allclose(solution.params.hyper, -3.3601397576, atol=1e-3)
    np.testing.assert_allclose(problem.value(solution.params), 0.5133738668, rtol=2e-6)


def test_hoag_takes_a_bad_move_back():
    # A flat start makes the first step far too long for the wall behind it.
    inner = lambda w, h: jnp.sum((w - h) ** 2) / 2
    outer = lambda w, h: jnp.sum(jnp.cosh(4 * w)) + jnp.sum(w)
    problem = Bilevel(outer, inner)
    first = jt.bilevel.HOAG(max_steps=1)
    start = (jnp.array([1.0]), jnp.array([1.0]))
    once = jt.solve(problem, first, start)
    state = first.init(problem, problem.check(start))
    assert once.params.hyper == 1.0 or problem.value(once.params) < problem.value(start)
    small = eqx.tree_at(lambda s: s.curvature, state, jnp.asarray(1.0))
    point, after = first.step(problem, problem.check(start), small)
    assert point.hyper == 1.0 and after.curvature == 2.0 and after.factor == 0.5


def test_itd_error_falls_with_the_rate_of_the_inner_method():
    start = (jnp.ones(4), jnp.zeros(4))
    true = jax.grad(VALUE)(jnp.ones(4))

    def error(steps, differentiation="reverse"):
        inner = jt.ProximalGradient(0.5, accelerated=False)
        solver = ITD(optax.sgd(0.1), inner, inner_steps=steps, differentiation=differentiation)
        return jnp.linalg.norm(solver.init(QUADRATIC, QUADRATIC.check(start)).gradient - true)

    errors = [error(k) for k in (5, 10, 20)]
    assert errors[0] > 20 * errors[1] / 5 > errors[1] > 50 * errors[2]
    np.testing.assert_allclose(error(10, "forward"), errors[1], rtol=1e-8)


def test_aid_error_falls_with_inner_and_adjoint_steps():
    start = QUADRATIC.check((jnp.ones(4), jnp.zeros(4)))
    true = jax.grad(VALUE)(jnp.ones(4))
    errors = []
    for steps in (1, 2, 4, 16):
        solver = AID(optax.sgd(0.1), inner_steps=4 * steps, adjoint_steps=steps)
        errors.append(float(jnp.linalg.norm(solver.init(QUADRATIC, start).found.gradient - true)))
    assert errors[0] > errors[1] > errors[2] > errors[3] and errors[3] < 1e-8


def test_vmapped_runs_equal_separate_runs():
    starts = jnp.stack([jnp.zeros(4), 3 * jnp.ones(4)])
    run = lambda h: jt.solve(QUADRATIC, HOAG(max_steps=60, tol=1e-5), (h, jnp.zeros(4)))
    batch = jax.vmap(run)(starts)
    for k in range(2):
        one = run(starts[k])
        assert batch.num_steps[k] == one.num_steps
        np.testing.assert_allclose(batch.params.hyper[k], one.params.hyper, rtol=1e-9)


def test_adam_under_strict_promotion():
    solution = jt.solve(QUADRATIC, AID(optax.adam(0.05), max_steps=400, tol=1e-4), (jnp.zeros(4), jnp.zeros(4)))
    np.testing.assert_allclose(solution.params.hyper, BEST, atol=1e-2)


def test_float32_modes_and_history():
    start = (jnp.zeros(4, jnp.float32), jnp.zeros(4, jnp.float32))
    cast = lambda f: lambda w, h: f(w.astype(jnp.float64), h.astype(jnp.float64)).astype(w.dtype)
    problem = Bilevel(cast(QUADRATIC.outer), cast(QUADRATIC.inner))
    solution = jt.solve(problem, AID(optax.sgd(0.5), max_steps=60), start, mode="scan", history=True)
    assert solution.params.hyper.dtype == jnp.float32
    np.testing.assert_allclose(solution.params.hyper, BEST, atol=2e-3)
    values = solution.history.value[~jnp.isnan(solution.history.value)]
    assert values[-1] < values[0]


def test_projection_keeps_the_outer_variable_inside():
    problem = Bilevel(QUADRATIC.outer, QUADRATIC.inner, projection=lambda h: jnp.clip(h, -0.1, 0.1))
    solution = jt.solve(problem, HOAG(max_steps=200, tol=1e-6), (jnp.zeros(4), jnp.zeros(4)))
    assert solution.result == jt.RESULTS.converged
    h = solution.params.hyper
    gradient = hypergradient(problem, h, SOLVE(h)).gradient
    np.testing.assert_allclose(h, jnp.clip(h - gradient, -0.1, 0.1), atol=1e-5)
    assert jnp.any(jnp.abs(h) == 0.1)


def test_nan_ends_the_run_and_says_so():
    problem = Bilevel(lambda w, h: jnp.sum(w), lambda w, h: jnp.sum((w - jnp.log(h)) ** 2))
    solution = jt.solve(problem, AID(optax.sgd(1.0), max_steps=20), (0.5, jnp.zeros(1)))
    assert solution.result == jt.RESULTS.nonfinite
    assert jnp.isfinite(solution.params.hyper)


def test_bad_settings():
    with pytest.raises(TypeError, match="optimizer must be an optax"):
        AID(0.1)
    with pytest.raises(TypeError, match="inner_solver must be a solver of Composite"):
        HOAG(inner_solver=jt.OSQP())
    with pytest.raises(ValueError, match="inner_steps must be at least 1"):
        ITD(optax.sgd(0.1), inner_steps=0)
    with pytest.raises(ValueError, match="schedule must be"):
        HOAG(schedule="linear")
    with pytest.raises(ValueError, match="eps must be positive"):
        HOAG(eps=0.0)
    with pytest.raises(TypeError, match="HOAG solves a Bilevel"):
        jt.solve(jt.Composite(lambda w: jnp.sum(w**2)), HOAG(), jnp.ones(2))
    with pytest.raises(NotImplementedError, match="no implicit derivative"):
        run = lambda s: jt.solve(QUADRATIC, HOAG(eps=s, max_steps=3), (jnp.zeros(4), jnp.zeros(4))).params.hyper
        jax.grad(lambda s: jnp.sum(run(s)) + jnp.sum(QUADRATIC.fixed_point(None, 1.0)))(1e-3)
