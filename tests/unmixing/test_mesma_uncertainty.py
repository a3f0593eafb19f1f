"""MESMA against enumeration, the weight that NMF-QMV takes, and the spread of abundances."""

from functools import partial
from itertools import combinations, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth.unmixing import align, awgn, fclsu, mesma, nmf_qmv, Scene, sclsu, Unmixing, vca
from jaxopt_thoth.unmixing._mesma_models import count_models, list_models
from jaxopt_thoth.unmixing.metrics import abundance_rmse
from jaxopt_thoth.unmixing.uncertainty import (
    bootstrap_library,
    bootstrap_noise,
    ensemble_spread,
    reconstruction_error,
)


BANDS, PIXELS = 12, 30
CLASSES = np.array([0, 0, 1, 1, 1, 2, 2])
LIMITS = {"min_fraction": -0.05, "max_fraction": 1.05, "max_shade": 0.8, "max_rmse": 0.025, "gain": 0.007}


@pytest.fixture(scope="module")
def library():
    rng = np.random.default_rng(0)
    means = rng.uniform(0.1, 0.7, (BANDS, 3))
    return jnp.asarray(means[:, CLASSES] * (1 + 0.15 * rng.normal(size=(BANDS, CLASSES.size))))


@pytest.fixture(scope="module")
def pixels(library):
    rng = np.random.default_rng(1)
    parts = np.zeros((CLASSES.size, PIXELS))
    for n in range(PIXELS):
        for c in rng.choice(3, size=rng.integers(1, 4), replace=False):
            parts[rng.choice(np.flatnonzero(c == CLASSES)), n] = rng.uniform(0.2, 0.33)
    noise = 0.008 * rng.normal(size=(BANDS, PIXELS))
    # The last pixel is of another material.
    noise[:, -1] += rng.uniform(0, 0.5, BANDS)
    return jnp.asarray(np.asarray(library) @ parts + noise)


def _enumerate(pixel, library, shade, most=3):
    """The model of one pixel, by least squares on each one."""
    best = [(np.inf, None, None)] * most
    for level in range(1, most + 1):
        for chosen in combinations(range(3), level):
            for model in product(*(np.flatnonzero(c == CLASSES) for c in chosen)):
                spectra = library[:, list(model)]
                if shade:
                    parts = np.linalg.lstsq(spectra, pixel, rcond=None)[0]
                else:
                    edges = spectra[:, 1:] - spectra[:, :1]
                    rest = np.linalg.lstsq(edges, pixel - spectra[:, 0], rcond=None)[0]
                    parts = np.concatenate([[1 - rest.sum()], rest])
                error = np.sqrt(np.mean((pixel - spectra @ parts) ** 2))
                inside = parts.min() >= -0.05 and parts.max() <= 1.05 and error <= 0.025
                if inside and (not shade or -0.05 <= 1 - parts.sum() <= 0.8) and error < best[level - 1][0]:
                    best[level - 1] = (error, model, parts)
    chosen = best[0]
    for other in best[1:]:
        if np.isfinite(other[0]) and (not np.isfinite(chosen[0]) or other[0] < chosen[0] - 0.007):
            chosen = other
    return chosen


@pytest.mark.parametrize("shade", [True, False])
def test_mesma_is_enumeration(shade, library, pixels):
    values = pixels if shade else pixels / (0.25 * pixels.sum(axis=0, keepdims=True))
    # Chunks that neither models nor pixels fill.
    found = mesma(values, library, CLASSES, shade=shade, models_at_once=5, pixels_at_once=8)
    numbers = []
    for n in range(PIXELS):
        error, model, parts = _enumerate(np.asarray(values[:, n]), np.asarray(library), shade)
        assert bool(found.diagnostics["modeled"][n]) == (model is not None)
        if model is None:
            assert np.all(np.isnan(found.abundances[:, n])) and np.all(found.diagnostics["spectra"][:, n] == -1)
            continue
        numbers.append(len(model))
        chosen = np.asarray(found.diagnostics["spectra"][:, n])
        assert sorted(chosen[chosen >= 0].tolist()) == sorted(model)
        np.testing.assert_array_equal(CLASSES[chosen[chosen >= 0]], np.flatnonzero(chosen >= 0))
        np.testing.assert_allclose(found.library_abundances[list(model), n], parts, atol=1e-9)
        np.testing.assert_allclose(found.diagnostics["rmse"][n], error, atol=1e-9)
        np.testing.assert_allclose(found.diagnostics["shade"][n], 1 - parts.sum(), atol=1e-9)
    if shade:
        assert set(numbers) == {1, 2, 3} and not found.diagnostics["modeled"][-1]


def test_mesma_recovers_spectra_and_counts_models(library):
    parts = np.zeros((CLASSES.size, 4))
    parts[[1, 3, 5], :] = np.random.default_rng(2).dirichlet(np.ones(3), 4).T * 0.9
    found = mesma(library @ parts, library, CLASSES, gain=0.0)
    np.testing.assert_allclose(found.library_abundances, parts, atol=1e-7)
    assert count_models(CLASSES, 3, 3) == 7 + (6 + 4 + 6) + 12
    tables, levels = list_models(CLASSES, 3, 3, 4)
    assert int(np.sum(tables.min(axis=-1) < CLASSES.size)) == 35 and levels.tolist() == sorted(levels.tolist())
    # Duplicates in a library are harmless, and float32 finds the same model.
    single = mesma((library @ parts).astype(jnp.float32), library.astype(jnp.float32), CLASSES, gain=0.0)
    np.testing.assert_allclose(single.library_abundances, parts, atol=1e-3)
    cube = np.array((library @ parts).T.reshape(2, 2, BANDS))
    cube[0, 1] = np.nan
    held = mesma(cube, library, CLASSES)
    assert held.abundances.shape == (3, 2, 2) and np.isnan(held.abundances[:, 0, 1]).all()


@pytest.mark.slow
def test_the_weight_of_the_volume_is_chosen():
    spectra = np.random.default_rng(0).uniform(0.1, 0.9, (20, 3))
    draws = np.random.default_rng(2).dirichlet(np.ones(3), 600).T
    truth = draws[:, draws.max(axis=0) < 0.8][:, :250]
    pixels = awgn(jnp.asarray(spectra @ truth), 40.0, key=jax.random.key(1))
    method = partial(nmf_qmv, pixels, 3, key=jax.random.key(0), normalization="none", max_steps=200)
    found = method()
    chosen, tried, misfit = (np.asarray(found.diagnostics[k]) for k in ("volume", "tried", "misfit"))
    place = int(np.flatnonzero(tried == chosen)[0])
    assert np.all(misfit[: place + 1] <= 1.01 * misfit[0]) and misfit[place + 1] > 1.01 * misfit[0]
    errors = {}
    for name, volume in {"chosen": chosen, "none": 0.0, "large": 0.1}.items():
        run = method(volume=volume)
        steps, loss = int(run.diagnostics["num_steps"]), np.asarray(run.diagnostics["loss"])
        assert np.all(np.diff(loss[:steps]) <= 1e-12 * loss[0]) and float(run.endmembers.min()) >= 0
        np.testing.assert_allclose(run.abundances.sum(axis=0), 1, atol=1e-12)
        errors[name] = float(abundance_rmse(run.abundances[align(run.abundances, truth)], truth))
    np.testing.assert_allclose(run.abundances, fclsu(pixels, run.endmembers), atol=1e-9)
    assert errors["chosen"] < 0.8 * min(errors["none"], errors["large"])
    # Held for good where VCA put it, or drawn together.
    at = vca(pixels, 3, key=jax.random.key(0), mask=jnp.ones(250, bool))[1]
    np.testing.assert_allclose(method(volume=1e6).endmembers, pixels[:, at], atol=1e-4)
    mean = jnp.broadcast_to(pixels.mean(axis=1, keepdims=True), (20, 3))
    np.testing.assert_allclose(method(volume=1e6, regularizer="center").endmembers, mean, atol=1e-4)


def test_library_draws_keep_their_classes(library, pixels):
    # What a draw is made of, seen through a method that hands it back.
    hand_back = lambda spectra: spectra.T
    seen = bootstrap_library(hand_back, library, CLASSES, key=jax.random.key(0), num_draws=400, chunk=64)
    for c in range(3):
        members = np.asarray(library)[:, c == CLASSES]
        expected = members.mean(axis=1)
        for row in np.flatnonzero(c == CLASSES):
            np.testing.assert_allclose(seen.mean[row], expected, atol=5 * members.std(axis=1).max() / 20)
            np.testing.assert_allclose(seen.standard_deviation[row], members.std(axis=1), rtol=0.15, atol=1e-3)
    run = partial(bootstrap_library, lambda s: mesma(pixels, s, CLASSES, models_at_once=16), library, CLASSES)
    spread = run(key=jax.random.key(1), num_draws=7, chunk=3)
    counts = np.asarray(spread.counts)
    assert counts.shape == (PIXELS,) and counts.max() == 7 and counts[-1] < 7
    assert np.all(np.isfinite(spread.standard_deviation[:, counts > 1]))
    np.testing.assert_array_equal(np.isnan(spread.mean), np.broadcast_to(counts == 0, (3, PIXELS)))
    assert float(np.nanmax(spread.standard_deviation)) > 0.01


@pytest.mark.parametrize("kind", ["variances", "covariance", "residuals"])
def test_intervals_cover_the_truth(kind):
    rng = np.random.default_rng(3)
    spectra = jnp.asarray(rng.uniform(0.1, 0.9, (40, 3)))
    # Inside the simplex, where the estimates are nearly normal.
    truth = 0.25 + 0.25 * rng.dirichlet(np.ones(3), 400).T
    pixels = spectra @ truth + 0.02 * rng.normal(size=(40, 400))
    fit = partial(fclsu, endmembers=spectra)
    found = fit(pixels)
    variances = jnp.full(40, 4e-4)
    noise = {"variances": variances, "covariance": jnp.diag(variances), "residuals": None}[kind]
    spread = bootstrap_noise(fit, pixels, spectra @ found, noise, key=jax.random.key(0), num_draws=60, chunk=20)
    inside = np.abs(np.asarray(found) - truth) <= 1.96 * np.asarray(spread.standard_deviation)
    assert 0.92 < inside.mean() < 0.97
    np.testing.assert_allclose(spread.mean, found, atol=0.03)
    np.testing.assert_array_equal(spread.counts, 60)


def test_ensembles_are_matched(library):
    truth = jnp.asarray(np.random.default_rng(4).dirichlet(np.ones(3), PIXELS).T)

    def shuffled(key):
        noise_key, order_key = jax.random.split(key)
        maps = truth + 0.01 * jax.random.normal(noise_key, truth.shape)
        return jax.random.permutation(order_key, maps.at[:, 0].set(jnp.nan))

    spread = ensemble_spread(shuffled, key=jax.random.key(0), num_runs=50, reference=truth, chunk=8)
    np.testing.assert_allclose(spread.mean[:, 1:], truth[:, 1:], atol=0.01)
    assert 0.009 < float(spread.standard_deviation[:, 1:].mean()) < 0.011
    assert np.isnan(spread.mean[:, 0]).all() and int(spread.counts[0]) == 0
    first = ensemble_spread(shuffled, key=jax.random.key(0), num_runs=4)
    assert float(jnp.nanmax(first.standard_deviation)) < 0.05


def test_errors_of_reconstruction(library, pixels):
    spectra = library[:, :3]
    found = sclsu(pixels, spectra)
    fitted = spectra @ (found.abundances * found.diagnostics["scale"][None])
    rmse = np.sqrt(np.mean(np.asarray(pixels - fitted) ** 2, axis=0))
    np.testing.assert_allclose(reconstruction_error(pixels, found), rmse, atol=1e-12)
    # Of normalized pixels in the unit of the raw ones, as an image; a masked pixel is left out.
    size = jnp.linalg.norm(pixels, axis=0)
    maps = fclsu(pixels / size[None], spectra)
    scene = Scene(pixels, 5, 6, mask=np.arange(PIXELS) != 7)
    scaled = Unmixing(spectra, maps.at[:, 7].set(jnp.nan), pixel_scale=size)
    error = reconstruction_error(scene, scaled)
    fitted = np.array(spectra @ maps) * np.asarray(size)
    fitted[:, 7] = np.nan
    expected = np.sqrt(np.mean((np.asarray(pixels) - fitted) ** 2, axis=0)).reshape(5, 6)
    np.testing.assert_allclose(error, expected, rtol=1e-9)
    relative = expected / np.sqrt(np.mean(np.asarray(pixels) ** 2, axis=0)).reshape(5, 6)
    np.testing.assert_allclose(reconstruction_error(scene, scaled, relative=True), relative, rtol=1e-9)


def test_errors(library, pixels):
    for bad in (CLASSES[1:], CLASSES + 1, CLASSES.astype(float)):
        with pytest.raises(ValueError, match="classes must"):
            mesma(pixels, library, bad)
    with pytest.raises(ValueError, match="classes must be known"):
        jax.jit(mesma)(pixels, library, jnp.asarray(CLASSES))
    for bad in ({"max_classes": 4}, {"models_at_once": 0}, {"max_rmse": -1.0}, {"gain": -1.0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            mesma(pixels, library, CLASSES, **bad)
    with pytest.raises(ValueError, match="lower must not exceed"):
        mesma(pixels, library, CLASSES, min_fraction=2.0)
    many = jnp.ones((BANDS, 450))
    with pytest.raises(ValueError, match="prune it"):
        mesma(pixels, many, np.arange(450) % 3)
    with pytest.raises(ValueError, match="as many bands"):
        mesma(pixels[1:], library, CLASSES)
    fit = partial(fclsu, endmembers=library[:, :3])
    for bad in ({"num_draws": 1}, {"chunk": 0}, {"noise": jnp.ones(3)}, {"noise": -jnp.ones(BANDS)}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            bootstrap_noise(fit, pixels, pixels, key=jax.random.key(0), **bad)
    with pytest.raises(ValueError, match="fitted must"):
        bootstrap_noise(fit, pixels, pixels[:, 1:], key=jax.random.key(0))
    with pytest.raises(ValueError, match="classes must"):
        bootstrap_library(lambda s: s, library, CLASSES[1:], key=jax.random.key(0))
    with pytest.raises(ValueError, match="num_runs"):
        ensemble_spread(lambda k: pixels, key=jax.random.key(0), num_runs=1)
    with pytest.raises(ValueError, match="does not belong"):
        reconstruction_error(pixels[:, 1:], sclsu(pixels, library[:, :3]))
    for bad in ({"regularizer": "volume"}, {"volume": -1.0}, {"inner_steps": 0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            nmf_qmv(pixels, 3, key=jax.random.key(0), **bad)
