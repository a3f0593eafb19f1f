import importlib.util
import json
from importlib.metadata import version

import numpy as np
import pytest

from jaxopt_thoth.cli import main
from jaxopt_thoth.unmixing import load_scene


SMALL = ["--height", "12", "--width", "10", "--bands", "20"]


def test_a_simulated_scene_reads_back(tmp_path, capsys):
    out = tmp_path / "new" / "scene.npz"
    assert main(["simulate", "--endmembers", "4", *SMALL, "--snr", "25", "--seed", "3", "--out", str(out)]) == 0
    scene = load_scene(out)
    assert (scene.height, scene.width, scene.num_bands) == (12, 10, 20)
    assert scene.abundances.shape == (4, 120)
    assert [entry.name for entry in out.parent.iterdir()] == ["scene.npz"]
    noise = scene.pixels - scene.endmembers @ scene.abundances
    measured = 10 * np.log10(float((scene.pixels**2).sum() / (noise**2).sum()))
    assert abs(measured - 25) < 1
    assert "12 x 10 pixels" in capsys.readouterr().out


def test_the_seed_decides_the_scene(tmp_path):
    for name, seed in (("one", "0"), ("two", "0"), ("three", "1")):
        assert main(["simulate", *SMALL, "--seed", seed, "--out", str(tmp_path / f"{name}.npz")]) == 0
    one, two, three = (np.load(tmp_path / f"{name}.npz")["Y"] for name in ("one", "two", "three"))
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - three).max() > 0.01


@pytest.fixture
def pair(tmp_path, scene, path):
    """A scene, and its truth as an estimate with the endmembers in another order."""
    order = np.array([2, 0, 1])
    abundances = np.asarray(scene.abundances)[order].reshape(3, 12, 10)
    np.savez(tmp_path / "abundances.npz", endmembers=np.asarray(scene.endmembers)[:, order], abundances=abundances)
    return tmp_path / "abundances.npz", path


@pytest.mark.parametrize("whole", [True, False])
def test_the_truth_in_any_order_is_without_error(pair, capsys, whole):
    estimate, scene = pair
    assert main(["evaluate", str(estimate.parent if whole else estimate), str(scene), "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    evaluation = json.loads(printed.out)
    np.testing.assert_allclose(evaluation["spectral_angle"], 0, atol=1e-5)
    np.testing.assert_allclose(evaluation["abundance_rmse_per_endmember"], 0, atol=1e-5)
    assert evaluation["abundance_rmse"] < 1e-5
    assert evaluation["pixels"] == "as stored"


def test_an_evaluated_report_gives_the_metrics_it_was_written_with(path, tmp_path, capsys):
    out = tmp_path / "report"
    assert main(["unmix", str(path), "-p", "3", "--method", "sivm+fclsu", "--out", str(out)]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(out), str(path), "--json"]) == 0
    evaluation, metrics = json.loads(capsys.readouterr().out), json.loads((out / "metrics.json").read_text())
    for key in ("mean_spectral_angle", "abundance_rmse", "relative_residual", "reconstruction_rmse"):
        np.testing.assert_allclose(evaluation[key], metrics[key], rtol=1e-6)


def test_what_is_unlimited_is_null_in_json(pair, capsys):
    estimate, scene = pair
    assert main(["evaluate", str(estimate), str(scene), "--json"]) == 0
    text = capsys.readouterr().out
    assert "Infinity" not in text and "NaN" not in text


def test_the_table_has_a_row_for_each_endmember_and_one_for_all(pair, capsys):
    estimate, scene = pair
    assert main(["evaluate", str(estimate), str(scene)]) == 0
    printed = capsys.readouterr().out
    assert [name in printed for name in ("soil", "tree", "water")] == [True] * 3
    assert "all" in printed and "0.00" in printed


@pytest.mark.parametrize(
    "command", [[], ["unmix"], ["simulate"], ["evaluate"], ["compare"], ["methods"], ["library"], ["library", "prune"]]
)
def test_every_command_has_help(command, capsys):
    assert main([*command, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


def test_without_a_command_there_is_help(capsys):
    assert main([]) == 0
    assert "simulate" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"jaxopt-thoth {version('jaxopt_thoth')}\n"


@pytest.mark.parametrize("missing", ["typer", "rich", "matplotlib"])
def test_without_the_extra_one_line_says_what_to_install(missing, monkeypatch, capsys):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else real(name))
    assert main(["--version"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert missing in error and "jaxopt_thoth[cli]" in error


def test_an_interruption_ends_with_code_130(monkeypatch, tmp_path):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxopt_thoth.cli._simulate.simulate_scene", interrupt)
    assert main(["simulate", *SMALL, "--out", str(tmp_path / "scene.npz")]) == 130
    assert list(tmp_path.iterdir()) == []
