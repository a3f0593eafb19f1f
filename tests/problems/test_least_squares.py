"""Least-squares problems: their losses with Hessians, their kernels, and how their solutions are differentiated."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxopt_thoth as jt
from jaxopt_thoth import losses
from jaxopt_thoth.problems import LeastSquares, OneHiddenLayer


rng = np.random.default_rng(0)
X = jnp.asarray(rng.normal(size=(7, 3)))
Y = jnp.asarray(rng.normal(size=7))
CLASSES = jnp.asarray(rng.integers(0, 4, 7))
NETWORK = jnp.asarray(rng.normal(size=(5, 4))), jnp.asarray(rng.normal(size=5))


def product(w, x):
    return jnp.matmul(x, w)


CASES = {
    "residuals": (LeastSquares(lambda w, x, y: jnp.tanh(x @ w) - y, X, Y), jnp.ones(3)),
    "squared": (LeastSquares(product, X, loss=losses.Squared(), targets=Y), jnp.ones(3)),
    "logistic": (LeastSquares(product, X, loss=losses.Logistic(), targets=jnp.sign(Y)), jnp.ones(3)),
    "softmax": (LeastSquares(product, X, loss=losses.Multinomial(), targets=CLASSES), X[:3, :1] * jnp.ones((3, 4))),
    "many outputs": (LeastSquares(product, X, loss=losses.Poisson(), targets=jnp.abs(Y)[:, None] * jnp.ones((7, 2))),
                     0.1 * X[:3, :2]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_gradient_and_hessian_of_the_loss(name):
    problem, params = CASES[name]

    def measures(params):
        outputs = problem.outputs(params)
        flat, unravel = ravel_pytree(outputs)
        value = lambda v: problem.loss_value(unravel(v))
        other = problem.outputs(params + 0.1)
        blocks = problem.loss_hessian(outputs)
        return (
            (value(flat), problem.value(params)),
            (problem.decrease(outputs, other), value(flat) - problem.loss_value(other)),
            (ravel_pytree(problem.loss_gradient(outputs))[0], jax.grad(value)(flat)),
            (jnp.eye(flat.size) if blocks is None else jax.scipy.linalg.block_diag(*blocks), jax.hessian(value)(flat)),
        )

    for found, expected in jax.jit(measures)(params):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)
    assert problem.check(params).dtype == params.dtype


def test_the_decrease_keeps_its_digits():
    problem = LeastSquares(lambda w: w)
    large, tiny = jnp.array([1e3, 1.0]), 1e-14
    assert float(problem.decrease(large, large - jnp.array([0.0, tiny]))) == pytest.approx(tiny, rel=0.02)


def test_the_kernel_is_that_of_the_jacobian_however_it_is_made():
    problem = OneHiddenLayer(X, Y, jnp.tanh)
    plain = LeastSquares(problem.outputs)
    model = lambda w, x: OneHiddenLayer(x, jnp.zeros(len(x)), jnp.tanh).outputs(w)

    def kernels(network):
        jacobian = jax.vmap(lambda tree: ravel_pytree(tree)[0])(jax.jacrev(problem.outputs)(network))
        found = (
            problem.gram(network),
            plain.gram(network),
            plain.gram(network, chunk=3),
            jt.solvers.ntk_gram(model, network, X),
            jt.solvers.ntk_gram(model, network, X, chunk=3),
        )
        return jacobian @ jacobian.T, found, jt.solvers.ntk_gram(model, network, X, X[:4], chunk=2)

    exact, found, across = jax.jit(kernels)(NETWORK)
    scale = np.max(exact)
    for kernel in found:
        np.testing.assert_allclose(kernel, exact, atol=1e-14 * scale)
    np.testing.assert_allclose(across, exact[:, :4], atol=1e-14 * scale)


def test_kernel_of_several_outputs():
    model = lambda w, x: jnp.tanh(x @ w)
    weights = X[:3, :2]
    jacobian = jax.jacrev(lambda w: model(w, X).reshape(-1))(weights).reshape(14, -1)
    for chunk in (None, 4):
        np.testing.assert_allclose(
            jt.solvers.ntk_gram(model, weights, X, chunk=chunk), jacobian @ jacobian.T, atol=1e-13
        )


def test_derivative_of_a_ridge_fit():
    def fit(y, strength):
        residual = lambda w, x, y, s: (x @ w - y, jnp.sqrt(s) * w)
        problem = LeastSquares(residual, X, y, strength)
        return jt.solve(problem, jt.GaussNewton(), jnp.zeros(3)).params

    def exact(y, strength):
        return jnp.linalg.solve(X.T @ X + strength * jnp.eye(3), X.T @ y)

    at = Y, jnp.array(0.3)
    np.testing.assert_allclose(fit(*at), exact(*at), rtol=1e-12)
    scalar = lambda fn: lambda y, s: jnp.sum(fn(y, s) ** 2)
    for found, true in zip(
        jax.jit(jax.grad(scalar(fit), (0, 1)))(*at), jax.grad(scalar(exact), (0, 1))(*at), strict=True
    ):
        np.testing.assert_allclose(found, true, rtol=1e-9)
    second = jax.jit(jax.grad(jax.grad(scalar(fit), 1), 1))(*at)
    np.testing.assert_allclose(second, jax.grad(jax.grad(scalar(exact), 1), 1)(*at), rtol=1e-8)


def test_derivative_where_residuals_and_curvature_remain():
    x = jnp.linspace(0.0, 2.0, 9)
    model = lambda w: w[0] * jnp.exp(w[1] * x)

    # The data are closed over: J'e = 0 is differentiated with the full Hessian, not that of Gauss and Newton.
    def fit(shift):
        data = model(jnp.array([2.0, -1.0])) + shift * jnp.cos(5 * x)
        return jt.solve(LeastSquares(lambda w: model(w) - data), jt.LevenbergMarquardt(tol=1e-11), jnp.ones(2)).params

    solve = jax.jit(fit)
    slope = jax.jit(jax.jacfwd(fit))(0.4)
    central = (solve(0.4 + 1e-5) - solve(0.4 - 1e-5)) / 2e-5
    np.testing.assert_allclose(slope, central, rtol=1e-7)
    np.testing.assert_allclose(jax.jit(jax.jacrev(fit))(0.4), slope, rtol=1e-9)


def test_where_solutions_are_many_the_derivative_has_least_norm():
    design = X[:2]

    def fit(y):
        problem = LeastSquares(lambda w, y: design @ w - y, y)
        return jt.solve(problem, jt.GaussNewton(damping="truncate"), jnp.zeros(3)).params

    np.testing.assert_allclose(fit(Y[:2]), jnp.linalg.pinv(design) @ Y[:2], rtol=1e-11)
    np.testing.assert_allclose(jax.jit(jax.jacrev(fit))(Y[:2]), jnp.linalg.pinv(design), rtol=1e-7)


def test_bad_input():
    with pytest.raises(TypeError, match="fn must be a callable"):
        LeastSquares(3.0)
    with pytest.raises(TypeError, match="loss must be a loss"):
        LeastSquares(product, X, loss="squared", targets=Y)
    with pytest.raises(ValueError, match="belong together"):
        LeastSquares(product, X, targets=Y)
    with pytest.raises(ValueError, match="leading axis"):
        LeastSquares(product, X, loss=losses.Squared(), targets=1.0)
    with pytest.raises(ValueError, match="integers"):
        LeastSquares(product, X, loss=losses.Multinomial(), targets=Y)
    solve = lambda problem, start: jt.solve(problem, jt.GaussNewton(), start)
    with pytest.raises(ValueError, match="7 rows of the targets"):
        solve(LeastSquares(product, X[:4], loss=losses.Squared(), targets=Y), jnp.ones(3))
    with pytest.raises(ValueError, match="do not fit targets"):
        solve(LeastSquares(product, X, loss=losses.Squared(), targets=Y), jnp.ones((3, 2)))
    with pytest.raises(ValueError, match="at least one residual"):
        solve(LeastSquares(lambda w: w[:0]), jnp.ones(3))
    with pytest.raises(ValueError, match="complex"):
        solve(LeastSquares(lambda w: w * 1j), jnp.ones(3))
    with pytest.raises(ValueError, match="inputs must have shape"):
        OneHiddenLayer(X, Y[:3])
    with pytest.raises(ValueError, match="pair of weights"):
        solve(OneHiddenLayer(X, Y, jnp.tanh), (jnp.ones((5, 3)), jnp.ones(5)))
    with pytest.raises(ValueError, match="chunk"):
        jt.solvers.ntk_gram(lambda w, x: x @ w, jnp.ones(3), X, chunk=0)
    with pytest.raises(ValueError, match="one row for each"):
        jt.solvers.ntk_gram(lambda w, x: jnp.sum(x @ w)[None], jnp.ones(3), X)
    with pytest.raises(ValueError, match="leading axis"):
        jt.solvers.ntk_gram(lambda w, x: x @ w, jnp.ones(3), X[:0])
    assert eqx.tree_equal(OneHiddenLayer(X, Y).check(NETWORK), NETWORK)
