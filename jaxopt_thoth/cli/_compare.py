"""The command `compare`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ..plotting import comparison_figure
from ..plotting._compare import align_estimates
from ..unmixing import Unmixing
from ..unmixing._method_settings import settings_of, sort_settings
from ..unmixing._methods import find_method, Plan
from ..unmixing._unmix import default_normalization
from ._errors import bad_input, InputError
from ._measure import measure
from ._prepare import classes_by_name, Reading, spectra_for
from ._progress import reporting
from ._record import result_name, versions
from ._run import run_method
from ._staging import require_writable, staged
from ._unmix import read_or_simulate
from ._write import write_json


RECORD, PICTURE = "compare.json", "compare.png"
COLUMNS = {
    "mean_spectral_angle": ("spectral angle (degrees)", 1.0),
    "abundance_rmse": ("abundance RMSE (%)", 1.0),
    "relative_residual": ("relative residual (%)", 100.0),
    "run_seconds": ("seconds", 1.0),
    "compile_seconds": ("compilation (s)", 1.0),
}


@dataclass(frozen=True)
class Comparison:
    """What the user chose."""

    endmembers: int
    methods: Sequence[str]
    normalization: Any = None
    seed: int = 0
    reading: Reading = field(default_factory=Reading)
    library: Path | None = None
    endmembers_file: Path | None = None
    own: dict[str, Any] = field(default_factory=dict)


def compare_to(out: Path, path: Path | None, chosen: Comparison) -> None:
    """Run several methods on one scene; print a table, and write it with one picture into the directory `out`.

    Raises:
        InputError: when the scene or the choice cannot be used, or nothing can be written.
    """
    plans, settings = _plans(chosen)
    console = Console()
    with reporting(console) as reporter:
        require_writable(out, [RECORD, PICTURE])
        source = "simulated scene" if path is None else path.name
        reporter.stage(f"Reading {source}")
        scene = read_or_simulate(path, chosen.endmembers, chosen.seed, chosen.reading)
        files = _files(chosen, plans)
        given = {name: spectra_for(scene, plan, name, *files[name]) for name, plan in plans.items()}
        for notice in dict.fromkeys(notice for *_, notices in given.values() for notice in notices):
            reporter.stage(notice)
        estimates: dict[str, Unmixing] = {}
        times = {}
        for name, plan in plans.items():
            reporter.stage(f"Unmixing {source} with {name}")
            # The scale of a common choice, where a method can have it.
            normalization = chosen.normalization if plan.finds_endmembers and plan.main.kind != "nonlinear" else None
            estimates[name], watch = run_method(
                scene,
                chosen.endmembers,
                name,
                plan,
                given[name][0],
                seed=chosen.seed,
                ensemble=None,
                normalization=normalization,
                settings=settings[name] | classes_by_name(plan, given[name][1]),
                reporter=reporter,
            )
            times[name] = {"run_seconds": watch.run, "compile_seconds": watch.compile}
        reporter.stage(f"Writing {out}")
        estimates = align_estimates(scene, estimates)
        rows = {
            name: {
                **measure(scene, found),
                **times[name],
                "result": result_name(found.result),
                "normalization": chosen.normalization if plans[name].finds_endmembers and chosen.normalization
                else default_normalization(plans[name]),
                "settings": settings[name],
            }
            for name, found in estimates.items()
        }  # fmt: skip
        record = {
            "scene": {"source": source, "height": scene.height, "width": scene.width, "bands": scene.num_bands},
            "endmembers": chosen.endmembers,
            "seed": chosen.seed,
            "methods": rows,
            "versions": versions(),
        }
        with staged(out) as stage:
            write_json(stage / RECORD, record)
            comparison_figure(scene, estimates, rows, title=source).savefig(stage / PICTURE)
    console.print(_table(rows))
    console.print(f"the picture is {out / PICTURE}", highlight=False, markup=False, soft_wrap=True)


def _plans(chosen: Comparison) -> tuple[dict[str, Plan], dict[str, dict[str, Any]]]:
    """What each method is, and its settings: of `name` for all that have it, of `method:name` for one."""
    if len(set(chosen.methods)) < 2:
        raise InputError("compare needs two methods or more: --method A --method B")
    with bad_input():
        plans = {name: find_method(name) for name in chosen.methods}
        settings: dict[str, dict[str, Any]] = {name: {} for name in plans}
        for key, value in chosen.own.items():
            method, colon, name = key.rpartition(":")
            takers = [method] if colon else [each for each, plan in plans.items() if key in settings_of(plan)]
            if colon and method not in plans:
                raise InputError(f"{key} is meant for {method}, which is not compared")
            if not takers:
                raise InputError(f"{key} is not a setting of any of {', '.join(plans)}")
            for each in takers:
                settings[each].setdefault(name, value) if not colon else settings[each].update({name: value})
        for name, plan in plans.items():
            sort_settings(name, plan, settings[name])
    return plans, settings


def _files(chosen: Comparison, plans: dict[str, Plan]) -> dict[str, tuple[Path | None, Path | None]]:
    """The library and the endmembers that each method needs."""
    if chosen.library is not None and not any(plan.uses_library for plan in plans.values()):
        raise InputError(f"--library has no meaning for {', '.join(plans)}")
    if chosen.endmembers_file is not None and not any(plan.needs_endmembers for plan in plans.values()):
        raise InputError(f"--endmembers-file has no meaning for {', '.join(plans)}")
    return {
        name: (
            chosen.library if plan.uses_library else None,
            chosen.endmembers_file if plan.needs_endmembers else None,
        )
        for name, plan in plans.items()
    }


def _table(rows: dict[str, dict[str, Any]]) -> Table:
    table = Table()
    table.add_column("method")
    used = [key for key in COLUMNS if any(row.get(key) is not None for row in rows.values())]
    best = {key: min(row[key] for row in rows.values() if row.get(key) is not None) for key in used}
    for key in used:
        table.add_column(COLUMNS[key][0], justify="right")
    for name, row in rows.items():
        cells = []
        for key in used:
            value = row.get(key)
            text = "-" if value is None or not np.isfinite(value) else f"{COLUMNS[key][1] * value:.2f}"
            cells.append(f"[bold]{text}[/bold]" if value == best[key] and key != "compile_seconds" else text)
        table.add_row(name, *cells)
    return table
