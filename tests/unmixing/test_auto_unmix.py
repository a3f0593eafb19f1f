"""The likelihood of a simplex, the test of mixing, and the choice between archetypes and a simplex."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import unmixing
from jaxopt_thoth.unmixing._mixing_test import mixes_ideally
from jaxopt_thoth.unmixing._random_fields import cap_fractions
from jaxopt_thoth.unmixing._simplex_likelihood import log_mass


BANDS, PIXELS = 12, 600


@pytest.fixture(scope="module")
def mixed() -> tuple[np.ndarray, np.ndarray]:
    """Pixels of 40 dB without pure ones, and their three endmembers."""
    rng = np.random.default_rng(0)
    endmembers = rng.uniform(0.05, 0.95, (BANDS, 3))
    fractions = rng.dirichlet(np.ones(3), 4 * PIXELS).T
    clean = endmembers @ fractions[:, fractions.max(axis=0) <= 0.8][:, :PIXELS]
    return clean + 0.01 * np.sqrt(np.mean(clean**2)) * rng.normal(size=clean.shape), endmembers


def angle(found: jax.Array, endmembers: np.ndarray) -> float:
    order = unmixing.align(found, endmembers, criterion="spectral_angle")
    return float(unmixing.metrics.spectral_angle(found[:, order], jnp.asarray(endmembers)).mean())


@pytest.mark.parametrize("spread", [0.05, 0.4, 3.0])
def test_the_mass_is_the_integral_over_the_plane(spread: float) -> None:
    sizes = spread * np.array([1.0, 0.5, 0.8])
    # On a grid of the plane a + b + c = 1, in which the unit simplex has the area 1 / 2 of (a, b).
    reach = np.linspace(-12 * spread, 1 + 24 * spread, 1201)
    a, b = np.meshgrid(reach, reach)
    density = np.prod([jax.scipy.stats.norm.cdf(x / s) for x, s in zip((a, b, 1 - a - b), sizes, strict=True)], axis=0)
    integral = 2 * density.sum() * (reach[1] - reach[0]) ** 2
    np.testing.assert_allclose(jnp.exp(log_mass(jnp.asarray(sizes))), integral, rtol=1e-3)
    assert float(log_mass(jnp.zeros(4))) == 0 and bool(jnp.isfinite(jax.grad(log_mass)(jnp.zeros(4))).all())


@pytest.mark.slow
def test_the_likely_simplex_is_found_from_afar_masked_and_in_a_batch(mixed: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, endmembers = mixed
    mask = np.arange(PIXELS + 20) < PIXELS
    wild = np.concatenate([pixels, 100 * pixels[:, :20]], axis=1)
    fit = jax.jit(jax.vmap(lambda start: unmixing.ml_simplex(wild, 3, start=start, mask=mask)))
    middle = pixels.mean(axis=1, keepdims=True)
    found = fit(jnp.stack([middle + size * (endmembers[:, ::-1] - middle) for size in (0.3, 3.0)]))
    assert bool((found.result == jt.RESULTS.converged).all())
    near, far = found.endmembers
    assert angle(near, endmembers) < 0.8
    assert angle(far, np.asarray(near)) < 0.1


def test_a_start_of_another_shape_is_refused(mixed: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="start must have shape"):
        unmixing.ml_simplex(mixed[0], 3, start=mixed[1][:, :2])


def test_shade_and_missing_materials_are_told_from_mixing(mixed: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, valid = jnp.asarray(mixed[0]), jnp.ones(PIXELS, bool)
    shade = jnp.asarray(np.random.default_rng(1).lognormal(0, 0.05, PIXELS))
    assert bool(mixes_ideally(pixels, valid, 3)) and bool(mixes_ideally(1e4 * pixels, valid, 3))
    assert not bool(mixes_ideally(pixels * shade[None, :], valid, 3))
    assert not bool(mixes_ideally(pixels, valid, 2)) and not bool(mixes_ideally(pixels, valid, BANDS))


def test_pure_scenes_keep_archetypes_in_their_own_unit() -> None:
    scene = unmixing.simulate_scene(jax.random.key(1), height=24, width=24, num_bands=30, snr_db=20.0)
    mask = np.arange(576) % 9 > 0
    found = unmixing.auto_unmix(
        scene.pixels.reshape(30, 24, 24).transpose(1, 2, 0), 3, key=jax.random.key(0), ensemble=2, mask=mask
    )
    assert bool(found.diagnostics["ideal"]) and not bool(found.diagnostics["simplex"])
    fractions = np.asarray(found.abundances).reshape(3, -1)
    assert np.isnan(fractions[:, ~mask]).all()
    np.testing.assert_allclose(fractions[:, mask].sum(axis=0), 1, atol=1e-6)
    np.testing.assert_allclose(found.pixel_scale[mask], 1)
    np.testing.assert_allclose(scene.pixels @ found.weights, found.endmembers, atol=1e-6)
    assert float(unmixing.evaluate(found.endmembers, jnp.asarray(fractions), scene)["mean_spectral_angle"]) < 3
    with pytest.raises(ValueError, match="edaa takes the others"):
        unmixing.auto_unmix(scene, 3, key=jax.random.key(0), normalization="none")


def test_mixed_pixels_bring_the_simplex_and_shade_brings_unit_norms(mixed: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, endmembers = mixed
    shade = np.random.default_rng(1).lognormal(0, 0.3, PIXELS)
    run = jax.jit(jax.vmap(lambda y: unmixing.auto_unmix(y, 3, key=jax.random.key(0), ensemble=2)))
    found = run(jnp.stack([jnp.asarray(pixels), jnp.asarray(pixels * shade)]))
    assert found.diagnostics["ideal"].tolist() == found.diagnostics["simplex"].tolist() == [True, False]
    assert angle(found.endmembers[0], endmembers) < 0.8
    plain = unmixing.edaa(pixels * shade, 3, key=jax.random.key(0), ensemble=2, normalization="pixel_l2")
    np.testing.assert_allclose(found.endmembers[1], plain.endmembers, rtol=1e-6)
    np.testing.assert_allclose(found.abundances[1], plain.abundances, atol=1e-6)


@pytest.mark.parametrize("most", [1.0, 0.7, 0.26])
def test_what_exceeds_the_bound_goes_to_the_others_in_proportion(most: float) -> None:
    rng = np.random.default_rng(0)
    fractions = np.concatenate([np.eye(4), rng.dirichlet(np.full(4, 0.3), 50).T], axis=1)
    capped = np.asarray(cap_fractions(jnp.asarray(fractions), jnp.asarray(most)))
    np.testing.assert_allclose(capped.sum(axis=0), 1, atol=1e-12)
    assert capped.max() <= most and capped.min() >= 0
    fine = fractions.max(axis=0) < most
    np.testing.assert_allclose(capped[:, fine], fractions[:, fine], atol=1e-12)
    # Those below the bound keep their ratios.
    free = (capped < most - 1e-12) & (fractions > 1e-12)
    growth = np.where(free, capped / np.maximum(fractions, 1e-300), np.nan)[:, 4:]
    some = free[:, 4:].any(axis=0)
    np.testing.assert_allclose(np.nanmax(growth[:, some], axis=0), np.nanmin(growth[:, some], axis=0), rtol=1e-9)
