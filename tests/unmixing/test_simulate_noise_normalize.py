import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from jaxopt_thoth.unmixing import (
    awgn,
    bandwise_minmax,
    fclsu,
    global_minmax,
    metrics,
    pixel_l1,
    pixel_l2,
    Scene,
    simulate_scene,
)


@pytest.mark.parametrize("snr_db", [30.0])
def test_empirical_snr_is_the_one_asked_for(rng, snr_db):
    pixels = rng.uniform(0, 1, (100, 10000))
    noise = awgn(pixels, snr_db, key=jax.random.key(0)) - pixels
    assert abs(10 * np.log10(np.sum(pixels**2) / float(jnp.sum(noise**2))) - snr_db) < 0.05
    np.testing.assert_allclose(jnp.std(noise, axis=1), jnp.std(noise), rtol=0.05)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_noise_keeps_dtype_batches_and_vanishes_at_infinity(dtype):
    pixels = jnp.ones((5, 8), dtype)
    key = jax.random.key(0)
    assert awgn(pixels, 30, key=key).dtype == dtype
    assert (awgn(pixels, jnp.inf, key=key) == pixels).all()
    levels = jax.jit(jax.vmap(lambda snr: awgn(pixels, snr, key=key)))(jnp.array([10.0, 20.0], dtype))
    np.testing.assert_allclose(levels[1], awgn(pixels, 20, key=key), rtol=1e-6)
    with pytest.raises(ValueError, match="snr_db must be a scalar"):
        awgn(pixels, jnp.array([10.0, 20.0]), key=key)


@pytest.mark.parametrize("size", [6])
def test_simulated_scenes_are_plausible(size):
    scene = simulate_scene(jax.random.key(size), num_endmembers=size, height=48, width=40, num_bands=80)
    assert isinstance(scene, Scene) and (scene.num_bands, scene.height, scene.width) == (80, 48, 40)
    assert float(scene.endmembers.min()) > 0 and float(scene.endmembers.max()) < 1
    np.testing.assert_allclose(scene.abundances.sum(axis=0), 1, atol=1e-12)
    assert float(scene.abundances.min()) >= 0 and float(scene.abundances.max(axis=1).min()) > 0.99
    assert float(scene.abundances.mean(axis=1).min()) > 0.5 / size
    assert 0.1 < float((scene.abundances.max(axis=0) < 0.8).mean()) < 0.9
    for i in range(size):
        for j in range(i):
            assert float(metrics.spectral_angle(scene.endmembers[:, i], scene.endmembers[:, j])) > 8
    maps = scene.to_map(scene.abundances)
    neighbors, unrelated = jnp.mean(jnp.diff(maps, axis=2) ** 2), 2 * jnp.mean(jnp.var(maps, axis=(1, 2)))
    assert float(neighbors) < 0.3 * float(unrelated)
    clean = scene.endmembers @ scene.abundances
    snr = 10 * jnp.log10(jnp.sum(clean**2) / jnp.sum((scene.pixels - clean) ** 2))
    assert abs(float(snr) - 35) < 0.2


def test_simulation_depends_on_the_key_alone_and_compiles():
    def draw(key):
        return simulate_scene(key, height=32, width=32, num_bands=10)

    keys = jax.random.split(jax.random.key(0), 2)
    batch = jax.jit(jax.vmap(draw))(keys)
    single = draw(keys[1])
    np.testing.assert_allclose(batch.pixels[1], single.pixels, atol=1e-8)
    assert (draw(keys[1]).pixels == single.pixels).all()
    assert float(jnp.abs(batch.pixels[0] - batch.pixels[1]).max()) > 0.1


def test_purity_bounds_every_abundance_and_is_reached():
    scene = simulate_scene(jax.random.key(0), height=32, width=32, num_bands=10, purity=0.8, snr_db=jnp.inf)
    highest = scene.abundances.max(axis=1)
    assert float(highest.max()) <= 0.8 + 1e-12 and float(highest.min()) > 0.79
    np.testing.assert_allclose(fclsu(scene.pixels, scene.endmembers), scene.abundances, atol=1e-9)


def test_longer_correlation_is_smoother():
    def roughness(length):
        scene = simulate_scene(jax.random.key(2), height=32, width=32, num_bands=10, correlation_length=length)
        return float(jnp.mean(jnp.diff(scene.to_map(scene.abundances), axis=1) ** 2))

    assert roughness(8.0) < 0.5 * roughness(2.0)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"num_endmembers": 1}, "num_endmembers must be at least 2"),
        ({"num_endmembers": 7, "height": 2, "width": 3}, "at most the 6 pixels"),
        ({"height": 0}, "height must be at least 1"),
        ({"width": 2.5}, "width must be a static integer"),
        ({"num_bands": 1}, "num_bands must be at least 2"),
        ({"snr_db": float("nan")}, "snr_db must be a number"),
        ({"purity": 0.3}, "purity must be a number above 0.333333 and at most 1"),
        ({"purity": 1.5}, "purity must be"),
        ({"correlation_length": 0.0}, "correlation_length must be a number above 0"),
        ({"correlation_length": 100.0}, "at most 64"),
    ],
)
def test_simulation_errors_name_the_setting(setting, message):
    with pytest.raises(ValueError, match=message):
        simulate_scene(jax.random.key(0), **setting)


_NORMALIZERS = [global_minmax, bandwise_minmax, pixel_l1, pixel_l2]
# Far from the smallest numbers, where squares vanish.
_images = arrays(np.float64, (4, 6), elements=st.floats(-1, 1).map(lambda v: round(v, 3)))


@settings(deadline=None, max_examples=25)
@given(_images)
def test_normalizations_are_idempotent_finite_and_bounded(image):
    for normalize in _NORMALIZERS:
        once = normalize(image)
        assert jnp.isfinite(once).all() and float(jnp.abs(once).max()) <= 1 + 1e-12
        np.testing.assert_allclose(normalize(once), once, atol=1e-12)


@settings(deadline=None, max_examples=25)
@given(_images, st.floats(0.1, 10))
def test_normalizations_are_blind_to_scale(image, factor):
    for normalize in _NORMALIZERS:
        np.testing.assert_allclose(normalize(factor * image), normalize(image), atol=1e-10)


@pytest.mark.parametrize("normalize", _NORMALIZERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normalizations_guard_zero_pixels_and_keep_dtype(rng, normalize, dtype):
    image = rng.uniform(0.1, 1, (4, 6)).astype(dtype)
    image[:, 2] = 0
    result = jax.jit(normalize)(image)
    assert result.dtype == dtype and jnp.isfinite(result).all() and not result[:, 2].any()
    assert jnp.isfinite(jax.grad(lambda pixels: jnp.sum(normalize(pixels) ** 3))(jnp.asarray(image))).all()
    with pytest.raises(ValueError, match="pixels must be a real matrix"):
        normalize(image[0])


@pytest.mark.parametrize("normalize", [global_minmax, bandwise_minmax])
def test_masked_pixels_do_not_set_the_range(rng, normalize):
    image = rng.uniform(1, 2, (4, 6))
    hole = np.concatenate([image, np.full((4, 1), -9.0)], axis=1)
    masked = normalize(hole, mask=np.arange(7) < 6)
    np.testing.assert_allclose(masked[:, :6], normalize(image))
    assert not masked[:, 6].any()
