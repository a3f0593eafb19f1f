"""A run over tiles that is interrupted as by Ctrl-C in a shell: what is written stays, and `--resume` finishes it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxopt_thoth.cli import main
from jaxopt_thoth.unmixing import open_scene
from jaxopt_thoth.unmixing.files._tile_plan import plan_tiles


HEIGHT, WIDTH, BANDS = 400, 4, 5
COMMAND = "import sys; from jaxopt_thoth.cli import main; sys.exit(main())"


def journal_of(out: Path) -> dict:
    return json.loads((out / "abundances.img.journal.json").read_text())


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """An `unmix` of one row a tile: many tiles, of which some are done when the signal comes."""
    rng = np.random.default_rng(0)
    endmembers = rng.uniform(0.1, 0.9, (BANDS, 2))
    cube = rng.dirichlet(np.ones(2), (HEIGHT, WIDTH)) @ endmembers.T
    cube[3, 1] = np.nan
    np.save(tmp_path / "cube.npy", cube)
    np.savez(tmp_path / "spectra.npz", E=endmembers)
    row = plan_tiles(open_scene(tmp_path / "cube.npy"), 2, 1e9).bytes_per_row
    return [
        *("unmix", str(tmp_path / "cube.npy"), "--method", "fclsu", "--normalization", "none"),
        *("--endmembers-file", str(tmp_path / "spectra.npz"), "--format", "envi", "--memory", str(int(1.5 * row))),
    ]


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for a single child process")
def test_tiles_stay_and_resume_finishes_them_bit_by_bit(words: list[str], tmp_path: Path, capsys) -> None:
    out, whole = tmp_path / "parts", tmp_path / "whole"
    child = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *words, "--out", str(out)],
        env={**os.environ, "JAX_ENABLE_X64": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while child.poll() is None and time.monotonic() < deadline:
        if (out / "abundances.img.journal.json").exists() and journal_of(out)["rows_done"] > 0:
            child.send_signal(signal.SIGINT)
            break
        time.sleep(0.01)
    _, errors = child.communicate(timeout=60)
    done = journal_of(out)["rows_done"]
    assert child.returncode == 130 and 0 < done < HEIGHT
    assert errors.count("\n") == 1 and "interrupted" in errors and "--resume" in errors
    assert not (out / "metrics.json").exists()
    partial = np.fromfile(out / "abundances.img", "<f4").reshape(3, HEIGHT, WIDTH)[:, :done].copy()

    assert main([*words, "--out", str(out)]) == 2
    assert f"{done} of {HEIGHT} rows" in capsys.readouterr().err and journal_of(out)["rows_done"] == done
    assert main([*words, "--out", str(out), "--resume"]) == 0
    assert main([*words, "--out", str(whole)]) == 0
    assert (out / "abundances.img").read_bytes() == (whole / "abundances.img").read_bytes()
    maps = np.fromfile(out / "abundances.img", "<f4").reshape(3, HEIGHT, WIDTH)
    np.testing.assert_array_equal(partial, maps[:, :done])
    assert np.isnan(maps).all(axis=0).sum() == 1 and np.isnan(maps[0, 3, 1])
    metrics = [json.loads((place / "metrics.json").read_text()) for place in (out, whole)]
    assert metrics[0] == metrics[1] and metrics[0]["valid_pixels"] == HEIGHT * WIDTH - 1
