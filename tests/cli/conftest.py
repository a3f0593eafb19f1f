import numpy as np
import pytest

from jaxopt_thoth.unmixing import save_scene, Scene


@pytest.fixture(scope="session")
def scene():
    """A scene with truth, names and wavelengths, made without compiling anything."""
    generator = np.random.default_rng(5)
    bands = np.linspace(0.4, 2.5, 20)
    centers = np.array([0.6, 1.3, 2.1])
    endmembers = 0.2 + 0.6 * np.exp(-((bands[:, None] - centers) ** 2) / 0.3)
    abundances = generator.dirichlet(0.4 * np.ones(3), 120).T
    abundances[:, [7, 50, 101]] = np.eye(3)
    pixels = endmembers @ abundances + 1e-4 * generator.normal(size=(20, 120))
    names = ["soil", "tree", "water"]
    return Scene(pixels, 12, 10, wavelengths=bands, endmembers=endmembers, abundances=abundances, names=names)


@pytest.fixture
def path(tmp_path, scene):
    """The file of that scene."""
    save_scene(tmp_path / "scene.npz", scene)
    return tmp_path / "scene.npz"
