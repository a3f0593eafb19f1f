"""Hypergradients against the reference values, and their error bounds against the true error."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import bilevel
from jaxopt_thoth.bilevel import Bilevel, ErrorBound, HeuristicErrorBound, hypergradient, value_and_hypergradient


SMOOTH = ("ridge_scalar", "ridge_per_feature", "logistic_per_feature", "hypercleaning", "tv1d_denoise")
COMPOSITE = ("lasso_scalar", "wlasso", "enet", "nnls_vjp_b", "simplex_projection", "entropic_simplex_qp")


@pytest.mark.parametrize("name", SMOOTH + COMPOSITE)
def test_hypergradient_is_the_reference(references, name):
    row, problem, (hyper, params) = references(name)
    found = jax.jit(lambda h, w: hypergradient(problem, h, w))(hyper, params)
    row.check(found.value, found.gradient)
    assert found.converged
    assert found.adjoint_residual < 1e-9
    assert found.inner_residual < 1e-9


@pytest.mark.parametrize("name", ["ridge_per_feature", "wlasso"])
def test_from_a_solve_with_a_solver_of_choice(references, name):
    row, problem, (hyper, params) = references(name)
    solver = jt.ProximalGradient(tol=1e-9)
    solution, found = value_and_hypergradient(problem, hyper, jnp.zeros_like(params), solver=solver, polish=True)
    assert solution.result == jt.RESULTS.converged
    row.check(found.value, found.gradient)


def test_lineax_solver_gives_the_same_and_its_residual(references):
    row, problem, (hyper, params) = references("ridge_per_feature")
    found = hypergradient(problem, hyper, params, linear_solver=lx.AutoLinearSolver(well_posed=True))
    row.check(found.value, found.gradient)
    assert found.converged and found.num_steps == 0


def test_warm_start_takes_no_step_and_changes_nothing(references):
    _, problem, (hyper, params) = references("logistic_per_feature")
    run = jax.jit(lambda h, q: hypergradient(problem, h, params, adjoint=q, rtol=1e-10))
    cold = run(hyper, jnp.zeros_like(params))
    warm = run(hyper, cold.adjoint)
    near = run(hyper + 1e-4, cold.adjoint)
    assert cold.num_steps > 5 and warm.num_steps == 0 and near.num_steps < cold.num_steps
    np.testing.assert_allclose(warm.gradient, cold.gradient, rtol=1e-9)


def test_vmap_over_hyper_matches_single_calls_and_finite_differences():
    design = jnp.asarray(np.random.default_rng(0).normal(size=(12, 5)))
    inner = lambda w, h: jnp.mean((design @ w - 1.0) ** 2) + jnp.exp(h) * jnp.sum(w**2)
    problem = Bilevel(lambda w, h: jnp.sum((w - 0.3) ** 2) + h**2, inner)
    solve = lambda h: jnp.linalg.solve(design.T @ design / 12 + jnp.exp(h) * jnp.eye(5), jnp.sum(design, 0) / 12)
    hypers = jnp.array([-4.0, -1.0, 2.0])
    batch = jax.vmap(lambda h: hypergradient(problem, h, solve(h)))(hypers)
    value = lambda h: problem.outer_value(solve(h), h)
    np.testing.assert_allclose(batch.gradient, jax.vmap(jax.grad(value))(hypers), rtol=1e-10)
    np.testing.assert_allclose(batch.gradient[1], hypergradient(problem, -1.0, solve(-1.0)).gradient, rtol=1e-12)


def test_pytrees_integer_data_and_float32():
    def inner(w, h, rows):
        return jnp.sum((w["a"][rows] - h[0]) ** 2) / 2 + jnp.sum((w["b"] - h[1]) ** 2) / 2

    data = jnp.array([0, 2, 1])
    problem = Bilevel(lambda w, h: jnp.sum(w["a"]) + jnp.sum(w["b"]), inner, inner_data=(data,))
    hyper = (jnp.float32(2.0), jnp.ones(2, jnp.float32))
    params = {"a": jnp.full(3, 2.0, jnp.float32), "b": jnp.ones(2, jnp.float32)}
    found = hypergradient(problem, hyper, params)
    np.testing.assert_allclose(found.gradient[0], 3.0, rtol=1e-5)
    np.testing.assert_allclose(found.gradient[1], [1.0, 1.0], rtol=1e-5)
    assert found.gradient[0].dtype == found.inner_residual.dtype == jnp.float32


def _ridge():
    """A quadratic inner problem whose cross derivative changes with w: all constants known."""
    rng = np.random.default_rng(1)
    design, target = jnp.asarray(rng.normal(size=(20, 6))), jnp.asarray(rng.normal(size=20))
    goal = jnp.asarray(rng.normal(size=6))
    inner = lambda w, h: jnp.sum((design @ w - target) ** 2) / 2 + jnp.sum(jnp.exp(h) * w**2) / 2
    problem = Bilevel(lambda w, h: 3 * jnp.sum((w - goal) ** 2) / 2, inner)
    hyper = jnp.linspace(-1.0, 1.0, 6)
    hessian = design.T @ design + jnp.diag(jnp.exp(hyper))
    w = jnp.linalg.solve(hessian, design.T @ target)
    # C is diag(exp(h) w): its Lipschitz constant is the largest exp(h).
    return problem, hyper, w, float(jnp.linalg.eigvalsh(hessian)[0]), float(jnp.exp(hyper).max())


def test_bounds_hold_for_every_error_of_the_two_solves():
    problem, hyper, w, mu, cross = _ridge()
    true = hypergradient(problem, hyper, w).gradient
    bounds = {form: ErrorBound(mu, 3.0, cross_lipschitz=cross, form=form) for form in ("product", "operator")}

    @jax.jit
    @jax.vmap
    def errors(noise, rtol):
        found = [hypergradient(problem, hyper, w + noise, rtol=rtol, bound=bound) for bound in bounds.values()]
        return jnp.linalg.norm(found[0].gradient - true), jnp.stack([one.bound for one in found])

    rng = np.random.default_rng(2)
    sizes = np.logspace(-6, 0, 40)
    noise = jnp.asarray(rng.normal(size=(40, 6)) * sizes[:, None])
    error, bound = errors(noise, jnp.asarray(rng.permutation(np.logspace(-8, -0.5, 40))))
    assert np.all(error[:, None] <= bound * (1 + 1e-9))
    # No certificate that anything passes: the tighter form is within a small factor somewhere.
    assert np.min(bound[:, 1] / error) < 30
    assert np.all(bound[:, 1] <= bound[:, 0] * (1 + 1e-9))


def test_heuristic_bound_is_the_error_to_first_order():
    problem, hyper, w, *_ = _ridge()
    true = hypergradient(problem, hyper, w).gradient
    noise = 1e-3 * jnp.ones(6)
    found = hypergradient(problem, hyper, w + noise, bound=HeuristicErrorBound(safety=1.0, rtol=1e-8))
    np.testing.assert_allclose(found.bound, jnp.linalg.norm(found.gradient - true), rtol=1e-4)


def test_above_the_critical_strength_the_hypergradient_is_zero(references):
    _, problem, (_, params) = references("lasso_scalar")
    hyper = jnp.log(3.0)
    found = hypergradient(problem, hyper, jnp.zeros_like(params))
    assert found.gradient == 0.0 and found.converged and found.inner_residual == 0.0


def test_an_inner_solver_that_did_not_converge_is_told(references):
    _, problem, (hyper, params) = references("ridge_per_feature")
    solver = jt.ProximalGradient(max_steps=2)
    solution, found = value_and_hypergradient(problem, hyper, jnp.zeros_like(params), solver=solver)
    assert solution.result == jt.RESULTS.max_steps_reached
    assert found.inner_residual > 1e-3


def test_singular_inner_problem_is_flagged():
    flat = Bilevel(lambda w, h: jnp.sum(w), lambda w, h: (w[0] - h) ** 2)
    found = hypergradient(flat, 1.0, jnp.ones(2))
    assert not found.converged and found.adjoint_residual >= 0.5


def test_bad_input():
    inner = lambda w, h: jnp.sum((w - h) ** 2)
    problem = Bilevel(lambda w, h: jnp.sum(w), inner)
    with pytest.raises(TypeError, match="hyper must be floating-point"):
        hypergradient(problem, jnp.arange(2), jnp.ones(2))
    with pytest.raises(ValueError, match="adjoint must have the structure of params"):
        hypergradient(problem, 1.0, jnp.ones(2), adjoint=(jnp.ones(2),))
    with pytest.raises(ValueError, match="outer must return a scalar"):
        hypergradient(Bilevel(lambda w, h: w, inner), 1.0, jnp.ones(2))
    with pytest.raises(ValueError, match="must return a scalar"):
        hypergradient(Bilevel(lambda w, h: jnp.sum(w), lambda w, h: w), 1.0, jnp.ones(2))
    with pytest.raises(TypeError, match="one of inner and problem"):
        Bilevel(lambda w, h: jnp.sum(w))
    with pytest.raises(TypeError, match="outer must be a function"):
        Bilevel(1.0, inner)
    with pytest.raises(TypeError, match="inner_data must be a tuple"):
        Bilevel(lambda w, h: jnp.sum(w), inner, inner_data=jnp.ones(3))
    with pytest.raises(TypeError, match="problem must return a Composite"):
        hypergradient(Bilevel(lambda w, h: jnp.sum(w), problem=lambda h: 1.0), 1.0, jnp.ones(2))
    with pytest.raises(ValueError, match="bound needs a smooth inner"):
        lasso = lambda h: jt.Composite(lambda w: jnp.sum(w**2), jt.penalties.L1(h))
        hypergradient(Bilevel(lambda w, h: jnp.sum(w), problem=lasso), 1.0, jnp.ones(2), bound=ErrorBound(1.0, 1.0))
    with pytest.raises(ValueError, match="strong_convexity must be positive"):
        ErrorBound(0.0, 1.0)
    with pytest.raises(ValueError, match="form must be"):
        ErrorBound(1.0, 1.0, form="loose")
    with pytest.raises(TypeError, match="starts from a pair"):
        jt.solve(problem, bilevel.HOAG(), jnp.ones(2))
