"""The parts of a report: a map, a spectrum, a residual, and the words around them."""

from dataclasses import dataclass
from typing import Any, TYPE_CHECKING

import numpy as np

from ._layout import LEFT, RIGHT, TileLayout
from ._style import (
    color_of,
    FAINT,
    few_ticks,
    INK,
    MASKED,
    NAME_SIZE,
    plain_axes,
    shorten,
    SOFT,
    TEXT_SIZE,
    TICK_SIZE,
    TITLE_SIZE,
)


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


ABUNDANCE_COLORS = "viridis"
RESIDUAL_COLORS = "magma"


@dataclass(frozen=True)
class Spectra:
    """What a curve is drawn from: spectra on one brightness, in the order of their bands.

    Attributes:
        bands: wavelengths or band numbers, increasing, shape (L,).
        label: name of that axis.
        estimate: spectra of shape (L, p).
        truth: the first of them as they truly are, shape (L, at most p), or None.
    """

    bands: np.ndarray
    label: str
    estimate: np.ndarray
    truth: np.ndarray | None

    def top(self) -> float:
        """Upper end of the vertical axis that all curves share."""
        largest = max(np.nanmax(self.estimate), 0 if self.truth is None else np.nanmax(self.truth))
        return 1.06 * float(largest)


def with_gaps(bands: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Break a curve where bands are missing (water vapor), instead of drawing a line through them."""
    steps = np.diff(bands)
    if steps.size < 2:
        return bands, values
    breaks = np.flatnonzero(steps > 4 * np.median(steps)) + 1
    return np.insert(bands, breaks, np.nan), np.insert(values, breaks, np.nan)


def draw_map(axes: "Axes", values: np.ndarray, colors: str, low: float, high: float) -> "AxesImage":
    """Show one (H, W) map; NaN is gray."""
    from matplotlib import colormaps

    palette = colormaps[colors].with_extremes(bad=MASKED)
    image = axes.imshow(values, cmap=palette, vmin=low, vmax=high, interpolation="nearest", aspect="auto")
    axes.set_xticks([])
    axes.set_yticks([])
    for line in axes.spines.values():
        line.set_visible(False)
    return image


def draw_spectrum(axes: "Axes", spectra: Spectra, index: int) -> None:
    """Draw one endmember in its color over the others in gray, its truth dashed."""
    for other in range(spectra.estimate.shape[1]):
        if other != index:
            axes.plot(*with_gaps(spectra.bands, spectra.estimate[:, other]), color=FAINT, linewidth=0.7, zorder=1)
    axes.plot(*with_gaps(spectra.bands, spectra.estimate[:, index]), color=color_of(index), linewidth=1.6, zorder=2)
    if spectra.truth is not None and index < spectra.truth.shape[1]:
        axes.plot(
            *with_gaps(spectra.bands, spectra.truth[:, index]), color=INK, linewidth=0.9, dashes=(3.2, 1.8), zorder=3
        )
    axes.set_ylim(min(0.0, 1.06 * float(np.nanmin(spectra.estimate))), spectra.top())


def finish_curve(axes: "Axes", bands: np.ndarray, label: str | None, *, show_values: bool, side: str = "left") -> None:
    """Give a curve its quiet frame, its ticks and, where there is room below, the name of its axis."""
    plain_axes(axes, side)
    if bands.size > 1:
        axes.set_xlim(bands[0], bands[-1])
    few_ticks(axes.xaxis, 4)
    few_ticks(axes.yaxis, 4)
    if label is None:
        axes.tick_params(labelbottom=False)
    else:
        axes.set_xlabel(label, fontsize=TEXT_SIZE, color=SOFT, labelpad=2)
    if not show_values:
        axes.tick_params(labelleft=False, labelright=False)


def write_name(axes: "Axes", layout: TileLayout, name: str, note: str, color: str | None) -> None:
    """Write a tile's name above its image, with its color in front and a remark at the right end."""
    above: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "annotation_clip": False}
    start = 0.0
    if color is not None:
        start = 11.0
        axes.annotate("\N{BLACK SQUARE}", (0, 1), (0, 3.5), fontsize=NAME_SIZE, color=color, **above)
    room = int((layout.tile * 72 - start - 5.0 * len(note)) / 5.6)
    axes.annotate(shorten(name, max(room, 4)), (0, 1), (start, 4), fontsize=NAME_SIZE, color=INK, **above)
    if note:
        end = layout.tile * 72
        axes.annotate(note, (0, 1), (end, 4), fontsize=TEXT_SIZE, color=SOFT, ha="right", **above)


def draw_scale(axes: "Axes", image: "AxesImage", orientation: str, ticks: Any = None) -> None:
    """Draw a borderless color bar into the axes made for it."""
    figure: Any = axes.figure
    bar = figure.colorbar(image, cax=axes, orientation=orientation, ticks=ticks)
    bar.outline.set_visible(False)
    axes.tick_params(length=0, labelsize=TICK_SIZE, labelcolor=INK, pad=2)
    if ticks is None:
        few_ticks(axes.yaxis, 4)


def write_header(
    figure: "Figure", layout: TileLayout, heading: str, image: "AxesImage", *, has_truth: bool, has_masked: bool
) -> None:
    """Write the heading at the left, and at the right the scale of the maps and what dashes and gray mean."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    width, height = layout.size
    line = height - 0.27
    right = max(layout.right, width - RIGHT)
    draw_scale(layout.add_axes(figure, right - 0.9, line - 0.045, 0.9, 0.09), image, "horizontal", [0, 0.5, 1])
    figure.text((right - 0.98) / width, line / height, "abundance", ha="right", va="center", size=TEXT_SIZE, color=SOFT)
    keys: list[Any] = []
    if has_truth:
        keys.append(Line2D([], [], color=INK, linewidth=0.9, dashes=(3.2, 1.8), label="truth"))
    if has_masked:
        keys.append(Patch(color=MASKED, label="masked"))
    if keys:
        figure.legend(
            handles=keys,
            loc="center right",
            bbox_to_anchor=((right - 1.62) / width, line / height),
            ncols=len(keys),
            frameon=False,
            fontsize=TEXT_SIZE,
            labelcolor=SOFT,
            handlelength=1.6,
            columnspacing=1.2,
            handletextpad=0.5,
        )
    room = int((right - LEFT - 1.7 - 0.75 * len(keys)) / 0.088)
    figure.text(LEFT / width, line / height, shorten(heading, room), va="center", size=TITLE_SIZE, color=INK)
