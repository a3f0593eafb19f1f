"""WorkingSetDescent: sparse linear models to their duality gap, column by column."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp

import jaxopt_thoth as jt
from jaxopt_thoth import losses, operators, penalties
from jaxopt_thoth.solvers import WorkingSetDescent


RNG = np.random.default_rng(0)
WIDE = jnp.asarray(RNG.standard_normal((40, 150)))
TRUTH = jnp.asarray(np.concatenate([RNG.standard_normal(6), np.zeros(144)]))
TARGETS = WIDE @ TRUTH + jnp.asarray(0.3 * RNG.standard_normal(40))
SIGNS = jnp.where(TARGETS > 0, 1.0, -1.0)
CRITICAL = jnp.max(jnp.abs(WIDE.T @ TARGETS)) / 40
SOLVER = WorkingSetDescent(tol=1e-12)


run = eqx.filter_jit(jt.solve)


def solved(problem, solver, start=None):
    shape = (problem.smooth.design.shape[1], *problem.smooth.targets.shape[1:])
    return run(problem, solver, jnp.zeros(shape, problem.smooth.design.dtype) if start is None else start)


def lasso(strength, design=WIDE, targets=TARGETS, weights=None):
    return jt.Composite(jt.LinearModel(losses.Squared(), design, targets, weights), penalties.L1(strength))


def test_lasso_meets_scikit_learn_its_gap_and_optimality():
    linear_model = pytest.importorskip("sklearn.linear_model")
    strength = CRITICAL / 20
    problem = lasso(strength)
    solution = solved(problem, SOLVER)
    assert solution.result == jt.RESULTS.converged
    peer = linear_model.Lasso(float(strength), fit_intercept=False, tol=1e-14, max_iter=100_000)
    found = peer.fit(np.asarray(WIDE), np.asarray(TARGETS)).coef_
    np.testing.assert_allclose(problem.value(solution.params), problem.value(jnp.asarray(found)), rtol=1e-8)
    assert problem.duality_gap(solution.params) <= 1e-10 * problem.value(solution.params)
    _, gradient = problem.smooth.value_and_grad(solution.params)
    assert problem.penalty.subdifferential_distance(solution.params, gradient) < 1e-8
    # The dual point that certifies it is feasible.
    assert jnp.max(jnp.abs(solution.state.best.correlation)) <= strength * (1 + 1e-12)


def test_a_support_beyond_the_bound_is_descended_by_parts():
    design = jnp.asarray(np.random.default_rng(1).standard_normal((300, 100)))
    targets = design @ jnp.linspace(1, 2, 100)
    problem = lasso(0.01, design, targets)
    crowded = solved(problem, WorkingSetDescent(max_working_set=64, tol=1e-10))
    assert crowded.result == jt.RESULTS.converged
    assert jnp.sum(crowded.params != 0) == 100 and crowded.state.work.size <= 64
    np.testing.assert_allclose(crowded.params, solved(problem, SOLVER).params, atol=1e-4)


@pytest.mark.parametrize(
    "loss, targets",
    [
        (losses.Logistic(), SIGNS),
        (losses.Poisson(), jnp.abs(jnp.round(TARGETS))),
        pytest.param(losses.Huber(0.5), TARGETS, marks=pytest.mark.slow),
        pytest.param(losses.SquaredHinge(), SIGNS, marks=pytest.mark.slow),
    ],
    ids=["logistic", "Poisson", "Huber", "squared hinge"],
)
def test_newton_steps_on_other_losses(loss, targets):
    model = jt.LinearModel(loss, WIDE, targets)
    slope = model.value_and_grad(jnp.zeros(150))[1]
    problem = jt.Composite(model, penalties.ElasticNet(0.1 * jnp.max(jnp.abs(slope)), 0.01))
    solution = solved(problem, WorkingSetDescent(tol=1e-10))
    assert solution.result == jt.RESULTS.converged
    assert problem.duality_gap(solution.params) <= 1e-8 * abs(problem.value(solution.params))
    gradient = model.value_and_grad(solution.params)[1]
    assert problem.penalty.subdifferential_distance(solution.params, gradient) < 1e-5


@pytest.mark.parametrize(
    "kind",
    [
        "weighted sparse",
        "intercept",
        pytest.param("sparse", marks=pytest.mark.slow),
        pytest.param("weighted", marks=pytest.mark.slow),
    ],
)
def test_designs_and_weights(kind):
    weights = jnp.asarray(RNG.integers(0, 4, 40).astype(float)) if "weighted" in kind else None
    matrix = np.where(RNG.uniform(size=(40, 600)) < 0.1, RNG.standard_normal((40, 600)), 0)
    targets = jnp.asarray(matrix @ np.r_[np.ones(5), np.zeros(595)] + 0.1 * RNG.standard_normal(40))
    design = sp.csr_matrix(matrix) if "sparse" in kind else jnp.asarray(matrix)
    penalty = penalties.L1(0.01)
    if kind == "intercept":
        design, penalty = operators.WithIntercept(operators.as_operator(design), 0.7), penalties.ExceptLast(penalty)
        targets = targets + 3
    problem = jt.Composite(jt.LinearModel(losses.Squared(), design, targets, weights), penalty)
    solution = solved(problem, WorkingSetDescent(tol=1e-10))
    assert solution.result == jt.RESULTS.converged
    gradient = problem.smooth.value_and_grad(solution.params)[1]
    assert penalty.subdifferential_distance(solution.params, gradient) < 1e-5
    assert 0 < jnp.sum(solution.params != 0) < 100


@pytest.mark.parametrize(
    "penalty",
    [penalties.MCP(0.3), penalties.NonNegative()]
    + [pytest.param(g, marks=pytest.mark.slow) for g in (penalties.SCAD(0.3), penalties.Box(-0.5, 0.5))],
)
def test_penalties_without_a_gap_stop_on_the_residual(penalty):
    problem = jt.Composite(jt.LinearModel(losses.Squared(), WIDE[:, :30], TARGETS), penalty)
    solution = solved(problem, WorkingSetDescent(tol=1e-9))
    assert solution.result == jt.RESULTS.converged and solution.state.best is None
    moved = problem.forward_backward(solution.params, 0.3)
    np.testing.assert_allclose(moved, solution.params, atol=1e-7)
    assert problem.value(solution.params) < problem.value(jnp.zeros(30))


def test_rows_of_a_multitask_lasso():
    targets = jnp.stack([TARGETS, WIDE[:, 0] - WIDE[:, 9], WIDE[:, 3]], 1)
    penalty = penalties.GroupLasso(0.3, groups=np.arange(150)[::-1].copy())
    problem = jt.Composite(jt.LinearModel(losses.Squared(), WIDE, targets), penalty)
    solution = solved(problem, SOLVER)
    assert solution.result == jt.RESULTS.converged
    assert problem.duality_gap(solution.params) <= 1e-10 * problem.value(solution.params)
    rows = jnp.any(solution.params != 0, 1)
    assert 0 < jnp.sum(rows) < 40 and not jnp.any(rows & solution.state.screened)
    linear_model = pytest.importorskip("sklearn.linear_model")
    peer = linear_model.MultiTaskLasso(0.3, fit_intercept=False, tol=1e-12, max_iter=50_000)
    found = peer.fit(np.asarray(WIDE), np.asarray(targets)).coef_.T
    np.testing.assert_allclose(problem.value(solution.params), problem.value(jnp.asarray(found)), rtol=1e-8)


@pytest.mark.slow
def test_classes_of_a_softmax():
    labels = jnp.argmax(WIDE[:, :3], 1)
    problem = jt.Composite(jt.LinearModel(losses.Multinomial(), WIDE[:, :20], labels), penalties.L1(0.05))
    solution = solved(problem, WorkingSetDescent(tol=1e-8), jnp.zeros((20, 3)))
    assert solution.result == jt.RESULTS.converged
    gradient = problem.smooth.value_and_grad(solution.params)[1]
    assert problem.penalty.subdifferential_distance(solution.params, gradient) < 1e-4
    # Dual points of softmax are rows of probabilities, after extrapolation too.
    probabilities = solution.state.best.dual + jax.nn.one_hot(labels, 3)
    assert jnp.all(probabilities > -1e-12)
    np.testing.assert_allclose(jnp.sum(probabilities, 1), 1, atol=1e-10)


STRENGTHS = CRITICAL * jnp.array([1.001, 0.5, 0.1, 0.02])


@jax.jit
def batched(strengths):
    return jax.vmap(lambda s: jt.solve(lasso(s), SOLVER, jnp.zeros(150)))(strengths)


def test_a_batch_solves_what_single_calls_solve_and_screens_no_active_column():
    together = batched(STRENGTHS)
    for i, strength in enumerate(STRENGTHS):
        alone = solved(lasso(strength), SOLVER)
        np.testing.assert_allclose(together.params[i], alone.params, atol=1e-10)
    assert not jnp.any((together.params != 0) & together.state.screened)
    assert jnp.all(together.result == jt.RESULTS.converged)
    # Zero from the critical strength on, and then by certificate.
    assert not jnp.any(together.params[0]) and jnp.sum(together.state.screened[0]) >= 149
    assert jnp.sum(together.state.screened[1]) > 100


init = eqx.filter_jit(lambda problem, params: SOLVER.init(problem, params))
step = eqx.filter_jit(lambda problem, params, state: SOLVER.step(problem, params, state))


def test_no_screened_column_is_active_at_any_step():
    problem = lasso(CRITICAL / 10)
    exact = solved(problem, SOLVER).params
    params = jnp.zeros(150)
    state = init(problem, params)
    values = [state.value]
    for _ in range(5):
        params, state = step(problem, params, state)
        assert not jnp.any(state.screened & (exact != 0))
        assert state.best.value <= problem.value(exact) * (1 + 1e-12) <= state.value * (1 + 1e-11)
        values.append(state.value)
    assert np.all(np.diff(values) <= 1e-12)


def test_a_start_at_the_solution_takes_one_step():
    problem = lasso(CRITICAL / 10)
    solver = WorkingSetDescent(tol=1e-9)
    again = solved(problem, solver, solved(problem, SOLVER).params)
    assert again.num_steps == 1 and again.result == jt.RESULTS.converged


def test_derivatives_of_the_solution():
    held = jnp.asarray(RNG.standard_normal((20, 150)))

    @jax.jit
    @jax.value_and_grad
    def held_out(log_strength):
        return jnp.sum((held @ (jt.solve(lasso(jnp.exp(log_strength)), SOLVER, jnp.zeros(150)).params - TRUTH)) ** 2)

    at = jnp.log(CRITICAL / 7)
    difference = (held_out(at + 1e-5)[0] - held_out(at - 1e-5)[0]) / 2e-5
    np.testing.assert_allclose(held_out(at)[1], difference, rtol=1e-5)


def test_single_precision():
    problem = lasso(jnp.float32(CRITICAL / 10), WIDE.astype(jnp.float32), TARGETS.astype(jnp.float32))
    solution = solved(problem, WorkingSetDescent())
    assert solution.params.dtype == jnp.float32 and solution.result == jt.RESULTS.converged
    np.testing.assert_allclose(solution.params, solved(lasso(CRITICAL / 10), SOLVER).params, atol=2e-3)


def test_columns_of_zeros_and_relocation():
    design = WIDE.at[:, 3].set(0)
    problem, harder = lasso(CRITICAL / 3, design), lasso(CRITICAL / 6, design)
    solution = solved(problem, SOLVER)
    assert solution.params[3] == 0 and solution.result == jt.RESULTS.converged
    state = eqx.filter_jit(lambda *of: SOLVER.relocated(*of))(harder, solution.params, solution.state)
    params = solution.params
    for _ in range(6):
        params, state = step(harder, params, state)
    np.testing.assert_allclose(params, solved(harder, SOLVER).params, atol=1e-8)


def test_bad_input():
    start = jnp.zeros(150)
    with pytest.raises(ValueError, match="max_working_set must be at least 1"):
        WorkingSetDescent(max_working_set=0)
    with pytest.raises(ValueError, match="tol"):
        WorkingSetDescent(tol=-1.0)
    with pytest.raises(TypeError, match="needs a LinearModel"):
        jt.solve(jt.Composite(jt.Quadratic(jnp.eye(2), jnp.ones(2)), penalties.L1(1.0)), SOLVER, jnp.zeros(2))
    model = jt.LinearModel(losses.Squared(), WIDE, TARGETS)
    with pytest.raises(ValueError, match="sum over entries"):
        jt.solve(jt.Composite(model, penalties.TotalVariation1D(1.0)), SOLVER, start)
    with pytest.raises(ValueError, match="gap=True needs"):
        jt.solve(jt.Composite(model, penalties.MCP(1.0)), WorkingSetDescent(gap=True), start)
    with pytest.raises(ValueError, match="unrolled"):
        jt.solve(lasso(0.1), SOLVER, start, adjoint=jt.implicit.Unrolled())
    wrong = solved(lasso(CRITICAL / 10), SOLVER, start.at[0].set(jnp.nan))
    assert wrong.result == jt.RESULTS.nonfinite
