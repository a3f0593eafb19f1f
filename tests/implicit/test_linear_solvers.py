"""Approximate and reused inverses, warm starts, unrolled tails: the errors of theory, and what is reported."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import implicit
from jaxopt_thoth.implicit import (
    custom_argmin,
    custom_fixed_point,
    custom_prox_fixed_point,
    custom_root,
    JacobianFree,
    NeumannSeries,
    QuasiNewtonInverse,
    Ridge,
    unrolled_tail,
    warm_linear_solve,
)


RNG = np.random.default_rng(7)
N = 6
J = RNG.normal(size=(N, N))
J = jnp.asarray(0.6 * J / np.linalg.norm(J, 2))
A = jnp.eye(N) - J
SPD = A @ A.T + jnp.eye(N)
B = jnp.asarray(RNG.normal(size=N))


def mapping(x, b):
    return {"u": J[:4] @ joined(x) + b[:4], "v": J[4:] @ joined(x) + b[4:]}


def joined(x):
    return jnp.concatenate([x["u"], x["v"]])


def solution(start, b):
    x = jnp.linalg.solve(A, b)
    return {"u": x[:4], "v": x[4:]}


def gradient_by(solver, b=B):
    solve = custom_fixed_point(mapping, linear_solver=solver)(solution)
    return jax.grad(lambda b: jnp.sum(joined(solve({"u": B[:4], "v": B[4:]}, b))))(b)


EXACT = np.linalg.solve(A.T, np.ones(N))


@pytest.mark.parametrize("num_terms", [0, 3, 10])
def test_series_and_tails_have_the_error_of_theory(num_terms):
    partial = sum(np.linalg.matrix_power(J.T, k) @ np.ones(N) for k in range(num_terms + 1))
    np.testing.assert_allclose(gradient_by(NeumannSeries(num_terms)), partial, rtol=1e-12)
    assert np.linalg.norm(partial - EXACT) <= 0.6 ** (num_terms + 1) / 0.4 * np.sqrt(N)
    tail = unrolled_tail(mapping, num_terms + 1)(solution)
    unrolled = jax.grad(lambda b: jnp.sum(joined(tail({"u": B[:4], "v": B[4:]}, b))))(B)
    np.testing.assert_allclose(unrolled, partial, rtol=1e-12)
    if num_terms == 0:
        np.testing.assert_allclose(gradient_by(JacobianFree()), partial, rtol=1e-12)


def test_series_with_a_scale_serve_gradients():
    solver = NeumannSeries(600, scale=1 / float(np.linalg.eigvalsh(SPD)[-1]))
    solve = custom_argmin(lambda x, b: x @ SPD @ x / 2 - b @ x, linear_solver=solver)(
        lambda start, b: jnp.linalg.solve(SPD, b)
    )
    np.testing.assert_allclose(jax.grad(lambda b: solve(b, b).sum())(B), np.linalg.solve(SPD, np.ones(N)), rtol=1e-9)


def secants(count, matrix):
    steps = jnp.asarray(np.random.default_rng(1).normal(size=(count, N)))
    return steps, steps @ matrix.T


def test_secants_give_the_inverse_that_their_method_stands_for():
    """Exact quadratic steps: Broyden's recursion against dense updates; conjugate pairs give the inverse by BFGS."""
    steps, differences = secants(4, A)
    inverse = np.eye(N)
    for s, y in zip(np.asarray(steps), np.asarray(differences), strict=True):
        inverse = inverse + np.outer(s - inverse @ y, s @ inverse) / (s @ inverse @ y)
    reuse = QuasiNewtonInverse.from_secants(steps, differences, fallback=1e9)
    np.testing.assert_allclose(reuse.inverse(B), inverse @ B, rtol=1e-9)
    np.testing.assert_allclose(reuse.inverse_transposed(B), inverse.T @ B, rtol=1e-9)
    np.testing.assert_allclose(gradient_by(reuse), inverse.T @ np.ones(N), rtol=1e-9)
    padded = QuasiNewtonInverse.from_secants(*(jnp.concatenate([t, 0 * t]) for t in (steps, differences)))
    np.testing.assert_allclose(padded.inverse(B), inverse @ B, rtol=1e-9)

    conjugate = jnp.asarray(np.linalg.eigh(SPD)[1].T)
    full = QuasiNewtonInverse.from_secants(conjugate, conjugate @ SPD, kind="bfgs")
    np.testing.assert_allclose(full.inverse(B), np.linalg.solve(SPD, B), rtol=1e-9)


def test_refinement_lowers_the_residual_and_growth_falls_back():
    steps, differences = secants(3, A)
    errors = []
    for count in (0, 2, 30):
        solver = QuasiNewtonInverse.from_secants(steps, differences, fallback=jnp.inf, num_refinements=count)
        errors.append(np.linalg.norm(A.T @ gradient_by(solver) - np.ones(N)))
    assert errors[0] > errors[1] > errors[2] and errors[2] < 1e-6 * errors[0]
    wild = QuasiNewtonInverse(lambda v: jax.tree.map(lambda leaf: 1e3 * leaf, v))
    np.testing.assert_allclose(gradient_by(wild), np.ones(N))


def test_secants_of_a_call_serve_its_own_derivative():
    steps, differences = secants(N, A)
    tree = lambda t: {"u": t[:, :4], "v": t[:, 4:]}
    solver = lambda start, b: (solution(start, b), (tree(steps), tree(differences)))
    reuse = lambda aux: QuasiNewtonInverse.from_secants(*aux, fallback=100.0)
    solve = custom_fixed_point(mapping, linear_solver=reuse, has_aux=True)(solver)
    found = jax.jit(jax.grad(lambda b: jnp.sum(joined(solve(None, b)[0]))))(B)
    flat = QuasiNewtonInverse.from_secants(steps, differences).inverse_transposed(jnp.ones(N))
    np.testing.assert_allclose(found, flat, rtol=1e-12)


@pytest.mark.parametrize("inner", [lx.LU(), lx.CG(rtol=1e-12, atol=1e-12)], ids=["lu", "cg"])
def test_ridge_shifts_the_operator(inner):
    solve = custom_argmin(lambda x, b: x @ SPD @ x / 2 - b @ x, linear_solver=Ridge(inner, 0.5))(
        lambda start, b: jnp.linalg.solve(SPD, b)
    )
    shifted = np.linalg.solve(SPD + 0.5 * np.eye(N), np.ones(N))
    np.testing.assert_allclose(jax.grad(lambda b: solve(b, b).sum())(B), shifted, rtol=1e-9)


KRYLOV = {"rtol": 1e-12, "atol": 1e-12}


@pytest.mark.parametrize(
    "solver",
    [lx.GMRES(**KRYLOV), lx.BiCGStab(**KRYLOV), lx.Normal(lx.CG(**KRYLOV)), lx.LU(), NeumannSeries(70)],
    ids=["gmres", "bicgstab", "normal cg", "lu", "neumann"],
)
def test_solvers_take_batches_zeros_and_second_derivatives(solver):
    cube = custom_fixed_point(lambda x, b: {"u": x["u"] - 0.2 * (x["u"] ** 3 + x["u"] - b)}, linear_solver=solver)
    root = cube(lambda start, b: {"u": jnp.full_like(b, 1.0)})

    @jax.jit
    def parts(weights):
        value = lambda b, w: w @ root(None, b)["u"]
        two = jnp.full(2, 2.0)
        return jax.vmap(lambda w: jax.grad(value)(two, w))(weights), jax.hessian(value)(two, weights[0])

    gradient, hessian = parts(jnp.array([[1.0, 2.0], [0.0, 0.0], [1e-200, 0.0]]))
    np.testing.assert_allclose(gradient, np.array([[1.0, 2.0], [0.0, 0.0], [1e-200, 0.0]]) / 4, rtol=1e-9)
    # x'' = -6 x x'^2 / (3 x^2 + 1) at x = 1.
    np.testing.assert_allclose(hessian, np.diag([-6 / 64, -12 / 64]), rtol=1e-9, atol=1e-12)


MATRICES = {"cg": SPD, "gmres": A, "bicgstab": A}


@pytest.mark.parametrize("method", MATRICES)
def test_warm_starts_take_no_steps_and_rows_of_a_batch_stay_apart(method):
    matrix = MATRICES[method]
    solve = lambda b, start: warm_linear_solve(lambda v: matrix @ v, b, start, method=method, rtol=1e-11)
    exact = jnp.linalg.solve(matrix, B)
    rhs = jnp.stack([B, B, 0 * B, 1e-200 * B, B])
    starts = jnp.stack([0 * B, exact, exact, 0 * B, jnp.full(N, jnp.nan)])
    found = jax.jit(jax.vmap(solve))(rhs, starts)
    assert found.converged.all()
    assert found.num_steps[0] > 0 and found.num_steps[1] == found.num_steps[2] == 0
    np.testing.assert_allclose(found.value, np.asarray(rhs) / np.asarray(B) * np.asarray(exact), rtol=1e-9)
    assert jnp.all(found.residual_norm <= 1e-11 * N * jnp.max(jnp.abs(rhs), axis=1))


def test_reports_of_singular_and_indefinite_systems_and_of_limits():
    singular = warm_linear_solve(lambda v: jnp.array([1.0, 0.0]) * v, jnp.array([1.0, 2.0]))
    indefinite = warm_linear_solve(lambda v: jnp.array([1.0, -1.0]) * v, jnp.array([1.0, 2.0]))
    stopped = warm_linear_solve(lambda v: SPD @ v, B, max_steps=2)
    for report in (singular, indefinite, stopped):
        assert not report.converged and jnp.isfinite(report.value).all()
    np.testing.assert_allclose(stopped.residual_norm, jnp.linalg.norm(B - SPD @ stopped.value), rtol=1e-9)
    assert stopped.num_steps == 2
    loose = warm_linear_solve(lambda v: SPD @ v, B, rtol=0.0, atol=jnp.asarray(1e-2))
    assert loose.converged and loose.residual_norm <= 1e-2


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="method must be one of"):
        warm_linear_solve(lambda v: v, B, method="lu")
    with pytest.raises(ValueError, match="start must have the shapes of rhs"):
        warm_linear_solve(lambda v: v, B, B[:2])
    with pytest.raises(ValueError, match="result of matvec must have the shapes"):
        warm_linear_solve(lambda v: v[:2], B)
    with pytest.raises(ValueError, match=r"structure of the solution, got .*'v'.*'u'"):
        custom_root(lambda x, b: {"v": x["u"] - b})(lambda start, b: {"u": b})(None, B)
    with pytest.raises(ValueError, match="cotangent must have the structure of root"):
        implicit.root_vjp(lambda x, b: x - b, B, (B,), {"u": B})
    with pytest.raises(ValueError, match="tangents must have the structure"):
        implicit.root_jvp(lambda x, b: x - b, B, (B,), (B, B))
    with pytest.raises(TypeError, match="linear_solver must be"):
        custom_root(lambda x, b: x - b, linear_solver="lu")(lambda start, b: b)(B, B)
    with pytest.raises(TypeError, match="either prox or penalty"):
        custom_prox_fixed_point(lambda x: jnp.sum(x**2))
    with pytest.raises(ValueError, match="kind must be"):
        QuasiNewtonInverse.from_secants(J, J, kind="sr1")
    for make in (
        lambda: NeumannSeries(-1),
        lambda: NeumannSeries(1, scale=0.0),
        lambda: Ridge(lx.LU(), -1.0),
        lambda: QuasiNewtonInverse(lambda v: v, fallback=0.0),
        lambda: QuasiNewtonInverse(lambda v: v, num_refinements=-1),
        lambda: unrolled_tail(mapping, 0),
        lambda: custom_prox_fixed_point(lambda x: jnp.sum(x**2), lambda z, s: z, step=0.0),
    ):
        with pytest.raises(ValueError, match="must be"):
            make()
    with pytest.raises(TypeError, match="lineax solver"):
        Ridge("lu", 1.0)


def test_singular_and_indefinite_systems_are_nan():
    singular = custom_root(lambda x, b: jnp.array([1.0, 0.0]) * x - b)(lambda start, b: b)
    assert jnp.isnan(jax.jacrev(lambda b: singular(b, b))(jnp.ones(2))).all()
    saddle = custom_prox_fixed_point(lambda x, b: (x[0] ** 2 - x[1] ** 2) / 2 - b @ x, lambda z, step, b: z)
    assert jnp.isnan(jax.grad(lambda b: saddle(lambda start, b: b)(b, b).sum())(jnp.array([1.0, 2.0])))[1]


def test_integer_hyperparameters_and_strengths_above_the_critical_one():
    lasso = custom_prox_fixed_point(
        lambda x, strength, power: jnp.sum((x - B) ** 2) / 2,
        lambda z, step, strength, power: jnp.sign(z) * jnp.maximum(jnp.abs(z) - step * strength**power, 0),
    )(lambda start, strength, power: jnp.sign(B) * jnp.maximum(jnp.abs(B) - strength**power, 0))
    value = lambda strength, power: jnp.sum(lasso(B, strength, power))
    critical = jnp.max(jnp.abs(B))
    assert jax.jit(jax.grad(value))(1.1 * critical, jnp.asarray(1)) == 0
    with pytest.raises(TypeError, match="real- or complex-valued"):
        jax.grad(value, argnums=1)(0.5, 2)
    zero = jax.grad(value, argnums=1, allow_int=True)(0.5, jnp.asarray(2))
    assert zero.dtype == jax.dtypes.float0


def test_steps_and_small_supports_do_not_change_a_derivative():
    """`max_support=1` is too small for the solution, and falls back."""
    target = jnp.asarray(RNG.normal(size=N))
    step = 0.5 / jnp.linalg.norm(SPD, 2)
    strength = 0.3

    def by_any_means(start, strength):
        soft = jt.penalties.L1(strength).prox
        return jax.lax.fori_loop(0, 2000, lambda _, x: soft(x - step * (SPD @ x - target), step), start)

    objective = lambda x, strength: x @ SPD @ x / 2 - target @ x
    settings = [{"step": 0.01}, {"step": 0.1}, {"step": 100.0}, {"max_support": 1}, {"max_support": 6}]
    solves = [custom_prox_fixed_point(objective, penalty=jt.penalties.L1, **s)(by_any_means) for s in settings]
    found = jax.jit(
        lambda s: [jax.grad(lambda s, solve=solve: jnp.sum(solve(jnp.zeros(N), s) ** 2))(s) for solve in solves]
    )(strength)
    x = np.asarray(by_any_means(jnp.zeros(N), strength))
    on = x != 0
    slope = -np.linalg.solve(np.asarray(SPD)[np.ix_(on, on)], np.sign(x[on]))
    np.testing.assert_allclose(found, 2 * x[on] @ slope, rtol=1e-9)
