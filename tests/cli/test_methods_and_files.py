"""Methods with their settings, spectra from files, masks, bands, formats, tiles."""

import json

import numpy as np
import pytest

from jaxopt_thoth.cli import main
from jaxopt_thoth.cli._tiles import parse_memory
from jaxopt_thoth.unmixing import save_scene, Scene


@pytest.fixture
def library(tmp_path, scene):
    """The true spectra and three more, in nanometers and at other bands."""
    bands = np.linspace(0.4, 2.5, 39)
    centers = np.array([0.6, 1.3, 2.1, 0.9, 1.7])
    spectra = 0.2 + 0.6 * np.exp(-((bands[:, None] - centers) ** 2) / 0.3)
    names = ["soil", "tree", "water", "snow", "salt"]
    np.savez(tmp_path / "library.npz", D=spectra, wavelengths=1000 * bands, names=names)
    return tmp_path / "library.npz"


def report(out):
    return np.load(out / "abundances.npz"), json.loads((out / "metrics.json").read_text())


def test_a_library_at_other_bands_is_resampled_with_a_notice(path, library, tmp_path, scene, capsys):
    out = tmp_path / "report"
    words = ["unmix", str(path), "-p", "3", "--method", "sunsal", "--library", str(library), "--out", str(out)]
    assert main([*words, "--setting", "strength=1e-4"]) == 0
    assert "resampled from 39 to the 20 bands" in capsys.readouterr().out
    arrays, metrics = report(out)
    assert arrays["library_abundances"].shape == (5, 12, 10)
    assert metrics["abundance_rmse"] < 5 and metrics["mean_spectral_angle"] < 0.5
    assert metrics["settings"]["settings"] == {"strength": 1e-4}
    assert metrics["settings"]["normalization"] == "none"
    assert "resampled" in metrics["notices"][0]


def test_without_a_truth_endmembers_take_the_names_of_atoms_and_the_residual_counts_all_of_them(
    library, tmp_path, scene
):
    save_scene(tmp_path / "bare.npz", Scene(scene.pixels, 12, 10, wavelengths=scene.wavelengths))
    out = tmp_path / "report"
    assert main(["unmix", str(tmp_path / "bare.npz"), "-p", "2", "--method", "sunsal", "--library", str(library),
                 "--setting", "strength=1e-4", "--out", str(out)]) == 0  # fmt: skip
    _, metrics = report(out)
    assert len(metrics["names"]) == 2 and set(metrics["names"]) <= {"soil", "tree", "water"}
    # Two endmembers alone would miss a third of every pixel.
    assert metrics["relative_residual"] < 0.02


def test_spectra_of_a_report_are_fitted_again(path, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    options = ["-p", "3", "--method", "sivm+fclsu", "--normalization", "none", "--out", str(first)]
    assert main(["unmix", str(path), *options]) == 0
    words = ["--method", "fclsu", "--endmembers-file", str(first), "--out", str(second), "--uncertainty", "3"]
    assert main(["unmix", str(path), *words]) == 0
    (one, _), (two, metrics) = report(first), report(second)
    np.testing.assert_allclose(one["abundances"], two["abundances"], atol=1e-6)
    assert two["standard_deviation"].shape == (3, 12, 10)
    assert 0 < max(metrics["mean_standard_deviation"]) < 0.01


def test_a_configuration_gives_defaults_and_flags_win(path, library, tmp_path):
    text = 'endmembers = 3\nmethod = "sunsal"\nlibrary = "library.npz"\nseed = 4\n[settings]\nstrength = 0.5\n'
    (tmp_path / "unmix.toml").write_text(text)
    words = ["unmix", str(path), "--config", str(tmp_path / "unmix.toml"), "--out", str(tmp_path / "report")]
    assert main([*words, "--seed", "5", "--setting", "strength=0.25"]) == 0
    settings = report(tmp_path / "report")[1]["settings"]
    assert (settings["method"], settings["endmembers"], settings["seed"]) == ("sunsal", 3, 5)
    assert settings["settings"] == {"strength": 0.25}
    assert settings["library"] == str(library)


def test_masks_and_ranges_choose_pixels_and_bands(path, tmp_path, scene):
    mask = np.ones((12, 10), bool)
    mask[0, 0] = mask[5, 7] = False
    np.save(tmp_path / "mask.npy", mask)
    words = ["unmix", str(path), "-p", "3", "--method", "sivm+fclsu", "--out", str(tmp_path / "report")]
    ranges = ["--wavelengths", "0.4:1.0", "--wavelengths", "1.5:2.5"]
    assert main([*words, "--mask", str(tmp_path / "mask.npy"), *ranges]) == 0
    arrays, metrics = report(tmp_path / "report")
    np.testing.assert_array_equal(np.isnan(arrays["abundances"]).any(axis=0), ~mask)
    waves = np.asarray(scene.wavelengths)
    assert arrays["endmembers"].shape[0] == metrics["scene"]["bands"] == ((waves <= 1.0) | (waves >= 1.5)).sum()


def test_maps_in_another_format_are_those_of_the_arrays(path, tmp_path):
    spectral = pytest.importorskip("spectral")
    out = tmp_path / "report"
    words = ["unmix", str(path), "-p", "3", "--method", "sivm+fclsu", "--format", "envi", "--out", str(out)]
    assert main(words) == 0
    image = spectral.envi.open(out / "abundances.hdr", out / "abundances.img")
    maps = np.moveaxis(np.asarray(image.load()), -1, 0)
    np.testing.assert_allclose(maps, report(out)[0]["abundances"], atol=1e-6)
    assert image.metadata["band names"] == ["soil", "tree", "water"]


def test_tile_by_tile_gives_the_maps_of_the_whole_and_a_finished_run_is_gone_on_with(path, tmp_path):
    whole, tiles = tmp_path / "whole", tmp_path / "tiles"
    first = ["-p", "3", "--method", "sivm+fclsu", "--normalization", "none", "--out", str(whole)]
    assert main(["unmix", str(path), *first]) == 0
    words = ["unmix", str(path), "--method", "fclsu", "--endmembers-file", str(whole), "--out", str(tiles)]
    words += ["--memory", "1MB", "--format", "envi"]
    assert main(words) == 0 and main([*words, "--resume"]) == 0
    values = np.fromfile(tiles / "abundances.img", "<f4").reshape(4, 12, 10)
    np.testing.assert_allclose(values[:3], report(whole)[0]["abundances"], atol=1e-5)
    metrics = json.loads((tiles / "metrics.json").read_text())
    assert metrics["valid_pixels"] == 120 and metrics["names"] == ["soil", "tree", "water"]
    assert (tiles / "endmembers.csv").read_text().splitlines()[0] == "wavelength,soil,tree,water"


@pytest.mark.parametrize(("text", "size"), [("500MB", 5e8), ("2 gb", 2e9), ("1.5e", None), ("1000", 1e3)])
def test_sizes_of_memory(text, size):
    if size is None:
        with pytest.raises(Exception, match="500MB"):
            parse_memory(text)
    else:
        assert parse_memory(text) == size


def test_methods_and_their_settings_are_listed(capsys):
    assert main(["methods"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("edaa", "sunaa-tv", "vca", "hapke", "ncls"))
    assert main(["methods", "vca+ppnm"]) == 0
    printed = capsys.readouterr().out
    assert "bound" in printed and "snr_db" in printed and "0.5" in printed


def test_compare_writes_a_table_and_a_picture(path, library, tmp_path, capsys):
    out = tmp_path / "comparison"
    methods = ["--method", "sivm+fclsu", "--method", "sunsal", "--library", str(library)]
    own = ["--setting", "sunsal:strength=1e-4"]
    assert main(["compare", str(path), "-p", "3", *methods, *own, "--out", str(out)]) == 0
    assert sorted(entry.name for entry in out.iterdir()) == ["compare.json", "compare.png"]
    rows = json.loads((out / "compare.json").read_text())["methods"]
    assert list(rows) == ["sivm+fclsu", "sunsal"]
    assert rows["sunsal"]["settings"] == {"strength": 1e-4} and rows["sunsal"]["abundance_rmse"] < 5
    assert all(row["run_seconds"] > 0 for row in rows.values())
    assert "sunsal" in capsys.readouterr().out


def test_libraries_are_described_pruned_and_resampled(library, path, tmp_path, capsys, scene):
    assert main(["library", "info", str(library), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["spectra"], found["bands"], found["wavelengths"]) == (5, 39, [400.0, 2500.0])
    assert found["names"][0] == "soil" and 0 < found["least_angle"] < 30
    assert main(["library", "prune", str(library), "--angle", "25", "--out", str(tmp_path / "few.csv")]) == 0
    assert (tmp_path / "few.csv").read_text().splitlines()[0].startswith("wavelength,soil,tree")
    assert main(["library", "resample", str(library), "--like", str(path), "--out", str(tmp_path / "new.npz")]) == 0
    resampled = np.load(tmp_path / "new.npz")
    np.testing.assert_allclose(resampled["D"][:, :3], scene.endmembers, atol=5e-3)
    np.testing.assert_allclose(resampled["wavelengths"], scene.wavelengths)
