from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import convolve

from jaxopt_thoth import ADMM
from jaxopt_thoth.penalties import Simplex, TotalVariation2D
from jaxopt_thoth.unmixing import awgn, mua, s2wsu, sunaa, sunaa_tv, sunsal, sunsal_tv, superpixels
from jaxopt_thoth.unmixing._s2wsu import neighbor_means
from jaxopt_thoth.unmixing._total_variation_fit import (
    adjoint_differences,
    differences,
    fit_spatial,
    SpatialFit,
    start_spatial,
)
from jaxopt_thoth.unmixing.metrics import sre


BANDS, ATOMS, IMAGE = 20, 12, (12, 15)
USED = [1, 5, 8]


@pytest.fixture(scope="module")
def task():
    """Patches of mixtures of three atoms, 3 x 5 pixels each, with noise of 20 dB."""
    rng = np.random.default_rng(1)
    library = rng.uniform(0.1, 0.9, (BANDS, ATOMS))
    patches = rng.dirichlet(np.full(3, 0.5), (4, 3)).transpose(2, 0, 1)
    truth = np.zeros((ATOMS, *IMAGE))
    truth[USED] = np.repeat(np.repeat(patches, 3, axis=1), 5, axis=2)
    truth = truth.reshape(ATOMS, -1)
    pixels = awgn(library @ truth, 20.0, key=jax.random.key(0))
    return pixels, jnp.asarray(library), jnp.asarray(truth)


def test_differences_have_their_transpose_and_leave_the_border_free(rng):
    maps, edges = jnp.asarray(rng.normal(size=(2, 4, 5))), jnp.asarray(rng.normal(size=(2, 2, 4, 5)))
    np.testing.assert_allclose(jnp.vdot(differences(maps), edges), jnp.vdot(maps, adjoint_differences(edges)))
    assert not np.any(differences(jnp.ones((1, 4, 5))))


def test_sunsal_tv_on_one_atom_is_total_variation_denoising(rng):
    # With one atom of length one the fit is |a - D'Y|^2 / 2: that of the penalty's own prox, which is exact.
    image = jnp.asarray(rng.uniform(1, 2, (6, 8)))
    atom = jnp.array([[0.6], [0.8]])
    found = sunsal_tv(atom @ image.reshape(1, -1), atom, 0.0, 0.2, image_shape=(6, 8), max_steps=2000, tol=1e-9)
    expected = TotalVariation2D(0.2, isotropic=False).prox(image, 1.0)
    np.testing.assert_allclose(found.library_abundances.reshape(6, 8), expected, atol=1e-5)


def test_sunsal_tv_without_variation_is_sunsal(task):
    pixels, library, _ = task
    plain = sunsal(pixels, library, 0.05, solver=ADMM(tol=1e-9)).library_abundances
    found = sunsal_tv(pixels, library, 0.05, 0.0, image_shape=IMAGE, max_steps=2000, tol=1e-8)
    np.testing.assert_allclose(found.library_abundances, plain, atol=1e-4)


def test_neighbor_means_are_weighted_means(rng):
    maps = rng.uniform(size=(1, 5, 6))
    corner = 0.5**0.5
    kernel = np.array([[corner, 1, corner], [1, 0, 1], [corner, 1, corner]])
    found = np.asarray(neighbor_means(jnp.asarray(maps)))
    np.testing.assert_allclose(found[0, 2, 3], np.sum(kernel * maps[0, 1:4, 2:5]) / kernel.sum())
    np.testing.assert_allclose(found[0, 0, 0], np.sum(kernel[1:, 1:] * maps[0, :2, :2]) / kernel.sum())


def test_s2wsu_is_the_published_splitting(task):
    # The three constraints as published, on D X itself and with all multipliers, for a library of unit scale.
    pixels, library, _ = (np.asarray(a) for a in task)
    library = library / np.sqrt(4 * np.mean(library**2))
    strength, mu, floor, corner = 0.02, 0.5, 0.01, 0.5**0.5
    kernel = np.array([[corner, 1, corner], [1, 0, 1], [corner, 1, corner]]) / (4 + 4 * corner)
    inverse = np.linalg.inv(library.T @ library + 2 * np.eye(ATOMS))
    x = inverse @ library.T @ pixels
    fit, sparse, sign = library @ x, x, x
    duals = [0 * fit, 0 * x, 0 * x]
    for _ in range(4):
        raw = sparse - duals[1]
        near = np.stack([convolve(row.reshape(IMAGE), kernel, mode="constant").ravel() for row in raw])
        weights = 1 / (floor + np.abs(near)) / np.linalg.norm(raw, axis=1, keepdims=True)
        for _ in range(3):
            x = inverse @ (library.T @ (fit + duals[0]) + sparse + duals[1] + sign + duals[2])
            fit = (pixels + mu * (library @ x - duals[0])) / (1 + mu)
            moved = x - duals[1]
            sparse = np.sign(moved) * np.maximum(np.abs(moved) - strength / mu * weights, 0)
            sign = np.maximum(x - duals[2], 0)
            duals = [duals[0] - library @ x + fit, sparse - moved, duals[2] - x + sign]
    settings = {"floor": floor, "reweightings": 4, "inner_steps": 3}
    found = s2wsu(pixels, library, strength, image_shape=IMAGE, **settings).library_abundances
    np.testing.assert_allclose(found, np.maximum(sparse, 0), atol=1e-9)
    # Of no unit: spectra in percent.
    other = s2wsu(100 * pixels, 100 * library, 1e4 * strength, image_shape=IMAGE, **settings).library_abundances
    np.testing.assert_allclose(other, found, atol=1e-9)


def test_superpixels_follow_the_spectra_and_stay_near_their_cell(rng):
    image = (12, 12)
    classes = (np.indices(image)[1] >= 7).astype(float)
    pixels = jnp.asarray(np.stack([classes, 1 - classes]).reshape(2, -1) + 0.01 * rng.normal(size=(2, 144)))
    labels = np.asarray(superpixels(pixels, 4, image_shape=image, compactness=1e-3)).reshape(image)
    # No superpixel crosses the edge, which is off the grid.
    assert not set(labels[:, :7].ravel()) & set(labels[:, 7:].ravel())
    rows, columns = np.indices(image)
    assert np.all(np.abs(labels // 3 - rows // 4) <= 1) and np.all(np.abs(labels % 3 - columns // 4) <= 1)
    # Where the positions are all that counts, the grid stays.
    grid = superpixels(pixels, 4, image_shape=image, compactness=1e6)
    np.testing.assert_array_equal(grid.reshape(image), rows // 4 * 3 + columns // 4)


_SPATIAL = {
    "sunsal_tv": partial(sunsal_tv, strength=0.02, variation=0.05),
    "s2wsu": partial(s2wsu, strength=0.01),
    "mua": partial(mua, strength=0.02, coarse_strength=0.01, coupling=20.0, side=3),
    "sunaa_tv": partial(sunaa_tv),
}


@pytest.mark.parametrize("name", _SPATIAL)
def test_the_image_helps_and_masked_pixels_do_not_count(task, name):
    pixels, library, truth = task
    mask = jnp.ones(truth.shape[1], bool).at[17].set(False)
    method = jax.jit(lambda y: _SPATIAL[name](y, library, num_endmembers=3, image_shape=IMAGE, mask=mask))
    found = method(pixels)
    alone = sunaa(pixels, library, num_endmembers=3) if name == "sunaa_tv" else sunsal(pixels, library, 0.05)
    assert float(sre(found.library_abundances, truth)) > float(sre(alone.library_abundances, truth)) + 1
    assert sorted(found.indices.tolist()) == USED
    assert np.all(np.isnan(found.abundances[:, 17]))
    assert float(jnp.nanmin(found.library_abundances)) >= 0
    again = method(pixels.at[:, 17].set(5.0))
    np.testing.assert_array_equal(again.library_abundances, found.library_abundances)


def test_coupled_fit_is_optimal_on_the_simplex(rng):
    image, count = (3, 4), 12
    root = rng.normal(size=(5, 2))
    cross = jnp.asarray(root.T @ rng.normal(size=(5, count)))
    weights = jnp.asarray(rng.uniform(0.5, 1.5, (1, *image)).repeat(2, axis=0))
    mask = jnp.ones(count, bool).at[5].set(False)
    problem = SpatialFit(jnp.asarray(root.T @ root), cross, Simplex(1.0, axis=0), weights, jnp.asarray(0.3), mask)
    state = start_spatial(jnp.full((2, count), 0.5), image, jnp.asarray(1.0))
    found = fit_spatial(problem, state, image=image, coupled=True, tol=jnp.asarray(1e-9), max_steps=5000)
    assert float(found.error) <= 1e-9

    @jax.vmap
    def objective(maps):
        fit = jnp.sum(jnp.where(mask, jnp.sum(maps * (problem.gram @ maps / 2 - cross), axis=0), 0))
        sizes = jnp.sqrt(jnp.sum(differences(maps.reshape(2, *image)) ** 2, axis=(0, 1)))
        return fit + 0.3 * jnp.sum(weights[0] * sizes)

    others = jnp.asarray(rng.dirichlet([0.5, 0.5], (200, count)).swapaxes(1, 2))
    lengths = jnp.asarray(rng.choice([1e-3, 0.1, 1.0], (200, 1, 1)))
    best = objective(found.copy[None])
    assert float(jnp.min(objective((1 - lengths) * found.copy[None] + lengths * others) - best)) > -1e-7


@pytest.mark.parametrize("method", [sunsal_tv, s2wsu, mua, partial(sunaa_tv, num_endmembers=2)])
def test_errors(task, method):
    pixels, library, _ = task
    with pytest.raises(ValueError, match="image_shape is missing"):
        method(pixels, library)
    with pytest.raises(ValueError, match="must hold all"):
        method(pixels, library, image_shape=(3, 5))
    with pytest.raises(ValueError, match="strength"):
        method(pixels, library, -1.0, image_shape=IMAGE)
