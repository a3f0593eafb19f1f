"""The table of methods, and libraries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth import unmixing
from jaxopt_thoth.unmixing._method_settings import settings_of, sort_settings
from jaxopt_thoth.unmixing._methods import find_method, METHODS, Plan
from jaxopt_thoth.unmixing._prune_library import least_angles


@pytest.fixture(scope="module")
def scene() -> unmixing.Scene:
    return unmixing.simulate_scene(jax.random.key(0), height=8, width=9, num_bands=20, snr_db=60.0)


@pytest.mark.parametrize("name", METHODS)
def test_every_default_suits_its_own_setting(name: str) -> None:
    for key, setting in settings_of(Plan(None, METHODS[name])).items():
        assert setting.check(key, setting.default) == setting.default


def test_settings_that_two_stages_share_are_told_apart() -> None:
    plan = find_method("sisal+fan")
    stages = sort_settings("sisal+fan", plan, {"max_steps": 5, "extraction_max_steps": 7, "outside": 1, "tol": None})
    assert stages["fit"] == {"max_steps": 5, "tol": None}
    assert stages["extraction"] == {"max_steps": 7, "outside": 1.0}


@pytest.mark.parametrize("name", ["magic", "vca", "edaa+fclsu", "vca+sunsal", "fclsu+vca", ""])
def test_names_that_stand_for_nothing_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="method must be one of"):
        find_method(name)


def test_given_endmembers_are_fitted_and_keep_their_unit(scene: unmixing.Scene) -> None:
    key = jax.random.key(0)
    plain = unmixing.unmix(scene, method="fclsu", endmembers=scene.endmembers, key=key)
    np.testing.assert_allclose(plain.abundances, unmixing.fclsu(scene.pixels, scene.endmembers), atol=1e-12)
    unit = unmixing.unmix(scene, method="fclsu", endmembers=scene.endmembers, normalization="pixel_l2", key=key)
    np.testing.assert_allclose(jnp.linalg.norm(unit.endmembers, axis=0), 1, rtol=1e-6)
    rebuilt = (unit.endmembers @ unit.abundances) * unit.pixel_scale[None]
    assert float(jnp.abs(rebuilt - scene.pixels).max()) < 0.2


def test_models_and_libraries_bring_their_reconstruction(scene: unmixing.Scene) -> None:
    key = jax.random.key(0)
    bent = unmixing.unmix(scene, method="hapke", endmembers=scene.endmembers, key=key)
    expected = unmixing.Hapke().mix(scene.endmembers, bent.abundances)
    np.testing.assert_allclose(bent.diagnostics["reconstruction"], expected, rtol=1e-9)
    atoms = jnp.concatenate([scene.endmembers, scene.endmembers[::-1]], axis=1)
    found = unmixing.unmix(scene, 2, method="sunsal", library=atoms, strength=1e-4, key=key)
    assert found.num_endmembers == 2
    misfit = jnp.linalg.norm(found.diagnostics["reconstruction"] - scene.pixels) / jnp.linalg.norm(scene.pixels)
    assert float(misfit) < 5e-3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "fclsu"}, "that are given"),
        ({"method": "sunsal"}, "needs a library"),
        ({"method": "edaa", "endmembers": np.ones((20, 3))}, "finds its own"),
        ({"method": "edaa", "library": np.ones((20, 3))}, "uses no library"),
        ({"method": "fclsu", "endmembers": np.ones((19, 3))}, "20 bands"),
        ({"method": "ncls", "endmembers": np.ones((20, 4))}, "must be that of"),
        ({"method": "vca+fan", "normalization": "pixel_l2"}, "nonlinear"),
        ({"method": "edaa", "colour": 3}, "colour is not a setting of edaa"),
    ],
)
def test_what_does_not_suit_a_method_is_named(scene: unmixing.Scene, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unmixing.unmix(scene, 3, key=jax.random.key(0), **settings)


def test_pruning_keeps_the_first_of_near_spectra() -> None:
    angles = np.radians([0.0, 3.0, 5.0, 9.5, 40.0])
    library = np.vstack([np.cos(angles), np.sin(angles)]) * [1.0, 2.0, 3.0, 4.0, 5.0]
    assert unmixing.prune_library(library, 4.44).tolist() == [0, 2, 3, 4]
    np.testing.assert_allclose(least_angles(library), [3.0, 2.0, 2.0, 4.5, 30.5], rtol=1e-9)
    kept = unmixing.prune_library(np.concatenate([np.zeros((2, 1)), library], axis=1), 4.44)
    assert kept.tolist() == [1, 3, 4, 5]
    assert unmixing.prune_library(library, 0.0).size == 5
    with pytest.raises(ValueError, match="between 0 and 180"):
        unmixing.prune_library(library, -1.0)


def test_resampling_is_exact_on_lines_and_knows_its_ends() -> None:
    waves = np.array([2.5, 0.5, 1.0, 2.0])
    spectra = np.stack([waves, 1 - 2 * waves], axis=1)
    targets = np.array([600.0, 2500.0, 500.0])
    expected = np.stack([targets / 1000, 1 - targets / 500], axis=1)
    np.testing.assert_allclose(unmixing.resample_spectra(spectra, waves, targets), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="from 400 to 600 must lie within"):
        unmixing.resample_spectra(spectra, waves, np.array([400.0, 600.0]))
    with pytest.raises(ValueError, match="repeat"):
        unmixing.resample_spectra(spectra, np.array([1.0, 1.0, 2.0, 3.0]), np.array([1.5]))
