import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import nnls

from jaxopt_thoth import ADMM, RESULTS
from jaxopt_thoth.unmixing import clsunsal, fclsu, ncls, Scene, scls, sunsal, ucls
from jaxopt_thoth.unmixing._sparse_active_set import solve_sparse


BANDS, ATOMS, PIXELS = 24, 10, 12
TIGHT = ADMM(tol=1e-10)


@pytest.fixture
def task(rng):
    """Pixels of three atoms with noise, the library, and the abundances of its atoms."""
    library = rng.uniform(0.1, 0.9, (BANDS, ATOMS))
    truth = np.zeros((ATOMS, PIXELS))
    truth[[1, 4, 7]] = rng.dirichlet(np.ones(3), PIXELS).T
    return jnp.asarray(library @ truth + 0.02 * rng.normal(size=(BANDS, PIXELS))), jnp.asarray(library), truth


def _scipy_nnls(pixels, endmembers):
    return np.stack([nnls(np.asarray(endmembers), y)[0] for y in np.asarray(pixels).T], axis=1)


def test_ucls_is_least_squares(task):
    pixels, library, _ = task
    expected = np.linalg.lstsq(library, pixels, rcond=None)[0]
    np.testing.assert_allclose(ucls(pixels, library), expected, atol=1e-10)
    assert ucls(pixels.astype(jnp.float32), library.astype(jnp.float32)).dtype == jnp.float32


def test_scls_sums_to_one_and_is_stationary(task):
    pixels, library, _ = task
    found = scls(pixels, library)
    np.testing.assert_allclose(jnp.sum(found, axis=0), 1, atol=1e-12)
    # The gradient has one value for all endmembers: the multiplier of the sum.
    gradient = library.T @ (library @ found - pixels)
    np.testing.assert_allclose(gradient - jnp.mean(gradient, axis=0, keepdims=True), 0, atol=1e-10)
    np.testing.assert_array_equal(scls(pixels, library[:, :1]), np.ones((1, PIXELS)))


@pytest.mark.parametrize("size", [3, 8])
def test_ncls_is_scipy_nnls(rng, size):
    endmembers = rng.normal(size=(BANDS, size))
    pixels = 50 * rng.normal(size=(BANDS, 30))
    pixels[:, 0] = 0
    expected = _scipy_nnls(pixels, endmembers)
    np.testing.assert_allclose(ncls(pixels, endmembers), expected, atol=1e-8)
    np.testing.assert_allclose(ncls(1e-4 * pixels, 1e3 * endmembers), 1e-7 * expected, atol=1e-14)


def test_ncls_derivative_is_that_of_the_free_entries(rng):
    endmembers, pixels = jnp.asarray(rng.uniform(0.1, 1, (BANDS, 3))), jnp.asarray(rng.uniform(0, 1, (BANDS, 1)))
    direction = jnp.asarray(rng.normal(size=(BANDS, 1)))
    _, slope = jax.jvp(lambda y: ncls(y, endmembers), (pixels,), (direction,))
    step = 1e-5
    expected = (ncls(pixels + step * direction, endmembers) - ncls(pixels - step * direction, endmembers)) / (2 * step)
    np.testing.assert_allclose(slope, expected, atol=1e-6)


def test_sunsal_meets_the_optimality_conditions_and_counts_less_with_strength(task):
    pixels, library, _ = task
    strengths = jnp.array([0.0, 0.05, 0.5, 1e3])
    found = jax.vmap(lambda s: sunsal(pixels, library, s))(strengths)
    by_admm = sunsal(pixels, library, 0.05, solver=TIGHT).library_abundances
    np.testing.assert_allclose(found.library_abundances[1], by_admm, atol=1e-6)
    assert jnp.all(found.result == RESULTS.converged)
    np.testing.assert_allclose(found.library_abundances[0], _scipy_nnls(pixels, library), atol=1e-6)
    for strength, x in zip(strengths, found.library_abundances):
        slope = np.asarray(library.T @ (library @ x - pixels) + strength)
        assert slope.min() > -1e-6
        np.testing.assert_allclose(slope[np.asarray(x) > 0], 0, atol=1e-6)
    assert jnp.all(found.library_abundances[-1] == 0)
    assert np.all(np.diff(np.sum(found.library_abundances > 0, axis=(1, 2))) <= 0)


def _violation(library, pixels, x, strength):
    """How far an x is from the optimality conditions of the l1 problem over the orthant."""
    library, pixels, x = (np.asarray(a, np.float64) for a in (library, pixels, x))
    slope = library.T @ (library @ x - pixels) + strength
    return max(-slope.min(), np.abs(slope[x > 0]).max(initial=0.0), -x.min())


@pytest.mark.parametrize(("dtype", "tol"), [(jnp.float64, 1e-9), (jnp.float32, 3e-4)])
def test_sunsal_is_exact_on_a_library_of_nearly_equal_spectra(rng, dtype, tol):
    # Smooth spectra: the Gram matrix of 60 atoms in 30 bands has rank 30 at most, and far less in single precision.
    bands = np.linspace(0, 1, 30)[:, None]
    centers, widths = rng.uniform(0, 1, 60), rng.uniform(0.1, 0.5, 60)
    library = 0.3 + 0.5 * np.exp(-0.5 * ((bands - centers) / widths) ** 2)
    truth = rng.dirichlet(np.full(60, 0.05), 60).T
    pixels = library @ truth + 0.01 * rng.normal(size=(30, 60))
    pixels[:, 3] = 0
    pixels, library = jnp.asarray(pixels, dtype), jnp.asarray(library, dtype)
    strengths = jnp.asarray([0.0, 1e-3, 0.1], dtype)
    found = jax.vmap(lambda s: sunsal(pixels, library, s))(strengths)
    assert jnp.all(found.result == RESULTS.converged)
    for strength, x in zip(strengths, found.library_abundances):
        assert x.dtype == dtype and not np.any(x[:, 3])
        assert _violation(library, pixels, x, float(strength)) < tol


def test_active_set_reports_dense_pixels_and_sunsal_falls_back(rng):
    library = jnp.asarray(np.eye(64) + 0.01 * rng.uniform(size=(64, 64)))
    pixels = jnp.asarray(rng.uniform(0.5, 1, (64, 3)).T * np.array([[1.0], [1.0], [0.0]])).T
    pixels = pixels.at[30:, 1].set(0)
    _, done = solve_sparse(library.T @ library, library.T @ pixels)
    assert done.tolist() == [False, True, True]
    found = sunsal(pixels, library, 0.01).library_abundances
    assert jnp.sum(found[:, 0] > 0) == 64
    assert _violation(library, pixels, found, 0.01) < 1e-5


def test_active_set_on_the_simplex_is_fclsu(rng):
    library = jnp.asarray(rng.uniform(0.1, 0.9, (40, 30)))
    pixels = jnp.asarray(library @ rng.dirichlet(np.full(30, 0.3), 200).T + 0.02 * rng.normal(size=(40, 200)))
    found, done = solve_sparse(library.T @ library, library.T @ pixels, sum_to_one=True)
    assert jnp.all(done)
    np.testing.assert_allclose(jnp.sum(found, axis=0), 1, atol=1e-12)
    np.testing.assert_allclose(found, fclsu(pixels, library), atol=1e-8)


def test_sunsal_with_sums_of_one_is_fclsu_whatever_the_strength(task):
    pixels, library, _ = task
    found = sunsal(pixels, library, 0.3, sum_to_one=True).library_abundances
    np.testing.assert_allclose(found, fclsu(pixels, library), atol=1e-6)


def test_sunsal_derivative_in_the_strength(task):
    pixels, library, truth = task

    def error(strength):
        return jnp.sum((sunsal(pixels, library, strength).library_abundances - truth) ** 2)

    step = 1e-5
    value, slope = jax.value_and_grad(error)(0.05)
    np.testing.assert_allclose(slope, (error(0.05 + step) - error(0.05 - step)) / (2 * step), rtol=1e-3)
    assert np.isfinite(value)


def test_clsunsal_meets_the_optimality_conditions_and_drops_rows(task):
    pixels, library, _ = task
    strength = 0.2
    found = clsunsal(pixels, library, strength, num_endmembers=3, solver=TIGHT)
    x = np.asarray(found.library_abundances)
    slope = np.asarray(library.T @ (library @ x - pixels))
    sizes = np.linalg.norm(x, axis=1, keepdims=True)
    alive = sizes[:, 0] > 0
    pull = slope + strength * x / np.where(sizes > 0, sizes, 1)
    # On a row in use: stationary where positive, pushed down where zero; on the others the pull of the norm suffices.
    np.testing.assert_allclose(pull[alive][x[alive] > 0], 0, atol=1e-6)
    assert pull[alive].min() > -1e-6
    assert np.all(np.linalg.norm(np.maximum(-slope[~alive], 0), axis=1) <= strength + 1e-6)
    assert sorted(found.indices.tolist()) == [1, 4, 7]
    assert np.sum(~alive) > 0
    np.testing.assert_array_equal(found.endmembers, library[:, found.indices])
    np.testing.assert_array_equal(found.abundances, x[found.indices])


def test_input_forms_masks_and_errors(task):
    pixels, library, _ = task
    image = (3, 4)
    cube = pixels.T.reshape(*image, BANDS)
    flat = sunsal(pixels, library, 0.05).library_abundances
    np.testing.assert_allclose(sunsal(cube, library, 0.05).library_abundances.reshape(ATOMS, -1), flat, atol=1e-7)
    masked = sunsal(Scene(pixels.at[0, 2].set(jnp.nan), *image), library, 0.05).library_abundances
    assert np.all(np.isnan(masked[:, 2]))
    np.testing.assert_allclose(np.delete(masked, 2, axis=1), np.delete(flat, 2, axis=1), atol=1e-9)
    with pytest.raises(ValueError, match="library"):
        sunsal(pixels, library[1:])
    with pytest.raises(ValueError, match="dtype"):
        sunsal(pixels, library.astype(jnp.float32))
    with pytest.raises(ValueError, match="strength"):
        clsunsal(pixels, library, -1.0)
    with pytest.raises(ValueError, match="num_endmembers"):
        sunsal(pixels, library, num_endmembers=ATOMS + 1)
    with pytest.raises(ValueError, match="endmembers"):
        ucls(pixels[:5], library[:5])
