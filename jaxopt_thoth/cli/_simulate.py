"""The command `simulate`."""

import math
from pathlib import Path

import jax
from rich.console import Console

from ..unmixing import save_scene, simulate_scene
from ._errors import bad_input, InputError
from ._staging import require_writable, staged


def simulate_to(out: Path, *, endmembers: int, height: int, width: int, bands: int, snr: float, seed: int) -> None:
    """Simulate a scene and write it as one .npz file.

    Raises:
        InputError: when the sizes make no scene, or the file cannot be written.
    """
    if out.suffix != ".npz":
        raise InputError(f"--out must end in .npz, got {out}")
    if endmembers > bands:
        raise InputError(f"--endmembers must be at most --bands, got {endmembers} and {bands}")
    if math.isnan(snr):
        raise InputError("--snr must be a number of decibels, got nan")
    require_writable(out.parent, [out.name])

    with bad_input():
        scene = simulate_scene(
            jax.random.key(seed), num_endmembers=endmembers, height=height, width=width, num_bands=bands, snr_db=snr
        )
    with staged(out.parent) as stage:
        save_scene(stage / out.name, scene)
    Console().print(
        f"{out}: {height} x {width} pixels, {bands} bands, {endmembers} endmembers",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
