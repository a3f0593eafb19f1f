"""Programs with constraints: closed forms, dependent and inactive rows, batches of active sets, vertices, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth.implicit import custom_kkt, custom_mirror_fixed_point


RNG = np.random.default_rng(5)
_FACTOR = RNG.normal(size=(5, 5))
Q = jnp.asarray(_FACTOR @ _FACTOR.T + np.eye(5))
E = jnp.asarray(RNG.normal(size=(2, 5)))


def quadratic(x, c, e=None):
    return x @ Q @ x / 2 - c @ x


def kkt_point(c, e, rows):
    system = jnp.block([[Q, rows.T], [rows, jnp.zeros((len(rows), len(rows)))]])
    return jnp.linalg.solve(system, jnp.concatenate([c, e]))


def test_equality_constraints_have_a_closed_form():
    def by_any_means(start, c, e):
        point = kkt_point(c, e, E)
        return point[:5], point[5:], None

    solve = custom_kkt(quadratic, lambda x, c, e: E @ x - e)(by_any_means)
    c, e = jnp.arange(5.0), jnp.array([1.0, -2.0])

    @jax.jit
    def parts(c, e):
        stacked = lambda c, e: jnp.concatenate(solve(jnp.zeros(5), c, e)[:2])
        second = jax.jacfwd(jax.jacrev(lambda c: jnp.sum(stacked(c, e) ** 3)))(c)
        return jax.jacrev(stacked, (0, 1))(c, e), jax.jacfwd(stacked, (0, 1))(c, e), second

    reverse, forward, second = parts(c, e)
    exact = jax.jacfwd(lambda c, e: kkt_point(c, e, E), (0, 1))(c, e)
    for found in (reverse, forward):
        for left, right in zip(found, exact, strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-12)
    cubes = jax.hessian(lambda c: jnp.sum(kkt_point(c, e, E) ** 3))(c)
    np.testing.assert_allclose(second, cubes, rtol=1e-9, atol=1e-9)


def test_dependent_rows_leave_the_derivative_of_x():
    """The third row is the sum of the others: x as without it, the multipliers with a derivative of least norm."""
    rows = jnp.concatenate([E, E.sum(0, keepdims=True)])
    spread = jnp.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])

    def by_any_means(start, c, e):
        point = kkt_point(c, e, E)
        return point[:5], jnp.linalg.pinv(spread) @ point[5:], None

    solve = custom_kkt(quadratic, lambda x, c, e: rows @ x - spread.T @ e)(by_any_means)
    found = jax.jacrev(lambda e: solve(jnp.zeros(5), jnp.ones(5), e)[:2])(jnp.ones(2))
    exact = jax.jacfwd(lambda e: kkt_point(jnp.ones(5), e, E))(jnp.ones(2))
    np.testing.assert_allclose(found[0], exact[:5], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found[1], np.linalg.pinv(spread) @ exact[5:], rtol=1e-9, atol=1e-12)


def clipped(start, c, upper):
    x = jnp.minimum(c, upper)
    return x, None, jnp.maximum(c - upper, 0)


clip = custom_kkt(lambda x, c, upper: jnp.sum((x - c) ** 2) / 2, inequality=lambda x, c, upper: x - upper)(clipped)


def test_inactive_constraints_have_no_effect_and_rows_of_a_batch_their_own_active_set():
    c = jnp.array([[0.0, 1.0, 2.0], [3.0, 1.0, -2.0], [-1.0, -1.0, -1.0]])
    upper = jnp.full(3, 0.5)
    by_c, by_upper = jax.jit(jax.vmap(jax.jacrev(lambda c, u: clip(c, c, u)[0], (0, 1)), (0, None)))(c, upper)
    active = np.asarray(c) > 0.5
    for row in range(3):
        np.testing.assert_allclose(by_upper[row], np.diag(active[row] * 1.0), atol=1e-14)
        np.testing.assert_allclose(by_c[row], np.diag(1.0 - active[row]), atol=1e-14)


def test_an_interior_point_counts_as_active_where_its_multiplier_exceeds_its_slack():
    def interior(start, c, upper):
        x, _, lam = clipped(start, c, upper)
        return x - 1e-9, None, lam + 1e-9

    solve = custom_kkt(lambda x, c, u: jnp.sum((x - c) ** 2) / 2, inequality=lambda x, c, u: x - u)(interior)
    c = jnp.array([0.0, 1.0, 2.0])
    found = jax.jacrev(lambda u: solve(c, c, u)[0])(jnp.full(3, 0.5))
    np.testing.assert_allclose(found, np.diag([0.0, 1.0, 1.0]), atol=1e-14)


def test_systems_without_a_solution_are_nan():
    flat = custom_kkt(lambda x, a: (x[0] - a) ** 2 / 2 + a * x[1])(lambda start, a: (start, None, None))
    x = lambda a: flat(jnp.zeros(2), a)[0]
    assert jnp.isnan(jax.jacfwd(x)(1.0)).all()
    assert jnp.isnan(jax.jacrev(x)(1.0)[1])


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"must return \(x, nu, lam\)"):
        custom_kkt(quadratic)(lambda start, c: start)(jnp.zeros(5), jnp.zeros(5))
    with pytest.raises(ValueError, match="multiplier nu must have the shapes"):
        custom_kkt(quadratic, lambda x, c: E @ x)(lambda start, c: (start, jnp.zeros(3), None))(
            jnp.zeros(5), jnp.zeros(5)
        )
    with pytest.raises(ValueError, match="multiplier lam must have the structure"):
        custom_kkt(quadratic)(lambda start, c: (start, None, jnp.zeros(3)))(jnp.zeros(5), jnp.zeros(5))
    with pytest.raises(TypeError, match="mirror_map must be one of"):
        custom_mirror_fixed_point(quadratic, jt.penalties.Simplex())


def test_mirror_map_at_a_vertex_and_close_to_it():
    """A linear cost: the solution stays at its vertex. With a strong pull, entries of 1e-30 keep their derivative."""
    entropy = jt.mirror.NegativeEntropy()
    vertex = custom_mirror_fixed_point(lambda x, c: c @ x, entropy)(lambda start, c: jnp.array([1.0, 0.0, 0.0]))
    c = jnp.array([0.0, 1.0, 2.0])
    np.testing.assert_allclose(jax.jacrev(lambda c: vertex(c, c))(c), np.zeros((3, 3)), atol=1e-15)
    near = custom_mirror_fixed_point(lambda x, c: c @ x + jnp.sum(x * jnp.log(x)), entropy)(
        lambda start, c: jax.nn.softmax(-c)
    )
    c = jnp.array([0.0, 1.0, 70.0])
    exact = jax.jacrev(lambda c: jax.nn.softmax(-c))(c)
    np.testing.assert_allclose(jax.jacrev(lambda c: near(c, c))(c), exact, rtol=1e-9, atol=1e-45)
