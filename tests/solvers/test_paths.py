"""`solve_path` and `solve_batched`: row by row what `solve` gives, values and derivatives."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import implicit, losses, penalties


N, P = 30, 6
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(N, P)))
Y = jnp.asarray(X @ np.array([2.0, -1.0, 0.5, 0.0, 0.0, 0.2]) + 0.1 * RNG.normal(size=N))
MODEL = jt.LinearModel(losses.Squared(), X, Y)
STRENGTHS = jnp.array([0.9, 0.5, 0.3, 0.1, 0.05, 0.02, 0.01])
SOLVER = jt.ProximalGradient(tol=1e-11)
START = jnp.zeros(P)


def lasso(strength):
    return jt.Composite(MODEL, penalties.L1(strength))


def fit(strength):
    return jt.solve(lasso(strength), SOLVER, START)


@pytest.fixture(scope="module")
def rows():
    return jax.jit(jax.vmap(fit))(STRENGTHS)


@pytest.fixture(scope="module")
def slopes():
    return jax.jit(jax.vmap(jax.grad(lambda s: jnp.sum(fit(s).params ** 2))))(STRENGTHS)


DRIVERS = {
    "path": lambda s: jt.solve_path(lasso, s, SOLVER, START),
    "path in chunks that do not divide": lambda s: jt.solve_path(lasso, s, SOLVER, START, chunk=3),
    "batch in one chunk": lambda s: jt.solve_batched(lasso, s, SOLVER, START),
    "batch in chunks by difficulty": lambda s: jt.solve_batched(lasso, s, SOLVER, START, chunk=4, difficulty=-s[::1]),
    "batch one by one": lambda s: jt.solve_batched(lasso, s, SOLVER, START, chunk=1, difficulty=-s),
}


@pytest.mark.parametrize("driver", list(DRIVERS))
def test_solutions_and_derivatives_are_those_of_the_rows(driver, rows, slopes):
    order = jnp.array([3, 0, 6, 2, 5, 1, 4]) if "batch" in driver else jnp.arange(7)
    total = lambda s: (jnp.sum(DRIVERS[driver](s).params ** 2), DRIVERS[driver](s))
    (_, solution), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(STRENGTHS[order])
    assert jnp.all(solution.result == jt.RESULTS.converged)
    np.testing.assert_allclose(solution.params, rows.params[order], atol=1e-9)
    np.testing.assert_allclose(gradient, slopes[order], rtol=1e-6, atol=1e-8)
    if "batch" in driver:
        np.testing.assert_array_equal(solution.num_steps, rows.num_steps[order])
    else:
        # Warm starts save steps.
        assert solution.num_steps.sum() < rows.num_steps.sum()


def test_forward_mode_and_closures_over_what_is_differentiated(slopes):
    def fits(design, strengths):
        model = jt.LinearModel(losses.Squared(), design, Y)
        return jt.solve_path(lambda s: jt.Composite(model, penalties.L1(s)), strengths, SOLVER, START, chunk=2).params

    direction = jnp.asarray(RNG.normal(size=X.shape))
    tangent = jax.jit(lambda d: jax.jvp(fits, (X, STRENGTHS), (d, jnp.zeros(7)))[1])(direction)
    h = 1e-6
    difference = (fits(X + h * direction, STRENGTHS) - fits(X - h * direction, STRENGTHS)) / (2 * h)
    np.testing.assert_allclose(tangent, difference, atol=1e-4)


@pytest.mark.slow
def test_unrolled_and_constant_paths(slopes):
    solver = jt.ProximalGradient(tol=1e-11, max_steps=300)
    total = lambda s, adjoint: jnp.sum(jt.solve_path(lasso, s, solver, START, adjoint=adjoint).params ** 2)
    both = jax.jit(jax.grad(lambda s, t: total(s, implicit.Unrolled()) + total(t, implicit.StopGradient()), (0, 1)))
    gradient, constant = both(STRENGTHS, STRENGTHS)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-4, atol=1e-5)
    assert jnp.all(constant == 0)


def test_polish_runs_in_a_path(rows):
    rough = jt.ProximalGradient(tol=1e-4)
    solution = jt.solve_path(lasso, STRENGTHS, rough, START, adjoint=implicit.Implicit(polish=True))
    np.testing.assert_allclose(solution.params, rows.params, atol=1e-10)


def test_a_batch_of_problems():
    problems = jax.vmap(lambda y: jt.Composite(jt.LinearModel(losses.Squared(), X, y), penalties.L1(0.1)))(
        jnp.stack([Y, -Y, 2 * Y])
    )
    solution = jt.solve_batched(lambda problem: problem, problems, SOLVER, START, chunk=2)
    np.testing.assert_allclose(solution.params[1], -solution.params[0], atol=1e-10)
    total = lambda p: jnp.sum(jt.solve_batched(lambda problem: problem, p, SOLVER, START, chunk=2).params)
    slope = eqx.filter_jit(eqx.filter_grad(total))(problems)
    assert slope.smooth.targets.shape == (3, N) and jnp.all(jnp.isfinite(slope.penalty.strength))


def test_stop_replaces_the_criterion(rows):
    stop = jt.stopping.DualityGap(1e-3, every=1)
    solution = jt.solve_path(lasso, STRENGTHS, SOLVER, START, stop=stop)
    gaps = jax.vmap(lambda s, w: lasso(s).duality_gap(w) / lasso(s).value(w))(STRENGTHS, solution.params)
    assert jnp.all(gaps <= 1e-3)
    assert 2 * int(solution.num_steps.sum()) < int(rows.num_steps.sum())


def test_progress_after_each_chunk():
    calls = []
    jt.solve_batched(lasso, STRENGTHS, SOLVER, START, chunk=3, progress=lambda done, total: calls.append((done, total)))
    jax.effects_barrier()
    assert sorted((int(done), int(total)) for done, total in calls) == [(3, 7), (6, 7), (7, 7)]


def test_throw_names_the_worst_result():
    solver = jt.ProximalGradient(max_steps=3)
    solution = jt.solve_path(lasso, STRENGTHS, solver, START)
    assert jnp.any(solution.result == jt.RESULTS.max_steps_reached)
    with pytest.raises(RuntimeError, match="maximum number of steps"):
        jt.solve_path(lasso, STRENGTHS, solver, START, throw=True)


def test_one_trace_for_many_grids():
    traces = []

    def problem_of(strength):
        traces.append(1)
        return lasso(strength)

    run = jax.jit(lambda s, tol: jt.solve_path(problem_of, s, jt.ProximalGradient(tol=tol), START).num_steps)
    run(STRENGTHS, 1e-11)
    count = len(traces)
    run(STRENGTHS / 2, 1e-9)
    assert len(traces) == count


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"chunk": 0}, ValueError, "chunk must be at least 1"),
        ({"difficulty": jnp.ones(3)}, ValueError, "difficulty must have shape"),
        ({"batch": {"a": jnp.ones(3), "b": jnp.ones(2)}}, ValueError, "same leading axis"),
        ({"batch": jnp.ones(())}, ValueError, "same leading axis"),
        ({"batch": jnp.ones(0)}, ValueError, "batch is empty"),
        ({"solver": "fista"}, TypeError, "solver must be"),
        ({"adjoint": "implicit"}, TypeError, "adjoint must be"),
        ({"problem_of": lambda s: s}, TypeError, "problem must be"),
        ({"params": jnp.zeros(2)}, ValueError, r"shape \(6,\)"),
    ],
)
def test_bad_arguments_are_refused(settings, error, message):
    arguments = {"problem_of": lasso, "batch": STRENGTHS, "solver": SOLVER, "params": START, **settings}
    with pytest.raises(error, match=message):
        jt.solve_batched(**arguments)
