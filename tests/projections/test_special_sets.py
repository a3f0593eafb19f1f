"""What is particular to the sets beyond balls: caps, cones, orders, and the sets that are not convex."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth import projections


capped_simplex = jax.jit(projections.capped_simplex, static_argnames="axis")
box_hyperplane = jax.jit(projections.box_hyperplane)
isotonic = jax.jit(projections.isotonic, static_argnames="increasing")


def by_bisection(v, total, upper):
    """An oracle independent of ours: the threshold by 200 halvings."""
    low, high = v.min() - np.max(upper) - 1, v.max() + 1
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.clip(v - middle, 0, upper).sum() > total else (low, middle)
    return np.clip(v - low, 0, upper)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_capped_simplex_against_bisection(rng, scale):
    adversaries = [
        rng.normal(size=1000),
        rng.exponential(size=1000) ** 3,
        np.log1p(np.arange(1000.0)),
        np.geomspace(1e-8, 1, 1000),
        np.r_[1.0, np.full(999, 1 - 1e-9)],
        np.repeat([0.0, 5.0, 5.5, 9.0], 250),
    ]
    for v in adversaries:
        for total in (0.5, 3.0, 500.0, 999.5):
            projected = capped_simplex(jnp.asarray(v * scale), total)
            expected = by_bisection(v * scale, total, 1.0)
            np.testing.assert_allclose(projected, expected, atol=1e-12 * (1 + scale))
            np.testing.assert_allclose(projected.sum(), total, rtol=1e-13 * (1 + scale))


def test_capped_simplex_with_idle_caps_is_the_simplex(rng):
    v = jnp.asarray(rng.normal(size=20))
    for upper in (1.0, jnp.inf):
        np.testing.assert_allclose(capped_simplex(v, 1.0, upper), projections.simplex(v), atol=1e-15)


def test_capped_simplex_sum_in_float32_far_from_the_origin(rng):
    v = jnp.asarray(rng.normal(size=2000) + 1e3, jnp.float32)
    np.testing.assert_allclose(capped_simplex(v, 7.0).sum(), 7, rtol=1e-6)


def test_capped_simplex_by_slices_with_caps_of_each_entry(rng):
    x, upper = rng.normal(size=(3, 4)) * 2, rng.uniform(0.5, 1, size=(3, 4))
    totals = np.array([0.5, 1.0, 1.5, 1.2])
    together = capped_simplex(jnp.asarray(x), totals, upper, axis=0)
    for column in range(4):
        expected = by_bisection(x[:, column], totals[column], upper[:, column])
        np.testing.assert_allclose(together[:, column], expected, atol=1e-14)


def test_capped_simplex_at_its_ends_and_with_masked_entries():
    v = jnp.asarray([3.0, 1.0, 2.0])
    np.testing.assert_array_equal(capped_simplex(v, 0.0), np.zeros(3))
    np.testing.assert_array_equal(capped_simplex(v, 3.0), np.ones(3))
    np.testing.assert_array_equal(capped_simplex(v, 2.0, 1.0), [1, 0, 1])
    np.testing.assert_array_equal(projections.capped_simplex(jnp.asarray([5.0]), 0.25), [0.25])
    masked = jnp.asarray([0.5, -jnp.inf, 0.5])
    np.testing.assert_allclose(capped_simplex(masked, 1.5), [0.75, 0, 0.75])
    assert jnp.isfinite(jax.jit(jax.jacrev(projections.capped_simplex))(masked, 1.5)).all()
    assert projections.capped_simplex(jnp.zeros(0), 0.0).shape == (0,)


def test_box_hyperplane_derivative_in_every_argument(rng):
    x, normal, direction = (jnp.asarray(rng.normal(size=6)) for _ in range(3))
    arguments = (x, -jnp.ones(6) * 0.5, jnp.ones(6) * 0.7, normal, jnp.asarray(0.3))
    slopes = tuple(jnp.asarray(rng.normal(size=np.shape(a))) for a in arguments)
    value = jax.jit(lambda t: projections.box_hyperplane(*(a + t * s for a, s in zip(arguments, slopes))))
    _, forward = jax.jvp(value, (0.0,), (1.0,))
    np.testing.assert_allclose(forward, (value(1e-6) - value(-1e-6)) / 2e-6, atol=1e-8)
    gradients = jax.grad(lambda *a: jnp.vdot(direction, projections.box_hyperplane(*a)), range(5))(*arguments)
    reverse = sum(jnp.vdot(g, s) for g, s in zip(gradients, slopes))
    np.testing.assert_allclose(reverse, jnp.vdot(direction, forward), rtol=1e-12)


def test_box_hyperplane_with_infinite_bounds(rng):
    x, normal = jnp.asarray(rng.normal(size=6)), jnp.asarray(rng.normal(size=6))
    free = box_hyperplane(x, -jnp.inf, jnp.inf, normal, 2.0)
    np.testing.assert_allclose(free, projections.hyperplane(x, normal, 2.0), atol=1e-14)
    for offset in (-50.0, -1.0, 0.0, 1.0, 50.0):
        z = box_hyperplane(x, jnp.asarray([0, 0, -jnp.inf, -1, 0, -jnp.inf]), jnp.inf, normal, offset)
        np.testing.assert_allclose(normal @ z, offset, atol=1e-12)
    np.testing.assert_array_equal(box_hyperplane(x, -0.1, 0.1, jnp.zeros(6), 0.0), jnp.clip(x, -0.1, 0.1))


def test_affine_in_the_matrix_and_of_contradicting_rows(rng):
    x, matrix, offset = rng.normal(size=5), rng.normal(size=(2, 5)), rng.normal(size=2)
    arguments = tuple(map(jnp.asarray, (x, matrix, offset)))
    slopes = tuple(jnp.asarray(rng.normal(size=a.shape)) for a in arguments)
    value = jax.jit(lambda t: projections.affine(*(a + t * s for a, s in zip(arguments, slopes))))
    forward = jax.jvp(value, (0.0,), (1.0,))[1]
    np.testing.assert_allclose(forward, (value(1e-6) - value(-1e-6)) / 2e-6, atol=1e-7)
    np.testing.assert_allclose(value(0.0), x - np.linalg.pinv(matrix) @ (matrix @ x - offset), atol=1e-13)
    # Two rows that ask for 1 and for 3 meet at 2.
    z = projections.affine(jnp.zeros(2), jnp.asarray([[1.0, 0], [1, 0]]), jnp.asarray([1.0, 3.0]))
    np.testing.assert_allclose(z, [2, 0], atol=1e-14)


def test_affine_factor_replaces_the_matrix(rng):
    x, matrix, offset = (jnp.asarray(rng.normal(size=shape)) for shape in (7, (3, 7), 3))
    matrix = jnp.concatenate([matrix, matrix[:1] + matrix[1:2]])
    offset = jnp.concatenate([offset, offset[:1] + offset[1:2]])
    factor = projections.affine_factor(matrix)
    both = jax.jit(jax.value_and_grad(lambda m, x, o: jnp.sum(projections.affine(x, m, o) ** 3), (1, 2)))
    (first, slopes), (second, others) = (both(m, x, offset) for m in (matrix, factor))
    np.testing.assert_allclose(first, second, rtol=1e-12)
    for left, right in zip(slopes, others):
        np.testing.assert_allclose(left, right, atol=1e-11)
    # Through the factor in the matrix, here of full rank.
    through = jax.jit(jax.grad(lambda m: jnp.sum(projections.affine(x, projections.affine_factor(m), offset[:3]) ** 3)))
    direct = jax.jit(jax.grad(lambda m: jnp.sum(projections.affine(x, m, offset[:3]) ** 3)))
    np.testing.assert_allclose(through(matrix[:3]), direct(matrix[:3]), atol=1e-11)


def test_box_derivative_at_its_bounds_is_that_of_the_inside():
    x, lower, upper = jnp.asarray([0.0, 1.0, 0.5, 2.0, 0.5]), jnp.zeros(5), jnp.ones(5)
    lower, upper = lower.at[4].set(0.5), upper.at[4].set(0.5)
    slopes = jax.grad(lambda *a: jnp.sum(projections.box(*a)), (0, 1, 2))(x, lower, upper)
    np.testing.assert_array_equal(slopes, [[1, 1, 1, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 1, 0]])
    ball = jax.grad(lambda x, r: jnp.sum(projections.linf_ball(x, r)), (0, 1))
    np.testing.assert_array_equal(ball(jnp.asarray([1.0, -1.0, 2.0]), 1.0)[0], [1, 1, 0])
    assert ball(jnp.zeros(3), 0.0)[1] == 0


def test_second_order_cone_regions():
    inside, polar = jnp.asarray([3.0, 1.0, -1.0]), jnp.asarray([-3.0, 1.0, -1.0])
    np.testing.assert_array_equal(projections.second_order_cone(inside), inside)
    np.testing.assert_array_equal(projections.second_order_cone(polar), np.zeros(3))
    np.testing.assert_array_equal(projections.second_order_cone(jnp.asarray([-1.0])), [0])
    x = jnp.asarray([0.3, 1.0, -2.0])
    residual = x - projections.second_order_cone(x)
    np.testing.assert_allclose(-residual, projections.second_order_cone(-x), atol=1e-15)  # Moreau, the cone self-dual


def test_psd_leaves_its_own_and_takes_the_symmetric_part(rng):
    factor = rng.normal(size=(4, 4))
    np.testing.assert_allclose(projections.psd(jnp.asarray(factor @ factor.T)), factor @ factor.T, atol=1e-13)
    skewed = jnp.asarray(factor)
    np.testing.assert_allclose(projections.psd(skewed), projections.psd((skewed + skewed.T) / 2), atol=1e-15)


def test_psd_derivative_at_repeated_eigenvalues(rng):
    rotation, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    x = jnp.asarray(rotation * np.array([2.0, 2, 2, -1, -1]) @ rotation.T)
    direction = jnp.asarray(rng.normal(size=(5, 5)))
    project = jax.jit(projections.psd)
    forward = jax.jvp(project, (x,), (direction,))[1]
    central = (project(x + 1e-6 * direction) - project(x - 1e-6 * direction)) / 2e-6
    np.testing.assert_allclose(forward, central, atol=1e-8)
    weights = jnp.asarray(rng.normal(size=(5, 5)))
    reverse = jax.grad(lambda x: jnp.vdot(weights, project(x)))(x)
    np.testing.assert_allclose(jnp.vdot(reverse, direction), jnp.vdot(weights, forward), rtol=1e-12)


def by_min_max(x, w):
    """The min-max formula of isotonic regression, an oracle independent of pooling."""
    n = x.size
    mean = lambda i, j: np.average(x[i : j + 1], weights=w[i : j + 1])
    return [max(min(mean(i, j) for j in range(k, n)) for i in range(k + 1)) for k in range(n)]


def test_isotonic_against_the_min_max_formula(rng):
    cases = [rng.normal(size=12) for _ in range(4)]
    cases += [np.arange(12.0), -np.arange(12.0), np.zeros(12), rng.integers(0, 3, 12).astype(float)]
    for x in cases:
        w = rng.uniform(0.1, 2, 12)
        np.testing.assert_allclose(isotonic(jnp.asarray(x), weights=w), by_min_max(x, w), atol=1e-14)
        falling = isotonic(jnp.asarray(x), increasing=False, weights=w)
        np.testing.assert_allclose(falling[::-1], by_min_max(x[::-1], w[::-1]), atol=1e-14)


def test_isotonic_against_scikit_learn(rng):
    sklearn = pytest.importorskip("sklearn.isotonic")
    x, w = np.cumsum(rng.normal(size=500)), rng.uniform(0.1, 2, 500)
    expected = sklearn.isotonic_regression(x, sample_weight=w)
    np.testing.assert_allclose(isotonic(jnp.asarray(x), weights=w), expected, atol=1e-12)


def test_isotonic_keeps_the_mean_and_batches(rng):
    x = jnp.asarray(rng.normal(size=(7, 9)))
    together = jax.jit(jax.vmap(projections.isotonic))(x)
    np.testing.assert_allclose(together, jnp.stack([projections.isotonic(row) for row in x]), atol=1e-15)
    np.testing.assert_allclose(together.mean(1), x.mean(1), atol=1e-14)
    assert projections.isotonic(jnp.zeros(0)).shape == (0,)


def test_isotonic_derivative_in_the_weights(rng):
    x, w, direction = jnp.asarray(rng.normal(size=9)), jnp.asarray(rng.uniform(0.5, 2, 9)), jnp.ones(9).at[2].set(-1)
    value = jax.jit(lambda t: projections.isotonic(x, weights=w + t * direction))
    forward = jax.jvp(value, (0.0,), (1.0,))[1]
    np.testing.assert_allclose(forward, (value(1e-6) - value(-1e-6)) / 2e-6, atol=1e-8)


def test_sphere(rng):
    x = jnp.asarray(rng.normal(size=5))
    np.testing.assert_allclose(projections.sphere(x, 2.0), 2 * x / jnp.linalg.norm(x), rtol=1e-15)
    np.testing.assert_array_equal(projections.sphere(jnp.zeros(3), 2.0), [2, 0, 0])
    slopes = jax.jit(jax.jacrev(projections.sphere, (0, 1)))
    np.testing.assert_array_equal(slopes(jnp.zeros(3), 2.0)[0], np.zeros((3, 3)))
    unit = np.asarray(x) / np.linalg.norm(x)
    dx, dradius = slopes(x, 2.0)
    np.testing.assert_allclose(dx, 2 * (np.eye(5) - np.outer(unit, unit)) / np.linalg.norm(x), atol=1e-15)
    np.testing.assert_allclose(dradius, unit, atol=1e-15)


@pytest.mark.parametrize("project, inner", [("top_k", lambda x: x), ("sparse_simplex", projections.simplex)])
def test_sparse_sets_by_trying_every_support(rng, project, inner):
    nearest = jax.jit(getattr(projections, project), static_argnums=1)
    for x in rng.normal(size=(5, 6)):
        candidates = np.zeros((20, 6))
        for row, support in zip(candidates, itertools.combinations(range(6), 3)):
            row[list(support)] = inner(jnp.asarray(x[list(support)]))
        best = candidates[((candidates - x) ** 2).sum(1).argmin()]
        np.testing.assert_allclose(nearest(jnp.asarray(x), 3), best, atol=1e-14)
        slope = jax.jit(jax.jacrev(getattr(projections, project)), static_argnums=1)(jnp.asarray(x), 3)
        central = jax.vmap(lambda d, x=x: (nearest(x + d, 3) - nearest(x - d, 3)) / 2e-6)(1e-6 * jnp.eye(6)).T
        np.testing.assert_allclose(slope, central, atol=1e-8)


def test_sparse_sets_count_ties_and_large_k():
    np.testing.assert_array_equal(projections.top_k(jnp.ones(4), 2), [1, 1, 0, 0])
    np.testing.assert_array_equal(projections.top_k(jnp.ones(4), 9), np.ones(4))
    np.testing.assert_array_equal(projections.top_k(jnp.ones(4), 0), np.zeros(4))
    np.testing.assert_array_equal(projections.sparse_simplex(jnp.ones(4), 2), [0.5, 0.5, 0, 0])


def test_stiefel(rng):
    x, direction, weights = (jnp.asarray(rng.normal(size=(5, 3))) for _ in range(3))
    project = jax.jit(projections.stiefel)
    q = project(x)
    np.testing.assert_allclose(q.T @ q, np.eye(3), atol=1e-14)
    stretch = np.asarray(q.T @ x)
    np.testing.assert_allclose(stretch, stretch.T, atol=1e-14)
    assert np.linalg.eigvalsh(stretch).min() > 0
    # The second point has a threefold singular value.
    for point in (x, q):
        forward = jax.jvp(project, (point,), (direction,))[1]
        central = (project(point + 1e-6 * direction) - project(point - 1e-6 * direction)) / 2e-6
        np.testing.assert_allclose(forward, central, atol=1e-7)
        reverse = jax.grad(lambda x: jnp.vdot(weights, project(x)))(point)
        np.testing.assert_allclose(jnp.vdot(reverse, direction), jnp.vdot(weights, forward), rtol=1e-11)
    for deficient in (jnp.zeros((5, 3)), jnp.ones((5, 3))):
        z, slope = project(deficient), jax.jit(jax.jacrev(project))(deficient)
        np.testing.assert_allclose(z.T @ z, np.eye(3), atol=1e-14)
        assert jnp.isfinite(slope).all()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_dtype_in_is_dtype_out(dtype):
    vector, matrix = jax.ShapeDtypeStruct((4,), dtype), jax.ShapeDtypeStruct((4, 4), dtype)
    assert jax.eval_shape(lambda x: projections.sphere(x, 2), vector).dtype == dtype
    assert jax.eval_shape(lambda x: projections.top_k(x, 2), vector).dtype == dtype
    assert jax.eval_shape(lambda x: projections.sparse_simplex(x, 2, np.float64(1)), vector).dtype == dtype
    assert jax.eval_shape(lambda x: projections.isotonic(x, weights=np.ones(4)), vector).dtype == dtype
    for project in (projections.psd, projections.stiefel, projections.birkhoff):
        assert jax.eval_shape(project, matrix).dtype == dtype


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: projections.capped_simplex(jnp.ones(2), 3.0), "total must not exceed the sum of upper.*raise upper"),
        (lambda: projections.capped_simplex(jnp.ones(2), -1.0), "total must be nonnegative"),
        (lambda: projections.capped_simplex(jnp.ones(2), 1.0, -1.0), "upper must be nonnegative"),
        (lambda: projections.box_hyperplane(jnp.ones(2), 1.0, 0.0, 1.0, 1.0), "lower must not exceed upper"),
        (lambda: projections.box_hyperplane(jnp.ones(2), 0.0, 1.0, 1.0, 3.0), "offset must lie in .0.0, 2.0."),
        (lambda: projections.box_hyperplane(jnp.ones(2), 0.0, jnp.inf, 1.0, -1.0), "offset must lie in .0.0, inf."),
        (lambda: projections.affine(jnp.ones(2), jnp.ones((1, 3)), jnp.ones(1)), "matrix must be"),
        (lambda: projections.second_order_cone(jnp.ones((2, 2))), "x must be one vector"),
        (lambda: projections.psd(jnp.ones((2, 3))), "x must be a square matrix"),
        (lambda: projections.isotonic(jnp.ones((2, 2))), "x must be one vector"),
        (lambda: projections.isotonic(jnp.ones(2), weights=jnp.zeros(2)), "weights must be positive"),
        (lambda: projections.sphere(jnp.ones(2), -1.0), "radius must be nonnegative"),
        (lambda: projections.top_k(jnp.ones(2), -1), "k must be nonnegative"),
        (lambda: projections.sparse_simplex(jnp.ones(2), 0), "k must be positive"),
        (lambda: projections.sparse_simplex(jnp.ones(2), 1, -1.0), "radius must be nonnegative"),
        (lambda: projections.stiefel(jnp.ones((2, 3))), "x must be a matrix of at least as many rows.*transpose it"),
        (lambda: projections.transport(jnp.ones((2, 2)), (-1.0, 1.0)), "row_sums must be nonnegative"),
        (lambda: projections.transport(jnp.ones((2, 2)), (1.0, 2.0)), "row_sums and column_sums must have one total"),
        (lambda: projections.transport(jnp.ones(2), (1.0, 2.0)), "x must be a matrix"),
        (lambda: projections.birkhoff(jnp.ones((2, 3))), "x must be a square matrix.*use transport"),
    ],
)
def test_impossible_sets_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
