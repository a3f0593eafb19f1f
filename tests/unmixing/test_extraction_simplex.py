"""Extraction by volume, purity and projections, and the simplices of least volume of scenes without pure pixels."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth.unmixing import (
    align,
    awgn,
    evaluate,
    fclsu,
    global_minmax,
    mvsa,
    nfindr,
    pixel_l2,
    ppi,
    purity_counts,
    Scene,
    sisal,
    spa,
    unmix,
    vca,
)
from jaxopt_thoth.unmixing.metrics import spectral_angle


_KEY = jax.random.key(0)
_SELECTORS = {"nfindr": nfindr, "ppi": partial(ppi, key=_KEY, num_skewers=400), "spa": spa}
_selectors = pytest.mark.parametrize("extract", _SELECTORS.values(), ids=_SELECTORS.keys())
_FITS = {"sisal": partial(sisal, outside=1e-3), "mvsa": mvsa}
_fits = pytest.mark.parametrize("fit", _FITS.values(), ids=_FITS.keys())


def _pure(rng, size, count=120):
    endmembers = rng.uniform(0.05, 0.95, (20, size))
    inside = rng.dirichlet(np.full(size, 2.0), count).T
    chosen = rng.choice(count, size, replace=False)
    inside[:, chosen] = np.eye(size)
    return endmembers @ inside, set(chosen.tolist())


def _mixed(rng, size, count=2000, purity=0.8):
    endmembers = rng.uniform(0.05, 0.95, (20, size))
    fractions = rng.dirichlet(np.ones(size), 6 * count).T
    return endmembers @ fractions[:, fractions.max(axis=0) <= purity][:, :count], endmembers


def _angle(found, endmembers):
    order = align(found, endmembers, criterion="spectral_angle")
    return float(spectral_angle(found[:, order], endmembers).mean())


@_selectors
def test_noiseless_pure_pixels_are_found(rng, extract):
    for dtype in (np.float32, np.float64):
        pixels, pure = _pure(rng, 4)
        mask = np.arange(130) < 120
        padded = np.concatenate([pixels, np.full((20, 10), np.nan)], axis=1).astype(dtype)
        found, indices = extract(padded, 4, mask=mask)
        assert set(indices.tolist()) == pure
        np.testing.assert_array_equal(found, padded[:, indices])


def test_selection_does_not_change_under_rotation_and_scale(rng):
    pixels = rng.normal(size=(6, 80))
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    np.testing.assert_array_equal(spa(3 * rotation @ pixels, 4)[1], spa(pixels, 4)[1])
    # N-FINDR, whose space is that of the principal components, does not feel the origin either.
    moved = 3 * rotation @ pixels + rng.normal(size=(6, 1))
    assert set(nfindr(moved, 4)[1].tolist()) == set(nfindr(pixels, 4)[1].tolist())
    # And no affine map at all where all components are kept.
    flat = np.concatenate([pixels[:3], np.zeros((1, 80))])
    bent = rng.normal(size=(4, 4)) @ flat
    assert set(nfindr(bent, 4)[1].tolist()) == set(nfindr(flat, 4)[1].tolist())


def _volumes(points, indices):
    """The volume of a simplex, and those of all simplices with one pixel swapped, (p, N)."""
    matrix = np.concatenate([points, np.ones((1, points.shape[1]))])
    chosen = matrix[:, indices]
    swapped = np.abs(np.linalg.solve(chosen, matrix)) * np.abs(np.linalg.det(chosen))
    return abs(np.linalg.det(chosen)), swapped


def test_nfindr_ascends_to_a_local_maximum(rng):
    pixels = np.concatenate([rng.normal(size=(4, 300)), np.zeros((1, 300))])
    centered = pixels - pixels.mean(axis=1, keepdims=True)
    keys = jax.random.split(jax.random.key(1), 8)
    runs = [
        np.asarray(jax.jit(jax.vmap(lambda key, m=m: nfindr(pixels, 5, key=key, max_sweeps=m)[1]))(keys))
        for m in (0, 1, 50)
    ]
    grown = np.array([[_volumes(centered[:4], indices)[0] for indices in run] for run in runs])
    assert (np.diff(grown, axis=0) >= -1e-12).all() and (grown[-1] > grown[0]).any()
    for indices, volume in zip(runs[-1], grown[-1], strict=True):
        assert _volumes(centered[:4], indices)[1].max() <= volume * (1 + 1e-9)
        assert len(set(indices.tolist())) == 5


def test_purity_counts_are_two_a_line_on_hull_vertices(rng):
    pixels, pure = _pure(rng, 4)
    counts = np.asarray(purity_counts(pixels, 4, key=_KEY, num_skewers=400))
    assert counts.sum() == 800 and set(np.flatnonzero(counts).tolist()) == pure
    # A square: each corner is at an end of half of the lines.
    square = np.array([[1.0, 1.0, -1.0, -1.0, 0.0], [1.0, -1.0, 1.0, -1.0, 0.0], [0.0] * 5])
    counts = np.asarray(purity_counts(square, 3, key=_KEY, num_skewers=2000))
    assert counts[4] == 0 and np.abs(counts[:4] / 2000 - 0.5).max() < 0.05


def test_spa_error_grows_with_the_noise_and_the_condition_at_most(rng):
    # Gillis and Vavasis: for noise e below a multiple of s / (sqrt(p) k^2) the error is O(e k^2).
    extract = jax.jit(lambda pixels: spa(pixels, 4)[0])
    for condition in (2.0, 10.0):
        u, v = (np.linalg.qr(rng.normal(size=(n, 4)))[0] for n in (20, 4))
        endmembers = u @ np.diag(np.geomspace(1, 1 / condition, 4)) @ v.T
        clean = endmembers @ np.concatenate([np.eye(4), rng.dirichlet(np.ones(4), 200).T], axis=1)
        kappa = np.linalg.norm(endmembers, axis=0).max() * condition
        for size in (1e-8, 1e-6, 1e-1 / (2 * condition * kappa**2)):
            noise = rng.normal(size=clean.shape)
            found = np.asarray(extract(clean + size * noise / np.linalg.norm(noise, axis=0)))
            nearest = np.linalg.norm(found[:, :, None] - endmembers[:, None, :], axis=0)
            assert set(nearest.argmin(axis=1).tolist()) == {0, 1, 2, 3}
            assert nearest.min(axis=1).max() <= 10 * size * kappa**2


@_fits
def test_mixed_scenes_are_recovered_without_pure_pixels(rng, fit):
    # Larger than the pixels' own simplices, and within the limit of the sample.
    for size, dtypes in ((3, (np.float64,)), (5, (np.float32,))):
        pixels, endmembers = _mixed(rng, size)
        for dtype in dtypes:
            found = fit(pixels.astype(dtype), size)
            assert found.endmembers.dtype == dtype and bool(found.result == jt.RESULTS.converged)
            angle = _angle(found.endmembers, endmembers.astype(dtype))
            assert angle < 0.5
            if dtype == np.float64:
                assert _angle(vca(pixels, size, key=_KEY)[0], endmembers) > 1
                edges = endmembers[:, 1:] - endmembers[:, :1]
                volume = np.linalg.slogdet(edges.T @ edges)[1] / 2 - float(jax.scipy.special.gammaln(float(size)))
                assert -0.1 < float(found.log_volume) - volume < 0.02


def _barycentric(endmembers, pixels):
    vertices = np.asarray(endmembers)
    origin = pixels.mean(axis=1, keepdims=True)
    basis = np.linalg.svd(vertices - vertices.mean(axis=1, keepdims=True), full_matrices=False)[0][:, :-1]
    lift = lambda x: np.concatenate([basis.T @ (x - origin), np.ones((1, x.shape[1]))])
    return np.linalg.solve(lift(vertices), lift(pixels))


def test_mvsa_holds_every_pixel_and_is_a_local_minimum(rng):
    pixels, _ = _mixed(rng, 4, count=500)
    pixels = pixels + 0.01 * rng.normal(size=pixels.shape)
    mask = np.arange(pixels.shape[1]) >= 20
    wild = np.where(mask, pixels, 100 * pixels)
    found = mvsa(wild, 4, mask=mask)
    fractions = _barycentric(found.endmembers, pixels[:, mask])
    assert fractions.min() > -1e-9 and float(found.outside.max()) == 0
    # Small changes of the simplex, inflated to hold all pixels again, have no smaller volume.
    for size in (1e-3, 1e-5):
        for _ in range(200):
            change = rng.normal(size=(4, 4))
            moved = fractions + size * (change - change.mean(axis=0)) @ fractions
            missing = np.maximum(-moved.min(axis=1), 0)
            change = np.eye(4) + size * (change - change.mean(axis=0)) + missing[:, None]
            # `fractions` sum to one: adding a constant to each is adding it to the matrix.
            gain = np.linalg.slogdet(change / (1 + missing.sum()))[1]
            assert gain < 1e-9
    # An affine image of the pixels has the image of the simplex.
    flat = np.linalg.svd(pixels, full_matrices=False)
    flat = np.concatenate([np.diag(flat[1][:3]) @ flat[2][:3][:, mask], np.zeros((1, mask.sum()))])
    bend = np.diag([1.0, 2.0, 0.5, 1.0]) @ np.linalg.qr(rng.normal(size=(4, 4)))[0]
    ends = [np.asarray(bend @ mvsa(flat, 4).endmembers), np.asarray(mvsa(bend @ flat, 4).endmembers)]
    distances = np.linalg.norm(ends[0][:, :, None] - ends[1][:, None, :], axis=0)
    assert distances.min(axis=1).max() < 1e-5 * np.abs(flat).max()


def test_sisal_leaves_the_same_fraction_beyond_each_facet(rng):
    pixels, _ = _mixed(rng, 4)
    pixels = np.asarray(awgn(pixels, 30.0, key=_KEY))
    found = jax.jit(jax.vmap(lambda outside: sisal(pixels, 4, outside=outside)))(jnp.array([1e-3, 0.02, 0.05]))
    for outside, fit in zip((1e-3, 0.02, 0.05), [jax.tree.map(lambda a, k=k: a[k], found) for k in range(3)]):
        fractions = _barycentric(fit.endmembers, np.asarray(pixels))
        # A stationary point says so, up to the pixels on the facets themselves.
        shortfall = np.maximum(-fractions, 0).mean(axis=1).sum()
        beyond = np.mean(fractions < -1e-7, axis=1)
        assert (np.abs(beyond - (outside - shortfall)) <= 4 / 2000 + 1e-9).all()
    volumes = np.asarray(found.log_volume)
    assert (np.diff(volumes) < 0).all()
    assert float(mvsa(pixels, 4).log_volume) > volumes[0]


def test_fits_batch_over_keys_and_agree(rng):
    pixels, _ = _mixed(rng, 4, count=400)
    keys = jax.random.split(_KEY, 3)
    volumes = jax.jit(jax.vmap(lambda key: sisal(pixels, 4, key=key).log_volume))(keys)
    np.testing.assert_allclose(volumes, sisal(pixels, 4).log_volume, atol=1e-5)
    indices = jax.vmap(lambda key: ppi(pixels, 4, key=key, num_skewers=50)[1])(keys)
    assert indices.shape == (3, 4)


@pytest.mark.parametrize("extract", [*_SELECTORS.values(), *_FITS.values()])
def test_errors_name_the_argument(rng, extract):
    pixels = rng.uniform(size=(6, 50))
    flat = rng.uniform(size=(6, 2)) @ rng.dirichlet(np.ones(2), 50).T
    with pytest.raises(ValueError, match="pixels must be a real matrix"):
        extract(pixels[0], 3)
    with pytest.raises(ValueError, match="num_endmembers must be between"):
        extract(pixels, 0)
    with pytest.raises(ValueError, match=r"num_endmembers must be between .* and 4 "):
        extract(pixels, 5, mask=np.arange(50) < 4)
    with pytest.raises(ValueError, match="number of bands 6"):
        extract(pixels, 7)
    with pytest.raises(ValueError, match="num_endmembers must be at most 2"):
        extract(flat, 3)
    with pytest.raises(ValueError, match="num_endmembers must be at most 2"):
        extract(flat.astype(np.float32), 3)
    with pytest.raises(ValueError, match="pixels must be finite"):
        extract(np.where(pixels == pixels[0, 0], np.inf, pixels), 3)
    constant = np.concatenate([pixels, np.zeros((1, 50)), np.ones((1, 50))])
    found = extract(constant, 3)
    assert jnp.isfinite(found[0] if isinstance(found, tuple) else found.endmembers).all()


def test_settings_out_of_range_are_named(rng):
    pixels = rng.uniform(size=(6, 50))
    with pytest.raises(ValueError, match="outside must be a number"):
        sisal(pixels, 3, outside=0.0)
    with pytest.raises(ValueError, match="num_skewers must be at least 1"):
        ppi(pixels, 3, key=_KEY, num_skewers=0)
    with pytest.raises(ValueError, match="max_sweeps must be at least 0"):
        nfindr(pixels, 3, max_sweeps=-1)


@pytest.mark.parametrize("method", ["nfindr", "ppi", "spa", "mvsa"])
def test_unmix_takes_every_extraction(rng, method):
    pixels, _ = _pure(rng, 3)
    pixels[:, 5] = np.nan
    found = unmix(Scene(pixels, 10, 12), 3, method=f"{method}+fclsu", key=_KEY, ensemble=2, normalization="none")
    assert bool(found.result == jt.RESULTS.converged) and jnp.isnan(found.abundances[:, 5]).all()
    kept = np.delete(np.arange(120), 5)
    rebuilt = found.endmembers @ found.abundances
    assert float(jnp.abs(rebuilt - pixels)[:, kept].max()) < 1e-6


@pytest.mark.slow
def test_samson(samson):
    pixels = pixel_l2(global_minmax(samson.pixels))
    scene = Scene(pixels, 95, 95, endmembers=samson.endmembers, abundances=samson.abundances, names=samson.names)
    runs = {
        "nfindr": ([nfindr(pixels, 3, key=jax.random.key(k))[0] for k in range(3)], 5.3, 8.6),
        "ppi": ([ppi(pixels, 3, key=jax.random.key(k), num_skewers=500)[0] for k in range(3)], 5.5, 8.6),
        "spa": ([spa(pixels, 3)[0]], 4.9, 8.0),
        "sisal": ([sisal(pixels, 3, outside=0.2, key=jax.random.key(k)).endmembers for k in range(3)], 1.8, 5.0),
    }
    for found, angle, rmse in runs.values():
        for endmembers in found:
            report = evaluate(endmembers, fclsu(pixels, endmembers), scene)
            assert report["mean_spectral_angle"] < angle and report["abundance_rmse"] < rmse
