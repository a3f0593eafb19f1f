import os
import subprocess
import sys

import numpy as np
import pytest

from jaxopt_thoth.cli import main
from jaxopt_thoth.unmixing import save_scene


@pytest.fixture(scope="module")
def folder(tmp_path_factory, scene):
    """A working directory with one good scene and many bad files."""
    place = tmp_path_factory.mktemp("bad")
    save_scene(place / "scene.npz", scene)
    pixels = np.asarray(scene.pixels)
    np.savez(place / "keyless.npz", image=pixels.ravel())
    np.savez(place / "sizeless.npz", Y=pixels)
    np.savez(place / "misshapen.npz", Y=pixels, H=12, W=11)
    np.savez(place / "negative.npz", Y=pixels, H=-12, W=-10)
    np.savez(place / "words.npz", Y=np.full((20, 120), "soil"), H=12, W=10)
    np.savez(place / "masked.npz", Y=pixels, H=12, W=10, mask=np.zeros(120, bool))
    np.savez(place / "nan.npz", Y=np.full((20, 120), np.nan), H=12, W=10)
    np.savez(place / "few.npz", Y=pixels[:, :2], H=1, W=2)
    np.savez(place / "half.npz", endmembers=np.ones((20, 3)))
    np.savez(place / "other.npz", endmembers=np.ones((21, 3)), abundances=np.ones((3, 12, 10)))
    np.savez(place / "two.npz", endmembers=np.ones((20, 2)), abundances=np.ones((2, 12, 10)))
    np.savez(place / "flat.npz", endmembers=np.ones((20, 3)), abundances=np.ones((3, 120)))
    np.savez(place / "infinite.npz", endmembers=np.full((20, 3), np.inf), abundances=np.ones((3, 12, 10)))
    np.savez(place / "estimate.npz", endmembers=np.ones((20, 3)), abundances=np.ones((3, 12, 10)))
    np.savez(place / "truthless.npz", Y=pixels, H=12, W=10)
    bands = np.asarray(scene.wavelengths)
    np.savez(place / "library.npz", D=np.ones((20, 4)), wavelengths=bands)
    np.savez(place / "far.npz", D=np.ones((30, 4)), wavelengths=np.linspace(8.0, 12.0, 30))
    np.savez(place / "part.npz", D=np.ones((30, 4)), wavelengths=np.linspace(0.5, 2.0, 30))
    np.savez(place / "bare.npz", D=np.ones((30, 4)))
    np.save(place / "mask.npy", np.ones((3, 3), bool))
    np.save(place / "nothing.npy", np.zeros((12, 10), bool))
    (place / "ragged.csv").write_text("wavelength,a\n0.4,1\n0.5\n")
    np.savez(place / "hollow.npz", D=np.ones((20, 0)))
    np.savez(place / "nowhere.npz", D=np.ones((20, 2)), wavelengths=np.full(20, np.nan))
    np.savez(place / "broken.npz", D=np.full((20, 2), np.inf))
    np.savez(place / "constant.npz", Y=np.ones((20, 120)), H=12, W=10)
    np.savez(place / "twice.npz", D=np.ones((20, 3)))
    (place / "cut.npz").write_bytes((place / "scene.npz").read_bytes()[:3000])
    (place / "names.csv").write_text("wavelength,a,b\n")
    (place / "bad.toml").write_text("method = ")
    (place / "unknown.toml").write_text("colour = 3\n")
    (place / "strange.toml").write_text("endmembers = 3\n[settings]\nstrength = 1\n")
    (place / "text.npz").write_text("not a zip file")
    (place / "text.mat").write_text("not a matrix")
    (place / "scene.tif").write_text("a picture")
    (place / "folder").mkdir()
    return place


def contents(place):
    return sorted(str(path.relative_to(place)) for path in place.rglob("*"))


UNMIX = ["unmix", "scene.npz", "--endmembers", "3", "--method", "vca+fclsu", "--out", "report"]


def unmix(**changes):
    """The words of a good `unmix`, with one of them changed."""
    words = list(UNMIX)
    for option, value in changes.items():
        if option == "scene":
            words[1] = value
        elif f"--{option}" in words:
            words[words.index(f"--{option}") + 1] = value
        else:
            words += [f"--{option}", value]
    return words


BAD = [
    (unmix(scene="missing.npz"), "missing.npz"),
    (unmix(scene="folder"), "folder"),
    (unmix(scene="scene.tif"), "scene.tif"),
    (unmix(scene="text.npz"), "text.npz"),
    (unmix(scene="text.mat"), "text.mat"),
    (unmix(scene="keyless.npz"), "image"),
    (unmix(scene="sizeless.npz"), "H"),
    (unmix(scene="misshapen.npz"), "misshapen.npz"),
    (unmix(scene="negative.npz"), "negative.npz"),
    (unmix(scene="words.npz"), "words.npz"),
    (unmix(scene="masked.npz"), "masked"),
    (unmix(scene="nan.npz"), "no pixel is valid"),
    (unmix(scene="few.npz"), "2 valid pixels"),
    (unmix(endmembers="1"), "--endmembers"),
    (unmix(endmembers="-3"), "--endmembers"),
    (unmix(endmembers="21"), "20 bands"),
    (unmix(endmembers="three"), "--endmembers"),
    (unmix(endmembers="2.5"), "--endmembers"),
    (unmix(endmembers="nan"), "--endmembers"),
    (unmix(method="magic"), "magic"),
    (unmix(ensemble="5", method="sivm+fclsu"), "--ensemble"),
    (unmix(ensemble="0"), "--ensemble"),
    (unmix(seed="-1"), "--seed"),
    (unmix(seed="many"), "--seed"),
    (unmix(nodata="none"), "--nodata"),
    (unmix(order="Z"), "Z"),
    (unmix(out="text.npz"), "text.npz is a file"),
    (unmix(out="text.npz/report"), "text.npz is a file"),
    (unmix(out="/proc/report"), "/proc/report"),
    ([*UNMIX, "--colour", "red"], "--colour"),
    ([*UNMIX, "another"], "another"),
    (unmix(setting="strength=1"), "strength is not a setting of vca+fclsu"),
    (unmix(setting="snr_db=loud"), "snr_db must be a finite number or none"),
    (unmix(setting="snr_db"), "name=value"),
    (unmix(method="edaa", setting="start=cold"), "soft_vertices or uniform"),
    (unmix(method="edaa", setting="num_steps=2.5"), "a whole number"),
    (unmix(method="vca+edaa"), "vca+edaa"),
    (unmix(method="vca"), "vca+fclsu"),
    (unmix(method="sunsal"), "--library"),
    (unmix(method="fclsu"), "--endmembers-file"),
    (unmix(library="library.npz"), "--library has no meaning"),
    (unmix(method="sunsal", library="missing.npz"), "missing.npz"),
    (unmix(method="sunsal", library="far.npz"), "do not overlap"),
    (unmix(method="sunsal", library="part.npz"), "--wavelengths 0.5:2"),
    (unmix(method="sunsal", library="bare.npz"), "30 bands"),
    (unmix(method="sunsal", library="library.npz", normalization="perspective"), "perspective"),
    (unmix(method="fan", **{"endmembers-file": "library.npz"}), "number of endmembers must be that of"),
    (unmix(method="fclsu", **{"endmembers-file": "ragged.csv"}), "line 3"),
    (unmix(scene="cut.npz"), "damaged"),
    (unmix(scene="constant.npz"), "the dimension that the valid pixels span"),
    (unmix(method="sunsal", library="hollow.npz"), "D is empty"),
    (unmix(method="sunsal", library="nowhere.npz"), "wavelengths must be finite"),
    (unmix(method="sunsal", library="broken.npz"), "spectra must be finite"),
    (unmix(method="sunsal", library="names.csv"), "no line of numbers"),
    (unmix(method="ucls", **{"endmembers-file": "twice.npz"}), "linearly independent"),
    (unmix(mask="mask.npy"), "12 x 10"),
    (unmix(mask="missing.npy"), "missing.npy"),
    (unmix(mask="nothing.npy"), "no pixel is valid"),
    (unmix(wavelengths="0.5"), "LO:HI"),
    (unmix(wavelengths="0.9:0.5"), "rise"),
    (unmix(wavelengths="5:6"), "keeps 0 bands"),
    (unmix(config="missing.toml"), "missing.toml"),
    (unmix(config="bad.toml"), "TOML"),
    (unmix(config="unknown.toml"), "colour is not known"),
    (unmix(config="strange.toml"), "strength is not a setting"),
    (unmix(format="jpeg"), "jpeg"),
    (unmix(uncertainty="1"), "--uncertainty"),
    (unmix(memory="much", format="envi"), "much"),
    (unmix(memory="1GB"), "--format"),
    ([*UNMIX, "--resume"], "--memory"),
    (["compare", "scene.npz", "-p", "3", "--method", "edaa", "--out", "new"], "two methods"),
    (["compare", "scene.npz", "-p", "3", "--method", "edaa", "--method", "magic", "--out", "new"], "magic"),
    (["methods", "magic"], "magic"),
    (["library", "info", "missing.npz"], "missing.npz"),
    (["library", "info", "keyless.npz"], "image"),
    (["library", "prune", "library.npz", "--angle", "-3", "--out", "new.npz"], "min_angle"),
    (["library", "prune", "library.npz", "--out", "new.txt"], ".npz or .csv"),
    (["library", "resample", "library.npz", "--out", "new.npz"], "--like"),
    (["library", "resample", "bare.npz", "--like", "library.npz", "--out", "new.npz"], "no wavelengths"),
    (["unmix", "--endmembers", "3"], "--out"),
    (["unmix", "--out", "report"], "--endmembers"),
    (["unmix", "--endmembers", "5000", "--method", "vca+fclsu", "--out", "report"], "120"),
    (["unmix", "--endmembers", "121", "--method", "vca+fclsu", "--out", "report"], "120"),
    (["unmix", "--endmembers", "3", "--nodata", "0", "--out", "report"], "--nodata"),
    (["dance"], "dance"),
    (["--colour"], "--colour"),
    (["simulate"], "--out"),
    (["simulate", "--out", "new.mat"], ".npz"),
    (["simulate", "--out", "folder"], ".npz"),
    (["simulate", "--height", "-4", "--out", "new.npz"], "--height"),
    (["simulate", "--width", "0", "--out", "new.npz"], "--width"),
    (["simulate", "--bands", "1", "--out", "new.npz"], "--bands"),
    (["simulate", "--endmembers", "9", "--bands", "8", "--out", "new.npz"], "--bands"),
    (["simulate", "--endmembers", "3", "--height", "1", "--width", "2", "--out", "new.npz"], "2 pixels"),
    (["simulate", "--snr", "nan", "--out", "new.npz"], "--snr"),
    (["simulate", "--snr", "-inf", "--out", "new.npz"], "inf"),
    (["simulate", "--out", "text.npz/new.npz"], "text.npz is a file"),
    (["evaluate", "missing", "scene.npz"], "missing"),
    (["evaluate", "folder", "scene.npz"], "abundances.npz"),
    (["evaluate", "text.npz", "scene.npz"], "text.npz"),
    (["evaluate", "half.npz", "scene.npz"], "abundances"),
    (["evaluate", "other.npz", "scene.npz"], "21 bands"),
    (["evaluate", "two.npz", "scene.npz"], "2 endmembers"),
    (["evaluate", "flat.npz", "scene.npz"], "(p, H, W)"),
    (["evaluate", "infinite.npz", "scene.npz"], "finite"),
    (["evaluate", "estimate.npz", "missing.npz"], "missing.npz"),
    (["evaluate", "estimate.npz", "truthless.npz"], "truth"),
    (["evaluate", "estimate.npz"], "SCENE"),
]


@pytest.mark.parametrize(("words", "mention"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_one_line_exit_code_two_and_nothing_left(words, mention, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    before = contents(folder)
    assert main(words) == 2
    line, *rest = capsys.readouterr().err.splitlines()
    assert rest == []
    assert line.startswith("jaxopt-thoth: error: ")
    assert mention in line
    assert contents(folder) == before


def test_an_earlier_report_survives_a_failure(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    out = tmp_path / "report"
    out.mkdir()
    (out / "endmembers.csv").write_text("old")
    assert main(unmix(scene="nan.npz", out=str(out))) == 2
    assert contents(out) == ["endmembers.csv"]
    assert (out / "endmembers.csv").read_text() == "old"


def test_a_directory_where_a_file_must_go_is_noticed_first(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    (tmp_path / "report" / "metrics.json").mkdir(parents=True)
    assert main(unmix(out=str(tmp_path / "report"))) == 2
    assert "metrics.json is a directory" in capsys.readouterr().err


def test_the_process_itself_ends_with_code_two(folder):
    command = "import sys; from jaxopt_thoth.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", command, *unmix(scene="missing.npz")],
        cwd=folder, env=dict(os.environ), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("jaxopt-thoth: error: ")
