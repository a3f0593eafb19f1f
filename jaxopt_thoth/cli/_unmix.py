"""The command `unmix`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from rich.console import Console

from ..plotting import report_figure, report_page
from ..plotting._truth import endmember_names, in_truth_order
from ..unmixing import open_scene, Scene, simulate_scene, Unmixing, write_maps
from ..unmixing._method_settings import sort_settings
from ..unmixing._methods import find_method, Plan
from ..unmixing._unmix import default_normalization
from ._defaults import BANDS, HEIGHT, MapFormat, SNR, SUFFIXES, WIDTH
from ._errors import bad_input, InputError
from ._evaluate import evaluation_table
from ._inputs import ARRAYS
from ._measure import measure
from ._prepare import classes_by_name, Reading, spectra_for
from ._progress import reporting
from ._record import result_name, versions
from ._run import deviation_of, run_method
from ._spectra_file import Spectra
from ._staging import require_writable, staged
from ._timing import Stopwatch
from ._write import write_abundances, write_endmembers, write_json


SPECTRA, METRICS, PICTURE, PAGE = "endmembers.csv", "metrics.json", "report.png", "report.html"


@dataclass(frozen=True)
class Settings:
    """What the user chose."""

    endmembers: int | None
    method: str
    ensemble: int | None = None
    normalization: Literal["pixel_l2", "perspective", "none"] | None = None
    seed: int = 0
    reading: Reading = field(default_factory=Reading)
    library: Path | None = None
    endmembers_file: Path | None = None
    map_format: MapFormat = "npz"
    uncertainty: int | None = None
    own: dict[str, Any] = field(default_factory=dict)

    def plan(self) -> Plan:
        """What the method is.

        Raises:
            InputError: for an unknown method, a setting it has not, or a choice that has no meaning for it.
        """
        with bad_input():
            plan = find_method(self.method)
            sort_settings(self.method, plan, self.own)
        if self.ensemble is not None and not plan.is_drawn:
            raise InputError(f"--ensemble has no meaning for {self.method}, which runs once")
        if self.endmembers is None and not plan.needs_endmembers:
            raise InputError(f"--endmembers is missing: the number of them that {self.method} shall find")
        return plan

    def record(self, plan: Plan) -> dict[str, Any]:
        """The choices by the names of the options, as JSON knows them."""
        reading = self.reading
        return {
            "endmembers": self.endmembers,
            "method": self.method,
            "ensemble": self.ensemble,
            "normalization": self.normalization or default_normalization(plan),
            "seed": self.seed,
            "nodata": reading.nodata,
            "order": reading.order,
            "variable": reading.variable,
            "mask": None if reading.mask is None else str(reading.mask),
            "wavelengths": list(reading.wavelengths),
            "library": None if self.library is None else str(self.library),
            "endmembers_file": None if self.endmembers_file is None else str(self.endmembers_file),
            "format": self.map_format,
            "uncertainty": self.uncertainty,
            "settings": self.own,
        }


def unmix_to(out: Path, path: Path | None, settings: Settings) -> None:
    """Unmix the scene of a file, or a simulated one, and write the report directory `out`.

    Raises:
        InputError: when the scene cannot be read or unmixed so, or the report cannot be written.
    """
    console = Console()
    plan = settings.plan()
    with reporting(console) as reporter:
        require_writable(out, [SPECTRA, ARRAYS, METRICS, PICTURE, PAGE])
        source = "simulated scene" if path is None else path.name
        reporter.stage(f"Reading {source}")
        scene = read_or_simulate(path, settings.endmembers, settings.seed, settings.reading)
        spectra, known, notices = spectra_for(scene, plan, settings.method, settings.library, settings.endmembers_file)
        for notice in notices:
            reporter.stage(notice)
        count = settings.endmembers if known is None or settings.endmembers else known.values.shape[1]
        reporter.stage(
            f"Unmixing {source} ({scene.height} x {scene.width} pixels, {scene.num_bands} bands) "
            f"into {count} endmembers with {settings.method}"
        )
        choices: dict[str, Any] = {
            "seed": settings.seed,
            "ensemble": settings.ensemble,
            "normalization": settings.normalization,
            "settings": settings.own | classes_by_name(plan, known),
        }
        unmixing, watch = run_method(scene, count, settings.method, plan, spectra, **choices, reporter=reporter)
        deviation = None
        unmixing = in_truth_order(scene, unmixing)
        if settings.uncertainty is not None:
            reporter.stage(f"Drawing {settings.uncertainty} times for the uncertainty")
            deviation = deviation_of(
                scene, unmixing, settings.method, plan, spectra, **choices, draws=settings.uncertainty
            )
        reporter.stage(f"Writing {out}")
        names = names_of(scene, unmixing, plan, known)
        evaluation = _write_report(out, path, scene, unmixing, settings, plan, watch, names, deviation, notices)

    console.print(evaluation_table(evaluation, names))
    console.print(
        f"{watch.run:.1f} s, and {watch.compile:.1f} s of compilation; the report is {out / PAGE}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def read_or_simulate(path: Path | None, count: int | None, seed: int, reading: Reading) -> Scene:
    """The scene, once it is known to hold that many endmembers.

    Raises:
        InputError: when it cannot be read, or is too small for them.
    """
    if path is None:
        # Before the simulation, which takes long for very many endmembers.
        if (count or 0) > BANDS:
            raise InputError(f"--endmembers must be at most the {BANDS} bands of the simulated scene, got {count}")
        with bad_input():
            return simulate_scene(
                jax.random.key(seed),
                num_endmembers=count or 3,
                height=HEIGHT,
                width=WIDTH,
                num_bands=BANDS,
                snr_db=SNR,
            )
    scene = reading.read(path)
    valid = int(np.asarray(scene.mask).sum())
    if (count or 0) > scene.num_bands:
        raise InputError(f"--endmembers must be at most the {scene.num_bands} bands of {path}, got {count}")
    if (count or 0) > valid:
        raise InputError(f"--endmembers must be at most the {valid} valid pixels of {path}, got {count}")
    return scene


def names_of(scene: Scene, unmixing: Unmixing, plan: Plan, spectra: Spectra | None) -> list[str]:
    """Names of the endmembers: the truth's, or those of the spectra where an endmember is one of them, or numbers."""
    count = unmixing.num_endmembers
    if scene.names or spectra is None or spectra.names is None:
        return endmember_names(scene, count)
    if plan.needs_endmembers and len(spectra.names) == count:
        return list(spectra.names)
    if plan.main.kind == "library" and unmixing.weights is None and unmixing.indices is not None:
        return [spectra.names[int(k)] for k in unmixing.indices]
    return endmember_names(scene, count)


def _write_report(
    out: Path,
    path: Path | None,
    scene: Scene,
    unmixing: Unmixing,
    settings: Settings,
    plan: Plan,
    watch: Stopwatch,
    names: list[str],
    deviation: np.ndarray | None,
    notices: list[str],
) -> dict[str, Any]:
    source = "simulated scene" if path is None else path.name
    evaluation = measure(scene, unmixing)
    evaluation.pop("names", None)
    metrics = {
        **evaluation,
        "names": names,
        "result": result_name(unmixing.result),
        "run_seconds": watch.run,
        "compile_seconds": watch.compile,
        "scene": {
            "source": source,
            "height": scene.height,
            "width": scene.width,
            "bands": scene.num_bands,
            "masked_pixels": int((~np.asarray(scene.mask)).sum()),
        },
        "settings": settings.record(plan),
        "versions": versions(),
    }
    if notices:
        metrics["notices"] = notices
    if deviation is not None:
        metrics["mean_standard_deviation"] = np.nanmean(deviation, axis=1)
    title = f"{source}, {settings.method}"
    details = {
        "Scene": metrics["scene"],
        "Settings": metrics["settings"],
        "Time and outcome": {
            "seconds": watch.run,
            "seconds of compilation": watch.compile,
            "result": metrics["result"],
        },
        "Versions": metrics["versions"],
    }
    with staged(out) as stage:
        write_endmembers(stage / SPECTRA, scene, unmixing, names)
        write_abundances(stage / ARRAYS, scene, unmixing, deviation)
        write_json(stage / METRICS, metrics)
        _write_maps(stage, path, scene, unmixing, settings.map_format, names, deviation, settings.reading)
        report_figure(scene, unmixing, evaluation, title=title, names=names).savefig(stage / PICTURE)
        page = report_page(scene, unmixing, evaluation, title=title, details=details, names=names)
        (stage / PAGE).write_text(page, encoding="utf-8")
    return evaluation


def _write_maps(
    stage: Path,
    path: Path | None,
    scene: Scene,
    unmixing: Unmixing,
    map_format: MapFormat,
    names: list[str],
    deviation: np.ndarray | None,
    reading: Reading,
) -> None:
    """The abundance maps in a format of remote sensing, beside the arrays of NumPy, in the place of the scene."""
    if map_format == "npz":
        return
    values, titles = np.asarray(unmixing.abundances), list(names)
    if deviation is not None:
        values = np.concatenate([values, deviation])
        titles += [f"{name} standard deviation" for name in names]
    with bad_input():
        like = None
        if path is not None:
            like = open_scene(path, order=reading.order, nodata=reading.nodata, variable=reading.variable).georeference
        write_maps(stage / f"abundances{SUFFIXES[map_format]}", np.asarray(scene.to_map(values)), titles, like=like)
