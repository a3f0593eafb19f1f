import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth.unmixing import align, evaluate, fclsu, permute, Scene, simulate_scene, Unmixing


@pytest.mark.parametrize("size", [1, 5])
def test_align_undoes_a_permutation(rng, size):
    abundances, endmembers = rng.dirichlet(np.ones(size), 60).T, rng.uniform(size=(15, size))
    shuffle = rng.permutation(size)
    noisy = abundances[shuffle] + 1e-3 * rng.normal(size=abundances.shape)
    by_abundance = align(noisy, abundances)
    by_angle = align(endmembers[:, shuffle], endmembers, criterion="spectral_angle")
    np.testing.assert_array_equal(shuffle[by_abundance], np.arange(size))
    spectra, fractions = permute(by_angle, endmembers=endmembers[:, shuffle], abundances=abundances[shuffle])
    np.testing.assert_array_equal(spectra, endmembers)
    np.testing.assert_array_equal(fractions, abundances)
    assert permute(by_angle) == (None, None)


def test_align_takes_maps_holes_and_a_surplus(rng):
    truth = rng.uniform(size=(3, 4, 5))
    estimate = np.concatenate([truth[::-1], rng.uniform(5, 6, size=(2, 4, 5))])
    estimate[:, 2, 2] = np.nan
    np.testing.assert_array_equal(align(jnp.asarray(estimate), jnp.asarray(truth)), [2, 1, 0])


def test_align_errors(rng):
    with pytest.raises(ValueError, match="criterion must be"):
        align(np.ones((2, 3)), np.ones((2, 3)), criterion="greedy")
    with pytest.raises(ValueError, match="over the same pixels"):
        align(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(ValueError, match="over the same bands"):
        align(np.ones((2, 3)), np.ones((3, 3)), criterion="spectral_angle")
    with pytest.raises(ValueError, match="1 endmembers, fewer than the 2"):
        align(np.ones((1, 3)), np.ones((2, 3)))
    with pytest.raises(ValueError, match="must be finite"):
        align(np.full((2, 3), np.inf), np.ones((2, 3)))


@pytest.fixture
def scene():
    return simulate_scene(jax.random.key(0), height=10, width=12, num_bands=20, snr_db=np.inf)


def test_evaluate_reports_everything_that_is_known(scene):
    swap = jnp.array([2, 0, 1])
    report = evaluate(scene.endmembers[:, swap], scene.abundances[swap] + 0.01, scene)
    assert report["alignment"] == "abundance" and report["permutation"] == [1, 2, 0]
    np.testing.assert_allclose(report["spectral_angle"], 0, atol=1e-6)
    np.testing.assert_allclose([report["abundance_rmse"], *report["abundance_rmse_per_endmember"]], 1, rtol=1e-6)
    assert report["names"] == ["material 1", "material 2", "material 3"] and report["reconstruction_rmse"] > 0
    assert json.loads(json.dumps(report)) == report
    maps = scene.abundances[swap].reshape(3, 10, 12) + 0.01
    assert evaluate(scene.endmembers[:, swap], maps, scene) == report


def test_evaluate_without_truth_or_with_a_part_of_it(scene):
    def known(**fields):
        return Scene(scene.pixels, 10, 12, **fields)

    spectra, fractions = scene.endmembers[:, ::-1], scene.abundances[::-1]
    assert set(evaluate(spectra, fractions, known())) == {"reconstruction_rmse"}
    by_angle = evaluate(spectra, fractions, known(endmembers=scene.endmembers))
    assert by_angle["alignment"] == "spectral_angle" and by_angle["permutation"] == [2, 1, 0]
    assert "abundance_rmse" not in by_angle and by_angle["mean_spectral_angle"] < 1e-6
    by_abundance = evaluate(spectra, fractions, known(abundances=scene.abundances))
    assert "spectral_angle" not in by_abundance and by_abundance["abundance_rmse"] == 0


def test_evaluate_leaves_masked_pixels_out(scene):
    mask = jnp.arange(120) != 7
    masked = Scene(scene.pixels, 10, 12, endmembers=scene.endmembers, abundances=scene.abundances, mask=mask)
    wrong = scene.abundances.at[:, 7].set(99.0)
    report = evaluate(scene.endmembers, wrong, masked)
    assert report["abundance_rmse"] < 1e-10 and report["reconstruction_rmse"] < 1e-12


def test_evaluate_errors(scene):
    with pytest.raises(ValueError, match="the size of the scene"):
        evaluate(scene.endmembers, jnp.ones((3, 12, 10)), scene)
    with pytest.raises(ValueError, match=r"abundances must have shape \(p, 120\)"):
        evaluate(scene.endmembers, jnp.ones((3, 119)), scene)
    with pytest.raises(ValueError, match="fewer than the 3"):
        evaluate(scene.endmembers[:, :2], scene.abundances[:2], scene)


def test_unmixing_is_a_pytree(scene):
    def unmix(pixels):
        return Unmixing(scene.endmembers, fclsu(pixels, scene.endmembers), diagnostics={"mean": jnp.mean(pixels)})

    result = jax.jit(unmix)(scene.pixels)
    assert result.num_endmembers == 3 and result.indices is None
    np.testing.assert_allclose(result.abundances, scene.abundances, atol=1e-8)
