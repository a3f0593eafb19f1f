import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import stopping
from jaxopt_thoth.stopping import AllOf, AnyOf, DualityGap, FixedPointResidual, RelativeChange


RNG = np.random.default_rng(0)
X, Y = jnp.asarray(RNG.normal(size=(40, 5))), jnp.asarray(RNG.normal(size=40))
PROBLEM = jt.Composite(jt.LinearModel(jt.losses.Squared(), X, Y), jt.penalties.L1(0.02))
SOLVER = jt.ProximalGradient(step_size=0.4, accelerated=False, max_steps=300, tol=0.0)
START = jnp.zeros(5)


@pytest.fixture(scope="module")
def iterates():
    """The start and every iterate of the run, by hand."""
    step = jax.jit(lambda params, state: SOLVER.step(PROBLEM, params, state))
    params, state = START, SOLVER.init(PROBLEM, START)
    points = [START]
    for _ in range(SOLVER.max_steps):
        params, state = step(params, state)
        points.append(params)
    return jnp.stack(points)


def first(condition):
    """The number of the first step after which `condition` holds."""
    assert np.any(condition)
    return int(np.argmax(np.asarray(condition))) + 1


def steps(stop):
    solution = jt.solve(PROBLEM, SOLVER, START, stop=stop)
    assert solution.result == jt.RESULTS.converged
    return int(solution.num_steps)


def changes(iterates):
    return jnp.linalg.norm(jnp.diff(iterates, axis=0), axis=1) / jnp.linalg.norm(iterates[1:], axis=1)


def residuals(iterates, step=1.0):
    return jax.vmap(lambda w: jnp.linalg.norm(PROBLEM.optimality(w, step)))(iterates[1:])


def gaps(iterates):
    return jax.vmap(PROBLEM.duality_gap)(iterates[1:])


def test_relative_change(iterates):
    assert steps(RelativeChange(1e-5)) == first(changes(iterates) <= 1e-5)


@pytest.mark.parametrize("step", [1.0, 0.4])
def test_fixed_point_residual(iterates, step):
    assert steps(FixedPointResidual(1e-5, step)) == first(residuals(iterates, step) <= 1e-5)


def test_duality_gap_at_every_step(iterates):
    assert steps(DualityGap(1e-6, relative=False, every=1)) == first(gaps(iterates) <= 1e-6)
    relative = gaps(iterates) / jax.vmap(PROBLEM.value)(iterates[1:])
    assert steps(DualityGap(1e-6, every=1)) == first(relative <= 1e-6)


def test_duality_gap_now_and_then(iterates):
    met = np.asarray(gaps(iterates) <= 1e-6)
    due = np.arange(1, met.size + 1) % 7 == 0
    solution = jt.solve(PROBLEM, SOLVER, START, stop=DualityGap(1e-6, relative=False, every=7))
    assert solution.num_steps == first(met & due)
    np.testing.assert_allclose(solution.error, gaps(iterates)[int(solution.num_steps) - 1], rtol=1e-6)


def test_error_of_the_duality_gap_is_that_of_its_last_evaluation(iterates):
    record = jt.solve(PROBLEM, SOLVER, START, stop=DualityGap(1e-6, relative=False, every=7), history=True).history
    np.testing.assert_array_equal(record.error[:6], jnp.inf)
    np.testing.assert_allclose(record.error[6:13], jnp.full(7, gaps(iterates)[6]), rtol=1e-9)


def test_any_and_all(iterates):
    change = np.asarray(changes(iterates) <= 1e-5)
    gap = np.asarray(gaps(iterates) <= 1e-4)
    due = np.arange(1, gap.size + 1) % 10 == 0
    pair = RelativeChange(1e-5), DualityGap(1e-4, relative=False, every=10)
    assert first(change) != first(gap & due)
    assert steps(AnyOf(*pair)) == first(change | (gap & due))
    assert steps(AllOf(*pair)) == first(change & gap & due)
    assert steps(AllOf(AnyOf(*pair), FixedPointResidual(1e-7))) == first(
        (change | (gap & due)) & np.asarray(residuals(iterates) <= 1e-7)
    )


def test_errors_of_combinations_are_in_units_of_the_tolerances(iterates):
    pair = RelativeChange(1e-5), FixedPointResidual(1e-4)
    units = changes(iterates) / 1e-5, residuals(iterates) / 1e-4
    for combine, reduce in ((AnyOf, jnp.minimum), (AllOf, jnp.maximum)):
        solution = jt.solve(PROBLEM, SOLVER, START, stop=combine(*pair))
        expected = reduce(*units)[int(solution.num_steps) - 1]
        np.testing.assert_allclose(solution.error, expected, rtol=1e-6)


def test_tolerance_of_zero_is_met_by_an_exact_zero():
    exact = jt.Composite(jt.Quadratic(jnp.eye(5)), jt.penalties.L1(0.1))
    for stop in (RelativeChange(0.0), AnyOf(RelativeChange(0.0), FixedPointResidual(0.0))):
        solution = jt.solve(exact, SOLVER, START, stop=stop)
        assert solution.result == jt.RESULTS.converged and solution.error == 0


def test_batches_of_tolerances(iterates):
    tolerances = jnp.array([1e-2, 1e-4, 1e-6])
    fit = lambda tol: jt.solve(PROBLEM, SOLVER, START, stop=DualityGap(tol, relative=False, every=5)).num_steps
    due = np.arange(1, SOLVER.max_steps + 1) % 5 == 0
    expected = [first(np.asarray(gaps(iterates) <= tol) & due) for tol in tolerances]
    np.testing.assert_array_equal(jax.vmap(fit)(tolerances), expected)


def test_criteria_keep_single_precision():
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), PROBLEM)
    stop = AnyOf(RelativeChange(1e-4), DualityGap(1e-4), FixedPointResidual(1e-4))
    solution = jt.solve(single, SOLVER, START.astype(jnp.float32), stop=stop)
    assert solution.result == jt.RESULTS.converged and solution.error.dtype == jnp.float32


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: RelativeChange(-1.0), ValueError, "tol must be nonnegative"),
        (lambda: FixedPointResidual(-1.0), ValueError, "tol must be nonnegative"),
        (lambda: FixedPointResidual(1.0, 0.0), ValueError, "step must be positive"),
        (lambda: DualityGap(-1.0), ValueError, "tol must be nonnegative"),
        (lambda: DualityGap(1.0, every=0), ValueError, "every must be at least 1"),
        (lambda: AnyOf(), TypeError, "stopping criteria"),
        (lambda: AllOf(1e-3), TypeError, "stopping criteria"),
    ],
)
def test_settings_out_of_range_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_criterion_without_a_rule_says_so():
    class Silent(stopping.AbstractStop):
        tol: jax.Array

    with pytest.raises(NotImplementedError):
        Silent(jnp.ones(()))(PROBLEM, None)
