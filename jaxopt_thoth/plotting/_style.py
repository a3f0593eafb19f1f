"""Colors, text sizes and the blank figure that every picture starts from."""

from typing import Any, TYPE_CHECKING

import numpy as np


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


INK = "#222222"
SOFT = "#6b6b6b"
FAINT = "#d5d5d5"
MASKED = "#bdbdbd"

# Okabe and Ito's palette without its yellow and black, then six of Paul Tol's muted colors: told apart by every
# common kind of color vision, and dark enough for a thin line on white.
PALETTE = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#332288",
    "#882255",
    "#999933",
    "#117733",
    "#aa4499",
    "#7f6a4d",
)

TITLE_SIZE = 11.0
NAME_SIZE = 9.5
TEXT_SIZE = 8.0
TICK_SIZE = 7.0


def color_of(index: int) -> str:
    """The color of the `index`-th endmember or coefficient, the same in every panel."""
    return PALETTE[index % len(PALETTE)]


def new_figure(width: float, height: float) -> "Figure":
    """A blank white figure of that size in inches on an Agg canvas.

    Raises:
        ImportError: without matplotlib, naming the extra that brings it.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Plots need matplotlib: pip install 'jaxopt_thoth[plot]'.") from error

    figure = Figure(figsize=(width, height), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def plain_axes(axes: "Axes", side: str = "left") -> None:
    """Leave an axes only its bottom line and the one of `side`, thin, with small outward ticks."""
    axes.set_facecolor("white")
    for edge, line in axes.spines.items():
        line.set_visible(edge in ("bottom", side))
        line.set_color(SOFT)
        line.set_linewidth(0.6)
    axes.tick_params(length=2.5, width=0.6, color=SOFT, labelcolor=INK, labelsize=TICK_SIZE, pad=2)
    if side == "right":
        axes.yaxis.tick_right()


def few_ticks(axis: Any, count: int) -> None:
    """At most about `count` round ticks on one axis."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(count, steps=[1, 2, 2.5, 5, 10]))


def shorten(text: str, length: int) -> str:
    """The text, its end cut off by an ellipsis when it is longer than `length`."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def unit_rms(spectra: np.ndarray) -> np.ndarray:
    """Columns scaled to root mean square one, so that spectra of unlike brightness compare by shape."""
    size = np.sqrt(np.mean(spectra**2, axis=0, keepdims=True))
    return spectra / np.where(size > 0, size, 1)


def palette_bytes(name: str) -> bytes:
    """Red, green and blue of 256 steps of a color map of matplotlib.

    Raises:
        ImportError: without matplotlib, naming the extra that brings it.
    """
    try:
        from matplotlib import colormaps
    except ImportError as error:
        raise ImportError("Plots need matplotlib: pip install 'jaxopt_thoth[plot]'.") from error
    return bytes(colormaps[name](range(256), bytes=True)[:, :3].tobytes())
