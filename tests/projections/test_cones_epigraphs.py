"""Cones and epigraphs: optimality in float32 and float64, Moreau's identity, curvature, the l1,inf ball by its prox."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxopt_thoth import projections


cone = jax.jit(jax.vmap(projections.exponential_cone))
cone_jacobian = jax.jit(jax.vmap(jax.jacfwd(projections.exponential_cone)))


@pytest.mark.parametrize("dtype, tol", [(jnp.float64, 1e-14), (jnp.float32, 1e-6)])
def test_exponential_cone_point_and_residual_are_optimal(rng, dtype, tol):
    """In the cone, the residual in the polar cone, and orthogonal: that is the projection."""
    x = jnp.asarray(rng.normal(size=(4000, 3)) * 10 ** rng.uniform(-2, 2, (4000, 3)), dtype)
    p = np.asarray(cone(x), float)
    d = np.asarray(x, float) - p
    # The extreme rays of the cone and of its dual.
    k = np.linspace(-40, 40, 2001)
    rays = [np.r_["1,2,0", k, k * 0 + 1, np.exp(k)], np.r_["1,2,0", k * 0 - 1, k - 1, np.exp(-k)]]
    rays = [r / np.linalg.norm(r, axis=1, keepdims=True) for r in rays]
    own, dual = np.vstack([rays[0], [[-1, 0, 0], [0, 0, 1]]]), np.vstack([rays[1], [[0, 1, 0], [0, 0, 1]]])
    size = np.linalg.norm(x, axis=1)
    assert np.all((p @ dual.T).min(1) >= -tol * size)
    assert np.all((d @ own.T).max(1) <= tol * size)
    assert np.all(np.abs((p * d).sum(1)) <= tol * size**2)


def test_exponential_cone_regions_and_extremes():
    x = jnp.asarray(
        [
            [0.0, 1.0, 1.0],  # on the boundary
            [-2.0, 1.0, 0.5],  # inside
            [1.0, -2.0, -1.0],  # in the polar cone
            [-1.0, -2.0, 3.0],  # above the flat face
            [-1.0, -2.0, -3.0],
            [0.0, 0.0, 0.0],
            [1e-300, -1.0, 1.0],
            [-1.0, 1e-300, -1.0],
        ]
    )
    expected = [[0, 1, 1], [-2, 1, 0.5], [0, 0, 0], [-1, 0, 3], [-1, 0, 0], [0, 0, 0], [0, 0, 1], [-1, 0, 0]]
    np.testing.assert_allclose(cone(x), expected, atol=1e-15)
    assert jnp.isfinite(cone_jacobian(x)).all()
    huge = 10.0 ** np.array([[300, -300, 5], [-300, 300, 300], [0, 300, -300.0]])
    for signs in np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T:
        p = np.asarray(cone(jnp.asarray(huge * signs)))
        assert np.isfinite(p).all() and np.isfinite(cone_jacobian(jnp.asarray(huge * signs))).all()


def test_exponential_cone_second_derivative(rng):
    x, h = jnp.asarray(rng.normal(size=(200, 3))), 1e-6
    second = jax.jit(jax.vmap(jax.jacrev(jax.jacfwd(projections.exponential_cone))))(x)
    steps = h * np.eye(3)[:, None, :]
    central = np.stack([(cone_jacobian(x + e) - cone_jacobian(x - e)) / (2 * h) for e in steps], -1)
    np.testing.assert_allclose(second, central, atol=1e-6, rtol=1e-6)


def test_epigraphs_are_polar_to_their_duals(rng):
    x, t = jnp.asarray(rng.normal(size=(50, 3, 4))), jnp.asarray(rng.normal(size=50) * 4)
    one, two, most = (
        jax.jit(jax.vmap(project))
        for project in (projections.epigraph_l1, projections.epigraph_l2, projections.epigraph_linf)
    )
    for project, dual in ((one, most), (two, two), (most, one)):
        (z, s), (y, r) = project(x, t), dual(-x, -t)
        np.testing.assert_allclose(z - y, x, atol=1e-13)
        np.testing.assert_allclose(s - r, t, atol=1e-13)
        np.testing.assert_allclose(jnp.sum(z * y, (1, 2)) + s * r, 0, atol=1e-12)
    assert np.all(np.abs(one(x, t)[0]).sum((1, 2)) <= one(x, t)[1] + 1e-13)
    assert projections.epigraph_linf(jnp.zeros(0), 2)[1] == 2


def test_epigraph_thresholds_in_float32_far_from_the_origin(rng):
    x = jnp.asarray(rng.normal(size=1000), jnp.float32)
    for t in (-1e6, -800.0, 1e6):
        z, s = projections.epigraph_linf(x, t)
        exact = projections.epigraph_linf(x.astype(float), t)
        np.testing.assert_allclose(s, exact[1], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(z, exact[0], rtol=1e-5, atol=1e-6)


def test_l1_inf_ball_against_its_levels(rng):
    """Each row kept loses the same sum, rows of a smaller sum vanish, and the levels add up to the radius."""
    project = jax.jit(projections.l1_inf_ball)
    for scale in (0.1, 1.0, 10.0):
        for x in rng.normal(size=(5, 20, 7)) * rng.exponential(size=(5, 20, 1)) * scale:
            excess = lambda taken, x=x: sum(level(row, taken) for row in np.abs(x)) - 3.0
            z = np.asarray(project(jnp.asarray(x), 3.0))
            if np.abs(x).max(1).sum() <= 3:
                np.testing.assert_array_equal(z, x)
                continue
            taken = scipy.optimize.brentq(excess, 0, np.abs(x).sum(), xtol=1e-14)
            levels = np.array([level(row, taken) for row in np.abs(x)])[:, None]
            np.testing.assert_allclose(z, np.clip(x, -levels, levels), atol=1e-11)


def level(row, taken):
    """The level above which the entries of a row sum to `taken`."""
    if row.sum() <= taken:
        return 0.0
    ordered = np.sort(row)[::-1]
    return max((ordered[: k + 1].sum() - taken) / (k + 1) for k in range(row.size))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: projections.exponential_cone(jnp.ones(4)), "x must be one vector"),
        (lambda: projections.epigraph_l1(jnp.ones(4), jnp.ones(4)), "t must be a scalar.*vmap"),
        (lambda: projections.l1_inf_ball(jnp.ones(4)), "x must be a matrix.*vmap"),
        (lambda: projections.l1_inf_ball(jnp.ones((4, 4)), -1.0), "radius must be nonnegative"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
