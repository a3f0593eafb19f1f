"""The commands and their options; what they do is imported when they run, so that `--help` need not wait for it."""

from pathlib import Path
from typing import Annotated

import typer

from ._config import read_settings
from ._defaults import HEIGHT, MapFormat, SNR, WIDTH
from ._errors import InputError
from ._options import (
    Config,
    Endmembers,
    EndmembersFile,
    Library,
    Mask,
    NoData,
    Normalization,
    OptionalEndmembers,
    Order,
    OwnSettings,
    Ranges,
    SceneFile,
    Seed,
    Size,
    Variable,
)


HELP = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="jaxopt-thoth",
    help="Unmix hyperspectral images into the spectra of their materials and the share of each in every pixel.",
    add_completion=False,
    no_args_is_help=False,
    context_settings=HELP,
    pretty_exceptions_enable=False,
)
library_app = typer.Typer(
    help="Inspect, prune and resample spectral libraries.", context_settings=HELP, no_args_is_help=True
)
app.add_typer(library_app, name="library")


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
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Directory to write; files of an earlier report in it are replaced.")],
    endmembers: OptionalEndmembers = None,
    scene: SceneFile = None,
    method: Annotated[
        str, typer.Option(help="Name of a method, as edaa, sunsal or vca+fclsu; the command methods lists them.")
    ] = "edaa",
    ensemble: Annotated[
        int | None,
        typer.Option(min=1, help="Runs to choose from; 10 by default."),
    ] = None,
    normalization: Normalization = None,
    library: Library = None,
    endmembers_file: EndmembersFile = None,
    setting: OwnSettings = None,
    config: Config = None,
    mask: Mask = None,
    wavelengths: Ranges = None,
    map_format: Annotated[
        MapFormat, typer.Option("--format", help="Write the maps in this format as well, georeferenced as the scene.")
    ] = "npz",
    uncertainty: Annotated[
        int | None, typer.Option(min=2, help="Draws of a bootstrap for the standard deviation of the abundances.")
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="Go through the file tile by tile within this memory, as 500MB or 2GB.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="With --memory: go on with an interrupted run.")] = False,
    seed: Seed = 0,
    nodata: NoData = None,
    order: Order = None,
    variable: Variable = None,
) -> None:
    """Unmix a scene; writes endmembers.csv, abundances.npz, metrics.json, report.png and report.html."""
    if scene is None and any(value is not None for value in (nodata, order, variable, mask, wavelengths)):
        raise InputError(
            "--nodata, --order, --variable, --mask and --wavelengths say how to read a SCENE, and none was given"
        )
    if resume and memory is None:
        raise InputError("--resume goes on with a run tile by tile; give its --memory as well")

    from ._prepare import Reading
    from ._unmix import Settings, unmix_to

    settings = Settings(
        endmembers=endmembers,
        method=method,
        ensemble=ensemble,
        normalization=normalization,
        seed=seed,
        reading=Reading(nodata, order, variable, mask, tuple(wavelengths or ())),
        library=library,
        endmembers_file=endmembers_file,
        map_format=map_format,
        uncertainty=uncertainty,
        own=read_settings(context, setting),
    )
    if memory is None:
        unmix_to(out, scene, settings)
    else:
        from ._tiles import parse_memory, unmix_tiles_to

        unmix_tiles_to(out, scene, settings, parse_memory(memory), resume)


@app.command()
def compare(
    context: typer.Context,
    endmembers: Endmembers,
    out: Annotated[Path, typer.Option(help="Directory to write compare.json and compare.png into.")],
    method: Annotated[list[str], typer.Option(help="A method; give two or more.")],
    scene: SceneFile = None,
    normalization: Normalization = None,
    library: Library = None,
    endmembers_file: EndmembersFile = None,
    setting: OwnSettings = None,
    config: Config = None,
    mask: Mask = None,
    wavelengths: Ranges = None,
    seed: Seed = 0,
    nodata: NoData = None,
    order: Order = None,
    variable: Variable = None,
) -> None:
    """Run several methods on one scene; a setting METHOD:NAME=VALUE is for one of them."""
    from ._compare import compare_to, Comparison
    from ._prepare import Reading

    reading = Reading(nodata, order, variable, mask, tuple(wavelengths or ()))
    own = read_settings(context, setting)
    chosen = Comparison(endmembers, method, normalization, seed, reading, library, endmembers_file, own)
    compare_to(out, scene, chosen)


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(metavar="[METHOD]", help="Show the settings of this one.")] = None,
) -> None:
    """List the methods of unmix, or the settings of one."""
    from ._list_methods import print_methods

    print_methods(name)


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


LibraryFile = Annotated[Path, typer.Argument(metavar="FILE", help="A library, .npz, .mat or .csv.")]
LibraryOut = Annotated[Path, typer.Option(help="The .npz or .csv file to write.")]


@library_app.command()
def info(
    file: LibraryFile,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
) -> None:
    """Say how many spectra a library has, at which wavelengths, how near each other, under which names."""
    from ._library import print_library

    print_library(file, as_json=as_json)


@library_app.command()
def prune(
    file: LibraryFile,
    out: LibraryOut,
    angle: Annotated[float, typer.Option(help="Least spectral angle between two spectra, degrees.")] = 4.44,
) -> None:
    """Keep each spectrum, in order, that differs from all kept before it."""
    from ._library import prune_to

    prune_to(out, file, angle)


@library_app.command()
def resample(
    file: LibraryFile,
    out: LibraryOut,
    like: Annotated[Path | None, typer.Option(help="Scene or library whose wavelengths to take.")] = None,
    wavelengths: Ranges = None,
) -> None:
    """Bring a library to other wavelengths by linear interpolation."""
    from ._library import resample_to

    resample_to(out, file, like, wavelengths or [])
