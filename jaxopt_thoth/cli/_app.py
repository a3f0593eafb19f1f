"""The commands and their options; what they do is imported when they run, so that `--help` need not wait for it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ._defaults import DRAWN, HEIGHT, Method, SNR, WIDTH
from ._errors import InputError


app = typer.Typer(
    name="jaxopt-thoth",
    help="Unmix hyperspectral images into the spectra of their materials and the share of each in every pixel.",
    add_completion=False,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)

Endmembers = Annotated[int, typer.Option("--endmembers", "-p", min=2, help="Number of endmembers.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything random.")]
Size = Annotated[int, typer.Option(min=1, help="Pixels.")]
NoData = Annotated[float | None, typer.Option(help="Stored value that marks a pixel without data.")]
Order = Annotated[
    Literal["C", "F"] | None,
    typer.Option(help="How the file lists its pixels: C row by row, F column by column; by default the file's custom."),
]


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        from importlib.metadata import version as version_of

        typer.echo(f"jaxopt-thoth {version_of('jaxopt_thoth')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def unmix(
    endmembers: Endmembers,
    out: Annotated[Path, typer.Option(help="Directory to write; files of an earlier report in it are replaced.")],
    scene: Annotated[
        Path | None,
        typer.Argument(metavar="[SCENE]", help="A .npz or .mat file; without it a simulated scene is unmixed."),
    ] = None,
    method: Annotated[
        Method,
        typer.Option(help="Archetypal analysis, nonnegative factors, or an extraction and constrained least squares."),
    ] = "edaa",
    ensemble: Annotated[
        int | None,
        typer.Option(min=1, help="Runs to choose from; 10 by default."),
    ] = None,
    normalization: Annotated[
        Literal["pixel_l2", "perspective", "none"],
        typer.Option(
            help="Take the brightness out of the pixels: unit norms, a perspective projection, or not at all."
        ),
    ] = "pixel_l2",
    seed: Seed = 0,
    nodata: NoData = None,
    order: Order = None,
) -> None:
    """Unmix a scene; writes endmembers.csv, abundances.npz, metrics.json and report.png."""
    if ensemble is not None and method not in DRAWN:
        raise InputError(f"--ensemble has no meaning for {method}, which runs once")
    if scene is None and (nodata is not None or order is not None):
        raise InputError("--nodata and --order say how to read a SCENE, and none was given")

    from ._unmix import Settings, unmix_to

    unmix_to(out, scene, Settings(endmembers, method, ensemble, normalization, seed, nodata, order))


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="The .npz file to write.")],
    endmembers: Endmembers = 3,
    height: Size = HEIGHT,
    width: Size = WIDTH,
    bands: Annotated[int, typer.Option(min=2, help="Spectral bands.")] = 120,
    snr: Annotated[float, typer.Option(help="Signal-to-noise ratio in decibels; inf for no noise.")] = SNR,
    seed: Seed = 0,
) -> None:
    """Write a simulated scene with its ground truth."""
    from ._simulate import simulate_to

    simulate_to(out, endmembers=endmembers, height=height, width=width, bands=bands, snr=snr, seed=seed)


@app.command()
def evaluate(
    estimate: Annotated[
        Path, typer.Argument(metavar="ESTIMATE", help="The directory of a report, or an abundances.npz.")
    ],
    scene: Annotated[Path, typer.Argument(metavar="SCENE", help="The scene with its ground truth.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    nodata: NoData = None,
    order: Order = None,
) -> None:
    """Compare an estimate with the ground truth of a scene."""
    from ._evaluate import print_evaluation

    print_evaluation(estimate, scene, as_json=as_json, nodata=nodata, order=order)
