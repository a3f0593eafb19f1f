import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth import mirror


RNG = np.random.default_rng(0)
ENTROPY = mirror.NegativeEntropy()


def simplex_points(count, n=5):
    return jnp.asarray(RNG.dirichlet(np.ones(n), count))


MAPS = {
    "euclidean": (mirror.Euclidean(), jnp.asarray(RNG.normal(size=(3, 5)))),
    "entropy": (ENTROPY, simplex_points(3)),
}


@pytest.fixture(params=list(MAPS))
def case(request):
    return MAPS[request.param]


def test_step_minimizes_its_model(case):
    geometry, (x, _, _) = case
    gradient, step_size = jnp.asarray(RNG.normal(size=5)), 0.7
    model = lambda z: jnp.vdot(gradient, z) + geometry.divergence(z, x) / step_size
    z = geometry.step(x, gradient, step_size)
    directions = jnp.asarray(RNG.normal(size=(200, 5))) * 10 ** RNG.uniform(-4, 0, (200, 1))
    others = z[None] + directions
    if geometry is ENTROPY:
        others = z[None] * jnp.exp(directions)
        others /= others.sum(1, keepdims=True)
    assert jnp.all(jax.vmap(model)(others) >= model(z) - 1e-14)


def test_projection_is_the_nearest_point_in_divergence(case):
    geometry, (_, _, x) = case
    y = x * jnp.array([2.0, 0.5, 1.0, 3.0, 0.1])
    p = geometry.project(y)
    np.testing.assert_allclose(geometry.project(p), p, rtol=1e-14)
    for other in MAPS["entropy"][1] if geometry is ENTROPY else [x, 0 * x]:
        assert geometry.divergence(p, y) <= geometry.divergence(other, y)


def test_entropy_divergence_of_logits_agrees_and_ignores_constants():
    x, y, _ = MAPS["entropy"][1]
    expected = ENTROPY.divergence(x, y)
    np.testing.assert_allclose(ENTROPY.dual_divergence(jnp.log(x), jnp.log(y) + 7), expected, rtol=1e-10)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_entropy_survives_huge_logits_and_masks(dtype):
    logits = jnp.array([1e4, 1e4, -1e4, -jnp.inf], dtype)
    p = ENTROPY.from_dual(logits)
    assert p.dtype == dtype
    np.testing.assert_array_equal(p, [0.5, 0.5, 0, 0])
    moved = ENTROPY.from_dual(ENTROPY.dual_step(logits, jnp.array([1e3, -1e3, 0, 0], dtype), 5.0))
    np.testing.assert_array_equal(moved, [0, 1, 0, 0])
    assert ENTROPY.dual_divergence(logits, logits) == 0
    assert jnp.all(jnp.isfinite(jax.grad(lambda t: ENTROPY.from_dual(t)[0])(logits)))
    centered = ENTROPY.center_dual(logits)
    np.testing.assert_allclose(jnp.exp(centered), p, rtol=1e-6)


def test_entropy_divergence_of_logits_is_infinite_where_the_second_alone_vanishes():
    masked = jnp.array([0.0, -jnp.inf])
    assert ENTROPY.dual_divergence(jnp.zeros(2), masked) == jnp.inf
    np.testing.assert_allclose(ENTROPY.dual_divergence(masked, jnp.zeros(2)), jnp.log(2.0), rtol=1e-12)
    assert jnp.all(jnp.isfinite(jax.grad(ENTROPY.dual_divergence)(masked, jnp.zeros(2))))
    assert ENTROPY.divergence(jnp.array([0.5, 0.5]), jnp.array([1.0, 0.0])) == jnp.inf


def test_a_zero_entry_stays_zero():
    x = jnp.array([0.0, 0.4, 0.6])
    z = ENTROPY.step(x, jnp.array([-50.0, 1.0, 1.0]), 1.0)
    np.testing.assert_allclose(z, x, rtol=1e-14)
    assert ENTROPY.potential(x) == ENTROPY.potential(x[1:])


def test_axis_picks_the_slices():
    columns = mirror.NegativeEntropy(axis=0)
    x = simplex_points(3).T
    gradient = jnp.asarray(RNG.normal(size=x.shape))
    expected = jnp.stack([ENTROPY.step(x[:, j], gradient[:, j], 0.3) for j in range(3)], 1)
    np.testing.assert_allclose(columns.step(x, gradient, 0.3), expected, rtol=1e-12)
    np.testing.assert_allclose(columns.project(3 * x), x, rtol=1e-12)
    np.testing.assert_allclose(columns.divergence(x, x[:, ::-1]), sum(
        ENTROPY.divergence(x[:, j], x[:, 2 - j]) for j in range(3)
    ), rtol=1e-12)  # fmt: skip


def test_maps_are_pytrees_that_transformations_accept():
    step = jax.jit(jax.vmap(lambda x, s: ENTROPY.step(x, x, s)))
    np.testing.assert_allclose(step(simplex_points(4), jnp.linspace(0, 1, 4)).sum(1), 1, rtol=1e-14)
    single = ENTROPY.step(simplex_points(1)[0].astype(jnp.float32), jnp.ones(5, jnp.float32), jnp.float64(0.1))
    assert single.dtype == jnp.float32
