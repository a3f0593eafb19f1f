from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth.unmixing import (
    align,
    atgp,
    evaluate,
    fclsu,
    global_minmax,
    pixel_l2,
    Scene,
    simulate_scene,
    sivm,
    vca,
)
from jaxopt_thoth.unmixing.metrics import spectral_angle


_EXTRACTORS = {"vca": partial(vca, key=jax.random.key(0)), "sivm": sivm, "atgp": atgp}
_extractors = pytest.mark.parametrize("extract", _EXTRACTORS.values(), ids=_EXTRACTORS.keys())


def _with_pure_pixels(rng, size, bands=20, count=120):
    endmembers = rng.uniform(0.05, 0.95, (bands, size))
    inside = rng.dirichlet(np.full(size, 2.0), count).T
    pure = rng.choice(count, size, replace=False)
    inside[:, pure] = np.eye(size)
    return endmembers @ inside, endmembers, set(pure.tolist())


@_extractors
@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_noiseless_pure_pixels_are_found(rng, extract, size, dtype):
    pixels, _, pure = _with_pure_pixels(rng, size)
    found, indices = extract(pixels.astype(dtype), size)
    assert set(indices.tolist()) == pure
    assert found.dtype == dtype and found.shape == (20, size)
    np.testing.assert_allclose(found, pixels[:, indices], atol=1e-4 if dtype == np.float32 else 1e-10)


@_extractors
def test_unit_pixels_have_the_same_vertices(rng, extract):
    pixels, _, pure = _with_pure_pixels(rng, 4)
    # On the sphere the affine hull of vertices cuts through the data: only the first vertex is promised for SiVM.
    indices = extract(pixel_l2(pixels), 4)[1].tolist()
    assert indices[0] in pure


@_extractors
def test_masked_pixels_are_never_selected_and_do_not_count(rng, extract):
    pixels, _, pure = _with_pure_pixels(rng, 3)
    mask = np.ones(130, bool)
    mask[120:] = False
    padded = np.concatenate([pixels, 50 * rng.normal(size=(20, 10))], axis=1)
    assert set(extract(padded, 3, mask=mask)[1].tolist()) == pure
    padded[:, 121] = np.nan
    if extract is _EXTRACTORS["vca"]:
        found, indices = extract(padded, 3, mask=mask)
        assert set(indices.tolist()) == pure and jnp.isfinite(found).all()


@_extractors
def test_compiles_and_batches_over_images(rng, extract):
    images = np.stack([_with_pure_pixels(rng, 3)[0] for _ in range(3)])
    expected = np.stack([extract(image, 3)[1] for image in images])
    np.testing.assert_array_equal(jax.vmap(lambda image: extract(image, 3)[1])(images), expected)
    np.testing.assert_array_equal(jax.jit(extract, static_argnums=1)(images[0], 3)[1], expected[0])


@_extractors
def test_permuting_the_pixels_permutes_the_indices(rng, extract):
    pixels, _, _ = _with_pure_pixels(rng, 4)
    order = rng.permutation(pixels.shape[1])
    indices, permuted = extract(pixels, 4)[1], extract(pixels[:, order], 4)[1]
    np.testing.assert_array_equal(order[permuted], indices)


@_extractors
def test_errors_name_the_argument(rng, extract):
    pixels, _, _ = _with_pure_pixels(rng, 3)
    with pytest.raises(ValueError, match="pixels must be a real matrix"):
        extract(pixels[0], 3)
    with pytest.raises(ValueError, match="num_endmembers must be between"):
        extract(pixels, 0)
    with pytest.raises(ValueError, match="and 4 "):
        extract(pixels, 5, mask=np.arange(120) < 4)
    with pytest.raises(ValueError, match="static integer"):
        extract(pixels, 2.5)
    with pytest.raises(ValueError, match="mask must hold one boolean a pixel"):
        extract(pixels, 3, mask=np.ones(120))


@pytest.mark.parametrize("snr_db", [None, 5.0, np.inf])
def test_both_projections_of_vca_find_the_materials(snr_db):
    scene = simulate_scene(jax.random.key(4), height=24, width=24, num_bands=60, snr_db=45.0)
    found, _ = vca(scene.pixels, 3, key=jax.random.key(0), snr_db=snr_db)
    order = align(found, scene.endmembers, criterion="spectral_angle")
    assert float(spectral_angle(found[:, order], scene.endmembers).max()) < 3


def test_vca_batches_over_keys_and_levels_of_noise(rng):
    pixels, _, pure = _with_pure_pixels(rng, 3)
    keys = jax.random.split(jax.random.key(0), 5)
    found, indices = jax.vmap(lambda key: vca(pixels, 3, key=key))(keys)
    assert found.shape == (5, 20, 3) and all(set(row.tolist()) == pure for row in indices)
    assert len({tuple(row.tolist()) for row in indices}) > 1
    levels = jax.vmap(lambda snr: vca(pixels, 3, key=keys[0], snr_db=snr)[1])(jnp.array([1.0, 100.0]))
    assert all(set(row.tolist()) == pure for row in levels)


def test_vca_does_not_select_pixels_without_light(rng):
    pixels, _, pure = _with_pure_pixels(rng, 3)
    dark = 1e-7 * rng.normal(size=(20, 30))
    assert set(vca(np.concatenate([pixels, dark], axis=1), 3, key=jax.random.key(0), snr_db=80.0)[1].tolist()) == pure


def test_vca_projects_the_selected_pixels_as_published():
    scene = simulate_scene(jax.random.key(1), height=24, width=24, num_bands=60)
    found, indices = vca(scene.pixels, 3, key=jax.random.key(0))
    clean = scene.endmembers @ scene.abundances[:, indices]
    assert float(jnp.linalg.norm(found - clean)) < 0.5 * float(jnp.linalg.norm(scene.pixels[:, indices] - clean))


def test_vca_limits_and_degenerate_data(rng):
    with pytest.raises(ValueError, match="at most the number of bands"):
        vca(rng.uniform(size=(3, 50)), 4, key=jax.random.key(0))
    with pytest.raises(ValueError, match="between 2"):
        vca(rng.uniform(size=(3, 50)), 1, key=jax.random.key(0))
    constant, indices = vca(np.ones((5, 20)), 3, key=jax.random.key(0))
    assert jnp.isfinite(constant).all() and len(set(indices.tolist())) == 3


@pytest.mark.parametrize("extract", [sivm, atgp])
def test_greedy_extraction_of_degenerate_data_is_finite_and_distinct(extract):
    for pixels in (np.ones((5, 20)), np.zeros((5, 20))):
        found, indices = extract(pixels, 4)
        assert jnp.isfinite(found).all() and len(set(indices.tolist())) == 4


def test_sivm_takes_the_farthest_from_the_affine_hull(rng):
    pixels = rng.normal(size=(6, 40))
    indices = np.asarray(sivm(pixels, 5)[1])
    assert indices[0] == np.argmax(np.sum(pixels**2, axis=0))
    for k in range(1, 5):
        origin = pixels[:, indices[:1]]
        basis = np.linalg.qr(pixels[:, indices[1:k]] - origin)[0]
        rest = pixels - origin
        rest = rest - basis @ (basis.T @ rest)
        assert indices[k] == np.argmax(np.sum(rest**2, axis=0))


def test_samson_baselines(samson):
    pixels = pixel_l2(global_minmax(samson.pixels))
    scene = Scene(pixels, 95, 95, endmembers=samson.endmembers, abundances=samson.abundances, names=samson.names)
    for extract in (*(partial(vca, key=jax.random.key(k)) for k in range(2)), sivm):
        found, _ = extract(pixels, 3)
        report = evaluate(found, fclsu(pixels, found), scene)
        assert report["mean_spectral_angle"] < 6 and report["abundance_rmse"] < 11
