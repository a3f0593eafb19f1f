from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from jaxopt_thoth.unmixing import fclsu, fclsu_gram, pixel_l2
from jaxopt_thoth.unmixing.metrics import abundance_rmse


def _by_brute_force(pixels, endmembers):
    """Least squares on every face, the feasible one of lowest objective: independent of the Gram form."""
    size = endmembers.shape[1]
    result = np.empty((size, pixels.shape[1]))
    for n, pixel in enumerate(pixels.T):
        lowest = np.inf
        for count in range(1, size + 1):
            for face in map(list, combinations(range(size), count)):
                base, rest = endmembers[:, face[0]], endmembers[:, face[1:]] - endmembers[:, face[:1]]
                free = np.linalg.lstsq(rest, pixel - base, rcond=None)[0]
                weights = np.concatenate([[1 - free.sum()], free])
                value = np.sum((pixel - endmembers[:, face] @ weights) ** 2)
                if weights.min() >= -1e-12 and value < lowest:
                    lowest = value
                    result[:, n] = 0
                    result[face, n] = weights
    return result


def _problem(rng, size, count=40, bands=12, spread=1.0):
    endmembers = rng.uniform(0.1, 0.9, (bands, size))
    inside = rng.dirichlet(np.full(size, 0.5), count).T
    return endmembers @ inside + spread * 0.2 * rng.normal(size=(bands, count)), endmembers, inside


@pytest.mark.parametrize("size", [1, 4, 7])
def test_equals_brute_force_over_faces(rng, size):
    pixels, endmembers, _ = _problem(rng, size, count=25)
    expected = _by_brute_force(pixels, endmembers)
    np.testing.assert_allclose(fclsu(pixels, endmembers), expected, atol=1e-10)
    single = fclsu(pixels.astype(np.float32), endmembers.astype(np.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, expected, atol=1e-5)


@pytest.mark.parametrize("size", [4, 9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_noiseless_pixels_give_their_abundances(rng, size, dtype):
    pixels, endmembers, inside = _problem(rng, size, bands=30, spread=0)
    found = fclsu(pixels.astype(dtype), endmembers.astype(dtype))
    np.testing.assert_allclose(found, inside, atol=1e-4 if dtype == np.float32 else 1e-11)


@pytest.mark.parametrize("size", [5, 12])
def test_optimality_conditions(rng, size):
    pixels, endmembers, _ = _problem(rng, size, count=200, bands=40)
    found = np.asarray(fclsu(pixels, endmembers))
    assert found.min() >= 0
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-12)
    gradient = endmembers.T @ (endmembers @ found - pixels)
    level = gradient.min(axis=0)
    assert np.where(found > 1e-9, gradient - level, 0).max() < 1e-9
    assert (found == 0).any() and (found > 0).sum(axis=0).max() > 2


def test_translation_of_all_spectra_and_rotation_of_bands_change_nothing(rng):
    pixels, endmembers, _ = _problem(rng, 4)
    reference = fclsu(pixels, endmembers)
    shift = rng.normal(size=(12, 1))
    rotation = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    np.testing.assert_allclose(fclsu(pixels + shift, endmembers + shift), reference, atol=1e-10)
    np.testing.assert_allclose(fclsu(rotation @ pixels, rotation @ endmembers), reference, atol=1e-10)


@pytest.mark.parametrize("size", [4, 9])
def test_permutations_of_pixels_and_endmembers_permute_the_abundances(rng, size):
    pixels, endmembers, _ = _problem(rng, size)
    reference = np.asarray(fclsu(pixels, endmembers))
    order, swap = rng.permutation(pixels.shape[1]), rng.permutation(size)
    np.testing.assert_allclose(fclsu(pixels[:, order], endmembers), reference[:, order], atol=1e-12)
    np.testing.assert_allclose(fclsu(pixels, endmembers[:, swap]), reference[swap], atol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("copies", [2, 6])
def test_duplicate_endmembers_keep_the_fit_unique(rng, dtype, copies):
    pixels, endmembers, _ = _problem(rng, 3)
    repeated = np.concatenate([endmembers] + [endmembers[:, :1]] * (copies - 1), axis=1)
    found = np.asarray(fclsu(pixels.astype(dtype), repeated.astype(dtype)))
    assert np.isfinite(found).all() and found.min() >= 0
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-6)
    expected = np.asarray(fclsu(pixels, endmembers))
    tolerance = 1e-5 if dtype == np.float32 else 1e-9
    np.testing.assert_allclose(repeated @ found, endmembers @ expected, atol=tolerance)


@pytest.mark.parametrize("size", [3, 8])
def test_identical_or_zero_endmembers_are_harmless(size):
    pixels = np.ones((5, 4))
    for endmembers in (np.zeros((5, size)), np.ones((5, size))):
        found = fclsu(pixels, endmembers)
        np.testing.assert_allclose(jnp.sum(found, axis=0), 1)


@pytest.mark.parametrize("size", [3, 7])
def test_shade_and_more_endmembers_than_bands_are_solved(rng, size):
    shade = np.concatenate([rng.uniform(0.2, 0.9, (10, size - 1)), np.zeros((10, 1))], axis=1)
    inside = rng.dirichlet(np.ones(size), 20).T
    np.testing.assert_allclose(fclsu(shade @ inside, shade), inside, atol=1e-10)
    flat = rng.uniform(0.2, 0.9, (2, size))
    pixels = flat @ inside
    found = fclsu(pixels, flat)
    np.testing.assert_allclose(flat @ np.asarray(found), pixels, atol=1e-9)


def test_gram_form_agrees_and_both_compile_and_batch(rng):
    pixels, endmembers, _ = _problem(rng, 4)
    reference = fclsu(pixels, endmembers)
    np.testing.assert_allclose(fclsu_gram(endmembers.T @ endmembers, endmembers.T @ pixels), reference, atol=1e-10)
    np.testing.assert_allclose(jax.jit(fclsu)(pixels, endmembers), reference, atol=1e-12)
    for size in (4, 7):
        stacks = rng.uniform(0, 1, (3, 12, size))
        batched = jax.vmap(fclsu, in_axes=(None, 0))(pixels, stacks)
        each = jnp.stack([fclsu(pixels, one) for one in stacks])
        np.testing.assert_allclose(batched, each, atol=1e-10)


@settings(deadline=None, max_examples=15)
@given(arrays(np.float64, (5, 3), elements=st.floats(-1, 1)), arrays(np.float64, (5, 4), elements=st.floats(-1, 1)))
def test_never_worse_than_any_vertex_or_the_center(endmembers, pixels):
    found = np.asarray(fclsu(pixels, endmembers))
    assert np.isfinite(found).all() and found.min() >= 0
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-12)
    value = np.sum((pixels - endmembers @ found) ** 2, axis=0)
    for rival in [*endmembers.T, endmembers.mean(axis=1)]:
        assert (value <= np.sum((pixels - rival[:, None]) ** 2, axis=0) + 1e-9).all()


def test_errors_name_the_argument(rng):
    pixels, endmembers, _ = _problem(rng, 3)
    with pytest.raises(ValueError, match=r"pixels must be a real matrix of shape \(L, N\)"):
        fclsu(pixels[None], endmembers)
    with pytest.raises(ValueError, match="endmembers must be a real matrix"):
        fclsu(pixels, endmembers[:, 0])
    with pytest.raises(ValueError, match="as many bands"):
        fclsu(pixels, endmembers[:-1])
    with pytest.raises(ValueError, match="must have one dtype"):
        fclsu(pixels.astype(np.float32), endmembers)
    with pytest.raises(ValueError, match="gram must have shape"):
        fclsu_gram(endmembers.T @ endmembers, pixels)


def test_samson_with_the_true_endmembers_is_at_the_floor_of_its_ground_truth(samson):
    found = fclsu(pixel_l2(samson.pixels), pixel_l2(samson.endmembers))
    assert abs(float(abundance_rmse(found, samson.abundances)) - 4.06) < 0.02
