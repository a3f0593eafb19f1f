"""The one call over all blind methods."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import unmixing


@pytest.fixture(scope="module")
def scene() -> unmixing.Scene:
    simulated = unmixing.simulate_scene(jax.random.key(3), height=16, width=18, num_bands=30, snr_db=50.0)
    mask = np.ones(16 * 18, bool)
    mask[:5] = False
    return unmixing.Scene(
        simulated.pixels,
        16,
        18,
        wavelengths=simulated.wavelengths,
        endmembers=simulated.endmembers,
        abundances=simulated.abundances,
        mask=mask,
    )


@pytest.mark.parametrize(
    ("method", "ensemble"), [("vca+fclsu", None), ("vca+fclsu", 3), ("sivm+fclsu", None), ("aa", None), ("edaa", 2)]
)
def test_each_method_unmixes_a_scene_with_nearly_pure_pixels(
    scene: unmixing.Scene, method: str, ensemble: int | None
) -> None:
    found = unmixing.unmix(scene, 3, method=method, ensemble=ensemble, key=jax.random.key(0), normalization="none")
    report = unmixing.evaluate(found.endmembers, found.abundances, scene)
    assert report["mean_spectral_angle"] < 3 and report["abundance_rmse"] < 6
    assert (
        np.isnan(np.asarray(found.abundances)[:, :5]).all() and np.isfinite(np.asarray(found.abundances)[:, 5:]).all()
    )
    assert np.isfinite(np.asarray(found.endmembers)).all()


def test_of_an_ensemble_of_vca_the_largest_simplex_is_kept(scene: unmixing.Scene) -> None:
    def volume(ensemble: int) -> float:
        found = unmixing.unmix(scene, 3, method="vca+fclsu", ensemble=ensemble, key=jax.random.key(1))
        edges = np.asarray(found.endmembers)[:, 1:] - np.asarray(found.endmembers)[:, :1]
        return float(np.linalg.det(edges.T @ edges))

    assert volume(6) >= volume(1) * (1 - 1e-9)


def test_normalized_methods_report_the_scale_of_each_pixel(scene: unmixing.Scene) -> None:
    found = unmixing.unmix(scene, 3, method="sivm+fclsu", key=jax.random.key(0))
    norms = jnp.linalg.norm(scene.pixels, axis=0)
    assert np.isnan(np.asarray(found.pixel_scale)[:5]).all()
    np.testing.assert_allclose(found.pixel_scale[5:], norms[5:], rtol=1e-6)
    assert bool(found.result == jt.RESULTS.converged)
    rebuilt = np.asarray(found.endmembers @ found.abundances) * np.asarray(found.pixel_scale)
    assert np.abs(rebuilt - np.asarray(scene.pixels))[:, 5:].max() < 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "kmeans"}, "method must be one of"),
        ({"num_endmembers": 1}, "number of endmembers must be between 2"),
        ({"num_endmembers": 31}, "number of endmembers must be between 2"),
        ({"ensemble": 0}, "ensemble must be at least 1"),
    ],
)
def test_bad_settings_are_named(scene: unmixing.Scene, changes: dict[str, Any], message: str) -> None:
    settings = {"num_endmembers": 3, "key": jax.random.key(0), **changes}
    with pytest.raises(ValueError, match=message):
        unmixing.unmix(scene, settings.pop("num_endmembers"), **settings)
