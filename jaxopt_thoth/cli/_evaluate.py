"""The command `evaluate`, and the table that `unmix` ends with too."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from ..plotting._truth import endmember_names, in_truth_order, true_count
from ..unmixing import Unmixing
from ._errors import bad_input, InputError
from ._inputs import read_estimate, read_scene
from ._measure import likely_pixel_scale, measure
from ._write import to_json


def print_evaluation(
    estimate: Path, path: Path, *, as_json: bool, nodata: float | None, order: Literal["C", "F"] | None
) -> None:
    """Print the errors of an estimate against a scene.

    Raises:
        InputError: when either cannot be read, they do not fit each other, or the scene has no truth to compare with.
    """
    endmembers, abundances = read_estimate(estimate)
    scene = read_scene(path, nodata, order)
    count = true_count(scene)
    if count is None:
        raise InputError(f"{path} has no ground truth; it needs E or A")
    if endmembers.shape[1] < count:
        raise InputError(f"{estimate} has {endmembers.shape[1]} endmembers, fewer than the {count} true ones of {path}")
    if endmembers.shape[0] != scene.num_bands or abundances.shape[1:] != (scene.height, scene.width):
        raise InputError(
            f"{estimate} has {endmembers.shape[0]} bands and {abundances.shape[1]} x {abundances.shape[2]} pixels, "
            f"but {path} has {scene.num_bands} bands and {scene.height} x {scene.width} pixels"
        )
    flat = abundances.reshape(abundances.shape[0], -1)
    scale = likely_pixel_scale(scene, endmembers, flat)
    found = Unmixing(
        endmembers=jnp.asarray(endmembers),
        abundances=jnp.asarray(flat),
        pixel_scale=None if scale is None else jnp.asarray(scale),
    )
    with bad_input():
        evaluation = measure(scene, in_truth_order(scene, found))
    if as_json:
        print(to_json(evaluation))
    else:
        Console().print(evaluation_table(evaluation, endmember_names(scene, endmembers.shape[1])))


def evaluation_table(evaluation: Mapping[str, Any], names: Sequence[str]) -> Table:
    """A table of the errors, a row for each endmember, then one for all of them."""
    angles = evaluation.get("spectral_angle")
    errors = evaluation.get("abundance_rmse_per_endmember")
    residual = f"relative residual of the reconstruction {100 * evaluation['relative_residual']:.2f} %"
    table = Table(caption=residual, caption_justify="left")
    table.add_column("endmember")
    table.add_column("spectral angle (degrees)", justify="right")
    table.add_column("abundance RMSE (%)", justify="right")
    for index, name in enumerate(names):
        table.add_row(name, _number(angles, index), _number(errors, index), end_section=index == len(names) - 1)
    means = [evaluation.get("mean_spectral_angle"), evaluation.get("abundance_rmse")]
    if angles is not None or errors is not None:
        table.add_row("all", *(_number([value], 0) for value in means))
    return table


def _number(values: Sequence[float | None] | None, index: int) -> str:
    value = None if values is None or index >= len(values) else values[index]
    return "-" if value is None else f"{value:.2f}"
