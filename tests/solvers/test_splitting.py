"""Chambolle-Pock, ADMM, Douglas-Rachford and Davis-Yin."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import jaxopt_thoth as jt
from jaxopt_thoth import penalties


N, P = 20, 8
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(N, P)))
Y = jnp.asarray(X @ np.repeat([1.0, -0.5], 4) + 0.3 * RNG.normal(size=N))
SQUARED = jt.LinearModel(jt.losses.Squared(), X, Y)
DIFFERENCES = jnp.diff(jnp.eye(P), axis=0)
START = jnp.zeros(P)
TOL = 1e-10
PRIMAL_DUAL = {
    "restarted": jt.ChambollePock(tol=TOL),
    "balanced": jt.ChambollePock(restart=False, tol=TOL),
    "plain": jt.ChambollePock(restart=False, adaptive=False, relaxation=0.5, tol=TOL),
    "admm": jt.ADMM(tol=TOL),
    "admm, fixed": jt.ADMM(0.1, relaxation=1.0, adaptive=False, tol=TOL),
}
IDENTITY = {"davis-yin": jt.DavisYin(tol=TOL), "restarted": jt.ChambollePock(tol=TOL), "admm": jt.ADMM(tol=TOL)}


def fused(strength, design=X, targets=Y):
    model = jt.LinearModel(jt.losses.Squared(), design, targets)
    return jt.SaddlePoint(
        model, penalties.L1(strength), penalties.L1(0.1), jnp.asarray(DIFFERENCES, model.design.dtype)
    )


def solved(problem, solver, start=START):
    solution = jt.solve(problem, solver, start)
    assert solution.result == jt.RESULTS.converged
    return solution


@pytest.fixture(scope="module")
def fused_reference():
    # The same penalty by its direct prox.
    both = penalties.FusedLasso(l1=0.05, tv=0.1)
    return solved(jt.Composite(SQUARED, both), jt.ProximalGradient(tol=1e-12)).params


@pytest.mark.parametrize("name", PRIMAL_DUAL)
def test_the_fused_lasso_is_that_of_its_direct_prox(name, fused_reference):
    problem = fused(0.05)
    solution = solved(problem, PRIMAL_DUAL[name])
    np.testing.assert_allclose(solution.params[0], fused_reference, atol=1e-8)
    assert problem.duality_gap(solution.params) < 1e-8
    assert problem.kkt_residual(solution.params) < 1e-8


@pytest.mark.parametrize("name", IDENTITY)
def test_a_sum_of_three_terms(name):
    problem = jt.SaddlePoint(SQUARED, penalties.Box(-0.3, 0.4), penalties.L1(0.1))
    # Entry by entry the prox of the sum is soft thresholding, then clipping.
    x = jnp.zeros(P)
    for _ in range(400):
        moved = x - 0.2 * SQUARED.gradient(x)
        x = jnp.clip(jnp.sign(moved) * jnp.maximum(jnp.abs(moved) - 0.02, 0), -0.3, 0.4)
    solution = solved(problem, IDENTITY[name])
    np.testing.assert_allclose(solution.params[0], x, atol=1e-8)
    assert problem.kkt_residual(solution.params) < 1e-8


@pytest.mark.parametrize("name", ["restarted", "admm"])
def test_the_units_of_the_operator_do_not_matter(name):
    steps = []
    for unit in (1.0, 1e4):
        near = penalties.Translated(penalties.L2Squared(1.0), jnp.tile(jnp.array([0.0, 1.0]), P // 2))
        problem = jt.SaddlePoint(None, near, penalties.L1(0.3 / unit), unit * DIFFERENCES)
        steps.append(int(solved(problem, PRIMAL_DUAL[name]).num_steps))
    assert max(steps) < 600 and max(steps) <= 2 * min(steps) + 50


@pytest.mark.parametrize("rho", [None, 1e-3, 100.0])
def test_admm_solves_a_composite_problem_from_any_rho(rho):
    problem = jt.Composite(SQUARED, penalties.L1(0.1))
    expected = solved(problem, jt.ProximalGradient(tol=1e-12)).params
    found = solved(problem, jt.ADMM(rho, tol=TOL))
    np.testing.assert_allclose(found.params, expected, atol=1e-8)
    np.testing.assert_array_equal(found.params == 0, expected == 0)
    assert found.num_steps < 150


def test_the_fit_of_admm_is_differentiated_like_any_composite_one():
    problem = lambda s: jt.Composite(SQUARED, penalties.L1(s))
    fits = [
        jax.grad(lambda s, solver=solver: jnp.sum(jt.solve(problem(s), solver, START).params ** 2))(0.1)
        for solver in (jt.ADMM(tol=1e-11), jt.ProximalGradient(tol=1e-12))
    ]
    np.testing.assert_allclose(*fits, rtol=1e-6)


def test_douglas_rachford_projects_and_finds_common_points():
    # The projection of a point on the intersection of a simplex and a halfspace, against SciPy.
    point = jnp.array([0.9, 0.4, -0.2, 0.1])
    near = penalties.Regularized(penalties.Box(-jnp.inf, 0.45), 1.0, point)
    problem = jt.SaddlePoint(None, penalties.Simplex(), near)
    expected = scipy.optimize.minimize(
        lambda x: np.sum((x - point) ** 2),
        np.full(4, 0.25),
        bounds=[(0, 0.45)] * 4,
        constraints={"type": "eq", "fun": lambda x: x.sum() - 1},
        tol=1e-14,
    ).x
    steps = []
    for solver in (
        jt.DouglasRachford(tol=TOL),
        jt.DouglasRachford(100.0, tol=TOL),
        jt.DouglasRachford(0.5, adaptive=False),
    ):
        solution = solved(problem, solver, point)
        steps.append(int(solution.num_steps))
        np.testing.assert_allclose(solution.params[0], expected, atol=1e-6)
    assert max(steps) < 1000


@pytest.fixture(scope="module")
def program():
    rng = np.random.default_rng(2)
    a = rng.normal(size=(4, 9))
    b = a @ np.maximum(rng.normal(size=9), 0)
    cost = a.T @ rng.normal(size=4) + np.maximum(rng.normal(size=9), 0)
    reference = scipy.optimize.linprog(cost, A_eq=a, b_eq=b)
    assert reference.status == 0
    return a, b, cost, reference


@pytest.mark.parametrize("name", ["restarted", "admm"])
def test_a_linear_program_is_that_of_scipy(name, program):
    a, b, cost, reference = program
    exact = penalties.Translated(penalties.Box(0.0, 0.0), b)
    problem = jt.SaddlePoint(None, penalties.Tilted(penalties.NonNegative(), cost), exact, a)
    x, y = solved(problem, PRIMAL_DUAL[name], jnp.zeros(9)).params
    np.testing.assert_allclose(cost @ x, reference.fun, rtol=1e-8)
    np.testing.assert_allclose(-b @ y, reference.fun, rtol=1e-8)
    assert np.all(x >= 0)


def test_an_infeasible_program_does_not_converge(program):
    cost = program[2]
    # Minus one is no sum of nonnegative numbers.
    exact = penalties.Translated(penalties.Box(0.0, 0.0), jnp.array([-1.0]))
    problem = jt.SaddlePoint(None, penalties.Tilted(penalties.NonNegative(), cost), exact, jnp.ones((1, 9)))
    for solver in (jt.ChambollePock(max_steps=2000), jt.ADMM(max_steps=2000)):
        solution = jt.solve(problem, solver, jnp.zeros(9))
        assert solution.result != jt.RESULTS.converged and solution.error > 1e-5
    apart = jt.SaddlePoint(None, penalties.Box(0.0, 1.0), penalties.Box(2.0, 3.0))
    solution = jt.solve(apart, jt.DouglasRachford(max_steps=500), jnp.zeros(2))
    assert solution.result == jt.RESULTS.max_steps_reached and solution.error > 0.1
    empty = jt.SaddlePoint(None, penalties.L1Ball(jnp.asarray(1.0)), penalties.L1(1.0))
    empty = jax.tree.map(lambda leaf: -leaf, empty)
    assert jt.solve(empty, jt.ChambollePock(), jnp.zeros(2)).result == jt.RESULTS.infeasible


@pytest.mark.parametrize("solver", [jt.ChambollePock(), jt.ADMM()], ids=["chambolle-pock", "admm"])
def test_float32_over_a_batch_of_strengths(solver, fused_reference):
    single = [jnp.asarray(part, jnp.float32) for part in (X, Y)]
    fit = jax.jit(jax.vmap(lambda s: jt.solve(fused(s, *single), solver, jnp.zeros(P, jnp.float32))))
    batch = fit(jnp.array([0.05, 0.2, 5.0], jnp.float32))
    assert jnp.all(batch.result == jt.RESULTS.converged)
    assert all(part.dtype == jnp.float32 for part in batch.params)
    np.testing.assert_allclose(batch.params[0][0], fused_reference, atol=2e-3)
    np.testing.assert_array_equal(batch.params[0][2], 0)


@pytest.mark.slow
def test_in_a_scan_the_steps_and_their_derivative_are_the_same():
    def run(strength, adjoint, mode):
        solver = jt.ChambollePock(tol=1e-9, max_steps=300)
        return jt.solve(fused(strength), solver, START, adjoint=adjoint, mode=mode)

    one, other = run(0.05, None, "while"), run(0.05, None, "scan")
    assert one.num_steps == other.num_steps < 300
    np.testing.assert_allclose(one.params[0], other.params[0], atol=1e-12)
    slopes = [
        jax.jvp(lambda s, adjoint=adjoint: run(s, adjoint, "scan").params[0], (0.05,), (1.0,))[1]
        for adjoint in (jt.implicit.Implicit(), jt.implicit.Unrolled())
    ]
    np.testing.assert_allclose(*slopes, atol=1e-5)


def test_an_unknown_curvature_is_learnt():
    term = jt.FunctionTerm(lambda x: jnp.sum(jnp.logaddexp(0, -Y * (X @ x))) / N)
    problem = jt.SaddlePoint(term, penalties.L1(0.01), penalties.L1(0.02), DIFFERENCES)
    expected = solved(jt.Composite(term, penalties.FusedLasso(l1=0.01, tv=0.02)), jt.ProximalGradient(tol=1e-11)).params
    np.testing.assert_allclose(solved(problem, jt.ChambollePock(tol=1e-9)).params[0], expected, atol=1e-6)


def test_bad_input():
    three = jt.SaddlePoint(SQUARED, penalties.L1(1.0), penalties.L1(1.0))
    cases = [
        (three, jt.DouglasRachford(), ValueError, "DavisYin"),
        (fused(0.1), jt.DavisYin(), ValueError, "operator"),
        (jt.SaddlePoint(None, None, penalties.L1(1.0)), jt.DavisYin(), ValueError, "DouglasRachford"),
        (jt.SaddlePoint(jnp.sum, None, penalties.L1(1.0)), jt.DavisYin(), ValueError, "step_size"),
        (jt.SaddlePoint(None, None, penalties.L1(1.0), jnp.cumsum), jt.ADMM(), TypeError, "matrix"),
        (jt.Composite(jnp.sum), jt.ADMM(), TypeError, "Quadratic"),
        (jt.Composite(SQUARED, penalties.MCP(1.0, 2.0)), jt.ADMM(), ValueError, "convex"),
    ]
    for problem, solver, kind, match in cases:
        with pytest.raises(kind, match=match):
            jt.solve(problem, solver, START)
    for make in (
        lambda: jt.ChambollePock(0.0),
        lambda: jt.ChambollePock(relaxation=1.1),
        lambda: jt.ADMM(-1.0),
        lambda: jt.ADMM(relaxation=2.0),
        lambda: jt.DavisYin(0.0),
        lambda: jt.DouglasRachford(relaxation=0.0),
        lambda: jt.DouglasRachford(max_steps=-1),
    ):
        with pytest.raises(ValueError):
            make()
