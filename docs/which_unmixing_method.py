"""Builds the tables of the page "Which method when" from the record of `benchmarks/which_method.py`.

Run `python docs/which_unmixing_method.py` after the benchmark; `tests/test_which_method.py` fails while page and record
disagree.
"""

import json
from pathlib import Path
from typing import Any


PAGE = Path(__file__).parent / "which_unmixing_method.md"
RECORD = Path(__file__).parents[1] / "benchmarks" / "results" / "which_method.json"
BEGIN, END = "<!-- built: begin -->\n", "<!-- built: end -->\n"
# A method that is cheaper is recommended when its error is within this of the least.
_SLACK = 0.05


def built(rows: list[dict[str, Any]]) -> str:
    """The table of recommendations, a row for each situation."""
    lines = [
        "| when | method | measured | seconds | the others, best first |",
        "|---|---|---|---|---|",
    ]
    for situation in dict.fromkeys(row["situation"] for row in rows):
        found = sorted((row for row in rows if row["situation"] == situation), key=_error)
        best = _recommended(found)
        others = ", ".join(f"{_name(row)} {_measured(row)}" for row in found if row is not best)
        lines.append(f"| {situation} | {_name(best)} | {_measured(best)} | {best['seconds']:.2g} | {others} |")
    return "\n".join(lines) + "\n"


def page_with(text: str, rows: list[dict[str, Any]]) -> str:
    """The page with the table between its marks."""
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    return head + BEGIN + "\n" + built(rows) + "\n" + END + tail


def _error(row: dict[str, Any]) -> float:
    """Relative size of the error: what SRE in decibels measures, or the RMSE."""
    return 10 ** (-row["sre_db"] / 20) if row.get("sre_db") is not None else row["rmse_pct"]


def _recommended(found: list[dict[str, Any]]) -> dict[str, Any]:
    # A reference is not possible in the situation itself.
    within = [r for r in found if _error(r) <= (1 + _SLACK) * _error(found[0]) and not r.get("is_reference")]
    return min(within, key=lambda row: row["seconds"])


def _name(row: dict[str, Any]) -> str:
    name, space, rest = row["method"].partition(" ")
    return f"`{name}`{space}{rest}"


def _measured(row: dict[str, Any]) -> str:
    if row.get("sre_db") is not None:
        return f"{row['sre_db']:.1f} dB"
    angle = row.get("angle_deg")
    return f"{row['rmse_pct']:.2f} %" + ("" if angle is None else f", {angle:.1f}°")


def main() -> None:
    rows = json.loads(RECORD.read_text())["rows"]
    PAGE.write_text(page_with(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")
    print(f"{PAGE} is built from {RECORD}")


if __name__ == "__main__":
    main()
