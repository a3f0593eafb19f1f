"""The page "Which method when" says what the benchmark recorded."""

import importlib.util
import json
from pathlib import Path

import pytest


_FILE = Path(__file__).parents[1] / "docs" / "which_unmixing_method.py"
_SPEC = importlib.util.spec_from_file_location("which_unmixing_method", _FILE)
assert _SPEC is not None and _SPEC.loader is not None
page = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(page)


def test_page_and_record_agree() -> None:
    rows = json.loads(page.RECORD.read_text())["rows"]
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.page_with(text, rows) == text


def test_the_cheapest_of_the_best_is_recommended() -> None:
    rows = [
        {"situation": "here", "method": "slow", "rmse_pct": 1.0, "seconds": 2.0},
        {"situation": "here", "method": "quick", "rmse_pct": 1.04, "seconds": 0.5, "angle_deg": 0.25},
        {"situation": "here", "method": "rough in parts", "rmse_pct": 1.2, "seconds": 0.1},
        {"situation": "there", "method": "one", "sre_db": 20.0, "seconds": 1.0},
        {"situation": "there", "method": "two", "sre_db": 21.0, "seconds": 1.0},
    ]
    *_, here, there = page.built(rows).splitlines()
    assert here == "| here | `quick` | 1.04 %, 0.2° | 0.5 | `slow` 1.00 %, `rough` in parts 1.20 % |"
    assert there == "| there | `two` | 21.0 dB | 1 | `one` 20.0 dB |"


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="unpack"):
        page.page_with("nothing", [])
