"""Gauss-Newton and Levenberg-Marquardt: identities of the step, laws of the residual, and the fits of others."""

from functools import cache, partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
import scipy.optimize
from jax.flatten_util import ravel_pytree

import jaxopt_thoth as jt
from jaxopt_thoth import interop, losses
from jaxopt_thoth.problems import LeastSquares, OneHiddenLayer


rng = np.random.default_rng(1)
X = jnp.asarray(rng.normal(size=(6, 3)))
Y = jnp.asarray(rng.normal(size=6))
CLASSES = jnp.asarray(rng.integers(0, 3, 6))
WIDE = jnp.asarray(rng.normal(size=(9, 4))), jnp.asarray(rng.normal(size=9))
ROSENBROCK = LeastSquares(lambda w: jnp.array([10 * (w[1] - w[0] ** 2), 1 - w[0]]))
START = jnp.array([-1.2, 1.0])

# Misra1a of the reference data sets for nonlinear regression of NIST.
VOLUME = jnp.array([10.07, 14.73, 17.94, 23.93, 29.61, 35.18, 40.02, 44.82, 50.76, 55.05, 61.01, 66.40, 75.47, 81.78])
PRESSURE = jnp.array([77.6, 114.9, 141.1, 190.8, 239.9, 289.0, 332.8, 378.4, 434.8, 477.3, 536.8, 593.1, 689.1, 760.0])
MISRA = LeastSquares(lambda b, x, y: b[0] * (1 - jnp.exp(-b[1] * x)) - y, PRESSURE, VOLUME)
CERTIFIED = np.array([2.3894212918e2, 5.5015643181e-4])


def softmax_model(w, x):
    return jnp.tanh(x @ w["a"]) @ w["b"]


SOFTMAX = LeastSquares(softmax_model, X, loss=losses.Multinomial(), targets=CLASSES)
weighted_direction_distance = jax.jit(jt.solvers.weighted_direction_distance)
SOFTMAX_START = {"a": jnp.asarray(rng.normal(size=(3, 4))), "b": jnp.asarray(rng.normal(size=(4, 3)))}
NETWORK = OneHiddenLayer(X, Y, jnp.tanh)


def one_step(problem, params, **settings):
    solver = jt.GaussNewton(**settings)
    new, state = solver.step(problem, params, solver.init(problem, params))
    return ravel_pytree(new)[0] - ravel_pytree(params)[0], state


@cache
def matrices(kind):
    problem, params = {"squares": (NETWORK, WIDE), "softmax": (SOFTMAX, SOFTMAX_START)}[kind]
    flat, unravel = ravel_pytree(params)
    outputs = problem.outputs(params)
    jacobian = jax.jacrev(lambda w: problem.outputs(unravel(w)).reshape(-1))(flat)
    blocks = problem.loss_hessian(outputs)
    weights = jnp.eye(len(jacobian)) if blocks is None else jax.scipy.linalg.block_diag(*blocks)
    return problem, params, jacobian, weights, problem.loss_gradient(outputs).reshape(-1)


@pytest.mark.parametrize("kind", ["squares", "softmax"])
def test_forms_of_the_damped_step_agree(kind):
    problem, params, J, W, e = matrices(kind)
    eps = 0.3
    exact = -np.linalg.solve(J.T @ W @ J + eps * np.eye(J.shape[1]), J.T @ e)
    scale = np.max(np.abs(exact))

    def steps(params):
        forms = [one_step(problem, params, damping=eps, form=form)[0] for form in ("dense", "dual")]
        return (*forms, one_step(problem, params, damping=eps, form="cg", linear_tol=1e-15)[0])

    for found in jax.jit(steps)(params):
        np.testing.assert_allclose(found, exact, atol=1e-14 * max(1, scale))


@pytest.mark.parametrize("kind", ["squares", "softmax"])
def test_steps_by_eigenvalues(kind):
    problem, params, J, W, e = matrices(kind)
    values, vectors = np.linalg.eigh(W)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    spectrum = np.linalg.eigvalsh(root @ J @ J.T @ root)
    eps = max(1e-7, spectrum[0])
    damped = -np.linalg.solve(J.T @ W @ J + eps * np.eye(J.shape[1]), J.T @ e)
    least = -np.linalg.pinv(J.T @ W @ J, rcond=1e-10, hermitian=True) @ J.T @ e

    def steps(params):
        both = ("dense", "dual")
        return (
            [one_step(problem, params, damping="min_eig", form=form) for form in both],
            [one_step(problem, params, damping="truncate", form=form)[0] for form in both],
        )

    by_least, truncated = jax.jit(steps)(params)
    for found, state in by_least:
        np.testing.assert_allclose(state.damping, eps, rtol=1e-6)
        np.testing.assert_allclose(found, damped, atol=1e-7 * np.max(np.abs(damped)))
    for found in truncated:
        np.testing.assert_allclose(found, least, atol=1e-9 * np.max(np.abs(least)))


def test_residuals_of_a_linear_model_fall_by_the_same_factor():
    design = jnp.asarray(rng.normal(size=(4, 9))) * jnp.logspace(0, 2, 4)[:, None]
    residual = lambda w: design @ w - jnp.arange(1.0, 5.0)
    problem = LeastSquares(residual)
    for form in ("dense", "dual"):
        solver = jt.GaussNewton(0.3, damping="truncate", form=form)
        step = jax.jit(lambda w, state, solver=solver: solver.step(problem, w, state))
        w, state = jnp.ones(9), solver.init(problem, jnp.ones(9))
        for _ in range(3):
            before = residual(w)
            w, state = step(w, state)
            np.testing.assert_allclose(residual(w), 0.7 * before, rtol=1e-9)


def test_loss_of_a_network_follows_the_law_of_small_steps():
    eta = 0.01
    solver = jt.GaussNewton(eta, damping="min_eig", tol=0.0, max_steps=150)
    loss = jt.solve(NETWORK, solver, WIDE, mode="scan", history=True).history.value / NETWORK.value(WIDE)
    times = eta * np.arange(1, 151)
    # The damping by the least eigenvalue at least halves the rate of its eigenvector; without it the law is exact.
    assert np.all(loss >= np.exp(-2 * times) * (1 - 0.03))
    undamped = jt.GaussNewton(eta, damping="truncate", tol=0.0, max_steps=150)
    loss = jt.solve(NETWORK, undamped, WIDE, mode="scan", history=True).history.value / NETWORK.value(WIDE)
    np.testing.assert_allclose(loss, np.exp(-2 * times), rtol=0.03)


def test_levenberg_marquardt_meets_its_peers():
    residual = lambda w: np.array([10 * (w[1] - w[0] ** 2), 1 - w[0]])
    ours = jt.solve(ROSENBROCK, jt.LevenbergMarquardt(), START)
    peer = jt.solve(ROSENBROCK, interop.from_optimistix(optx.LevenbergMarquardt(0.0, 0.0)), START)
    assert ours.result == jt.RESULTS.converged and peer.result == jt.RESULTS.converged
    assert ours.num_steps <= peer.num_steps
    other = scipy.optimize.least_squares(residual, np.array(START), method="lm", xtol=1e-14, ftol=1e-14, gtol=1e-14)
    for params in (ours.params, peer.params, other.x):
        np.testing.assert_allclose(params, 1.0, atol=1e-8)


def test_certified_fit_in_any_units():
    solver = jt.LevenbergMarquardt(scaled=True, tol=1e-10)
    for start in ([500.0, 1e-4], [250.0, 5e-4]):
        solution = jt.solve(MISRA, solver, jnp.array(start))
        assert solution.result == jt.RESULTS.converged
        assert solution.num_steps <= 20
        np.testing.assert_allclose(solution.params, CERTIFIED, rtol=1e-9)
        np.testing.assert_allclose(2 * MISRA.value(solution.params), 1.2455138894e-1, rtol=1e-10)
    units = jnp.array([1e3, 1e-6])
    rescaled = LeastSquares(lambda b: MISRA.outputs(b * units))
    other = jt.solve(rescaled, solver, jnp.array([250.0, 5e-4]) / units)
    assert other.num_steps == solution.num_steps
    np.testing.assert_allclose(other.params * units, solution.params, rtol=1e-9)


def test_values_never_rise_and_the_damping_follows_nielsen():
    solver = jt.LevenbergMarquardt(1e-4)
    step = jax.jit(lambda w, state: solver.step(ROSENBROCK, w, state))
    w, state = START, solver.init(ROSENBROCK, START)
    rejected = 0
    for _ in range(12):
        new, after = step(w, state)
        actual = ROSENBROCK.value(w) - ROSENBROCK.value(new)
        if after.gain > 0:
            J = jax.jacobian(ROSENBROCK.outputs)(w)
            d = new - w
            predicted = d @ (state.damping * d - J.T @ ROSENBROCK.outputs(w)) / 2
            np.testing.assert_allclose(after.gain, actual / predicted, rtol=1e-6)
            factor = max(1 / 3, 1 - (2 * float(after.gain) - 1) ** 3)
            np.testing.assert_allclose(after.damping, state.damping * factor, rtol=1e-6)
            assert actual > 0 and after.growth == 2
        else:
            rejected += 1
            assert actual == 0 and after.growth == 2 * state.growth
            assert after.damping == state.damping * state.growth
        w, state = new, after
    assert rejected > 0


def test_damping_and_step_size_are_batched_and_compile_once():
    traces = []

    @eqx.filter_jit
    def fit(problem, step_size, damping):
        traces.append(1)
        return jt.solve(problem, jt.GaussNewton(step_size, damping), START)

    batched = eqx.filter_vmap(partial(fit, ROSENBROCK))(jnp.array([1.0, 0.5]), jnp.array([0.0, 1e-2]))
    assert len(traces) == 1
    assert np.all(batched.result == jt.RESULTS.converged)
    assert batched.num_steps[0] < 5 < batched.num_steps[1]
    np.testing.assert_allclose(batched.params, 1.0, atol=1e-6)


def test_problems_are_batched():
    def fit(y):
        return jt.solve(LeastSquares(lambda b, x, y: b[0] * jnp.exp(b[1] * x) - y, X[:, 0], y), solver, jnp.zeros(2))

    solver = jt.LevenbergMarquardt()
    targets = jnp.stack([a * jnp.exp(b * X[:, 0]) for a, b in [(1.0, 0.5), (2.0, -1.0)]])
    batched = jax.jit(jax.vmap(fit))(targets)
    np.testing.assert_allclose(batched.params, [[1.0, 0.5], [2.0, -1.0]], atol=1e-7)


@pytest.mark.parametrize(
    "solver",
    [pytest.param(jt.GaussNewton(0.5, max_steps=12), marks=pytest.mark.slow), jt.LevenbergMarquardt(max_steps=12)],
)
def test_modes_and_unrolled_derivatives(solver):
    runs = [jt.solve(MISRA, solver, jnp.array([250.0, 5e-4]), mode=mode).params for mode in ("while", "scan")]
    runs.append(jt.solve(MISRA, solver, jnp.array([250.0, 5e-4]), mode="checkpointed").params)
    for other in runs[1:]:
        np.testing.assert_allclose(other, runs[0], rtol=1e-9)

    def fit(y, adjoint=None):
        problem = LeastSquares(lambda w, y: jnp.stack([jnp.exp(w[0]) - y, w[1] + w[0] - 1, w[1] ** 2]), y)
        return jt.solve(problem, eqx.tree_at(lambda s: s.tol, solver, 1e-9, is_leaf=lambda v: v is None),
                        jnp.array([0.5, 0.5]), adjoint=adjoint).params  # fmt: skip

    implicit = jax.jit(jax.jacrev(fit))(2.0)
    unrolled = jax.jit(jax.jacrev(partial(fit, adjoint=jt.implicit.Unrolled())))(2.0)
    np.testing.assert_allclose(unrolled, implicit, atol=0.02)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("make", [jt.GaussNewton, jt.LevenbergMarquardt])
@pytest.mark.parametrize("form", ["dense", "dual", "cg"])
def test_steps_keep_shapes_and_dtypes(make, form, dtype):
    solver = make(damping=0.1, form=form)
    problem, params = jax.tree.map(
        lambda leaf: leaf.astype(dtype) if eqx.is_inexact_array(leaf) else leaf, (SOFTMAX, SOFTMAX_START)
    )
    state = jax.eval_shape(lambda w: solver.init(problem, w), params)
    after = jax.eval_shape(lambda w, s: solver.step(problem, w, s), params, state)
    kinds = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
    assert kinds(after) == kinds((params, state))


def test_single_precision():
    problem = LeastSquares(lambda w, x, y: w[0] * jnp.exp(w[1] * x) - y, *[
        jnp.asarray(a, jnp.float32) for a in (X[:, 0], 2 * jnp.exp(-0.5 * X[:, 0]))
    ])  # fmt: skip
    for solver in (jt.GaussNewton(damping="truncate"), jt.LevenbergMarquardt()):
        solution = jt.solve(problem, solver, jnp.ones(2, jnp.float32))
        assert solution.params.dtype == jnp.float32
        np.testing.assert_allclose(solution.params, [2.0, -0.5], atol=1e-3)


def test_results():
    # From a start this far out the full step overshoots ever further.
    arctan = LeastSquares(lambda w: jnp.arctan(w))
    np.testing.assert_allclose(jt.solve(arctan, jt.LevenbergMarquardt(), jnp.array([3.0])).params, 0.0, atol=1e-8)
    singular = LeastSquares(lambda w: (w[0] + w[1] - 1)[None] * jnp.ones(3))
    assert jt.solve(singular, jt.GaussNewton(form="dual"), jnp.ones(2)).result == jt.RESULTS.nonfinite
    repaired = jt.solve(singular, jt.GaussNewton(damping="truncate"), jnp.ones(2))
    np.testing.assert_allclose(repaired.params, 0.5, rtol=1e-12)
    short = jt.solve(ROSENBROCK, jt.LevenbergMarquardt(max_steps=2), START)
    assert short.result == jt.RESULTS.max_steps_reached
    # A start where nothing is defined is no step down, and no solution.
    broken = LeastSquares(lambda w: jnp.log(w))
    assert jt.solve(broken, jt.LevenbergMarquardt(), jnp.array([-1.0])).result == jt.RESULTS.nonfinite


def test_optimistix_takes_residuals_only():
    with pytest.raises(ValueError, match="Multinomial"):
        jt.solve(SOFTMAX, interop.from_optimistix(optx.GaussNewton(0.0, 0.0)), SOFTMAX_START)


def test_bad_settings():
    for make in (jt.GaussNewton, jt.LevenbergMarquardt):
        with pytest.raises(ValueError, match="form must be"):
            make(form="primal")
        with pytest.raises(ValueError, match="chunk"):
            make(chunk=0)
        with pytest.raises(ValueError, match="max_linear_steps"):
            make(max_linear_steps=0)
        with pytest.raises(ValueError, match="tol"):
            make(tol=-1.0)
        with pytest.raises(ValueError, match="damping"):
            make(damping=-1.0)
        with pytest.raises(ValueError, match="unrolled"):
            jt.solve(ROSENBROCK, make(form="cg"), START, adjoint=jt.implicit.Unrolled())
        with pytest.raises(TypeError, match="LeastSquares"):
            jt.solve(jt.Composite(jnp.sum), make(), START)
    with pytest.raises(ValueError, match="step_size"):
        jt.GaussNewton(0.0)
    with pytest.raises(ValueError, match="min_eig"):
        jt.GaussNewton(damping="lm")
    with pytest.raises(ValueError, match="eigenvalues"):
        jt.GaussNewton(damping="truncate", form="cg")
    with pytest.raises(ValueError, match="dense form"):
        jt.LevenbergMarquardt(scaled=True, form="dual")


def test_direction_distance():
    reference = jnp.array([[2.0, 0.0], [0.0, -3.0]])
    tilted = jnp.array([[jnp.cos(0.3), jnp.sin(0.3)], [0.0, -5.0], [0.0, 0.0]])
    expected = 1 / 26 * np.sqrt(2 - 2 * np.cos(0.3))
    np.testing.assert_allclose(weighted_direction_distance(tilted, reference), expected, rtol=1e-12)
    np.testing.assert_allclose(weighted_direction_distance(7 * tilted, reference), expected, rtol=1e-12)
    assert weighted_direction_distance(-reference, reference[:1]) == pytest.approx((4 * 2 + 9 * np.sqrt(2)) / 13)
    # A tiny angle keeps its digits, and at angle zero the derivative is finite.
    angle = 1e-9
    near = jnp.array([[np.cos(angle), np.sin(angle)]])
    np.testing.assert_allclose(weighted_direction_distance(near, reference), angle, rtol=1e-6)
    assert np.all(np.isfinite(jax.grad(weighted_direction_distance)(tilted.at[0].set([1.0, 0.0]), reference)))
    assert weighted_direction_distance(jnp.zeros((2, 2)), reference) == 0
    with pytest.raises(ValueError, match="shapes"):
        weighted_direction_distance(jnp.ones(2), reference)
