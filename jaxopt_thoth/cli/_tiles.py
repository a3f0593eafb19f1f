"""The command `unmix` on files larger than memory."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from ..unmixing import open_scene, Scene, SceneSource, unmix, unmix_tiles
from ..unmixing._methods import METHODS, Plan
from ..unmixing._unmix import default_normalization
from ..unmixing.files._journal import journal_path, load_journal
from ._defaults import SUFFIXES
from ._errors import bad_input, InputError
from ._prepare import choose_bands, read_mask
from ._progress import reporting
from ._record import versions
from ._spectra_file import match_bands, read_spectra, Spectra, write_spectra
from ._staging import require_writable
from ._unmix import METRICS, Settings, SPECTRA
from ._write import write_json


_UNITS = {"": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12}


def parse_memory(text: str) -> float:
    """Bytes of a size as 500MB.

    Raises:
        InputError: for anything else.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?b|)\s*", text.lower())
    if match is None or float(match[1]) <= 0:
        raise InputError(f"--memory must be a size as 500MB or 2GB, got {text!r}")
    return float(match[1]) * _UNITS[match[2]]


def unmix_tiles_to(out: Path, path: Path | None, settings: Settings, memory: float, resume: bool) -> None:
    """Unmix a file tile by tile: endmembers of a sample of it, or given ones, then abundances into a file of maps.

    Raises:
        InputError: when the method needs the whole scene, or the file cannot be read or written so.
    """
    plan = settings.plan()
    if path is None:
        raise InputError("--memory is for a SCENE, and none was given")
    if plan.main.kind not in ("blind", "linear"):
        raise InputError(f"--memory: {settings.method} needs the whole scene; choose an extraction, as vca+fclsu")
    if settings.uncertainty is not None:
        raise InputError("--uncertainty needs the whole scene; leave --memory out")
    if settings.map_format == "npz":
        raise InputError("--memory needs --format envi, geotiff or netcdf, which can be written piece by piece")
    normalization = settings.normalization or default_normalization(plan)
    if normalization == "perspective":
        raise InputError("--memory: choose --normalization pixel_l2 or none")
    file = out / f"abundances{SUFFIXES[settings.map_format]}"
    require_writable(out, [file.name, SPECTRA, METRICS])
    console = Console()
    with _saying_what_stays(file), reporting(console) as reporter, bad_input():
        reporter.stage(f"Opening {path.name}")
        source = _source(path, settings)
        endmembers, names, notice = _endmembers(source, plan, settings, normalization)
        if notice:
            reporter.stage(notice)
        reporter.stage(f"Unmixing {path.name} ({source.height} x {source.width} pixels) with {settings.method}")
        out.mkdir(parents=True, exist_ok=True)
        found = unmix_tiles(
            source,
            endmembers,
            file,
            key=jax.random.fold_in(jax.random.key(settings.seed), 1),
            fit=(plan.main if plan.main.kind == "linear" else METHODS["fclsu"]).function,
            normalization=normalization,
            names=names,
            settings=settings.record(plan),
            memory=memory,
            resume=resume,
            progress=reporter.advance,
        )
        titles = tuple(found.names[:-1])
        write_spectra(out / SPECTRA, Spectra(path.name, found.endmembers, source.wavelengths, titles))
        record = {
            "reconstruction_rmse": found.reconstruction_rmse,
            "names": titles,
            "scene": {"source": path.name, "height": source.height, "width": source.width, "bands": source.num_bands},
            "valid_pixels": found.num_valid,
            "failed_pixels": found.num_failed,
            "settings": settings.record(plan),
            "versions": versions(),
        }
        write_json(out / METRICS, record)
    console.print(
        f"{found.num_valid} of {found.num_pixels} pixels, {_failures(found.num_failed)}"
        f"reconstruction RMSE {found.reconstruction_rmse:.4g}; "
        f"the maps are {found.path}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _failures(count: int) -> str:
    return f"of which {count} could not be fitted and are NaN, " if count else ""


@contextmanager
def _saying_what_stays(file: Path) -> Iterator[None]:
    """One line on the standard error where an interruption leaves maps that `--resume` can finish."""
    try:
        yield
    except KeyboardInterrupt:
        log = journal_path(file)
        with bad_input():
            journal = load_journal(log)
        if journal is not None and journal.rows_done < journal.height:
            print(
                f"jaxopt-thoth: interrupted: {journal.rows_done} of {journal.height} rows stay in {file}; the same "
                "command with --resume goes on",
                file=sys.stderr,
            )
        raise


def _source(path: Path, settings: Settings) -> SceneSource:
    reading = settings.reading
    source = open_scene(path, order=reading.order, nodata=reading.nodata, variable=reading.variable)
    if reading.mask is not None:
        source = source.with_mask(read_mask(reading.mask, source.height, source.width))
    if reading.wavelengths:
        source = source.with_bands(choose_bands(source.wavelengths, reading.wavelengths))
    return source


def _endmembers(source: SceneSource, plan: Plan, settings: Settings, normalization: Any) -> tuple[Any, Any, str | None]:
    """The spectra, or how to find them in a sample, their names, and perhaps a notice."""
    if settings.library is not None:
        raise InputError(f"--library has no meaning for {settings.method}")
    if plan.needs_endmembers:
        if settings.endmembers_file is None:
            raise InputError(f"{settings.method} needs --endmembers-file, or an extraction before it")
        spectra, notice = match_bands(read_spectra(settings.endmembers_file), source.num_bands, source.wavelengths)
        if settings.endmembers not in (None, spectra.values.shape[1]):
            raise InputError(f"--endmembers must be the {spectra.values.shape[1]} of {spectra.source}")
        values = spectra.values
        if normalization == "pixel_l2":
            sizes = np.linalg.norm(values, axis=0)
            values = values / np.where(sizes > 0, sizes, 1)
        return values, spectra.names, notice
    if settings.endmembers_file is not None:
        raise InputError(f"--endmembers-file has no meaning for {settings.method}")

    def of_sample(sample: Scene) -> Any:
        return unmix(
            sample,
            settings.endmembers,
            method=settings.method,
            key=jax.random.fold_in(jax.random.key(settings.seed), 2),
            ensemble=settings.ensemble,
            normalization=normalization,
            **settings.own,
        ).endmembers

    return of_sample, None, None
