"""Decorated solvers: closed forms, finite differences, pytrees, integer leaves, batches, orders, large systems."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

from jaxopt_thoth.implicit import custom_argmin, custom_fixed_point, custom_root, root_jvp, root_vjp


RNG = np.random.default_rng(0)
A = jnp.asarray(RNG.normal(size=(12, 5)))
B = jnp.asarray(RNG.normal(size=12))


def ridge(w, strength, targets):
    return jnp.sum((A @ w - targets) ** 2) / 2 + jnp.exp(strength) * jnp.sum(w**2) / 2


def closed_form(strength, targets):
    return jnp.linalg.solve(A.T @ A + jnp.exp(strength) * jnp.eye(5), A.T @ targets)


def by_numpy_like(start, strength, targets):
    """A solver through which no derivative passes."""
    return jax.lax.stop_gradient(closed_form(strength, targets))


WAYS = {
    "argmin": custom_argmin(ridge)(by_numpy_like),
    "root by GMRES": custom_root(jax.grad(ridge), linear_solver=lx.GMRES(rtol=1e-12, atol=1e-12, restart=5))(
        by_numpy_like
    ),
    "fixed point": custom_fixed_point(lambda w, *a: w - 0.02 * jax.grad(ridge)(w, *a))(by_numpy_like),
}


@pytest.mark.parametrize("solve", WAYS.values(), ids=WAYS)
def test_derivatives_equal_the_closed_form(solve):
    start, s = jnp.zeros(5), jnp.asarray(0.3)

    @jax.jit
    def parts(s, targets):
        one = lambda s, t: solve(start, s, t)
        first = [mode(one, (0, 1))(s, targets) for mode in (jax.jacfwd, jax.jacrev)]
        second = jax.jacfwd(jax.jacrev(lambda s: jnp.sum(one(s, targets) ** 3)))(s)
        batch = jax.vmap(jax.grad(lambda s: jnp.sum(one(s, targets) ** 2)))(jnp.linspace(-1, 1, 3))
        return *first, second, batch

    forward, reverse, second, batch = parts(s, B)
    exact = jax.jacfwd(closed_form, (0, 1))(s, B)
    for found in (forward, reverse):
        for left, right in zip(found, exact):
            np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(second, jax.hessian(lambda s: jnp.sum(closed_form(s, B) ** 3))(s), rtol=1e-8)
    slope = jax.vmap(jax.grad(lambda s: jnp.sum(closed_form(s, B) ** 2)))
    np.testing.assert_allclose(batch, slope(jnp.linspace(-1, 1, 3)), rtol=1e-9)


def test_pytrees_integer_leaves_and_auxiliary_output():
    def optimality(x, arguments):
        power = arguments["power"]
        return {"u": x["u"] ** power - arguments["a"], "v": x["v"] * 2 - x["u"] - arguments["b"]}

    @custom_root(optimality, has_aux=True)
    def solve(start, arguments):
        u = arguments["a"] ** (1 / arguments["power"])
        return {"u": u, "v": (u + arguments["b"]) / 2}, {"steps": jnp.asarray(7)}

    start = {"u": jnp.ones(2), "v": jnp.ones(2)}

    def objective(a, b):
        x, aux = solve(start, {"a": a, "b": b, "power": jnp.asarray(3)})
        assert aux["steps"].dtype.kind == "i"
        return jnp.sum(x["v"] ** 2)

    a, b = jnp.array([2.0, 5.0]), jnp.array([1.0, -1.0])
    v = (np.cbrt(a) + b) / 2
    da, db = jax.grad(objective, (0, 1))(a, b)
    np.testing.assert_allclose(db, v, rtol=1e-12)
    np.testing.assert_allclose(da, v * np.asarray(a) ** (-2 / 3) / 3, rtol=1e-12)


def test_large_systems_go_through_krylov_steps():
    n = 400
    diagonal = jnp.linspace(1.0, 3.0, n)
    matrix = jnp.diag(diagonal) + jnp.diag(jnp.full(n - 1, 0.3), 1)
    solve = custom_root(lambda x, b: matrix @ x - b)(lambda start, b: jnp.linalg.solve(matrix, b))
    found = jax.jit(jax.grad(lambda b: jnp.sum(solve(jnp.zeros(n), b))))(jnp.ones(n))
    np.testing.assert_allclose(found, np.linalg.solve(matrix.T, np.ones(n)), rtol=1e-9)
    symmetric = custom_argmin(lambda x, b: jnp.sum(diagonal * x**2) / 2 - x @ b)(lambda start, b: b / diagonal)
    found = jax.jit(jax.grad(lambda b: jnp.sum(symmetric(jnp.zeros(n), b))))(jnp.ones(n))
    np.testing.assert_allclose(found, 1 / diagonal, rtol=1e-9)


def test_singular_systems_with_a_least_squares_solver():
    """x is known up to a constant: the derivative of least norm."""
    difference = jnp.asarray(np.diff(np.eye(4), axis=0))
    laplacian = difference.T @ difference
    pseudo = jnp.linalg.pinv(laplacian)
    solver = lx.AutoLinearSolver(well_posed=False)
    solve = custom_root(lambda x, b: laplacian @ x - b, linear_solver=solver)(lambda start, b: pseudo @ b)
    jacobian = jax.jacfwd(lambda b: solve(jnp.zeros(4), b - b.mean()))(jnp.arange(4.0))
    np.testing.assert_allclose(jacobian, pseudo, atol=1e-12)


def test_root_products():
    w = closed_form(0.3, B)
    arguments = jnp.asarray(0.3), B
    tangents = jnp.asarray(1.0), jnp.ones(12)
    gradient = jax.grad(ridge)
    expected = jax.jvp(closed_form, arguments, tangents)[1]
    np.testing.assert_allclose(root_jvp(gradient, w, arguments, tangents), expected, rtol=1e-10)
    pulled = jax.vjp(closed_form, *arguments)[1](jnp.ones(5))
    for left, right in zip(root_vjp(gradient, w, arguments, jnp.ones(5)), pulled):
        np.testing.assert_allclose(left, right, rtol=1e-10)


def test_float32_keeps_its_dtype():
    single = jnp.float32
    solve = custom_root(lambda x, a: x**2 - a)(lambda start, a: jnp.sqrt(a))
    slope = jax.grad(lambda a: jnp.sum(solve(jnp.ones(3, single), a)))(jnp.full(3, 4.0, single))
    assert slope.dtype == single
    np.testing.assert_allclose(slope, 0.25, rtol=1e-6)
