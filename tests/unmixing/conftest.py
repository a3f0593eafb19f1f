import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jaxopt_thoth.unmixing import load_scene, Scene


@pytest.fixture(scope="session")
def data_file() -> Callable[[str], Path]:
    """Path of a data set by name; skips the test when the data are not on this machine."""
    folder = Path(os.environ.get("JAXOPT_THOTH_DATA", Path(__file__).parents[2].parent / "shared" / "data"))

    def find(name: str) -> Path:
        if not (folder / name).exists():
            pytest.skip(f"{name} is not in {folder}; set JAXOPT_THOTH_DATA to the folder of data sets")
        return folder / name

    return find


@pytest.fixture(scope="session")
def samson(data_file: Callable[[str], Path]) -> Scene:
    return load_scene(data_file("samson.npz"))


@pytest.fixture
def smooth_scene() -> dict[str, np.ndarray]:
    """Entries of a scene's file, row-major, smooth in space: 10 x 14 pixels, 6 bands, 3 materials."""
    rows, columns = np.meshgrid(np.linspace(0, 3, 10), np.linspace(0, 4, 14), indexing="ij")
    logits = np.stack([np.sin(rows + columns), np.cos(rows - 0.5 * columns), 0.5 * np.sin(2 * rows)])
    abundances = np.exp(2 * logits) / np.exp(2 * logits).sum(axis=0)
    endmembers = np.random.default_rng(3).uniform(0.1, 0.9, (6, 3))
    fractions = abundances.reshape(3, -1)
    return {"Y": endmembers @ fractions, "E": endmembers, "A": fractions, "H": np.asarray(10), "W": np.asarray(14)}
