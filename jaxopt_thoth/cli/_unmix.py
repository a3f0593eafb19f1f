"""The command `unmix`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from rich.console import Console

from ..plotting import report_figure
from ..plotting._truth import endmember_names, in_truth_order
from ..unmixing import Scene, simulate_scene, unmix, Unmixing
from ._defaults import BANDS, HEIGHT, Method, SNR, WIDTH
from ._errors import bad_input, InputError
from ._evaluate import evaluation_table
from ._inputs import ARRAYS, read_scene
from ._measure import measure
from ._progress import Reporter, reporting
from ._record import result_name, versions
from ._staging import require_writable, staged
from ._timing import Stopwatch, stopwatch
from ._write import write_abundances, write_endmembers, write_json


SPECTRA, METRICS, PICTURE = "endmembers.csv", "metrics.json", "report.png"


@dataclass(frozen=True)
class Settings:
    """What the user chose."""

    endmembers: int
    method: Method
    ensemble: int | None
    normalization: Literal["pixel_l2", "perspective", "none"]
    seed: int
    nodata: float | None
    order: Literal["C", "F"] | None


def unmix_to(out: Path, path: Path | None, settings: Settings) -> None:
    """Unmix the scene of a file, or a simulated one, and write the report directory `out`.

    Raises:
        InputError: when the scene cannot be read or unmixed so, or the report cannot be written.
    """
    console = Console()
    with reporting(console) as reporter:
        require_writable(out, [SPECTRA, ARRAYS, METRICS, PICTURE])
        source = "simulated scene" if path is None else path.name
        reporter.stage(f"Reading {source}")
        scene = _scene(path, settings)
        reporter.stage(
            f"Unmixing {source} ({scene.height} x {scene.width} pixels, {scene.num_bands} bands) "
            f"into {settings.endmembers} endmembers with {settings.method}"
        )
        unmixing, watch = _unmix(scene, settings, reporter)
        reporter.stage(f"Writing {out}")
        evaluation = _write_report(out, source, scene, unmixing, settings, watch)

    console.print(evaluation_table(evaluation, endmember_names(scene, settings.endmembers)))
    console.print(
        f"{watch.run:.1f} s, and {watch.compile:.1f} s of compilation; the picture is {out / PICTURE}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _scene(path: Path | None, settings: Settings) -> Scene:
    """The scene, once it is known to hold that many endmembers."""
    count = settings.endmembers
    if path is None:
        # Before the simulation, which takes long for very many endmembers.
        if count > BANDS:
            raise InputError(f"--endmembers must be at most the {BANDS} bands of the simulated scene, got {count}")
        with bad_input():
            return simulate_scene(
                jax.random.key(settings.seed),
                num_endmembers=count,
                height=HEIGHT,
                width=WIDTH,
                num_bands=BANDS,
                snr_db=SNR,
            )
    scene = read_scene(path, settings.nodata, settings.order)
    valid = int(np.asarray(scene.mask).sum())
    if count > scene.num_bands:
        raise InputError(f"--endmembers must be at most the {scene.num_bands} bands of {path}, got {count}")
    if count > valid:
        raise InputError(f"--endmembers must be at most the {valid} valid pixels of {path}, got {count}")
    return scene


def _unmix(scene: Scene, settings: Settings, reporter: Reporter) -> tuple[Unmixing, Stopwatch]:
    # The simulated scene has used up the seed's own key.
    key = jax.random.fold_in(jax.random.key(settings.seed), 1)
    with stopwatch() as watch, bad_input():
        unmixing = unmix(
            scene,
            settings.endmembers,
            method=settings.method,
            key=key,
            ensemble=settings.ensemble,
            normalization=settings.normalization,
            progress=reporter.advance,
        )
        jax.block_until_ready(unmixing)
        # Progress reported from compiled code may still be on its way.
        jax.effects_barrier()
    if not np.isfinite(unmixing.endmembers).all():
        raise InputError(f"{settings.method} met numbers that are not finite; try another --seed or --method")
    return unmixing, watch


def _write_report(
    out: Path, source: str, scene: Scene, unmixing: Unmixing, settings: Settings, watch: Stopwatch
) -> dict[str, Any]:
    unmixing = in_truth_order(scene, unmixing)
    evaluation = measure(scene, unmixing)
    names = endmember_names(scene, settings.endmembers)
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
        "settings": asdict(settings),
        "versions": versions(),
    }
    title = f"{source}, {settings.method}"
    with staged(out) as stage:
        write_endmembers(stage / SPECTRA, scene, unmixing, names)
        write_abundances(stage / ARRAYS, scene, unmixing)
        write_json(stage / METRICS, metrics)
        report_figure(scene, unmixing, evaluation, title=title).savefig(stage / PICTURE)
    return evaluation
