"""What is particular to the root-find projections: batches, radii, ties, scale and iteration counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth import projections


def by_sorting(v, radius):
    """The textbook projection (Held, Wolfe and Crowder, 1974), an oracle independent of ours."""
    u = np.sort(v)[::-1]
    thresholds = (np.cumsum(u) - radius) / np.arange(1, v.size + 1)
    return np.maximum(v - thresholds[np.nonzero(u > thresholds)[0][-1]], 0)


simplex = jax.jit(projections.simplex, static_argnames="axis")


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_against_sorting(rng, scale):
    adversaries = [
        rng.normal(size=1000),
        rng.exponential(size=1000) ** 3,
        np.log1p(np.arange(1000.0)),
        np.geomspace(1e-8, 1, 1000),
        np.r_[1.0, np.full(999, 1 - 1e-9)],
    ]
    for v in adversaries:
        tolerance = 1e-14 + 1e-12 * scale
        np.testing.assert_allclose(simplex(jnp.asarray(v * scale)), by_sorting(v * scale, 1.0), atol=tolerance)


def test_sum_in_float32_far_from_the_origin(rng):
    v = jnp.asarray(rng.normal(size=2000) + 1e3, jnp.float32)
    np.testing.assert_allclose(simplex(v).sum(), 1, atol=2e-6)


def test_shift_invariance_permutation_and_ties(rng):
    v = jnp.asarray(rng.normal(size=8))
    np.testing.assert_allclose(simplex(v + 7.0), simplex(v), atol=1e-14)
    order = rng.permutation(8)
    np.testing.assert_allclose(simplex(v[order]), simplex(v)[order], atol=1e-15)
    np.testing.assert_allclose(simplex(jnp.full(8, -3.0)), np.full(8, 1 / 8), rtol=1e-15)


def test_masked_entries_get_nothing():
    v = jnp.asarray([0.3, -jnp.inf, 0.1, -jnp.inf])
    np.testing.assert_allclose(simplex(v), [0.6, 0, 0.4, 0], atol=1e-15)
    assert jnp.isfinite(jax.jit(jax.jacrev(projections.simplex))(v)).all()


@pytest.mark.parametrize("project", [projections.simplex, projections.l1_ball])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_axis_projects_every_slice(rng, project, axis):
    x = rng.normal(size=(3, 4)) * 2
    radii = np.linspace(0.5, 2, 12 // x.shape[axis])
    slices = np.moveaxis(x, axis, -1)
    expected = np.stack([project(jnp.asarray(v), r) for v, r in zip(slices, radii)])
    np.testing.assert_allclose(project(jnp.asarray(x), radii, axis), np.moveaxis(expected, -1, axis), atol=1e-15)
    whole = project(jnp.asarray(x), 1.5)
    np.testing.assert_allclose(whole.ravel(), project(jnp.asarray(x.ravel()), 1.5), atol=1e-15)


@pytest.mark.parametrize("project", [projections.simplex, projections.l1_ball])
def test_batched_derivative_is_that_of_the_slices(rng, project):
    x, w = (jnp.asarray(rng.normal(size=(4, 3))) for _ in range(2))
    radii = jnp.asarray([0.5, 1.0, 2.0])
    together = jax.jit(jax.grad(lambda x, r: jnp.vdot(w, project(x, r, 0)), (0, 1)))(x, radii)
    slopes = jax.grad(lambda v, r, c: jnp.vdot(c, project(v, r)), (0, 1))
    apart = jax.jit(jax.vmap(slopes, (1, 0, 1), (1, 0)))(x, radii, w)
    for left, right in zip(together, apart):
        np.testing.assert_allclose(left, right, atol=1e-14)


def test_closed_jacobian(rng):
    v = jnp.asarray(rng.normal(size=6))
    dx, dradius = jax.jit(jax.jacrev(projections.simplex, (0, 1)))(v, jnp.asarray(1.0))
    face = np.asarray(projections.simplex(v) > 0, float)
    np.testing.assert_allclose(dx, np.diag(face) - np.outer(face, face) / face.sum(), atol=1e-15)
    np.testing.assert_allclose(dradius, face / face.sum(), atol=1e-15)


def test_a_growing_radius_enters_at_the_largest_entries():
    v = jnp.asarray([1.0, 0.2, 1.0])
    np.testing.assert_allclose(jax.jit(jax.jacfwd(projections.simplex, 1))(v, jnp.asarray(0.0)), [0.5, 0, 0.5])
    np.testing.assert_array_equal(jax.jit(jax.jacrev(projections.simplex))(v, jnp.asarray(0.0)), np.zeros((3, 3)))


def test_linear_functions_of_the_projection_have_zero_second_derivative(rng):
    v = jnp.asarray(rng.normal(size=5))
    hessian = jax.jit(jax.hessian(lambda v: projections.simplex(v)[0]))(v)
    np.testing.assert_array_equal(hessian, np.zeros((5, 5)))


def test_nan_is_passed_on_and_empty_is_left_alone():
    assert jnp.isnan(simplex(jnp.asarray([jnp.nan, 1.0]))).any()
    assert projections.simplex(jnp.zeros(0)).shape == (0,)
    assert projections.simplex(jnp.zeros((0, 3)), axis=1).shape == (0, 3)


def test_l1_ball_leaves_the_inside_alone():
    x = jnp.asarray([0.2, -0.3])
    np.testing.assert_array_equal(projections.l1_ball(x), x)
    np.testing.assert_array_equal(jax.jit(jax.jacrev(projections.l1_ball))(x), np.eye(2))


def test_l2_ball_takes_a_pytree():
    tree = {"a": jnp.asarray([3.0]), "b": jnp.asarray(4.0)}
    projected = projections.l2_ball(tree, 1.0)
    np.testing.assert_allclose([projected["a"][0], projected["b"]], [0.6, 0.8], rtol=1e-15)


def test_zero_normal_leaves_the_point():
    x = jnp.asarray([1.0, 2.0])
    for project in (projections.halfspace, projections.hyperplane):
        jacobians = jax.jit(jax.jacrev(project, (0, 1, 2)))(x, jnp.zeros(2), jnp.asarray(0.0))
        np.testing.assert_array_equal(project(x, jnp.zeros(2), 0.0), x)
        assert all(jnp.isfinite(part).all() for part in jacobians)
