import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxopt_thoth import losses


LOSS = losses.Multinomial()
K = 4


@pytest.fixture
def batch(rng):
    return jnp.asarray(rng.normal(size=(7, K)) * 2), jnp.asarray(rng.integers(0, K, 7))


def test_value_at_zero_is_log_k():
    np.testing.assert_allclose(LOSS(jnp.zeros((3, K)), jnp.arange(3)), np.log(K), rtol=1e-12)


def test_derivative_and_shift_invariance(batch):
    z, y = batch
    np.testing.assert_allclose(LOSS.derivative(z, y), jax.grad(lambda s: LOSS(s, y).sum())(z), atol=1e-12)
    np.testing.assert_allclose(LOSS(z + 5.0, y), LOSS(z, y), rtol=1e-10)
    np.testing.assert_allclose(LOSS.derivative(z, y).sum(-1), 0, atol=1e-12)


def test_curvature_is_the_supremum(rng):
    z = jnp.asarray(rng.normal(size=(200, K)) * 3)
    z = jnp.concatenate([z, jnp.asarray([[20.0, 20.0, -20.0, -20.0]])])
    eigenvalues = jnp.linalg.eigvalsh(jax.vmap(jax.hessian(lambda s: LOSS(s, jnp.asarray(0))))(z))
    assert eigenvalues.min() >= -1e-12
    np.testing.assert_allclose(eigenvalues.max(), LOSS.curvature, rtol=1e-8)


def test_fenchel_young(batch, rng):
    z, y = batch
    u = LOSS.derivative(z, y)
    np.testing.assert_allclose(LOSS(z, y) + LOSS.conjugate(u, y), (z * u).sum(-1), atol=1e-10)
    other = jnp.asarray(rng.dirichlet(np.ones(K), 7)) - jax.nn.one_hot(y, K)
    assert (LOSS(z, y) + LOSS.conjugate(other, y) - (z * other).sum(-1) >= -1e-12).all()


def test_conjugate_is_the_supremum(rng):
    dual = jnp.asarray(rng.dirichlet(np.ones(K))) - jax.nn.one_hot(1, K)
    fn = jax.jit(jax.value_and_grad(lambda z: LOSS(z, jnp.asarray(1)) - jnp.vdot(z, dual)))
    brute = scipy.optimize.minimize(fn, np.zeros(K), jac=True, tol=1e-12)
    np.testing.assert_allclose(LOSS.conjugate(dual, jnp.asarray(1)), -brute.fun, atol=1e-8)


def test_conjugate_domain_and_vertices():
    vertex = jax.nn.one_hot(2, K) - jax.nn.one_hot(0, K)
    assert LOSS.conjugate(vertex, jnp.asarray(0)) == 0
    assert jnp.isfinite(jax.grad(LOSS.conjugate)(vertex, jnp.asarray(0))).all()
    assert LOSS.conjugate(vertex * 1.1, jnp.asarray(0)) == jnp.inf
    assert LOSS.conjugate(jnp.full(K, 0.1), jnp.asarray(0)) == jnp.inf


def test_conjugate_accepts_rounded_float32_duals(rng):
    z, y = jnp.asarray(rng.normal(size=(500, 50)) * 10, jnp.float32), jnp.asarray(rng.integers(0, 50, 500))
    assert jnp.isfinite(LOSS.conjugate(LOSS.derivative(z, y), y)).all()


def test_two_classes_are_logistic(rng):
    z = jnp.asarray(rng.normal(size=(5, 2)))
    y = jnp.asarray([0, 1, 1, 0, 1])
    binary = losses.Logistic()(z[:, 1] - z[:, 0], 2 * y - 1)
    np.testing.assert_allclose(LOSS(z, y), binary, rtol=1e-12)


def test_divergence_sums_over_scores(batch, rng):
    z, y = batch
    old = jnp.asarray(rng.normal(size=z.shape))
    expected = LOSS(z, y) - LOSS(old, y) - (LOSS.derivative(old, y) * (z - old)).sum(-1)
    np.testing.assert_allclose(LOSS.divergence(z, old, y), expected, atol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_dtype_in_is_dtype_out(batch, dtype):
    z, y = batch
    z = z.astype(dtype)
    assert {r.dtype for r in (LOSS(z, y), LOSS.derivative(z, y), LOSS.conjugate(z, y))} == {jnp.dtype(dtype)}


@pytest.mark.parametrize("targets", [[0.5, 1.0], [-1, 1]])
def test_bad_targets_name_the_mend(targets):
    with pytest.raises(ValueError, match=r"targets of Multinomial .*np.unique"):
        LOSS.check_targets(np.asarray(targets))
    LOSS.check_targets(np.asarray([0, 3]))
