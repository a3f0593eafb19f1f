"""Spectra that vary between pixels: scaled, extended and perturbed mixing models, and bundles."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth.unmixing import bundle_unmix, bundles, elmm, fclsu, ncls, plmm, sclsu
from jaxopt_thoth.unmixing._pixel_grams import fit_each
from jaxopt_thoth.unmixing.metrics import abundance_rmse


BANDS, SIZE, HEIGHT, WIDTH = 20, 3, 8, 10
PIXELS = HEIGHT * WIDTH
STEPS = 60
_scaled = jax.jit(sclsu)
_elmm = jax.jit(partial(elmm, tol=1e-9, max_steps=STEPS))
_spatial = jax.jit(partial(elmm, image_shape=(HEIGHT, WIDTH), max_steps=STEPS, keep_spectra=True))
_plmm = jax.jit(partial(plmm, max_steps=STEPS, keep_spectra=True))
_blind = jax.jit(partial(plmm, max_steps=STEPS, blind=True))


@pytest.fixture(scope="module")
def spectra():
    return jnp.asarray(np.random.default_rng(0).uniform(0.1, 0.9, (BANDS, SIZE)))


@pytest.fixture(scope="module")
def truth():
    return np.random.default_rng(1).dirichlet(np.ones(SIZE), PIXELS).T


@pytest.fixture(scope="module")
def scales():
    """Smooth over the image, other ones for each endmember."""
    rows, columns = np.meshgrid(np.linspace(0, 3, HEIGHT), np.linspace(0, 3, WIDTH), indexing="ij")
    maps = [np.sin(rows + columns), np.cos(rows - columns), np.sin(columns)]
    return 1 + 0.25 * np.stack(maps).reshape(SIZE, -1)


@pytest.fixture(scope="module")
def noisy(spectra, truth, scales):
    clean = np.asarray(spectra) @ (scales * truth)
    return jnp.asarray(clean + 0.003 * np.random.default_rng(2).normal(size=clean.shape))


def _falls(found):
    steps = int(found.diagnostics["num_steps"])
    loss = np.asarray(found.diagnostics["loss"])
    assert steps > 1 and np.all(np.isfinite(loss[:steps])) and np.all(np.isnan(loss[steps:]))
    assert np.all(np.diff(loss[:steps]) <= 1e-12 * loss[0])
    np.testing.assert_allclose(found.abundances.sum(axis=0), 1, atol=1e-10)
    assert float(found.abundances.min()) >= 0
    return loss[steps - 1]


def test_one_scale_is_recovered(spectra, truth, noisy):
    scale = np.random.default_rng(3).uniform(0.5, 2, PIXELS)
    found = _scaled(spectra @ (truth * scale), spectra)
    np.testing.assert_allclose(found.abundances, truth, atol=1e-9)
    np.testing.assert_allclose(found.diagnostics["scale"], scale, atol=1e-9)
    np.testing.assert_allclose(found.diagnostics["residual"], 0, atol=1e-9)
    assert found.result == jt.RESULTS.converged
    parts = ncls(noisy, spectra)
    np.testing.assert_allclose(_scaled(noisy, spectra).abundances, parts / parts.sum(axis=0, keepdims=True), atol=1e-12)
    # A pixel without light has no fractions of its own.
    dark = _scaled(noisy.at[:, 0].set(0.0), spectra)
    np.testing.assert_allclose(dark.abundances[:, 0], 1 / SIZE)
    assert float(dark.diagnostics["scale"][0]) == 0


def test_each_pixel_with_a_matrix_of_its_own(spectra, noisy):
    grams = jnp.broadcast_to(spectra.T @ spectra, (PIXELS, SIZE, SIZE))
    np.testing.assert_allclose(fit_each(grams, spectra.T @ noisy), fclsu(noisy, spectra), atol=1e-9)


def test_extended_model_descends_to_scaled_spectra(spectra, truth, scales, noisy):
    errors = {}
    for name, strengths in {"plain": {}, "smooth": {"total_variation": 1e-4, "scale_smoothness": 0.05}}.items():
        found = _spatial(noisy, spectra, 0.5, **strengths) if strengths else _elmm(noisy, spectra, 0.5)
        loss = _falls(found)
        errors[name] = float(abundance_rmse(found.abundances, truth))
    # The objective that is reported, from the spectra that are handed back.
    own, a, c = (np.asarray(x) for x in (found.diagnostics["spectra"], found.abundances, found.diagnostics["scales"]))
    misfit = np.asarray(noisy) - np.einsum("lkn,kn->ln", own, a)
    np.testing.assert_allclose(found.diagnostics["residual"], np.linalg.norm(misfit, axis=0), atol=1e-10)
    strayed = own - np.asarray(spectra)[:, :, None] * c[None]
    unit = np.mean(np.sum(np.asarray(spectra) ** 2, axis=0))
    steps = lambda maps: [np.diff(x.reshape(SIZE, HEIGHT, WIDTH), axis=k) for x in (maps,) for k in (1, 2)]
    down, right = (np.pad(d, ((0, 0), (0, HEIGHT - d.shape[1]), (0, WIDTH - d.shape[2]))) for d in steps(a))
    variation = np.sum(np.sqrt(np.sum(down**2 + right**2, axis=0)))
    rough = sum(np.sum(d**2) for d in steps(c))
    value = np.sum(misfit**2) / 2 + 0.25 * np.sum(strayed**2) + unit * (1e-4 * variation + 0.025 * rough)
    np.testing.assert_allclose(loss, value, rtol=1e-8)
    plain = float(abundance_rmse(fclsu(noisy, spectra), truth))
    single = float(abundance_rmse(_scaled(noisy, spectra).abundances, truth))
    assert errors["smooth"] < 0.7 * errors["plain"] and errors["plain"] <= single + 0.1 and single < 0.7 * plain


def test_extended_model_ends_in_one_scale(spectra, noisy):
    found = _elmm(noisy, spectra, 1e9)
    exact = _scaled(noisy, spectra)
    np.testing.assert_allclose(found.abundances, exact.abundances, atol=1e-6)
    np.testing.assert_allclose(
        found.diagnostics["scales"], np.broadcast_to(exact.diagnostics["scale"], (SIZE, PIXELS)), atol=1e-6
    )
    # Over a batch of strengths, each as on its own.
    strengths = jnp.asarray([0.1, 1e9])
    batch = jax.vmap(lambda s: elmm(noisy, spectra, s, tol=1e-9, max_steps=STEPS).abundances)(strengths)
    np.testing.assert_allclose(batch[1], found.abundances, atol=1e-9)
    np.testing.assert_allclose(batch[0], _elmm(noisy, spectra, 0.1).abundances, atol=1e-9)


def test_perturbed_model_descends(spectra, truth):
    rng = np.random.default_rng(4)
    own = np.asarray(spectra)[:, :, None] * (1 + 0.1 * rng.normal(size=(BANDS, SIZE, PIXELS)))
    pixels = jnp.asarray(np.einsum("lkn,kn->ln", own, truth))
    plain = fclsu(pixels, spectra)
    found = _plmm(pixels, spectra, 0.1)
    loss = _falls(found)
    assert float(abundance_rmse(found.abundances, truth)) < 1.1 * float(abundance_rmse(plain, truth))
    varied, a = np.asarray(found.diagnostics["spectra"]), np.asarray(found.abundances)
    assert varied.min() >= 0
    misfit = np.asarray(pixels) - np.einsum("lkn,kn->ln", varied, a)
    np.testing.assert_allclose(np.linalg.norm(misfit, axis=0), found.diagnostics["residual"], atol=1e-10)
    moved = varied - np.asarray(spectra)[:, :, None]
    np.testing.assert_allclose(np.sqrt(np.sum(moved**2, axis=(0, 1))), found.diagnostics["perturbation"], atol=1e-10)
    np.testing.assert_allclose(loss, np.sum(misfit**2) / 2 + 0.05 * np.sum(moved**2), rtol=1e-10)
    # The perturbations are optimal: their gradient vanishes, or points out of the spectra at zero.
    slope = 0.1 * moved - misfit[:, None, :] * a[None]
    np.testing.assert_allclose(slope[varied > 1e-9], 0, atol=1e-10)
    assert np.all(slope[varied <= 1e-9] >= -1e-10)
    np.testing.assert_allclose(_plmm(pixels, spectra, 1e9).abundances, plain, atol=1e-6)


def test_perturbations_that_would_pass_zero(spectra):
    # Dark spectra over darker pixels, so that several are at zero.
    dark = spectra.at[:10].set(0.02)
    pixels = jnp.maximum(dark @ jnp.full((SIZE, PIXELS), 1 / SIZE) - 0.2, -0.3)
    found = _plmm(pixels, dark, 0.05)
    varied, a = np.asarray(found.diagnostics["spectra"]), np.asarray(found.abundances)
    misfit = np.asarray(pixels) - np.einsum("lkn,kn->ln", varied, a)
    slope = 0.05 * (varied - np.asarray(dark)[:, :, None]) - misfit[:, None, :] * a[None]
    assert (varied <= 1e-9).mean() > 0.1
    np.testing.assert_allclose(slope[varied > 1e-9], 0, atol=1e-9)
    assert np.all(slope[varied <= 1e-9] >= -1e-9)


def test_perturbed_model_finds_endmembers(spectra, truth):
    pixels = spectra @ truth
    start = jnp.asarray(np.asarray(spectra) * np.random.default_rng(5).uniform(0.9, 1.1, (BANDS, SIZE)))
    found = _blind(pixels, start, 1.0, reference_weight=1e-3)
    _falls(found)
    before, after = (float(jnp.linalg.norm(e - spectra)) for e in (start, found.endmembers))
    assert after < 0.7 * before and float(found.endmembers.min()) >= 0
    assert float(abundance_rmse(found.abundances, truth)) < float(abundance_rmse(fclsu(pixels, start), truth))


@pytest.fixture(scope="module")
def bundled(spectra, truth):
    """Two spectra a material, each pixel of one of them."""
    rng = np.random.default_rng(6)
    library = np.repeat(np.asarray(spectra), 2, axis=1) * (1 + 0.15 * rng.normal(size=(BANDS, 2 * SIZE)))
    which = rng.integers(0, 2, (SIZE, PIXELS))
    parts = np.zeros((2 * SIZE, PIXELS))
    parts[2 * np.arange(SIZE)[:, None] + which, np.arange(PIXELS)[None]] = truth
    return jnp.asarray(library), jnp.asarray(np.repeat(np.arange(SIZE), 2)), parts


def test_bundles_are_summed_up(bundled, truth, spectra):
    library, groups, parts = bundled
    pixels = library @ parts
    found = bundle_unmix(pixels, library, groups, num_groups=SIZE)
    np.testing.assert_allclose(found.library_abundances, parts, atol=1e-8)
    np.testing.assert_allclose(found.abundances, truth, atol=1e-8)
    np.testing.assert_allclose(found.weights.sum(axis=0), 1, atol=1e-12)
    np.testing.assert_allclose(found.diagnostics["residual"], 0, atol=1e-7)
    assert float(abundance_rmse(fclsu(pixels, spectra), truth)) > 3


def test_mixed_norms(bundled):
    library, groups, parts = bundled
    pixels = library @ parts + 0.02 * np.random.default_rng(7).normal(size=(BANDS, PIXELS))
    unit = float(jnp.mean(jnp.sum(library**2, axis=0)))
    plain = bundle_unmix(pixels, library, groups, num_groups=SIZE)
    fractional = bundle_unmix(pixels, library, groups, 0.05, num_groups=SIZE, norm="fractional")
    loss = _falls(fractional)
    sums = np.asarray(fractional.abundances)
    value = np.sum(np.asarray(fractional.diagnostics["residual"]) ** 2) / 2 + 0.05 * unit * np.sum((sums + 1e-3) ** 0.1)
    np.testing.assert_allclose(loss, value, rtol=1e-9)
    assert np.mean(sums > 0) < np.mean(np.asarray(plain.abundances) > 0) - 0.1
    # The sums of all groups are one: a power of one is no term at all.
    same = bundle_unmix(pixels, library, groups, 0.05, num_groups=SIZE, norm="fractional", power=1.0)
    np.testing.assert_allclose(same.abundances, plain.abundances, atol=1e-8)
    grouped = bundle_unmix(pixels, library, groups, 0.02, num_groups=SIZE, norm="group")
    x = np.asarray(grouped.library_abundances)
    assert grouped.result == jt.RESULTS.converged
    np.testing.assert_allclose(x.sum(axis=0), 1, atol=1e-6)

    def objective(x):
        norms = np.sqrt(np.add.reduceat(x**2, np.arange(0, 2 * SIZE, 2), axis=0))
        misfit = np.asarray(pixels) - np.asarray(library) @ x
        return np.sum(misfit**2, axis=0) / 2 + 0.02 * unit * np.sum(norms, axis=0)

    # No way inside the simplex goes down.
    least, rng = objective(x), np.random.default_rng(8)
    drawn = rng.dirichlet(np.ones(2 * SIZE), (20, PIXELS)).swapaxes(1, 2)
    others = [parts, np.asarray(plain.library_abundances), *drawn]
    for other in others:
        for share in (1e-3, 1e-2, 0.3):
            assert np.all(objective(x + share * (other - x)) >= least - 1e-5)


def test_bundles_of_an_image(spectra, truth):
    fractions = np.concatenate([np.repeat(np.eye(SIZE), 10, axis=1), truth], axis=1)
    own = 1 + 0.1 * np.random.default_rng(9).normal(size=(1, fractions.shape[1]))
    pixels = spectra @ fractions * own
    found, groups = jax.jit(partial(bundles, num_endmembers=SIZE, num_draws=6, fraction=0.5))(
        pixels, key=jax.random.key(0)
    )
    assert found.shape == (BANDS, 6 * SIZE) and sorted(set(groups.tolist())) == [0, 1, 2]
    unit = lambda x: np.asarray(x) / np.linalg.norm(x, axis=0)
    cosines = unit(spectra).T @ unit(found)
    # One material a group, and each spectrum near it.
    nearest = cosines.argmax(axis=0)
    assert all(len(set(nearest[np.asarray(groups) == g])) == 1 for g in range(SIZE))
    assert cosines.max(axis=0).min() > 0.98


@pytest.mark.slow
def test_cubes_masks_and_single_precision(spectra, truth, bundled):
    library, groups, _ = bundled
    cube = np.array((spectra @ truth).T.reshape(HEIGHT, WIDTH, BANDS))
    cube[2, 3, 4] = np.nan
    hole = np.zeros((HEIGHT, WIDTH), bool)
    hole[2, 3] = True
    single = cube.astype(np.float32)
    low, small = spectra.astype(jnp.float32), library.astype(jnp.float32)
    runs = [
        elmm(single, low, total_variation=1e-6, scale_smoothness=1e-6, max_steps=STEPS),
        plmm(single, low, max_steps=STEPS),
        bundle_unmix(single, jnp.concatenate([low, small], axis=1), jnp.r_[:3, groups], num_groups=SIZE),
    ]
    for found in runs:
        assert found.abundances.shape == (SIZE, HEIGHT, WIDTH) and found.abundances.dtype == jnp.float32
        np.testing.assert_array_equal(np.isnan(found.abundances), np.broadcast_to(hole, (SIZE, HEIGHT, WIDTH)))
        np.testing.assert_allclose(found.abundances[:, ~hole], truth[:, ~hole.ravel()], atol=0.01)
        assert found.diagnostics["residual"].dtype == jnp.float32
        assert np.isnan(found.diagnostics["residual"]).sum() == 1


def test_errors(spectra, truth, bundled):
    pixels, (library, groups, _) = spectra @ truth, bundled
    for method in (sclsu, elmm, plmm):
        with pytest.raises(ValueError, match="as many bands"):
            method(pixels[1:], spectra)
    with pytest.raises(ValueError, match="image_shape is missing"):
        elmm(pixels, spectra, total_variation=0.1)
    with pytest.raises(ValueError, match="must hold all"):
        elmm(pixels, spectra, total_variation=0.1, image_shape=(2, 3))
    for bad in ({"strength": 0.0}, {"scale_smoothness": -1.0, "image_shape": (HEIGHT, WIDTH)}, {"max_steps": 0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            elmm(pixels, spectra, **bad)
    for bad in ({"strength": -1.0}, {"reference_weight": -1.0}, {"tol": -1.0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            plmm(pixels, spectra, **bad)
    with pytest.raises(ValueError, match="endmembers must be nonnegative"):
        plmm(pixels, -spectra)
    for bad in ({"norm": "l1"}, {"strength": -1.0}, {"power": 0.0}, {"max_steps": 0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            bundle_unmix(pixels, library, groups, num_groups=SIZE, **bad)
    for bad in (groups[1:], groups + 1, groups.astype(float)):
        with pytest.raises(ValueError, match="groups must"):
            bundle_unmix(pixels, library, bad, num_groups=SIZE)
    for bad in ({"num_draws": 0}, {"fraction": 0.0}, {"num_endmembers": 1}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            bundles(pixels, key=jax.random.key(0), **{"num_endmembers": SIZE, **bad})
