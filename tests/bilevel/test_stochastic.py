"""AmIGO, StocBiO, SOBA, SABA and F2SA: exact on all rows, unbiased on drawn ones, with the biases that are proven."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth.bilevel import AmIGO, Bilevel, BilevelPoint, F2SA, hypergradient, SABA, SOBA, StocBiO


KEY = jax.random.key(0)
_RNG = np.random.default_rng(0)
X, Y = jnp.asarray(_RNG.normal(size=(16, 3))), jnp.asarray(_RNG.normal(size=16))
X_VAL, Y_VAL = jnp.asarray(_RNG.normal(size=(12, 3))), jnp.asarray(_RNG.normal(size=12))
GRAM, MOMENT = X.T @ X / 16, X.T @ Y / 16


def _inner(w, h, x, y):
    return jnp.mean((x @ w - y) ** 2) / 2 + jnp.sum((w - h) ** 2) / 2


def _outer(w, h, x, y):
    return jnp.mean((x @ w - y) ** 2) / 2 + 0.1 * jnp.sum(h**2)


PROBLEM = Bilevel(_outer, _inner, inner_data=(X, Y), outer_data=(X_VAL, Y_VAL))
START = (jnp.ones(3), jnp.zeros(3))


def _solve(h):
    return jnp.linalg.solve(GRAM + jnp.eye(3), MOMENT + h)


def _value(h):
    return _outer(_solve(h), h, X_VAL, Y_VAL)


BEST = -jnp.linalg.solve(jax.hessian(_value)(jnp.zeros(3)), jax.grad(_value)(jnp.zeros(3)))
EXACT = {
    "amigo": AmIGO(optax.sgd(0.5), 0.4, key=KEY, tol=1e-8),
    "stocbio": StocBiO(optax.sgd(0.5), 0.4, terms=60, key=KEY, tol=1e-8),
    "soba": SOBA(optax.sgd(0.2), 0.3, key=KEY, tol=1e-8),
    "saba": SABA(optax.sgd(0.05), 0.1, batch_size=4, key=KEY, tol=1e-8),
}


@pytest.mark.parametrize("name", EXACT)
def test_converges_to_the_minimizer(name):
    solution = jax.jit(lambda h: jt.solve(PROBLEM, EXACT[name], (h, jnp.zeros(3))))(START[0])
    assert solution.result == jt.RESULTS.converged
    np.testing.assert_allclose(solution.params.hyper, BEST, atol=1e-6)
    np.testing.assert_allclose(solution.params.params, _solve(BEST), atol=1e-6)


def _decaying(k):
    return 2 / (k.astype(float) + 20)


@pytest.mark.parametrize("method", [SOBA, AmIGO])
def test_drawn_rows_come_close_and_never_claim_convergence(method):
    @jax.jit
    @jax.vmap
    def run(key):
        solver = method(optax.sgd(_decaying), _decaying, key=key, batch_size=4, max_steps=3000)
        return jt.solve(PROBLEM, solver, START)

    solution = run(jax.random.split(KEY, 4))
    assert jnp.all(solution.result == jt.RESULTS.max_steps_reached)
    error = jnp.linalg.norm(solution.params.hyper - BEST[None], axis=1)
    assert jnp.all(error < 0.2 * jnp.linalg.norm(START[0] - BEST))
    # Four keys, four runs.
    assert jnp.unique(solution.params.hyper[:, 0]).size == 4


def test_one_step_of_soba_is_unbiased():
    adjoint = jnp.array([0.3, -1.0, 2.0])
    step = lambda solver, data: _moves(solver, data, adjoint)
    full = step(SOBA(optax.sgd(1.0), 1.0, key=KEY), PROBLEM)
    pick = lambda i, j: Bilevel(_outer, _inner, inner_data=_row(X, Y, i), outer_data=_row(X_VAL, Y_VAL, j))
    one = lambda i, j: step(SOBA(optax.sgd(1.0), 1.0, key=KEY), pick(i, j))
    rows = jax.vmap(jax.vmap(one, (None, 0)), (0, None))(jnp.arange(16), jnp.arange(12))
    for mean, whole in zip(rows, full):
        np.testing.assert_allclose(jnp.mean(mean, axis=(0, 1)), whole, rtol=1e-10)


def _row(x, y, i):
    return (x[i][None], y[i][None])


def _moves(solver, problem, adjoint):
    point = BilevelPoint(*START)
    state = eqx.tree_at(lambda s: s.adjoint, solver.init(problem, point), adjoint)
    new, after = solver.step(problem, point, state)
    return new.params, new.hyper, after.adjoint


def test_at_the_solution_soba_stays():
    w = _solve(BEST)
    exact = hypergradient(PROBLEM, BEST, w)
    solver = SOBA(optax.sgd(1.0), 1.0, key=KEY)
    point = BilevelPoint(BEST, w)
    state = eqx.tree_at(lambda s: s.adjoint, solver.init(PROBLEM, point), exact.adjoint)
    new, after = solver.step(PROBLEM, point, state)
    assert after.error < 1e-10
    np.testing.assert_allclose(new.hyper, BEST, atol=1e-10)


@pytest.mark.parametrize(
    "two_sided, penalties, biases",
    [
        (False, [10.0, 1e2, 1e3], [2.2e-2, 1.1e-3, 1.7e-4]),
        (True, [10.0, 1e2, 1e3], [8.6e-2, 6.4e-4, 6.4e-6]),
    ],
)
def test_bias_of_f2sa_falls_as_proven(references, two_sided, penalties, biases):
    row, problem, point = references("ridge_scalar")

    @jax.jit
    @jax.vmap
    def direction(penalty):
        solver = F2SA(optax.sgd(1.0), 0.3, inner_steps=1000, penalty=penalty, growth=0.0, two_sided=two_sided, key=KEY)
        checked = problem.check(point)
        return checked.hyper - solver.step(problem, checked, solver.init(problem, checked))[0].hyper

    error = jnp.abs(direction(jnp.asarray(penalties)) / row.total - 1)
    order = 2 if two_sided else 1
    slope = jnp.log10(error[1] / error[2])
    np.testing.assert_allclose(slope, order, atol=0.25)
    np.testing.assert_allclose(error[1:], biases[1:], rtol=0.2)


def test_f2sa_descends_with_growing_penalty():
    solver = F2SA(optax.sgd(0.3), 0.3, penalty=20.0, growth=1.0, two_sided=True, key=KEY, max_steps=300)
    solution = jt.solve(PROBLEM, solver, START)
    np.testing.assert_allclose(solution.params.hyper, BEST, atol=1e-3)


def test_neumann_series_of_stocbio_has_the_bias_of_its_truncation():
    point = BilevelPoint(BEST, _solve(BEST))
    hessian = GRAM + jnp.eye(3)
    target = PROBLEM.outer_gradients(point.params, point.hyper)[1]
    for terms in (1, 5):
        solver = StocBiO(optax.sgd(1.0), 0.2, terms=terms, inner_steps=1, key=KEY)
        _, state = solver.step(PROBLEM, point, solver.init(PROBLEM, point))
        contraction = jnp.linalg.matrix_power(jnp.eye(3) - 0.2 * hessian, terms)
        exact = jnp.linalg.solve(hessian, target)
        np.testing.assert_allclose(exact - state.adjoint, contraction @ exact, rtol=1e-8)


def test_float32_and_integer_rows():
    labels = jnp.array([0, 1, 1, 0])

    def inner(w, h, x, label):
        weights = jax.nn.sigmoid(h).astype(x.dtype)[label]
        return jnp.mean(weights * jnp.sum((x - w[None]) ** 2, axis=1)) / 2

    outer = lambda w, h, t: jnp.mean(jnp.sum((t - w[None]) ** 2, axis=1))
    x = jnp.asarray([[0.0, 1.0], [2.0, 0.0], [2.0, 2.0], [0.0, 0.0]], jnp.float32)
    problem = Bilevel(outer, inner, inner_data=(x, labels), outer_data=(jnp.ones((2, 2), jnp.float32),))
    solver = SOBA(optax.sgd(0.5), 0.5, batch_size=2, key=KEY, max_steps=50)
    solution = jt.solve(problem, solver, (jnp.zeros(2, jnp.float32), jnp.zeros(2, jnp.float32)))
    assert solution.params.hyper.dtype == solution.params.params.dtype == jnp.float32
    assert jnp.all(jnp.isfinite(solution.params.hyper))


def test_bad_input():
    lasso = Bilevel(
        lambda w, h: jnp.sum(w), problem=lambda h: jt.Composite(lambda w: jnp.sum(w**2), jt.penalties.L1(h))
    )
    with pytest.raises(TypeError, match="SOBA needs a smooth inner objective"):
        jt.solve(lasso, SOBA(optax.sgd(0.1), key=KEY), (1.0, jnp.zeros(2)))
    with pytest.raises(ValueError, match="batch_size draws rows of inner_data"):
        ragged = Bilevel(_outer, _inner, inner_data=(X, Y[:3]), outer_data=(X_VAL, Y_VAL))
        SOBA(optax.sgd(0.1), key=KEY, batch_size=2).check(ragged, START)
    with pytest.raises(ValueError, match="batch_size must divide the rows of inner_data"):
        jt.solve(PROBLEM, SABA(optax.sgd(0.1), batch_size=5, key=KEY), START)
    with pytest.raises(ValueError, match="key must be a random key"):
        SOBA(optax.sgd(0.1), key=0)
    with pytest.raises(ValueError, match="step_size must be positive"):
        SOBA(optax.sgd(0.1), -1.0, key=KEY)
    with pytest.raises(ValueError, match="penalty must be positive"):
        F2SA(optax.sgd(0.1), penalty=0.0, key=KEY)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        AmIGO(optax.sgd(0.1), batch_size=0, key=KEY)
