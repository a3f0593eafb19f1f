"""How a benchmark measures, and what it keeps: JSON with the machine and the versions, and a table to read."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("jaxopt_thoth", "jax", "jaxlib", "equinox", "lineax", "numpy", "scipy", "jaxopt", "optimistix")
_PACKAGES += ("nemos", "ott-jax", "celer", "sparse-ho", "scikit-learn", "jax-privacy", "opacus", "cyanure", "skglm")


def data_file(name: str) -> Path | None:
    """A file of the data folder (`JAXOPT_THOTH_DATA`, or `shared/data` beside the repository), or None."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get("JAXOPT_THOTH_DATA", default)) / name
    return path if path.exists() else None


def pin_to_one_core() -> None:
    """Run this process on one core, where the system can; call it before JAX starts its threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def measure(call: Callable[[], Any], repeats: int = 5) -> dict[str, float]:
    """Median wall and CPU seconds of a call that is already compiled and that blocks until it is done."""
    wall, cpu = [], []
    for _ in range(repeats):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - begin)
        cpu.append(time.process_time() - begin_cpu)
    return {"wall_s": statistics.median(wall), "cpu_s": statistics.median(cpu), "repeats": repeats}


def machine() -> dict[str, Any]:
    """What the figures depend on besides the code."""
    import jax

    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "platform": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "device": jax.devices()[0].device_kind,
        "versions": found,
    }


def table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    """The rows as a Markdown table."""

    def text(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:.3g}"
        return "" if value is None else str(value)

    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(text(row.get(column)) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def keep(
    name: str, title: str, rows: Sequence[dict[str, Any]], columns: Sequence[str], summary: dict[str, Any]
) -> None:
    """Write `results/NAME.json` and `results/NAME.md`, and print the table."""
    RESULTS.mkdir(exist_ok=True)
    record = {"benchmark": name, "machine": machine(), "summary": summary, "rows": list(rows)}
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")
    points = "\n".join(
        f"- {key}: {value:.4g}" if isinstance(value, float) else f"- {key}: {value}" for key, value in summary.items()
    )
    text = f"# {title}\n\n{table(rows, columns)}\n\n{points}\n"
    (RESULTS / f"{name}.md").write_text(text)
    print(text)
