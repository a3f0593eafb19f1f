"""The options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ._config import load_config


Endmembers = Annotated[int, typer.Option("--endmembers", "-p", min=2, help="Number of endmembers.")]
OptionalEndmembers = Annotated[
    int | None,
    typer.Option("--endmembers", "-p", min=2, help="Number of endmembers; that of --endmembers-file by default."),
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of everything random.")]
Size = Annotated[int, typer.Option(min=1, help="Pixels.")]
NoData = Annotated[float | None, typer.Option(help="Stored value that marks a pixel without data.")]
Order = Annotated[
    Literal["C", "F"] | None,
    typer.Option(help="How the file lists its pixels: C row by row, F column by column; by default the file's custom."),
]
Variable = Annotated[str | None, typer.Option(help="Name of the array to read, where a file has several.")]
Mask = Annotated[Path | None, typer.Option(help="File of a mask (.npy, .npz, .mat), true for the pixels to use.")]
Ranges = Annotated[
    list[str] | None, typer.Option("--wavelengths", metavar="LO:HI", help="Use these bands; may be repeated.")
]
Library = Annotated[Path | None, typer.Option(help="Spectral library, .npz, .mat or .csv; by default the scene's own.")]
EndmembersFile = Annotated[
    Path | None,
    typer.Option(help="Spectra to fit, .npz, .mat or .csv, or the directory of a report: for fclsu and its like."),
]
OwnSettings = Annotated[
    list[str] | None,
    typer.Option("--setting", metavar="NAME=VALUE", help="A setting of the method; may be repeated. See: methods."),
]
Normalization = Annotated[
    Literal["pixel_l2", "perspective", "none"] | None,
    typer.Option(
        help="Take the brightness out of the pixels: unit norms, a perspective projection, or not at all. By default "
        "pixel_l2 where endmembers are found among the pixels, none where spectra are given."
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        callback=load_config, is_eager=True, help="TOML file with options by name and a table settings; flags win."
    ),
]
SceneFile = Annotated[
    Path | None,
    typer.Argument(metavar="[SCENE]", help="File of a scene; without it a simulated one is unmixed."),
]
