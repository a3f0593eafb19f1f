import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from jaxopt_thoth.unmixing import metrics


def test_angles_of_known_spectra():
    first = jnp.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    second = jnp.array([[5.0, -3.0, 0.0], [0.0, 0.0, 2.0]])
    np.testing.assert_allclose(metrics.spectral_angle(first, second), [0, 180, 90])
    assert metrics.spectral_angle(first[:, 0], second[:, 2]).shape == ()
    np.testing.assert_allclose(metrics.spectral_angle(jnp.zeros(3), jnp.ones(3)), 90)
    np.testing.assert_allclose(metrics.spectral_angle(jnp.zeros(3), jnp.zeros(3)), 90)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
@pytest.mark.parametrize("degrees", [1e-6, 1e-9, 179.999999])
def test_angle_is_stable_near_zero_and_half_a_turn(degrees, scale):
    angle = np.deg2rad(degrees)
    first = scale * np.array([1.0, 0.0, 0.0])
    second = scale * np.array([np.cos(angle), 0.6 * np.sin(angle), 0.8 * np.sin(angle)])
    np.testing.assert_allclose(metrics.spectral_angle(first, second), degrees, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_derivative_of_the_angle_is_finite_everywhere(dtype):
    spectrum = jnp.array([0.3, 0.5, 0.1], dtype)
    for other in (spectrum, 2 * spectrum, -spectrum, jnp.zeros(3, dtype), spectrum[::-1]):
        for first, second in ((spectrum, other), (other, spectrum)):
            assert metrics.spectral_angle(first, second).dtype == dtype
            assert jnp.isfinite(jax.grad(metrics.spectral_angle)(first, second)).all()


_spectra = arrays(np.float64, (3, 4), elements=st.floats(0.01, 1))


@settings(deadline=None, max_examples=30)
@given(_spectra, st.floats(0.1, 10))
def test_angle_is_a_metric_of_directions(spectra, factor):
    one, two, three = spectra
    forth = float(metrics.spectral_angle(one, two))
    assert abs(forth - float(metrics.spectral_angle(two, factor * one))) < 1e-6
    detour = float(metrics.spectral_angle(one, three)) + float(metrics.spectral_angle(three, two))
    assert forth <= detour + 1e-6


@settings(deadline=None, max_examples=30)
@given(_spectra, st.floats(0.1, 10))
def test_divergence_is_symmetric_nonnegative_and_blind_to_scale(spectra, factor):
    one, two, _ = spectra
    forth = float(metrics.spectral_information_divergence(one, two))
    assert forth >= -1e-12
    np.testing.assert_allclose(forth, metrics.spectral_information_divergence(factor * two, one), atol=1e-10)
    np.testing.assert_allclose(metrics.spectral_information_divergence(one, factor * one), 0, atol=1e-12)


def test_divergence_of_zeros_is_finite():
    assert jnp.isfinite(metrics.spectral_information_divergence(jnp.array([0.0, 1.0]), jnp.array([1.0, -0.1])))
    columns = metrics.spectral_information_divergence(jnp.ones((4, 3)), jnp.ones((4, 3)))
    np.testing.assert_allclose(columns, np.zeros(3))


def test_sre_and_rmse_are_one_number_on_two_scales(rng):
    truth = rng.dirichlet(np.ones(4), 50).T
    estimate = truth + 0.1 * rng.normal(size=truth.shape)
    rms = np.sqrt(np.mean(truth**2))
    expected = 20 * np.log10(100 * rms / np.asarray(metrics.abundance_rmse(estimate, truth)))
    np.testing.assert_allclose(metrics.sre(estimate, truth), expected, rtol=1e-12)
    np.testing.assert_allclose(metrics.abundance_rmse(estimate, truth), 100 * np.sqrt(np.mean((estimate - truth) ** 2)))
    each = metrics.abundance_rmse(estimate, truth, per_endmember=True)
    np.testing.assert_allclose(each, 100 * np.sqrt(np.mean((estimate - truth) ** 2, axis=1)))
    assert metrics.sre(truth, truth) == jnp.inf and metrics.abundance_rmse(truth, truth) == 0


def test_masked_pixels_do_not_count(rng):
    truth, estimate = rng.uniform(size=(2, 3, 4, 5))
    hole = estimate.copy()
    hole[:, 1, 2] = np.nan
    kept = np.delete(np.arange(20), 1 * 5 + 2)
    flat = estimate.reshape(3, -1)[:, kept], truth.reshape(3, -1)[:, kept]
    for metric in (metrics.abundance_rmse, metrics.sre, lambda a, b: metrics.abundance_rmse(a, b, per_endmember=True)):
        np.testing.assert_allclose(metric(hole, truth), metric(*flat))
    assert jnp.isfinite(jax.grad(metrics.abundance_rmse)(jnp.asarray(hole), jnp.asarray(truth))).all()
    assert jnp.isnan(metrics.abundance_rmse(jnp.full((2, 3), jnp.nan), jnp.ones((2, 3))))

    endmembers, pixels = rng.uniform(size=(6, 3)), rng.uniform(size=(6, 20))
    expected = np.sqrt(np.mean((pixels[:, kept] - endmembers @ flat[0]) ** 2))
    np.testing.assert_allclose(metrics.reconstruction_rmse(pixels, endmembers, hole.reshape(3, -1)), expected)


def test_metrics_compile_and_batch(rng):
    truth, estimate = rng.uniform(size=(2, 5, 3, 8))
    for metric in (
        metrics.abundance_rmse,
        metrics.sre,
        metrics.spectral_angle,
        metrics.spectral_information_divergence,
    ):
        batched = jax.jit(jax.vmap(metric))(estimate, truth)
        np.testing.assert_allclose(batched[2], metric(estimate[2], truth[2]))


def test_errors_say_what_disagrees():
    with pytest.raises(ValueError, match="must have one shape"):
        metrics.spectral_angle(jnp.ones(3), jnp.ones(4))
    with pytest.raises(ValueError, match=r"shape \(L,\) or \(L, p\)"):
        metrics.spectral_angle(jnp.ones((2, 2, 2)), jnp.ones((2, 2, 2)))
    with pytest.raises(ValueError, match="must have one dtype"):
        metrics.sre(jnp.ones(3, jnp.float32), jnp.ones(3))
    with pytest.raises(ValueError, match=r"\(p, N\) or \(p, H, W\)"):
        metrics.abundance_rmse(jnp.ones(3), jnp.ones(3))
    with pytest.raises(ValueError, match="transpose the odd one"):
        metrics.reconstruction_rmse(jnp.ones((4, 6)), jnp.ones((4, 2)), jnp.ones((6, 2)))
