"""What is particular to one mirror map or another: limits, special values, settings and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth import mirror, penalties, projections
from jaxopt_thoth.mirror import _stable


RNG = np.random.default_rng(1)
SIMPLEX, LINE = jnp.asarray(RNG.dirichlet(np.ones(5))), jnp.asarray(RNG.normal(size=6))
METRIC = jnp.asarray(np.diag([1.0, 2.0, 3.0, 0.5, 1.0, 4.0]) + 0.3)


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="needs extended precision")
def test_stable_functions_are_exact_to_rounding():
    r = RNG.choice([-1, 1], 4000) * 10.0 ** RNG.uniform(-3, -0.01, 4000)
    long = r.astype(np.longdouble)
    expected = [
        long - np.log1p(long),
        (1 + long) * np.log1p(long) - long,
        np.expm1(long) / long - 1,
        np.log1p(long) / long,
    ]
    functions = (_stable.less_log1p, _stable.kl_term, _stable.exprel_less_one, _stable.log1prel)
    values = jax.jit(lambda r: [fn(r) for fn in functions])(jnp.asarray(r))
    for value, reference in zip(values, expected):
        # The compiler's own log1p is off by hundreds of units in places.
        np.testing.assert_allclose(value, reference.astype(float), rtol=3e-13)


@jax.jit
@jax.vmap
def tsallis(a, dual):
    geometry = mirror.Tsallis(a)
    x = geometry.from_dual(dual)
    slope = jax.jvp(lambda a, t: mirror.Tsallis(a).from_dual(t), (a, dual), (jnp.ones_like(a), jnp.cos(dual)))[1]
    return x, slope, geometry.to_dual(x), jax.jacrev(geometry.from_dual)(dual)


def test_tsallis_limits_brackets_and_derivatives():
    exponents = jnp.array([0.01, 0.3, 0.5, 1.0 - 1e-7, 1.0, 1.0 + 1e-7, 1.5, 2.0, 2.5, 3.0])
    dual = jnp.asarray(RNG.normal(size=12))
    rows = jnp.broadcast_to(dual, (10, 12))
    eps = 1e-6
    shifts = [rows + t * jnp.cos(rows) for t in (0, eps, -eps)]
    outcomes = tsallis(
        jnp.concatenate([exponents, exponents + eps, exponents - eps, exponents]),
        jnp.concatenate([*shifts, 1e4 * rows]),
    )
    x, slope, back, jacobian = (part[:10] for part in outcomes)
    ahead, behind, far = (outcomes[0][k : k + 10] for k in (10, 20, 30))
    np.testing.assert_allclose(x.sum(1), 1.0, rtol=1e-14)
    # Duals are recovered up to a constant where the point is positive.
    gap = jnp.where(x > 0, rows - back, jnp.nan)
    assert jnp.nanmax(jnp.nanmax(gap, 1) - jnp.nanmin(gap, 1)) < 1e-9
    np.testing.assert_allclose(x[3:6], jnp.broadcast_to(jax.nn.softmax(dual), (3, 12)), atol=1e-6)
    np.testing.assert_allclose(x[4], jax.nn.softmax(dual), rtol=1e-12)
    np.testing.assert_allclose(x[7], projections.simplex(dual), atol=1e-14)
    # At a = 0 it is the Burg entropy, whose root is the same.
    np.testing.assert_allclose(x[0], mirror.SimplexBurgEntropy().from_dual(dual), atol=5e-3)
    np.testing.assert_allclose(slope, (ahead - behind) / (2 * eps), atol=2e-8)
    np.testing.assert_allclose(jacobian, jnp.swapaxes(jacobian, 1, 2), atol=1e-14)
    np.testing.assert_allclose(jacobian.sum(2), jnp.zeros((10, 12)), atol=1e-14)
    assert jnp.all(jnp.isfinite(far))
    np.testing.assert_allclose(far.sum(1), 1.0, rtol=1e-14)


def test_tsallis_in_single_precision_with_a_mask():
    dual = jnp.asarray(RNG.normal(size=(4, 300)), jnp.float32).at[:, 7].set(-jnp.inf)
    x = jax.jit(jax.vmap(lambda a: mirror.Tsallis(a).from_dual(dual)))(jnp.array([0.5, 1.0, 1.5], jnp.float32))
    assert x.dtype == jnp.float32
    np.testing.assert_allclose(x.sum(-1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(x[..., 7], 0)


def test_p_norm_is_euclidean_at_two_and_nearly_entropic_near_one():
    x, y = jnp.asarray(RNG.normal(size=(2, 40)))
    dual, divergence = jax.jit(lambda x, y: (mirror.PNorm(2.0).to_dual(x), mirror.PNorm(2.0).divergence(x, y)))(x, y)
    np.testing.assert_allclose(dual, x, rtol=1e-12)
    np.testing.assert_allclose(divergence, jnp.sum((x - y) ** 2) / 2, rtol=1e-12)
    divergence = mirror.PNorm(1 + 1 / np.log(40)).divergence(x, y)
    assert divergence >= np.exp(-2) / np.log(40) / 2 * jnp.sum(jnp.abs(x - y)) ** 2


def test_hypentropy_is_between_gradient_descent_and_exponentiated_gradient():
    gradients = jnp.asarray(RNG.normal(size=(50, 4)))
    x = LINE[:4]
    np.testing.assert_allclose(
        mirror.Hypentropy(1e7).step(x, gradients[0], 0.3 / 1e7), x - 0.3 * gradients[0], rtol=1e-9
    )
    geometry, plus_minus, beta = mirror.Hypentropy(0.2), mirror.UnnormalizedEntropy(), 0.2

    def both(carry, gradient):
        dual, parts = carry
        dual = geometry.dual_step(dual, gradient, 0.1)
        parts = plus_minus.dual_step(parts, jnp.stack([gradient, -gradient]), 0.1)
        return (dual, parts), (geometry.from_dual(dual), plus_minus.from_dual(parts))

    start = (jnp.zeros(4), jnp.log(jnp.full((2, 4), beta / 2)))
    iterates, weights = jax.jit(lambda gradients: jax.lax.scan(both, start, gradients)[1])(gradients)
    np.testing.assert_allclose(iterates, weights[:, 0] - weights[:, 1], rtol=1e-11, atol=1e-15)
    np.testing.assert_allclose(2 * jnp.sqrt(weights[:, 0] * weights[:, 1]), beta, rtol=1e-12)
    large = mirror.Hypentropy(1e-20).from_dual(jnp.array([60.0, -60.0]))
    np.testing.assert_allclose(large, jnp.array([1.0, -1.0]) * 1e-20 * np.sinh(60.0), rtol=1e-12)


def test_matrix_exponential_steps_are_differentiable_at_repeated_eigenvalues():
    geometry = mirror.VonNeumannEntropy(unit_trace=True)
    a, b = (m + m.T for m in np.asarray(RNG.normal(size=(2, 3, 3))))
    flat, eps = jnp.eye(3) * 0.4, 1e-5
    value = lambda t: jnp.vdot(a, geometry.from_dual(t)) + geometry.divergence(geometry.from_dual(t), flat)
    slope = jnp.vdot(jax.jit(jax.grad(value))(flat), b)
    ahead, behind = jax.jit(jax.vmap(value))(jnp.stack([flat + eps * b, flat - eps * b]))
    difference = (ahead - behind) / (2 * eps)
    np.testing.assert_allclose(slope, difference, rtol=1e-7)
    huge = geometry.from_dual(jnp.diag(jnp.array([1e4, 0.0, -1e4])))
    np.testing.assert_array_equal(huge, np.diag([1.0, 0.0, 0.0]))


def test_extreme_duals_stay_finite():
    dtype = jnp.float32
    orthant, box = mirror.UnnormalizedEntropy(), mirror.FermiDirac(0.0, 1.0)
    start, gradient = jnp.array([0, 0, -jnp.inf], dtype), jnp.array([-1e6, 1e6, 1.0], dtype)
    x = jax.jit(lambda t, g: orthant.from_dual(orthant.dual_step(t, g, 1.0)))(start, gradient)
    assert jnp.all(jnp.isfinite(x))
    assert x[2] == 0
    assert x[1] > 0
    logits = jnp.array([1e3, -1e3, 40.0], dtype)
    assert jnp.all(jnp.isfinite(box.from_dual(logits)))
    value, slope = jax.jit(jax.value_and_grad(box.dual_divergence))(logits, -logits)
    assert jnp.isfinite(value)
    assert jnp.all(jnp.isfinite(slope))
    assert jnp.isinf(mirror.BurgEntropy().step(jnp.ones(2, dtype), jnp.array([-2.0, 0.0], dtype), 1.0)[0])


def test_zeros_have_their_limits():
    x, y = jnp.array([0.0, 0.5, 0.5]), jnp.array([0.25, 0.25, 0.5])
    divergence = jax.jit(jax.vmap(lambda a, x, y: mirror.Tsallis(a).divergence(x, y)))
    first, second = jnp.stack([x, x, y, y]), jnp.stack([y, y, x, x])
    values = divergence(jnp.array([1.0, 2.0, 1.5, 0.5]), first, second)
    lone = 0.25**1.5 / 0.75 + (0.25**1.5 / 0.75 - 0.5**1.5 / 0.75 + 2 * 0.5**0.5 * 0.25)
    np.testing.assert_allclose(values, [0.5 * np.log(2), 0.0625, lone, np.inf], rtol=1e-12)
    entropy = jax.jit(jax.vmap(mirror.UnnormalizedEntropy().divergence))(first, second)
    np.testing.assert_allclose(entropy[1:3], [0.5 * np.log(2), np.inf], rtol=1e-12)
    for geometry in (mirror.PNorm(1.5), mirror.Hypentropy(1.0)):
        points = jnp.array([[0.0, 1.0, -1.0], [0.0, 0.0, 0.0]])
        values, slopes = jax.jit(jax.vmap(jax.value_and_grad(geometry.divergence)))(jnp.zeros((2, 3)), points)
        assert jnp.all(jnp.isfinite(slopes))
        assert values[1] == 0


def test_settings_are_leaves():
    count = 0

    @jax.jit
    def step(geometry, x):
        nonlocal count
        count += 1
        return geometry.step(x, x, 0.1)

    results = [step(mirror.Hypentropy(beta), LINE) for beta in (0.5, 1, 2.0)]
    assert count == 1
    assert not np.allclose(results[0], results[2])
    slope = jax.grad(lambda metric: mirror.Mahalanobis(metric).step(LINE, LINE, 0.1).sum())(METRIC)
    solved = jnp.linalg.solve(METRIC, jnp.ones(6))
    outer = 0.1 * jnp.outer(solved, jnp.linalg.solve(METRIC, LINE))
    np.testing.assert_allclose(slope, (outer + outer.T) / 2, rtol=1e-9)


@pytest.mark.parametrize(
    ("geometry", "x"),
    [
        (mirror.NegativeEntropy(), jnp.zeros(3)),
        (mirror.NegativeEntropy(), jnp.ones(3)),
        (mirror.UnnormalizedEntropy(), jnp.zeros(3)),
        (mirror.BurgEntropy(), jnp.array([1.0, -1.0])),
        (mirror.SimplexBurgEntropy(), jnp.array([1.0, 0.0])),
        (mirror.FermiDirac(0.0, 1.0), jnp.array([0.5, 1.0])),
        (mirror.HellingerBall(), jnp.ones(2)),
        (mirror.Tsallis(0.5), jnp.array([1.0, 0.0])),
        (mirror.LogDet(), jnp.zeros((2, 2))),
        (mirror.VonNeumannEntropy(unit_trace=True), jnp.eye(2)),
        (mirror.Euclidean(), jnp.array([jnp.nan])),
    ],
)
def test_points_outside_are_refused(geometry, x):
    with pytest.raises(ValueError, match=r"params must be in the interior .* start at mirror_map.center"):
        geometry.check(x)
    jax.eval_shape(geometry.check, x)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: mirror.FermiDirac(1.0, 1.0), "lower must be below upper"),
        (lambda: mirror.FermiDirac(0.0, jnp.inf), "both finite"),
        (lambda: mirror.Hypentropy(0.0), "beta must be positive"),
        (lambda: mirror.PNorm(1.0), "q must be above 1"),
        (lambda: mirror.Tsallis(0.0), "a must be positive"),
        (lambda: mirror.Mahalanobis(jnp.ones(3)), "square matrix"),
        (lambda: mirror.Mahalanobis(-jnp.eye(3)), "positive definite"),
        (lambda: mirror.Mahalanobis(jnp.zeros(3), diagonal=True), "metric must be positive"),
        (lambda: mirror.Product({"a": 1.0}), "mirror maps only"),
        (lambda: mirror.LogDet().to_dual(jnp.ones(3)), "square matrix"),
        (lambda: mirror.Tsallis(1.5).prox(SIMPLEX, penalties.Simplex(2.0), 1.0), "radius 1"),
        (lambda: mirror.NegativeEntropy(axis=0).prox(jnp.ones((3, 5)), penalties.Simplex(axis=1), 1.0), "axis"),
    ],
)
def test_bad_settings_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
