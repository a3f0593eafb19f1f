"""Each name of the table of methods runs, by `unmix` and by the command line, and rebuilds the pixels."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth import unmixing
from jaxopt_thoth.cli import main
from jaxopt_thoth.plotting._fit import rebuilt_pixels
from jaxopt_thoth.unmixing._method_settings import settings_of
from jaxopt_thoth.unmixing._methods import FITS, METHODS, Plan
from jaxopt_thoth.unmixing._unmix import classes_of


NETWORKS = ("undip", "suncnn", "misicnet", "cnnaeu", "pgmsu", "admmnet", "msnet")
QUICK = ("admmnet", "sclsu", "mesma", "bundle")
FEW = {"steps": 2, "width": 4, "patch": 8, "num_draws": 2}
NAMES = [
    n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n, m in METHODS.items() if m.kind != "extraction"
]


@pytest.fixture(scope="module")
def scene() -> unmixing.Scene:
    made = unmixing.simulate_scene(jax.random.key(0), height=12, width=12, num_bands=20, snr_db=40.0)
    return unmixing.Scene(
        made.pixels,
        12,
        12,
        endmembers=made.endmembers,
        abundances=made.abundances,
        library=jnp.concatenate([made.endmembers, 0.9 * made.endmembers[:, ::-1]], axis=1),
        library_names=["a", "b", "c", "c", "b", "a"],
        mask=np.arange(144) != 7,
    )


def few_steps(name: str) -> dict[str, Any]:
    return {key: value for key, value in FEW.items() if key in settings_of(Plan(None, METHODS[name]))}


@pytest.mark.parametrize("name", NAMES)
def test_a_method_runs_and_says_what_it_fits(scene: unmixing.Scene, name: str) -> None:
    given = {"endmembers": scene.endmembers} if METHODS[name].kind in FITS else {}
    calls: list[tuple[int, int]] = []
    found = unmixing.unmix(
        scene,
        3,
        method=name,
        key=jax.random.key(0),
        progress=lambda done, total: calls.append((int(done), int(total))),
        **given,
        **few_steps(name),
    )
    jax.effects_barrier()
    assert found.endmembers.shape == (20, 3) and found.abundances.shape == (3, 144)
    hidden = np.isnan(np.asarray(found.abundances)).all(axis=0)
    assert hidden[7] and (name == "mesma" or hidden.sum() == 1)
    assert calls and calls[-1][0] == calls[-1][1]
    known = ~hidden
    scale = 1 if found.pixel_scale is None else np.asarray(found.pixel_scale)[known]
    rest = rebuilt_pixels(found, known) * scale - np.asarray(scene.pixels)[:, known]
    # Networks after two steps know nothing; strengths are not made for this scene.
    most = 1.0 if name in NETWORKS or METHODS[name].kind == "library" else 0.2
    assert np.linalg.norm(rest) < most * np.linalg.norm(np.asarray(scene.pixels)[:, known])


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NETWORKS, "sclsu", "elmm", "plmm", "mesma", "bundle", "nmf-qmv", "auto-bundles"])
def test_the_command_line_takes_a_method(scene: unmixing.Scene, tmp_path: Path, name: str) -> None:
    unmixing.save_scene(tmp_path / "scene.npz", scene)
    np.savez(tmp_path / "spectra.npz", E=scene.endmembers, D=scene.endmembers)
    kind, options = METHODS[name].kind, ["--endmembers", "3"]
    options += [f"--setting={key}={value}" for key, value in few_steps(name).items()]
    options += ["--endmembers-file", str(tmp_path / "spectra.npz")] if kind in FITS else []
    out = tmp_path / "report"
    assert main(["unmix", str(tmp_path / "scene.npz"), "--method", name, *options, "--out", str(out)]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["settings"]["method"] == name and metrics["relative_residual"] < 1


def test_variability_comes_after_an_extraction_too(scene: unmixing.Scene) -> None:
    found = unmixing.unmix(scene, 3, method="spa+sclsu", key=jax.random.key(0))
    assert set(found.diagnostics) >= {"scale", "reconstruction"} and found.indices.shape == (3,)
    np.testing.assert_array_equal(np.asarray(found.pixel_scale)[np.arange(144) != 7], 1)


def test_spectra_of_a_name_are_a_class(scene: unmixing.Scene) -> None:
    assert classes_of(["b", "a", "b"], 3).tolist() == [0, 1, 0] and classes_of(None, 3).tolist() == [0, 1, 2]
    key = jax.random.key(0)
    found = unmixing.unmix(scene, method="bundle", key=key)
    direct = unmixing.bundle_unmix(scene, scene.library, np.array([0, 1, 2, 2, 1, 0]), num_groups=3)
    np.testing.assert_allclose(found.abundances, direct.abundances, atol=1e-12)
    with pytest.raises(ValueError, match="must be that of the 3 classes"):
        unmixing.unmix(scene, 2, method="mesma", key=key)
    with pytest.raises(ValueError, match="an integer from 0 for each of the 6 spectra"):
        unmixing.unmix(scene, method="mesma", classes=[0, 1], key=key)
    with pytest.raises(ValueError, match="knows no classes"):
        unmixing.unmix(scene, 3, method="sunsal", classes=[0, 1, 2, 2, 1, 0], key=key)
