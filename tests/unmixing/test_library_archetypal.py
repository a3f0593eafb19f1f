from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth import RESULTS
from jaxopt_thoth.unmixing import fasun, fclsu, sunaa, suns
from jaxopt_thoth.unmixing._library_simplex import combine_atoms


BANDS, ATOMS, PIXELS = 20, 30, 40
USED = [2, 11, 23]
_fasun = partial(fasun, abundance_weight=1.0, weight_weight=0.1, max_steps=3000, tol=1e-7)
_suns = partial(suns, strength=1e-3, abundance_weight=1.0, weight_weight=0.1, max_steps=3000, tol=1e-7)


@pytest.fixture(scope="module")
def task():
    """Pixels of three atoms with little noise, the library, and the abundances of its atoms."""
    rng = np.random.default_rng(0)
    library = rng.uniform(0.1, 0.9, (BANDS, ATOMS))
    truth = np.zeros((ATOMS, PIXELS))
    truth[USED] = rng.dirichlet(np.full(3, 0.6), PIXELS).T
    return jnp.asarray(library @ truth + 0.001 * rng.normal(size=(BANDS, PIXELS))), jnp.asarray(library), truth


def _objective(pixels, library, found):
    return float(jnp.sum((pixels - library @ found.library_abundances) ** 2) / 2)


@pytest.mark.parametrize("atoms", [8, 60])
def test_combined_atoms_are_the_fully_constrained_fit(rng, atoms):
    library = rng.uniform(0.1, 0.9, (BANDS, atoms))
    target = library @ rng.dirichlet(np.full(atoms, 0.2)) + 0.1 * rng.normal(size=BANDS)
    start = np.full(atoms, 1 / atoms)
    found = combine_atoms(jnp.asarray(library.T @ library), jnp.asarray(library.T @ target), jnp.asarray(start))
    np.testing.assert_allclose(found, fclsu(target[:, None], library)[:, 0], atol=1e-8)


@pytest.fixture(scope="module")
def archetypal(task):
    return sunaa(*task[:2], num_endmembers=3, tol=1e-6)


def test_sunaa_finds_the_atoms_and_reaches_a_stationary_point(task, archetypal):
    pixels, library, truth = task
    assert archetypal.result == RESULTS.converged
    assert sorted(archetypal.indices.tolist()) == USED
    np.testing.assert_allclose(archetypal.library_abundances, truth, atol=0.02)
    # Each factor is optimal given the other: the reduced gradients are not negative, and zero where in use.
    weights, abundances = archetypal.weights, archetypal.abundances
    residual = library @ weights @ abundances - pixels
    for slope, factor, size in (
        ((library @ weights).T @ residual, abundances, 1e-9),
        (library.T @ residual @ abundances.T, weights, 1e-4),
    ):
        np.testing.assert_allclose(jnp.sum(factor, axis=0), 1, atol=1e-12)
        assert float(jnp.min(factor)) >= 0
        level = jnp.sum(slope * factor, axis=0, keepdims=True)
        assert float(jnp.min(slope - level)) > -size
    np.testing.assert_allclose(archetypal.diagnostics["loss"], _objective(pixels, library, archetypal), rtol=1e-10)


def test_sunaa_is_monotone_and_knows_masked_pixels(task):
    pixels, library, _ = task
    losses = [float(sunaa(pixels, library, num_endmembers=3, tol=0.0, max_steps=k).diagnostics["loss"]) for k in (1, 3)]
    assert np.all(np.diff(losses) <= 1e-12)
    spoiled = pixels.at[:, 5].set(jnp.nan)
    first = sunaa(spoiled, library, num_endmembers=3)
    second = sunaa(np.delete(pixels, 5, axis=1), library, num_endmembers=3)
    assert np.all(np.isnan(first.abundances[:, 5])) and np.all(np.isnan(first.library_abundances[:, 5]))
    np.testing.assert_allclose(first.weights, second.weights, atol=1e-8)


def test_sunaa_over_a_batch_of_noise_draws(task):
    pixels, library, _ = task
    noise = 0.01 * jax.random.normal(jax.random.key(1), pixels.shape, pixels.dtype)
    batch = jax.vmap(lambda y: sunaa(y, library, num_endmembers=3, max_steps=20).weights)(
        jnp.stack([pixels, pixels + noise])
    )
    alone = sunaa(pixels + noise, library, num_endmembers=3, max_steps=20).weights
    np.testing.assert_allclose(batch[1], alone, atol=1e-7)


@pytest.mark.parametrize("method", [_fasun, _suns])
def test_splitting_agrees_with_sunaa_for_each_key_of_a_batch(task, archetypal, method):
    pixels, library, truth = task
    keys = jax.random.split(jax.random.key(0), 3)
    batch = jax.vmap(lambda k: method(pixels, library, num_endmembers=3, key=k))(keys)
    for i in range(3):
        # The tie is broken under vmap: the endmembers differ, and are the same atoms whatever the key.
        assert sorted(batch.indices[i].tolist()) == USED
        np.testing.assert_allclose(jnp.sum(batch.abundances[i], axis=0), 1, atol=1e-12)
        np.testing.assert_allclose(batch.library_abundances[i], truth, atol=0.03)
    alone = method(pixels, library, num_endmembers=3, key=keys[1])
    np.testing.assert_allclose(alone.library_abundances, batch.library_abundances[1], atol=1e-6)
    if method is _fasun:
        np.testing.assert_allclose(jnp.sum(alone.weights, axis=0), 1, atol=1e-12)
        assert _objective(pixels, library, alone) <= 1.01 * _objective(pixels, library, archetypal)
    else:
        assert float(alone.weights.min()) >= 0 and float(alone.weights.max()) <= 1


@pytest.mark.parametrize("method", [sunaa, fasun, suns])
def test_errors(task, method):
    pixels, library, _ = task
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="num_endmembers"):
        method(pixels, library, num_endmembers=0, key=key)
    with pytest.raises(ValueError, match="max_steps"):
        method(pixels, library, num_endmembers=2, key=key, max_steps=0)
    with pytest.raises(ValueError, match="tol"):
        method(pixels, library, num_endmembers=2, key=key, tol=-1.0)


@pytest.mark.slow
def test_sunaa_beside_the_oracle_on_dc1(data_file):
    from jaxopt_thoth.unmixing import awgn
    from jaxopt_thoth.unmixing.metrics import sre

    scene = np.load(data_file("dc1.npz"), allow_pickle=False)
    spectra, truth, library = (jnp.asarray(scene[name], jnp.float32) for name in "EAD")
    pixels = awgn(spectra @ truth, 30.0, key=jax.random.key(0))
    found = sunaa(pixels, library, num_endmembers=5).library_abundances
    oracle = float(sre(fclsu(pixels, spectra), truth))
    reached = float(sre(found[scene["index"]], truth))
    assert reached > oracle - 0.2
