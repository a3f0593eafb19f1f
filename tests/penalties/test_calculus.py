"""Penalties of matrices and the calculus, against dense solves, searches and the penalties they generalize."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
import scipy.optimize
import scipy.sparse

from jaxopt_thoth import penalties as p, projections, smooth


X = jnp.asarray([3.0, 0.1, -4.0, 0.2])
prox = jax.jit(lambda penalty, x, step: penalty.prox(x, step))
slopes = jax.jit(lambda penalty, x, step: jax.jacfwd(penalty.prox)(x, step))


def central(fn, x, direction, h=1e-6):
    return (np.asarray(fn(x + h * direction)) - np.asarray(fn(x - h * direction))) / (2 * h)


def test_quadratic_solves_its_system(rng):
    factor, q, x = rng.normal(size=(4, 3)), rng.normal(size=4), rng.normal(size=4)
    matrix = factor @ factor.T
    penalty = p.Quadratic(matrix, q)
    np.testing.assert_allclose(penalty.value(jnp.asarray(x)), smooth.Quadratic(matrix, q).value(jnp.asarray(x)))
    for step in (1e-3, 0.6, 1e3):
        expected = np.linalg.solve(np.eye(4) + step * matrix, x - step * q)
        np.testing.assert_allclose(prox(penalty, jnp.asarray(x), step), expected, atol=1e-11)
    # A singular matrix bounds the linear function on its range only.
    u = matrix @ rng.normal(size=4) + q
    expected = (u - q) @ np.linalg.pinv(matrix) @ (u - q) / 2
    np.testing.assert_allclose(penalty.conjugate(jnp.asarray(u)), expected, rtol=1e-9)
    assert penalty.conjugate(jnp.asarray(u + np.linalg.svd(matrix)[0][:, 3])) == jnp.inf
    assert p.Quadratic(matrix).dual_scale(jnp.asarray(u - q)) == 1 and p.Quadratic(matrix).dual_scale(X) == 0


@pytest.mark.parametrize("rows", [2, 6])
def test_least_squares_solves_its_system(rng, rows):
    matrix, b, x = rng.normal(size=(rows, 4)), rng.normal(size=rows), rng.normal(size=4)
    penalty = p.LeastSquares(matrix, b, 0.7)
    np.testing.assert_allclose(penalty.value(jnp.asarray(x)), 0.35 * np.sum((matrix @ x - b) ** 2))
    for step in (1e-3, 0.6, 1e3):
        system = np.eye(4) + 0.7 * step * matrix.T @ matrix
        expected = np.linalg.solve(system, x + 0.7 * step * matrix.T @ b)
        np.testing.assert_allclose(prox(penalty, jnp.asarray(x), step), expected, atol=1e-11)
    for matrix_ in (matrix, matrix[:, [0, 1, 2, 2]]):
        as_quadratic = p.Quadratic(0.7 * matrix_.T @ matrix_, -0.7 * matrix_.T @ b)
        penalty = p.LeastSquares(matrix_, b, 0.7)
        u = jnp.asarray(matrix_.T @ rng.normal(size=rows))
        np.testing.assert_allclose(penalty.conjugate(u), as_quadratic.conjugate(u) - 0.35 * b @ b, rtol=1e-9)
        assert penalty.dual_scale(u) == 1
        np.testing.assert_allclose(penalty.minimal_subgradient(X, X), as_quadratic.minimal_subgradient(X, X))
    off = jnp.asarray([0.0, 0.0, 1.0, -1.0])
    assert penalty.conjugate(off) == jnp.inf and penalty.dual_scale(off) == 0


@pytest.mark.parametrize(
    "make, shapes",
    [
        (lambda m, v: p.Quadratic(m @ m.T, v), [(3, 3), (3,)]),
        (p.LeastSquares, [(2, 3), (2,)]),
        (p.LeastSquares, [(4, 3), (4,)]),
    ],
)
def test_derivatives_in_the_matrix_where_eigenvalues_repeat(make, shapes):
    """Three times the identity has no derivative of its eigenvectors."""
    settings = [jnp.eye(*shape) if len(shape) == 2 else jnp.arange(1.0, 1 + shape[0]) for shape in shapes]
    x = jnp.asarray([1.0, -2.0, 0.5])

    @jax.jit
    def number(m, v):
        penalty = make(m, v)
        return jnp.sum(penalty.prox(x, 0.6) ** 3) + penalty.conjugate(penalty.minimal_subgradient(x, 0 * x))

    slope = jax.jit(jax.grad(number, (0, 1)))
    second = jax.jit(jax.hessian(number))(*settings)
    directions = [jnp.sin(jnp.arange(1.0, 1 + setting.size)).reshape(setting.shape) for setting in settings]
    seen = [jnp.vdot(s, d) for s, d in zip(slope(*settings), directions)]
    expected = central(lambda m: number(m, settings[1]), settings[0], directions[0])
    np.testing.assert_allclose(seen[0], expected, atol=1e-7)
    expected = central(lambda v: number(settings[0], v), settings[1], directions[1])
    np.testing.assert_allclose(seen[1], expected, atol=1e-7)
    direction = directions[0]
    change = central(lambda m: slope(m, settings[1])[0], settings[0], direction)
    np.testing.assert_allclose(jnp.tensordot(second, direction, 2), change, atol=1e-6)


def test_log_det_against_its_equation(rng):
    penalty = p.LogDet(0.7)
    x = rng.normal(size=(4, 4))
    z = np.asarray(prox(penalty, jnp.asarray(x), 0.6))
    np.testing.assert_allclose(z - 0.42 * np.linalg.inv(z), (x + x.T) / 2, atol=1e-12)
    np.testing.assert_allclose(penalty.value(jnp.asarray(z)), -0.7 * np.linalg.slogdet(z)[1], atol=1e-12)
    u = -np.asarray(penalty.strength) * np.linalg.inv(z)
    np.testing.assert_allclose(penalty.conjugate(jnp.asarray(u)), np.vdot(u, z) - penalty.value(jnp.asarray(z)))
    assert penalty.value(jnp.asarray(x @ x.T + np.triu(np.ones((4, 4)), 1))) == jnp.inf
    assert penalty.value(jnp.asarray(-z)) == jnp.inf and penalty.conjugate(jnp.asarray(z)) == jnp.inf
    # At a multiple of the identity every direction moves alike, by the derivative of the scalar prox.
    root = (1 + (1 + 4 * 0.42) ** 0.5) / 2
    symmetric = jnp.asarray(x + x.T)
    moved = jnp.tensordot(slopes(penalty, jnp.eye(4), 0.6), symmetric, 2)
    np.testing.assert_allclose(moved, root / (2 * root - 1) * symmetric, atol=1e-12)


def special_matrices(rng, rows, columns):
    u = np.linalg.qr(rng.normal(size=(rows, rows)))[0]
    v = np.linalg.qr(rng.normal(size=(columns, columns)))[0]
    spectra = [[3.0, 1.5, 0.2], [2.0, 2.0, 0.7], [1.3, 1.3, 1.3], [2.0, 2.0 - 1e-10, 0.1], [2.0, 0.0, 0.0], [0.0] * 3]
    return [jnp.asarray((u[:, :3] * s) @ v[:, :3].T) for s in spectra]


@pytest.mark.parametrize("shape", [(3, 4), (4, 3)])
def test_spectral_functions_are_the_named_norms(rng, shape):
    pairs = [
        (p.SpectralFunction(p.L1(0.7)), p.NuclearNorm(0.7)),
        (p.SpectralFunction(p.LInf(0.7)), p.SpectralNorm(0.7)),
        (p.SpectralFunction(p.L2(0.7)), p.L2(0.7)),
        (p.SpectralFunction(p.L2Squared(0.7)), p.L2Squared(0.7)),
    ]
    u = jnp.asarray(rng.normal(size=shape))
    for ours, named in pairs:
        for i, x in enumerate(special_matrices(rng, *shape)):
            np.testing.assert_allclose(ours.value(x), named.value(x), atol=1e-12)
            np.testing.assert_allclose(prox(ours, x, 0.6), prox(named, x, 0.6), atol=1e-12)
            # Where a norm has a kink, only a member of the generalized Jacobian is asked for.
            if i == 0 or not isinstance(named, p.SpectralNorm):
                np.testing.assert_allclose(slopes(ours, x, 0.6), slopes(named, x, 0.6), atol=1e-6)
            assert jnp.isfinite(slopes(ours, x, 0.6)).all()
        for method in ("conjugate", "dual_scale"):
            np.testing.assert_allclose(getattr(ours, method)(u), getattr(named, method)(u))
        if not isinstance(named, p.L2Squared):
            np.testing.assert_allclose(ours.critical_strength(u), named.critical_strength(u))


def test_spectral_functions_of_symmetric_matrices(rng):
    x = jnp.asarray(rng.normal(size=(4, 4)))
    repeated = jnp.asarray(np.diag([1.0, 1.0, -1.0, -1.0]))
    positive = p.SpectralFunction(p.NonNegative(), symmetric=True)
    project = jax.jit(lambda x: (projections.psd(x), jax.jacfwd(projections.psd)(x)))
    for point in (x, repeated, jnp.eye(4)):
        np.testing.assert_allclose(prox(positive, point, 0.6), project(point)[0], atol=1e-14)
        np.testing.assert_allclose(slopes(positive, point, 0.6), project(point)[1], atol=1e-12)
    largest = p.SpectralFunction(p.Max(2.0), symmetric=True)
    np.testing.assert_allclose(largest.value(x + x.T), 2 * np.linalg.eigvalsh(x + x.T)[-1])
    assert largest.value(x) == jnp.inf
    assert largest.conjugate(jnp.eye(4) / 2) == 0 and largest.conjugate(jnp.eye(4)) == jnp.inf
    assert positive.is_indicator and positive.is_convex and not positive.is_separable
    assert not p.SpectralFunction(p.MCP(1, 2)).is_convex


def test_rank_against_all_ranks(rng):
    for shape in ((3, 4), (4, 3)):
        for x in special_matrices(rng, *shape)[:3]:
            for strength in (0.01, 0.5, 1.1, 3.0):
                penalty = p.Rank(strength)
                z = prox(penalty, x, 0.9)
                cost = lambda z, g=penalty, x=x: float(g.value(z) + jnp.sum((z - x) ** 2) / 1.8)
                best = min(cost(projections.low_rank(x, rank)) for rank in range(4))
                np.testing.assert_allclose(cost(z), best, rtol=1e-12)
                assert jnp.isfinite(slopes(penalty, x, 0.9)).all()
    direction = jnp.asarray(rng.normal(size=(4, 3)))
    x = special_matrices(rng, 4, 3)[0]
    expected = central(lambda x: prox(p.Rank(1.0), x, 0.9), x, direction)
    np.testing.assert_allclose(jnp.tensordot(slopes(p.Rank(1.0), x, 0.9), direction, 2), expected, atol=1e-7)


def test_indicators_are_the_named_sets(rng):
    pairs = [
        (p.Indicator(projections.box, -0.3, 0.7), p.Box(-0.3, 0.7)),
        (p.Indicator(projections.simplex, 2), p.Simplex(2)),
        (p.Indicator(projections.l1_ball, 0.7), p.L1Ball(0.7)),
    ]
    for ours, named in pairs:
        for x in (X, X.astype(jnp.float32) * 1e3):
            z = prox(ours, x, 0.6)
            np.testing.assert_array_equal(z, prox(named, x, 0.6))
            assert ours.value(z) == 0 and ours.value(x) == jnp.inf and ours.value(z).dtype == x.dtype
        with pytest.raises(NotImplementedError, match="Indicator has no closed-form conjugate"):
            ours.conjugate(X)
    falling = p.Indicator(projections.isotonic, increasing=False)
    assert (np.diff(prox(falling, X, 1.0)) <= 0).all()
    few = p.Indicator(projections.top_k, k=1, convex=False)
    np.testing.assert_array_equal(prox(few, X, 1.0), [0, 0, -4, 0])
    assert few.is_indicator and falling.is_convex and not few.is_convex
    traces = []
    radius = jax.jit(lambda g: traces.append(1) or g.prox(X, 1.0).sum())
    np.testing.assert_allclose([radius(p.Indicator(projections.simplex, r)) for r in (1, 2.0, 3)], [1, 2, 3])
    assert len(traces) == 1


def test_cones_and_their_polars(rng):
    x = jnp.asarray(rng.normal(size=(3, 3)))
    definite = p.Cone(projections.psd)
    assert definite.value(x @ x.T) == 0 and definite.value(x) == jnp.inf
    assert definite.conjugate(-x @ x.T) == 0 and definite.conjugate(x @ x.T) == jnp.inf
    assert definite.dual_scale(-x @ x.T) == 1 and definite.dual_scale(x @ x.T) == 0
    second = p.Cone(projections.second_order_cone)
    # This cone is its own dual.
    np.testing.assert_allclose(second.conjugate_prox(X, 0.6), -second.prox(-X, 1.0), atol=1e-15)
    growing = p.Cone(projections.isotonic)
    # The polar of the growing vectors: partial sums from the left that are nonnegative, and the whole zero.
    u = growing.conjugate_prox(X, 1.0)
    assert growing.conjugate(u) == 0
    assert jnp.cumsum(u).min() >= -1e-14
    np.testing.assert_allclose(u.sum(), 0, atol=1e-14)


def test_compositions_with_closed_forms(rng):
    normal = jnp.asarray([1.0, -2.0, 0.5, 3.0])
    on_plane = p.Composed(p.Box(0.7, 0.7), normal[None, :], normal @ normal)
    np.testing.assert_allclose(prox(on_plane, X, 0.6), projections.hyperplane(X, normal, 0.7), atol=1e-14)
    assert on_plane.is_indicator and on_plane.is_convex and not on_plane.is_separable
    some = p.Composed(p.L1(0.7), jnp.eye(4)[jnp.asarray([0, 2])])
    weighted = p.L1(0.7 * jnp.asarray([1.0, 0, 1, 0]))
    np.testing.assert_allclose(prox(some, X, 0.6), prox(weighted, X, 0.6), atol=1e-15)
    for u in (0.2 * X, jnp.asarray([0.5, 0.0, 0.6, 0.0]), jnp.asarray([0.5, 0.0, 0.8, 0.0])):
        assert some.conjugate(u) == weighted.conjugate(u)
        np.testing.assert_allclose(some.dual_scale(u), weighted.dual_scale(u))
    assert some.critical_strength(X) == jnp.inf
    np.testing.assert_allclose(some.critical_strength(jnp.asarray([0.5, 0.0, 0.6, 0.0])), 0.6)


def test_composition_against_a_search(rng):
    operator = 1.5 * np.linalg.qr(rng.normal(size=(4, 2)))[0].T
    penalty = p.Composed(p.Huber(0.7, 0.5), operator, 2.25)
    cost = jax.jit(lambda z: penalty.value(z) + jnp.sum((z - X) ** 2) / 1.2)
    brute = scipy.optimize.minimize(cost, X, jac=jax.jit(jax.grad(cost)), tol=1e-12)
    np.testing.assert_allclose(prox(penalty, X, 0.6), brute.x, atol=1e-7)
    kinds = [
        scipy.sparse.csr_array(operator),
        lx.MatrixLinearOperator(jnp.asarray(operator)),
        operator.astype(np.float32),
    ]
    columns = jnp.stack([X, 2 * X], 1)
    for kind in kinds:
        other = p.Composed(p.Huber(0.7, 0.5), kind, 2.25)
        np.testing.assert_allclose(other.prox(X, 0.6), brute.x, atol=1e-6)
        np.testing.assert_allclose(other.prox(columns, 0.6)[:, 0], brute.x, atol=1e-6)
    traced = jax.jit(lambda a: p.Composed(p.Huber(0.7, 0.5), a, 2.25).prox(X, 0.6))(operator)
    np.testing.assert_allclose(traced, brute.x, atol=1e-7)


def test_envelopes_with_closed_forms():
    envelope, huber = p.Envelope(p.L1(0.7), 0.4), p.Huber(2.5, 0.28)
    gradient = jnp.cos(X)
    for x in (X, 0.1 * X, 0 * X):
        np.testing.assert_allclose(envelope.value(x), huber.value(x), rtol=1e-14)
        np.testing.assert_allclose(envelope.prox(x, 0.6), huber.prox(x, 0.6), atol=1e-15)
        np.testing.assert_allclose(envelope.conjugate(x), huber.conjugate(x))
        least = envelope.minimal_subgradient(x, gradient), huber.minimal_subgradient(x, gradient)
        np.testing.assert_allclose(*least, atol=1e-14)
    distance = p.Envelope(p.Simplex(), 0.5)
    gap = X - projections.simplex(X)
    np.testing.assert_allclose(distance.value(X), gap @ gap)
    assert envelope.is_separable and not distance.is_indicator and not p.Envelope(p.L0(1), 1).is_convex
    twice, once = p.Envelope(p.Envelope(p.L2(0.7), 0.4), 0.3), p.Envelope(p.L2(0.7), 0.7)
    np.testing.assert_allclose(twice.value(X), once.value(X), rtol=1e-14)
    np.testing.assert_allclose(twice.prox(X, 0.6), once.prox(X, 0.6), atol=1e-15)
    tree = {"a": X, "b": jnp.asarray(0.2)}
    np.testing.assert_array_equal(envelope.prox(tree, 0.6)["a"], envelope.prox(X, 0.6))


def test_envelope_of_what_is_not_convex_against_a_grid():
    penalty = p.Envelope(p.L0(0.8), 0.5)
    grid = jnp.arange(-8000, 8001) / 2000
    heights = jax.vmap(penalty.value)(grid[:, None])
    # The envelope itself against its definition on the grid.
    inner = jax.vmap(p.L0(0.8).value)(grid[:, None])
    for x in (-3.1, -0.7, 0.2, 0.93, 2.2):
        least = (inner + (grid - x) ** 2).min()
        np.testing.assert_allclose(penalty.value(jnp.asarray([x])), least, atol=1e-6)
        z = penalty.prox(jnp.asarray([x]), 0.6)
        cost = penalty.value(z) + (z[0] - x) ** 2 / 1.2
        assert cost <= (heights + (grid - x) ** 2 / 1.2).min() + 1e-12


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: p.Quadratic(jnp.ones((2, 3))), "matrix must be square"),
        (lambda: p.Quadratic(jnp.asarray([[1.0, 1], [0, 1]])), "matrix must be symmetric; pass"),
        (lambda: p.Quadratic(-jnp.eye(2)), "matrix must be positive semidefinite, got the eigenvalue -1"),
        (lambda: p.Quadratic(jnp.eye(2), jnp.ones(3)), "vector must have shape"),
        (lambda: p.Quadratic(jnp.eye(2)).prox(X, 1.0), "x must be a vector of shape"),
        (lambda: p.LeastSquares(jnp.ones(3), jnp.ones(3)), "matrix must have two axes"),
        (lambda: p.LeastSquares(jnp.ones((3, 2)), jnp.ones(2)), "targets must have shape"),
        (lambda: p.LeastSquares(jnp.ones((3, 2)), jnp.ones(3), -1), "strength must be nonnegative"),
        (lambda: p.LeastSquares(jnp.ones((3, 2)), jnp.ones(3)).value(X), "x must be a vector of shape"),
        (lambda: p.LogDet(-1), "strength must be nonnegative"),
        (lambda: p.LogDet(1).prox(jnp.ones((2, 3)), 1.0), "x must be a square matrix"),
        (lambda: p.Rank(-1), "strength must be nonnegative"),
        (lambda: p.SpectralFunction(p.L1(1)).prox(X, 1.0), "x must be a matrix"),
        (lambda: p.Indicator(projections.halfspace, normal=X), "normal must be static, got .*positional argument"),
        (lambda: p.Composed(p.L1(1), jnp.ones((2, 2))), "operator must satisfy A A' = scale"),
        (lambda: p.Composed(p.L1(1), jnp.eye(2), 2.0), "the mean of the diagonal is 1"),
        (lambda: p.Composed(p.L1(1), scipy.sparse.csr_array(np.diag([1.0, 2]))), "operator must satisfy"),
        (lambda: p.Composed(p.L1(1), jnp.eye(2), 0), "scale must be positive"),
        (lambda: p.Composed(p.L1(1), jnp.eye(2)).value(X), "x must be a vector"),
        (lambda: p.Envelope(p.L1(1), 0), "smoothing must be positive"),
    ],
)
def test_bad_input_names_the_mend(call, message):
    with pytest.raises(ValueError, match=message):
        call()
