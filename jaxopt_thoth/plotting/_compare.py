"""Several estimates of one scene, side by side."""

from collections.abc import Mapping
from typing import Any, TYPE_CHECKING

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ..unmixing import align, Scene, Unmixing
from ._report import ordered_spectra
from ._style import color_of, INK, new_figure, shorten, SOFT, TEXT_SIZE, TITLE_SIZE
from ._tiles import ABUNDANCE_COLORS, draw_map, draw_scale, finish_curve, with_gaps
from ._truth import endmember_names, in_truth_order, true_count


if TYPE_CHECKING:
    from matplotlib.figure import Figure


_LEFT, _RIGHT, _TOP, _BOTTOM, _GAP, _CURVE = 1.45, 0.3, 0.72, 0.5, 0.14, 1.15


def comparison_figure(
    scene: Scene,
    estimates: Mapping[str, Unmixing],
    evaluations: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    title: str | None = None,
) -> "Figure":
    """Draw several estimates of one scene: a row of abundance maps of each, a column of each endmember.

    The columns are those of the truth, or of the first estimate where there is none; with a truth its maps stand
    first. Below each column are its spectra at root mean square one, a color for each estimate, the truth dashed.

    Args:
        scene: the scene that was unmixed.
        estimates: by the names to write beside the rows, all of as many endmembers.
        evaluations: by name what `evaluate` returned; the angles are written into the maps.
        title: the heading; by default the size of the scene.

    Returns:
        A matplotlib figure, ready for `figure.savefig(path)`.

    Raises:
        ImportError: without matplotlib, naming the extra that brings it.
        ValueError: when there is no estimate, or they differ in the number of endmembers.

    Example:
        >>> import jax, jaxopt_thoth as jt
        >>> from jaxopt_thoth.plotting import comparison_figure
        >>> scene = jt.unmixing.simulate_scene(jax.random.key(0), num_endmembers=3, height=16, width=16)
        >>> run = lambda method: jt.unmixing.unmix(scene, 3, method=method, key=jax.random.key(1))
        >>> figure = comparison_figure(scene, {name: run(name) for name in ("vca+fclsu", "sivm+fclsu")})
        >>> figure.savefig("comparison.png")
    """
    aligned = align_estimates(scene, estimates)
    p = next(iter(aligned.values())).num_endmembers
    names = endmember_names(scene, p)
    rows = [(name, np.asarray(scene.to_map(found.abundances))) for name, found in aligned.items()]
    truth = None if scene.abundances is None or scene.abundances.shape[0] > p else scene.to_map(scene.abundances)
    if truth is not None:
        rows.insert(0, ("truth", np.asarray(truth)))

    aspect = scene.width / scene.height
    tile = float(np.clip(1.55 * np.sqrt(aspect), 1.15, 3.0))
    tall = float(np.clip(tile / aspect, 0.12, 2.2))
    wide = min(tile, tall * aspect)
    width = max(_LEFT + p * (tile + _GAP) - _GAP + _RIGHT, 5.2)
    height = _TOP + len(rows) * (tall + _GAP) + 0.1 + _CURVE + _BOTTOM + 0.25 * -(-len(aligned) // 4)
    figure = new_figure(width, height)
    place = lambda left, top, w, h: figure.add_axes((left / width, 1 - (top + h) / height, w / width, h / height))

    for row, (name, maps) in enumerate(rows):
        top = _TOP + row * (tall + _GAP)
        label = f"{shorten(name, 20)}\n{_note(evaluations, name)}".strip()
        figure.text(0.1 / width, 1 - (top + tall / 2) / height, label, va="center", fontsize=TEXT_SIZE, color=INK)
        angles = ((evaluations or {}).get(name) or {}).get("spectral_angle") or ()
        for column in range(p):
            axes = place(_LEFT + column * (tile + _GAP) + (tile - wide) / 2, top, wide, tall)
            if column >= maps.shape[0]:
                axes.set_axis_off()
                continue
            image = draw_map(axes, maps[column], ABUNDANCE_COLORS, 0.0, 1.0)
            if row == 0:
                room = int(tile * 72 / 5.4)
                axes.set_title(shorten(names[column], room), fontsize=9, color=INK, pad=4)
            if column < len(angles):
                box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.2}
                text = f"{float(angles[column]):.1f}\N{DEGREE SIGN}"
                axes.text(0.98, 0.97, text, transform=axes.transAxes, ha="right", va="top", size=7, color=INK, bbox=box)

    _draw_spectra(scene, aligned, lambda k: place(_LEFT + k * (tile + _GAP), _TOP + len(rows) * (tall + _GAP) + 0.1,
                                                  tile, _CURVE), figure)  # fmt: skip
    heading = title or f"{scene.height} \N{MULTIPLICATION SIGN} {scene.width} pixels, {scene.num_bands} bands"
    figure.text(0.1 / width, 1 - 0.24 / height, heading, fontsize=TITLE_SIZE, color=INK, va="center")
    draw_scale(place(width - _RIGHT - 0.9, 0.2, 0.9, 0.09), image, "horizontal", [0, 0.5, 1])
    where = (width - _RIGHT - 0.98) / width
    figure.text(where, 1 - 0.245 / height, "abundance", ha="right", va="center", size=TEXT_SIZE, color=SOFT)
    if any(np.isnan(maps).any() for _, maps in rows):
        note = "gray: no data"
        figure.text(where - 0.75 / width, 1 - 0.245 / height, note, ha="right", va="center", size=TEXT_SIZE, color=SOFT)
    return figure


def align_estimates(scene: Scene, estimates: Mapping[str, Unmixing]) -> dict[str, Unmixing]:
    """Estimates in the order of the truth, or of the first one where there is no truth of as many endmembers.

    Raises:
        ValueError: when there is no estimate, or they differ in the number of endmembers.
    """
    counts = {found.num_endmembers for found in estimates.values()}
    if len(counts) != 1:
        raise ValueError(f"estimates must be of one number of endmembers, got {sorted(counts) or 'none'}.")
    known = true_count(scene)
    if known is not None and known <= counts.pop():
        return {name: in_truth_order(scene, found) for name, found in estimates.items()}
    aligned: dict[str, Unmixing] = {}
    for name, found in estimates.items():
        if aligned:
            order = align(found.endmembers, next(iter(aligned.values())).endmembers, criterion="spectral_angle")
            found = eqx.tree_at(
                lambda u: (u.endmembers, u.abundances),
                found,
                (found.endmembers[:, order], jnp.asarray(found.abundances)[order]),
            )
        aligned[name] = found
    return aligned


def _note(evaluations: Mapping[str, Mapping[str, Any]] | None, name: str) -> str:
    """The error of all endmembers of one row, the one that says most."""
    found = (evaluations or {}).get(name) or {}
    if found.get("abundance_rmse") is not None:
        return f"RMSE {found['abundance_rmse']:.1f} %"
    if found.get("relative_residual") is not None:
        return f"residual {100 * found['relative_residual']:.1f} %"
    return ""


def _draw_spectra(scene: Scene, aligned: Mapping[str, Unmixing], place: Any, figure: "Figure") -> None:
    """The last row: the spectra of each endmember by all estimates, and which color is which."""
    from matplotlib.lines import Line2D

    curves = {name: ordered_spectra(scene, np.asarray(found.endmembers))[0] for name, found in aligned.items()}
    first = next(iter(curves.values()))
    top = max(spectra.top() for spectra in curves.values())
    low = min(0.0, *(1.06 * float(np.nanmin(spectra.estimate)) for spectra in curves.values()))
    for column in range(first.estimate.shape[1]):
        axes = place(column)
        for index, spectra in enumerate(curves.values()):
            axes.plot(*with_gaps(spectra.bands, spectra.estimate[:, column]), color=color_of(index), linewidth=1.1)
        if first.truth is not None and column < first.truth.shape[1]:
            dashed = {"color": INK, "linewidth": 0.9, "dashes": (3.2, 1.8)}
            axes.plot(*with_gaps(first.bands, first.truth[:, column]), **dashed)
        axes.set_ylim(low, top)
        finish_curve(axes, first.bands, first.label, show_values=column == 0)
        if column == 0:
            axes.set_ylabel("reflectance / rms", fontsize=TEXT_SIZE, color=SOFT, labelpad=3)
    keys: list[Any] = [Line2D([], [], color=color_of(k), linewidth=1.4, label=name) for k, name in enumerate(curves)]
    if first.truth is not None:
        keys.append(Line2D([], [], color=INK, linewidth=0.9, dashes=(3.2, 1.8), label="truth"))
    figure.legend(
        handles=keys, loc="lower center", ncols=4, fontsize=TEXT_SIZE, frameon=False, labelcolor=INK,
        handlelength=1.8, columnspacing=1.4, borderaxespad=0.2,
    )  # fmt: skip
