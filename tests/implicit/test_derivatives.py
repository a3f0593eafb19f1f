"""Derivatives of a solution in every leaf of its problem, against central differences of the solution."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt


P = 8
SOLVER = jt.ProximalGradient(tol=1e-13, max_steps=50_000)
COTANGENT = jnp.asarray(np.random.default_rng(1).normal(size=P))
NAMES = ["l1", "elastic net", "group lasso", "simplex", "l1 ball", "l2 ball", "box", "nonnegative"]


def fit(problem):
    return jt.solve(problem, SOLVER, jnp.zeros(P), adjoint=jt.implicit.Implicit(tol=1e-13)).params


@eqx.filter_jit
def derivatives(problem, direction):
    solution, tangent = eqx.filter_jvp(fit, (problem,), (direction,))
    _, pullback = eqx.filter_vjp(fit, problem)
    return solution, tangent, pullback(COTANGENT)[0]


def directions(problem):
    """One direction for each floating-point leaf, and one for all of them."""
    leaves, structure = jax.tree.flatten(eqx.filter(problem, eqx.is_inexact_array))
    rng = np.random.default_rng(2)
    drawn = [jnp.asarray(rng.normal(size=leaf.shape)) for leaf in leaves]
    blank = [jnp.zeros_like(leaf) for leaf in leaves]
    singles = [[d if i == j else z for j, (d, z) in enumerate(zip(drawn, blank))] for i in range(len(leaves))]
    return [structure.unflatten(choice) for choice in [*singles, drawn]]


def moved(problem, size, direction):
    return eqx.apply_updates(problem, jax.tree.map(lambda d: size * d, direction))


@pytest.mark.parametrize("name", NAMES)
def test_forward_and_reverse_mode_and_differences_agree_in_every_leaf(name, problems):
    problem = problems[name]
    h = 1e-5
    for direction in directions(problem):
        solution, tangent, pulled = derivatives(problem, direction)
        plus, minus = (derivatives(moved(problem, size, direction), direction)[0] for size in (h, -h))
        np.testing.assert_allclose(tangent, (plus - minus) / (2 * h), atol=2e-6 * (1 + jnp.abs(tangent).max()))
        pairs = zip(jax.tree.leaves(pulled), jax.tree.leaves(direction), strict=True)
        reverse = sum(jnp.vdot(a, b) for a, b in pairs)
        np.testing.assert_allclose(reverse, jnp.vdot(COTANGENT, tangent), rtol=1e-8, atol=1e-9)
    active = np.sum(np.asarray(solution) != 0)
    assert active == P if name == "l2 ball" else 0 < active <= P


def test_gradient_in_the_whole_problem_has_its_shape(problems):
    problem = problems["group lasso"]
    slope = eqx.filter_jit(eqx.filter_grad(lambda problem: jnp.vdot(COTANGENT, fit(problem))))(problem)
    assert isinstance(slope, jt.Composite)
    assert slope.penalty.groups is None
    assert slope.smooth.design.matrix.shape == problem.smooth.design.matrix.shape
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(slope))


def lasso_of(problems, adjoint=None, solver=SOLVER, dtype=None):
    """The solution of the lasso as a function of its strength."""
    problem = problems["l1"]

    def solution(strength):
        p = eqx.tree_at(lambda p: p.penalty.strength, problem, strength)
        p = p if dtype is None else jax.tree.map(lambda leaf: leaf.astype(dtype), p)
        return jt.solve(p, solver, jnp.zeros(P, dtype), adjoint=adjoint).params

    return solution


def closed_form(problems, strength, w):
    """`dw_S = -(X_S'X_S / n)^-1 sign(w_S)` and its square in the next derivative, zero."""
    x = np.asarray(problems["l1"].smooth.design.matrix)
    support = np.asarray(w) != 0
    slope = np.zeros(P)
    slope[support] = -np.linalg.solve(x[:, support].T @ x[:, support] / len(x), np.sign(w[support]))
    return slope


def test_jacobians_of_the_lasso_are_its_closed_form(problems):
    solution = lasso_of(problems)
    strengths = jnp.array([0.02, 0.05, 0.1])
    many = jax.jit(jax.vmap(lambda s: (solution(s), jax.jacfwd(solution)(s), jax.jacrev(solution)(s))))
    for strength, w, forward, reverse in zip(strengths, *many(strengths), strict=True):
        expected = closed_form(problems, strength, w)
        assert 0 < np.sum(expected != 0) < P
        np.testing.assert_allclose(forward, expected, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(reverse, expected, rtol=1e-7, atol=1e-9)


def test_second_derivatives(problems):
    def loss(theta):
        strength, shift = theta
        p = problems["elastic net"]
        p = eqx.tree_at(lambda p: (p.penalty.l2, p.smooth.targets), p, (strength, p.smooth.targets + shift))
        return jnp.sum(fit(p) ** 3)

    theta = jnp.array([0.1, 0.2])
    gradient = jax.jit(jax.grad(loss))
    h = 1e-5
    differences = jnp.stack([(gradient(theta + h * e) - gradient(theta - h * e)) / (2 * h) for e in jnp.eye(2)])
    forward_over_reverse = jax.jit(jax.jacfwd(jax.grad(loss)))(theta)
    np.testing.assert_allclose(forward_over_reverse, differences, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(forward_over_reverse, forward_over_reverse.T, rtol=1e-6)


def test_derivative_is_zero_beyond_the_critical_strength(problems):
    p = problems["l1"]
    critical = float(p.penalty.critical_strength(p.smooth.gradient(jnp.zeros(P))))
    slope = jax.jit(jax.jacfwd(lasso_of(problems)))
    assert jnp.all(slope(1.01 * critical) == 0)
    assert jnp.any(slope(0.99 * critical) != 0)
    # Exactly there the formula takes one side; it never divides by zero.
    assert jnp.all(jnp.isfinite(slope(critical)))


def test_kinks_do_not_poison_derivatives():
    at_kink = lambda s: jt.solve(jt.Composite(jt.Quadratic(jnp.eye(2), jnp.array([-3.0, -1.0])), jt.penalties.L1(s)),
                                 SOLVER, jnp.zeros(2)).params  # fmt: skip
    slope = jax.jit(jax.jacrev(at_kink))(1.0)
    np.testing.assert_allclose(slope[0], -1)
    assert jnp.isfinite(slope[1])
    grouped = lambda s: (
        jt.solve(
            jt.Composite(jt.Quadratic(jnp.eye(2), jnp.zeros(2)), jt.penalties.GroupLasso(s, [0, 0])),
            SOLVER,
            jnp.zeros(2),
        ).params
    )
    assert jnp.all(jax.jit(jax.jacrev(grouped))(0.5) == 0)


def test_single_precision_with_cotangents_of_any_size(problems):
    solver = jt.ProximalGradient(tol=1e-6, max_steps=5000)
    solution = lasso_of(problems, solver=solver, dtype=jnp.float32)
    pull = jax.jit(jax.vmap(lambda c: jax.vjp(solution, jnp.float32(0.05))[1](c)[0]))
    scales = np.array([1e-25, 1.0, 1e20])
    slopes = pull((scales[:, None] * COTANGENT[None]).astype(jnp.float32))
    w = lasso_of(problems)(0.05)
    expected = np.vdot(COTANGENT, closed_form(problems, 0.05, w))
    np.testing.assert_allclose(np.float64(slopes) / scales, expected, rtol=2e-4)


def test_default_tolerances_in_single_precision(problems):
    slope = jax.jit(jax.jacfwd(lasso_of(problems, solver=jt.ProximalGradient(), dtype=jnp.float32)))(jnp.float32(0.05))
    expected = closed_form(problems, 0.05, lasso_of(problems)(0.05))
    np.testing.assert_allclose(slope, expected, rtol=5e-3, atol=5e-3)


def test_the_start_and_the_solver_carry_no_derivative(problems):
    def loss(start, tol):
        solver = jt.ProximalGradient(tol=tol, max_steps=50_000)
        return jnp.sum(jt.solve(problems["l1"], solver, start).params)

    by_start, by_tol = jax.jit(jax.grad(loss, (0, 1)))(jnp.zeros(P), 1e-10)
    assert jnp.all(by_start == 0) and by_tol == 0


def test_only_parameters_carry_a_derivative(problems):
    def rest(strength):
        p = eqx.tree_at(lambda p: p.penalty.strength, problems["l1"], strength)
        solution = jt.solve(p, SOLVER, jnp.zeros(P))
        return solution.error + jnp.sum(solution.state.image)

    assert jax.jit(jax.grad(rest))(0.05) == 0


def test_functions_that_close_over_what_is_differentiated():
    target = jnp.array([2.0, -0.3, 1.0])

    def solution(t):
        problem = jt.Composite(lambda w: jnp.sum((w - t) ** 2) / 2, jt.penalties.L1(0.5))
        return jt.solve(problem, SOLVER, jnp.zeros(3)).params

    for jacobian in (jax.jacfwd, jax.jacrev):
        np.testing.assert_allclose(jax.jit(jacobian(solution))(target), jnp.diag(jnp.array([1.0, 0.0, 1.0])))


def test_a_solve_inside_of_the_objective_of_a_solve():
    """min_x |x - 3|^2/2 + y(x)^2/2 with y(x) = argmin_y (y - x)^2/2 + t y^2/2 = x / (1 + t)."""

    def inner(x, t):
        problem = jt.Composite(jt.FunctionTerm(lambda y, x: jnp.sum((y - x) ** 2) / 2, x), jt.penalties.L2Squared(t))
        return jt.solve(problem, SOLVER, jnp.zeros(1)).params

    def outer(t):
        problem = jt.Composite(lambda x: jnp.sum((x - 3) ** 2) / 2 + jnp.sum(inner(x, t) ** 2) / 2)
        return jt.solve(problem, jt.ProximalGradient(tol=1e-10), jnp.ones(1)).params[0]

    exact = lambda t: 3 / (1 + 1 / (1 + t) ** 2)
    value, slope = jax.jit(jax.value_and_grad(outer))(0.5)
    np.testing.assert_allclose(value, exact(0.5), rtol=1e-9)
    np.testing.assert_allclose(slope, jax.grad(exact)(0.5), rtol=1e-7)


def test_batched_gradients_are_those_of_the_rows(problems):
    loss = lambda strength: jnp.vdot(COTANGENT, lasso_of(problems)(strength))
    strengths = jnp.array([0.02, 0.07])
    batch = jax.jit(jax.vmap(jax.grad(loss)))(strengths)
    expected = [np.vdot(COTANGENT, closed_form(problems, s, lasso_of(problems)(s))) for s in strengths]
    np.testing.assert_allclose(batch, expected, rtol=1e-8)


def test_a_none_among_the_parameters_is_passed_over():
    def fit(strength):
        term = jt.FunctionTerm(lambda w: jnp.sum((w["a"] - 3.0) ** 2) / 2)
        problem = jt.Composite(term, jt.penalties.L1(strength))
        return jt.solve(problem, jt.ProximalGradient(), {"a": jnp.zeros(2), "b": None}).params["a"]

    np.testing.assert_allclose(jax.jacobian(fit)(1.0), [-1.0, -1.0], atol=1e-6)
