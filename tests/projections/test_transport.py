"""The transport polytope: optimality by linear programs, sums, derivatives, supports that fall apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxopt_thoth import projections


transport = jax.jit(projections.transport)
N, M = 5, 4


def constraints(n, m):
    return np.vstack([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])


def assert_nearest(x, z, a, b, scale=1.0):
    """No point of the polytope lies further along `x - z` than `z`: the variational inequality, over every vertex."""
    assert z.min() >= 0
    np.testing.assert_allclose(z.sum(1), a, atol=1e-13)
    np.testing.assert_allclose(z.sum(0), b, atol=1e-13 * (1 + scale))
    gap = np.ravel(x - z)
    sums = np.r_[a, b]
    best = scipy.optimize.linprog(-gap, A_eq=constraints(*x.shape), b_eq=sums, method="highs")
    assert -best.fun <= gap @ np.ravel(z) + 1e-9 * (1 + scale)


def problems(rng, n=N, m=M):
    even, odd = (np.full(n, 1 / n), np.full(m, 1 / m)), (rng.dirichlet(np.ones(n) * 0.3), rng.dirichlet(np.ones(m)))
    for x in (rng.normal(size=(n, m)) * scale for scale in (0.05, 0.5, 5, 500)):
        yield x, *even
        yield x, *odd


def test_variational_inequality(rng):
    for x, a, b in problems(rng):
        assert_nearest(x, np.asarray(transport(jnp.asarray(x), (a, b))), a, b, np.abs(x).max())


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_ties_and_zero_sums(value):
    x = np.full((N, M), value)
    a, b = np.array([0.5, 0, 0.25, 0.25, 0]), np.array([0.5, 0.0, 0.5, 0.0])
    z = np.asarray(transport(jnp.asarray(x), (a, b)))
    assert_nearest(x, z, a, b)
    np.testing.assert_allclose(z, np.outer(a, b), atol=1e-15)
    np.testing.assert_array_equal(transport(jnp.asarray(x), (np.zeros(N), np.zeros(M))), np.zeros((N, M)))


def test_small_shapes():
    np.testing.assert_allclose(projections.transport(jnp.asarray([[7.0]]), (0.5, 0.5)), [[0.5]])
    np.testing.assert_allclose(projections.birkhoff(jnp.asarray([[-7.0]])), [[1.0]])
    assert projections.transport(jnp.zeros((0, 3)), (0.0, 0.0)).shape == (0, 3)
    # One row has no freedom.
    column_sums = jnp.asarray([0.5, 0.25, 0.25])
    row = projections.transport(jnp.asarray([[3.0, 1.0, -2.0]]), (1.0, column_sums))
    np.testing.assert_allclose(row, column_sums[None], atol=1e-15)


def test_transposition_and_idempotence(rng):
    for x, a, b in problems(rng):
        z = transport(jnp.asarray(x), (a, b))
        np.testing.assert_allclose(transport(jnp.asarray(x.T), (b, a)).T, z, atol=1e-12 * (1 + np.abs(x).max()))
        np.testing.assert_allclose(transport(z, (a, b)), z, atol=1e-12 * (1 + np.abs(x).max()))


def test_firmly_nonexpansive(rng):
    a, b = rng.dirichlet(np.ones(N)), rng.dirichlet(np.ones(M))
    for x, y in rng.normal(size=(10, 2, N, M)):
        p, q = (np.asarray(transport(jnp.asarray(v), (a, b))) for v in (x, y))
        assert ((p - q) ** 2).sum() <= ((p - q) * (x - y)).sum() + 1e-12


def test_birkhoff_of_a_permutation_and_of_large_scores(rng):
    permutation = np.eye(6)[rng.permutation(6)]
    np.testing.assert_allclose(projections.birkhoff(jnp.asarray(permutation)), permutation, atol=1e-14)
    scores = rng.normal(size=(6, 6))
    rows, columns = scipy.optimize.linear_sum_assignment(-scores)
    assignment = np.zeros((6, 6))
    assignment[rows, columns] = 1
    # The projection of large scores is the vertex that the linear program picks.
    np.testing.assert_allclose(projections.birkhoff(jnp.asarray(scores * 1e3)), assignment, atol=1e-10)


def test_derivatives(rng):
    project = lambda x, a, b: projections.transport(x, (a, b))

    @jax.jit
    def everything(x, a, b):
        forward, reverse = (mode(project, (0, 1, 2))(x, a, b) for mode in (jax.jacfwd, jax.jacrev))
        return project(x, a, b), forward, reverse

    da, db = rng.normal(size=N), rng.normal(size=M)
    db += (da.sum() - db.sum()) / M  # along which the two totals stay equal
    dx, h = rng.normal(size=(N, M)), 1e-6
    for scale in (0.05, 0.5, 5):
        x, a, b = rng.normal(size=(N, M)) * scale, rng.dirichlet(np.ones(N)), rng.dirichlet(np.ones(M))
        _, forward, reverse = everything(*map(jnp.asarray, (x, a, b)))
        for left, right in zip(forward, reverse):
            np.testing.assert_allclose(left, right, atol=1e-11)
        jacobian = np.asarray(forward[0]).reshape(N * M, N * M)
        np.testing.assert_allclose(jacobian, jacobian.T, atol=1e-12)
        eigenvalues = np.linalg.eigvalsh(jacobian)
        assert eigenvalues.min() >= -1e-12 and eigenvalues.max() <= 1 + 1e-12
        move = lambda t, *by, at=(x, a, b): everything(*(jnp.asarray(p + t * d) for p, d in zip(at, by)))[0]
        central = lambda *by, move=move: (move(h, *by) - move(-h, *by)) / (2 * h)
        along_x = central(dx, np.zeros(N), np.zeros(M))
        np.testing.assert_allclose(np.tensordot(forward[0], dx, 2), along_x, atol=1e-7)
        along_sums = np.tensordot(forward[1], da, 1) + np.tensordot(forward[2], db, 1)
        # At a vertex of the polytope the support is a forest that the new sums must keep.
        np.testing.assert_allclose(along_sums, central(np.zeros((N, M)), da, db), atol=1e-6)


def test_no_nan_in_derivatives_at_ties_and_vertices():
    slopes = jax.jit(jax.jacrev(lambda x, a, b: projections.transport(x, (a, b)), (0, 1, 2)))
    for x in (np.zeros((4, 4)), np.ones((4, 4)), np.eye(4) * 9):
        for a in (np.ones(4), np.zeros(4), np.array([2.0, 2.0, 0.0, 0.0])):
            assert all(jnp.isfinite(part).all() for part in slopes(*map(jnp.asarray, (x, a, a))))


def test_vmap_is_a_loop(rng):
    x, a = jnp.asarray(rng.normal(size=(6, N, M))), jnp.asarray(rng.dirichlet(np.ones(N), size=6))
    b = jnp.full(M, 1 / M)
    together = jax.jit(jax.vmap(lambda x, a: projections.transport(x, (a, b))))(x, a)
    for whole, point, row_sums in zip(together, x, a):
        np.testing.assert_allclose(whole, transport(point, (row_sums, b)), atol=1e-13)


def test_many_hard_problems_reach_their_sums(rng):
    size, n, m = 60, 12, 9
    x = rng.normal(size=(size, n, m)) * 10.0 ** rng.uniform(-2, 3, (size, 1, 1))
    a, b = rng.dirichlet(np.full(n, 0.2), size=size), rng.dirichlet(np.full(m, 0.2), size=size)
    project = jax.jit(jax.vmap(lambda x, a, b: projections.transport(x, (a, b))))
    for dtype, eps in ((jnp.float64, 2.3e-16), (jnp.float32, 1.2e-7)):
        z = np.asarray(project(*(jnp.asarray(v, dtype) for v in (x, a, b))), float)
        allowed = 60 * eps * (1 + np.abs(x).max((1, 2)))[:, None]
        assert np.all(np.abs(z.sum(2) - a) <= 100 * eps)
        assert np.all(np.abs(z.sum(1) - b) <= allowed)
