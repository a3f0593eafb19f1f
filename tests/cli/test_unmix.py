import csv
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth.cli import main
from jaxopt_thoth.unmixing import save_scene, Scene


FILES = ["abundances.npz", "endmembers.csv", "metrics.json", "report.html", "report.png"]
OPTIONS = ["--endmembers", "3", "--method", "vca+fclsu"]


def unmix(path, out, *more):
    assert main(["unmix", str(path), *OPTIONS, "--out", str(out), *more]) == 0
    with (out / "endmembers.csv").open() as file:
        header, *rows = csv.reader(file)
    metrics = json.loads((out / "metrics.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    return header, np.array(rows, float), np.load(out / "abundances.npz"), metrics


def test_a_report_is_five_files_and_nothing_else(path, tmp_path):
    out = tmp_path / "report"
    unmix(path, out)
    assert sorted(entry.name for entry in out.iterdir()) == FILES
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["report", "scene.npz"]
    assert (out / "report.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_the_files_agree_with_each_other(path, tmp_path, scene):
    header, rows, arrays, metrics = unmix(path, tmp_path / "report")
    assert header == ["wavelength", *scene.names]
    assert sorted(arrays.files) == ["abundances", "endmembers"]
    np.testing.assert_array_equal(rows[:, 0], scene.wavelengths)
    np.testing.assert_array_equal(rows[:, 1:], arrays["endmembers"])
    assert arrays["abundances"].shape == (3, 12, 10)
    np.testing.assert_allclose(arrays["abundances"].sum(axis=0), 1, atol=1e-6)
    assert metrics["names"] == list(scene.names)


def test_metrics_are_those_of_the_arrays_in_the_order_of_the_truth(path, tmp_path, scene):
    _, _, arrays, metrics = unmix(path, tmp_path / "report")
    estimate, truth = arrays["endmembers"], np.asarray(scene.endmembers)
    cosines = np.sum(estimate * truth, 0) / np.linalg.norm(estimate, axis=0) / np.linalg.norm(truth, axis=0)
    angles = np.degrees(np.arccos(cosines))
    np.testing.assert_allclose(metrics["spectral_angle"], angles, atol=1e-5)
    np.testing.assert_allclose(metrics["mean_spectral_angle"], angles.mean(), atol=1e-5)
    errors = arrays["abundances"].reshape(3, -1) - np.asarray(scene.abundances)
    np.testing.assert_allclose(metrics["abundance_rmse"], 100 * np.sqrt(np.mean(errors**2)), rtol=1e-6)
    np.testing.assert_allclose(
        metrics["abundance_rmse_per_endmember"], 100 * np.sqrt(np.mean(errors**2, axis=1)), rtol=1e-6
    )
    assert metrics["pixels"] == "scaled one by one"
    pixels = np.asarray(scene.pixels) / np.linalg.norm(scene.pixels, axis=0)
    residual = pixels - estimate @ arrays["abundances"].reshape(3, -1)
    np.testing.assert_allclose(metrics["reconstruction_rmse"], np.sqrt(np.mean(residual**2)), rtol=1e-5)
    np.testing.assert_allclose(
        metrics["relative_residual"], np.linalg.norm(residual) / np.linalg.norm(pixels), rtol=1e-5
    )


def test_metrics_tell_how_the_report_came_about(path, tmp_path):
    _, _, _, metrics = unmix(path, tmp_path / "report", "--seed", "7")
    assert metrics["settings"] == {
        "endmembers": 3, "method": "vca+fclsu", "ensemble": None, "normalization": "pixel_l2", "seed": 7,
        "nodata": None, "order": None, "variable": None, "mask": None, "wavelengths": [], "library": None,
        "endmembers_file": None, "format": "npz", "uncertainty": None, "settings": {},
    }  # fmt: skip
    assert metrics["scene"] == {"source": "scene.npz", "height": 12, "width": 10, "bands": 20, "masked_pixels": 0}
    assert set(metrics["versions"]) >= {"python", "jax", "jaxopt_thoth", "numpy"}
    assert metrics["result"] == "converged"
    assert metrics["run_seconds"] > 0 and metrics["compile_seconds"] >= 0


def test_masked_pixels_come_back_as_nan(tmp_path, scene):
    mask = np.ones(120, bool)
    mask[[0, 57]] = False
    masked = Scene(scene.pixels, 12, 10, endmembers=scene.endmembers, abundances=scene.abundances, mask=mask)
    save_scene(tmp_path / "masked.npz", masked)
    _, _, arrays, metrics = unmix(tmp_path / "masked.npz", tmp_path / "report")
    unknown = np.isnan(arrays["abundances"])
    assert unknown.any(axis=0).sum() == 2 and unknown[:, 0, 0].all() and unknown[:, 5, 7].all()
    assert metrics["scene"]["masked_pixels"] == 2
    assert math.isfinite(metrics["abundance_rmse"])


def test_nodata_is_masked(tmp_path, scene):
    pixels = np.asarray(scene.pixels).copy()
    pixels[:, 3] = -7
    np.savez(tmp_path / "holes.npz", Y=pixels, H=12, W=10)
    _, _, arrays, _ = unmix(tmp_path / "holes.npz", tmp_path / "report", "--nodata", "-7", "--order", "C")
    assert np.isnan(arrays["abundances"][:, 0, 3]).all() and np.isnan(arrays["abundances"]).sum() == 3


def test_without_truth_there_are_numbers_instead_of_names_and_no_angles(tmp_path, scene):
    save_scene(tmp_path / "bare.npz", Scene(scene.pixels, 12, 10))
    header, rows, _, metrics = unmix(tmp_path / "bare.npz", tmp_path / "report")
    assert header == ["band", "endmember 1", "endmember 2", "endmember 3"]
    np.testing.assert_array_equal(rows[:, 0], np.arange(1, 21))
    assert "spectral_angle" not in metrics and "abundance_rmse" not in metrics
    assert metrics["reconstruction_rmse"] >= 0


@pytest.mark.parametrize("count", [2, 4])
def test_another_number_of_endmembers_than_the_truth_has(path, tmp_path, scene, count):
    out = tmp_path / "report"
    assert main(["unmix", str(path), "-p", str(count), "--method", "sivm+fclsu", "--out", str(out)]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert len(metrics["names"]) == count
    assert ("spectral_angle" in metrics) == (count > 3)


def test_without_a_scene_a_simulated_one_is_unmixed(tmp_path):
    assert main(["unmix", *OPTIONS, "--out", str(tmp_path / "report")]) == 0
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics["scene"]["source"] == "simulated scene"
    assert metrics["mean_spectral_angle"] < 5


def test_the_default_method_is_edaa(path, tmp_path):
    out = tmp_path / "report"
    assert main(["unmix", str(path), "--endmembers", "3", "--ensemble", "2", "--out", str(out)]) == 0
    settings = json.loads((out / "metrics.json").read_text())["settings"]
    assert (settings["method"], settings["ensemble"]) == ("edaa", 2)


def test_the_same_seed_gives_the_same_report(path, tmp_path):
    for name in ("one", "two"):
        unmix(path, tmp_path / name, "--seed", "3")
    for file in ("endmembers.csv", "report.png"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_files_of_an_earlier_report_are_replaced_and_others_kept(path, tmp_path):
    out = tmp_path / "report"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    (out / "endmembers.csv").write_text("old")
    header, *_ = unmix(path, out)
    assert header[0] == "wavelength"
    assert sorted(entry.name for entry in out.iterdir()) == sorted([*FILES, "notes.txt"])


def test_missing_parents_of_the_directory_are_made(path, tmp_path):
    unmix(path, tmp_path / "a" / "b" / "report")
    assert sorted(entry.name for entry in (tmp_path / "a" / "b" / "report").iterdir()) == FILES


def test_outside_a_terminal_there_are_only_plain_lines(path, tmp_path, capsys):
    unmix(path, tmp_path / "report")
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "\x1b" not in printed.out and "\r" not in printed.out
    assert "Unmixing scene.npz (12 x 10 pixels, 20 bands)" in printed.out
    assert "water" in printed.out


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_leaves_nothing_behind(path, tmp_path, monkeypatch, interruption):
    def interrupt(*_, **__):
        raise interruption

    monkeypatch.setattr("jaxopt_thoth.cli._unmix.report_figure", interrupt)
    arguments = ["unmix", str(path), *OPTIONS, "--out", str(tmp_path / "new" / "report")]
    if interruption is KeyboardInterrupt:
        assert main(arguments) == 130
    else:
        with pytest.raises(RuntimeError):
            main(arguments)
    assert [entry.name for entry in tmp_path.iterdir()] == ["scene.npz"]


@pytest.mark.slow
def test_library_and_file_are_float32_friendly(tmp_path, scene):
    with jax.enable_x64(False):
        save_scene(tmp_path / "single.npz", Scene(jnp.asarray(scene.pixels, jnp.float32), 12, 10))
        _, _, arrays, _ = unmix(tmp_path / "single.npz", tmp_path / "report")
    assert arrays["abundances"].dtype == np.float32
