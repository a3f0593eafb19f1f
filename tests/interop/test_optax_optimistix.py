"""Methods of other libraries as solvers of ours, and ours as minimizers of optimistix."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import interop, losses, penalties


optx = pytest.importorskip("optimistix")

N, P = 30, 6
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(N, P)))
Y = jnp.asarray(RNG.normal(size=N))
SQUARED = jt.LinearModel(losses.Squared(), X, Y)
SMOOTH = jt.Composite(SQUARED)
START = jnp.zeros(P)
EXACT = np.linalg.lstsq(np.asarray(X), np.asarray(Y))[0]


@pytest.fixture(autouse=True)
def standard_promotion():
    # The methods of other libraries rely on it.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize(
    "solver",
    [
        interop.from_optax(optax.adam(0.03)),
        interop.from_optax(optax.lbfgs()),
        interop.from_optimistix(optx.BFGS(rtol=0.0, atol=0.0), tol=1e-7),
        interop.from_optimistix(optx.NonlinearCG(rtol=0.0, atol=0.0), tol=1e-6),
    ],
    ids=["adam", "optax lbfgs", "bfgs", "nonlinear cg"],
)
def test_their_methods_solve_smooth_problems_and_report_our_error(solver):
    solution = jt.solve(SMOOTH, solver, START)
    assert solution.result == jt.RESULTS.converged
    np.testing.assert_allclose(solution.params, EXACT, atol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(SQUARED.gradient(solution.params)), solution.error, atol=1e-9)


@pytest.mark.parametrize("penalty", [penalties.NonNegative(), penalties.Simplex()], ids=str)
def test_projected_gradient_by_optax(penalty):
    problem = jt.Composite(SQUARED, penalty)
    solution = jt.solve(problem, interop.from_optax(optax.sgd(0.3)), START)
    assert solution.result == jt.RESULTS.converged
    expected = jt.solve(problem, jt.ProximalGradient(tol=1e-11), START).params
    np.testing.assert_allclose(solution.params, expected, atol=1e-6)


def test_fixed_points_of_a_metric_that_is_not_the_projections_are_not_believed():
    adam = interop.from_optax(optax.adam(0.03), max_steps=2000)
    orthant = jt.solve(jt.Composite(SQUARED, penalties.NonNegative()), adam, START)
    assert orthant.result == jt.RESULTS.converged
    simplex = jt.solve(jt.Composite(SQUARED, penalties.Simplex()), adam, START)
    assert simplex.result == jt.RESULTS.max_steps_reached and simplex.error > 1e-4


def test_derivatives_of_what_their_methods_find():
    for solver in (
        interop.from_optax(optax.adam(0.03), tol=1e-10),
        interop.from_optimistix(optx.BFGS(0.0, 0.0), tol=1e-7),
    ):

        def fit(ridge, solver=solver):
            term = jt.FunctionTerm(lambda w, r: SQUARED.value(w) + r * jnp.sum(w**2) / 2, ridge)
            return jnp.sum(jt.solve(jt.Composite(term), solver, START).params ** 2)

        closed = lambda r: jnp.sum(jnp.linalg.solve(X.T @ X / N + r * jnp.eye(P), X.T @ Y / N) ** 2)
        np.testing.assert_allclose(jax.jit(jax.grad(fit))(0.3), jax.grad(closed)(0.3), rtol=1e-5)


def _smooth(y, args):
    design, targets = args
    return jnp.mean((design @ y - targets) ** 2) / 2


def _minimise(strength, data, solver=None, **settings):
    minimiser = interop.as_optimistix_minimiser(solver or jt.ProximalGradient(tol=1e-11), penalties.L1(strength))
    return optx.minimise(_smooth, minimiser, START, args=data, max_steps=5000, **settings)


def test_our_solvers_minimise_for_optimistix_with_the_right_derivatives():
    def ours(strength, data):
        problem = jt.Composite(jt.LinearModel(losses.Squared(), *data), penalties.L1(strength))
        return jnp.sum(jt.solve(problem, jt.ProximalGradient(tol=1e-11), START).params ** 2)

    theirs = lambda s, d: jnp.sum(_minimise(s, d, adjoint=interop.as_optimistix_adjoint()).value ** 2)
    expected, slopes = jax.jit(jax.value_and_grad(ours, (0, 1)))(0.1, (X, Y))
    value, found = jax.jit(jax.value_and_grad(theirs, (0, 1)))(0.1, (X, Y))
    np.testing.assert_allclose(value, expected, rtol=1e-9)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), found, slopes)
    forward = jax.jit(lambda s: jax.jvp(lambda t: theirs(t, (X, Y)), (s,), (jnp.ones(()),))[1])
    np.testing.assert_allclose(forward(0.1), slopes[0], rtol=1e-6)


def test_results_statistics_and_auxiliary_output_pass_through():
    solver = interop.as_optimistix_minimiser(jt.solvers.LBFGSB(), penalties.NonNegative())
    fn = lambda y, target: (jnp.sum((y - target) ** 2), {"seen": y})
    solution = optx.minimise(fn, solver, jnp.ones(2), args=jnp.array([3.0, -1.0]), has_aux=True)
    np.testing.assert_allclose(solution.value, [3.0, 0.0], atol=1e-8)
    np.testing.assert_array_equal(solution.aux["seen"], solution.value)
    assert solution.stats["error"] <= 1e-8
    broken = _minimise(0.1, (X * jnp.nan, Y), throw=False)
    assert broken.result == optx.RESULTS.nonfinite and jnp.all(broken.value == 0)


def test_what_does_not_fit_is_refused():
    lasso = jt.Composite(SQUARED, penalties.L1(0.1))
    with pytest.raises(ValueError, match=r"needs the penalty Zero.*got L1"):
        jt.solve(lasso, interop.from_optax(optax.sgd(0.1)), START)
    with pytest.raises(ValueError, match=r"needs the penalty Zero.*got L1"):
        jt.solve(lasso, interop.from_optimistix(optx.BFGS(0.0, 0.0)), START)
    with pytest.raises(TypeError, match="transformation must be"):
        interop.from_optax("adam")
    with pytest.raises(TypeError, match="solver must be an optimistix"):
        interop.from_optimistix(jt.ProximalGradient())
    with pytest.raises(TypeError, match="solver must be one of ours"):
        interop.as_optimistix_minimiser(optx.BFGS(0.0, 0.0))
    with pytest.raises(TypeError, match="penalty must be one of"):
        interop.as_optimistix_minimiser(jt.ProximalGradient(), 0.1)
    with pytest.raises(TypeError, match="does not unroll"):
        interop.as_optimistix_adjoint(jt.implicit.Unrolled())
    with pytest.raises(TypeError, match="as_optimistix_minimiser"):
        adjoint = interop.as_optimistix_adjoint()
        optx.minimise(lambda y, _: jnp.sum(y**2), optx.BFGS(1e-3, 1e-3), START, adjoint=adjoint)
