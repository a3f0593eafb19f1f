"""Noise, its level in each band, and the dimension of the signal."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth.unmixing import awgn, estimate_noise, hfc, hysime, load_scene, nwhfc


@lru_cache
def _clean(count: int) -> np.ndarray:
    """Mixtures of smooth spectra, sixty bands."""
    rng = np.random.default_rng(count)
    bands = np.linspace(0, 1, 60)[:, None]
    bumps = np.exp(-(((bands - np.linspace(0, 1, 15)) / 0.06) ** 2))
    return bumps @ rng.uniform(0.1, 0.9, (15, count)) @ rng.dirichlet(np.ones(count), 1500).T


_counts = jax.jit(jax.vmap(lambda pixels: hysime(pixels).count))


def test_hysime_counts_the_endmembers_of_simulated_scenes():
    levels = jnp.array([20.0, 30.0, 40.0, 50.0])
    noisy = jax.jit(jax.vmap(lambda pixels, snr, key: awgn(pixels, snr, key=key), (None, 0, 0)))
    for count in range(3, 10):
        found = _counts(noisy(_clean(count), levels, jax.random.split(jax.random.key(count), 4))).tolist()
        # Of many materials, some are below the noise at 20 decibels.
        assert found[1:] == [count] * 3
        assert count - (2 if count > 6 else 0) <= found[0] <= count


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_noise_is_that_which_was_added(dtype):
    # At 60 decibels the correlation matrix in float32 does not hold the noise.
    clean = _clean(4).astype(dtype)
    rng = np.random.default_rng(0)
    deviations = (1e-3 * np.sqrt(np.mean(clean**2)) * rng.uniform(0.3, 2, (60, 1))).astype(dtype)
    added = deviations * rng.normal(size=clean.shape).astype(dtype)
    mask = np.arange(clean.shape[1]) >= 30
    pixels = np.where(mask, clean + added, np.nan)
    noise, variances = estimate_noise(pixels, mask=mask)
    assert noise.dtype == dtype and not noise[:, :30].any()
    # The others explain a band no better than to their own noise, which shows in the cleanest bands.
    ratio = np.sqrt(variances) / deviations[:, 0]
    assert ratio.min() > 0.94 and ratio.max() < 1.4 and np.median(ratio) < 1.05
    explained = np.linalg.norm((noise - added)[:, 30:]) / np.linalg.norm(added[:, 30:])
    assert explained < 0.35
    assert int(hysime(pixels, mask=mask).count) == 4


def test_the_regression_is_that_of_least_squares(rng):
    pixels = rng.normal(size=(5, 40))
    noise, variances = estimate_noise(pixels)
    for band in range(5):
        others = np.delete(pixels, band, axis=0).T
        residual = pixels[band] - others @ np.linalg.lstsq(others, pixels[band], rcond=None)[0]
        np.testing.assert_allclose(noise[band], residual, atol=1e-10)
        np.testing.assert_allclose(variances[band], np.sum(residual**2) / (40 - 4), rtol=1e-9)


def test_hysime_costs_are_those_of_its_definition(rng):
    pixels = rng.uniform(size=(3, 200)).T.reshape(200, 3) @ rng.uniform(size=(3, 8)) + 0.01 * rng.normal(size=(200, 8))
    found = hysime(pixels.T)
    signal = pixels.T - np.asarray(estimate_noise(pixels.T)[0])
    basis = np.asarray(found.basis)
    np.testing.assert_allclose(basis.T @ basis, np.eye(8), atol=1e-12)
    rotated = basis.T @ (signal @ signal.T) @ basis
    np.testing.assert_allclose(rotated, np.diag(np.diagonal(rotated)), atol=1e-9)
    power = np.diagonal(basis.T @ (pixels.T @ pixels) @ basis) / 200
    expected = 2 * np.sum(basis**2 * np.asarray(found.noise_variances)[:, None], axis=0) - power
    np.testing.assert_allclose(found.costs, expected, atol=1e-12)
    assert int(found.count) == np.sum(expected < 0) == 3
    known = hysime(pixels.T, noise_variances=np.full(8, 1e-4))
    np.testing.assert_allclose(known.costs.sum(), 2 * 8e-4 - np.sum(pixels**2) / 200, rtol=1e-9)


def test_without_noise_the_rank_is_counted_and_constant_bands_change_nothing():
    clean = _clean(4).copy()
    assert int(hysime(clean).count) == 4
    assert 3 <= int(hfc(clean)) <= 4 and int(nwhfc(clean)) <= 4
    noisy = np.asarray(awgn(clean, 40.0, key=jax.random.key(0)))
    flat = np.concatenate([noisy, np.zeros((2, noisy.shape[1]))])
    assert int(hysime(flat).count) == 4 and int(hfc(flat)) == int(hfc(noisy))
    assert jnp.isfinite(estimate_noise(flat)[0]).all()


def test_virtual_dimensionality_follows_its_formula(rng):
    pixels = np.asarray(awgn(_clean(6), 25.0, key=jax.random.key(1)))
    probabilities = np.array([[1e-1, 1e-3], [1e-5, 1e-9]])
    total = pixels.shape[1]

    def count(values):
        r = np.linalg.eigvalsh(values @ values.T / total)
        k = np.linalg.eigvalsh(np.cov(values, bias=True))
        quantiles = np.asarray(-jax.scipy.special.ndtri(probabilities))[..., None]
        return np.sum(r - k > quantiles * np.sqrt(2 * (r**2 + k**2) / total), axis=-1)

    np.testing.assert_array_equal(hfc(pixels, probabilities), count(pixels))
    deviations = 1 / np.sqrt(np.diagonal(np.linalg.inv(np.cov(pixels, bias=True)))) * np.sqrt(total / (total - 59))
    np.testing.assert_array_equal(nwhfc(pixels, probabilities), count(pixels / deviations[:, None]))
    # Whitening makes the count one of the bands' ratios to their noise: units of bands do not matter.
    units = rng.uniform(0.1, 10, (60, 1))
    np.testing.assert_array_equal(nwhfc(units * pixels, probabilities), nwhfc(pixels, probabilities))


def test_false_alarms_of_white_noise_are_at_most_as_set():
    # Correlation and covariance are of the same pixels, and differ by 1 / N only: the test is conservative.
    draws = jax.random.normal(jax.random.key(0), (40, 10, 500))
    counts = jax.vmap(lambda pixels: hfc(pixels, jnp.array([0.2, 1e-2, 1e-3])))(draws)
    rates = np.mean(np.asarray(counts) / 10, axis=0)
    assert (rates <= [0.2, 1e-2, 1e-3]).all()
    # Where the mean is a signal of ten times its spread, it is one dimension in every draw.
    lifted = jax.vmap(lambda pixels: hfc(pixels + 0.5, 1e-3))(draws)
    assert (np.asarray(lifted) == 1).all()


def test_published_and_measured_counts(data_file):
    scene = load_scene(data_file("dc1.npz"))
    settings = jnp.array([1e-3, 1e-4, 1e-5])
    for snr, dimension, virtual in ((20.0, 3, 3), (30.0, 5, 4)):
        pixels = awgn(scene.pixels, snr, key=jax.random.key(0))
        assert int(hysime(pixels).count) == dimension
        assert hfc(pixels, settings).tolist() == [virtual] * 3


def test_samson_is_over_counted_as_documented(samson):
    assert int(hysime(samson.pixels).count) == 74
    assert hfc(samson.pixels, jnp.array([1e-3, 1e-4, 1e-5])).tolist() == [9, 8, 8]


def test_errors_name_the_argument(rng):
    pixels = rng.uniform(size=(6, 50))
    for call in (estimate_noise, hysime, nwhfc):
        with pytest.raises(ValueError, match="more valid pixels than"):
            call(pixels[:, :6])
    for call in (estimate_noise, hysime, hfc, nwhfc):
        with pytest.raises(ValueError, match="pixels must be a real matrix"):
            call(pixels[0])
        with pytest.raises(ValueError, match="pixels must be finite"):
            call(np.where(pixels == pixels[0, 0], np.nan, pixels))
    with pytest.raises(ValueError, match="false_alarm must lie"):
        hfc(pixels, 0.0)
    with pytest.raises(ValueError, match=r"constant bands \[6\]"):
        nwhfc(np.concatenate([pixels, np.ones((1, 50))]))
    with pytest.raises(ValueError, match="noise_variances must have shape"):
        hysime(pixels, noise_variances=np.ones(3))
