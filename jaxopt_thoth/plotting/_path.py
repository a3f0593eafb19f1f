"""A regularization path, with the validation loss along it and that loss's derivative."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import ArrayLike

from ._style import color_of, FAINT, few_ticks, INK, new_figure, plain_axes, SOFT, TEXT_SIZE, TICK_SIZE


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


NAMED = 6


def path_figure(
    strengths: ArrayLike,
    coefficients: ArrayLike,
    validation: ArrayLike | None = None,
    gradient: ArrayLike | None = None,
) -> "Figure":
    """Draw the coefficients of a regularization path against the strength of the penalty.

    The strength falls from left to right. The six coefficients that grow largest are colored and numbered, the rest
    are gray. A dashed line marks the strength of least validation loss when that loss is given.

    Args:
        strengths: positive strengths, shape (n,).
        coefficients: the solution at each strength, shape (n, d).
        validation: validation loss at each strength, shape (n,).
        gradient: derivative of that loss with respect to the strength, shape (n,).

    Returns:
        A matplotlib figure with one panel for each thing given.

    Raises:
        ImportError: without matplotlib, naming the extra that brings it.
        ValueError: when the shapes differ or a strength is not positive.

    Example:
        >>> import numpy as np
        >>> from jaxopt_thoth.plotting import path_figure
        >>> strengths = np.geomspace(1.0, 0.01, 20)
        >>> coefficients = np.maximum(np.array([0.9, 0.4, 0.1]) - strengths[:, None], 0)
        >>> path_figure(strengths, coefficients).savefig("path.png")
    """
    x = np.asarray(strengths, float)
    paths = np.asarray(coefficients, float)
    curves = [None if values is None else np.asarray(values, float) for values in (validation, gradient)]
    if x.ndim != 1 or paths.ndim != 2 or paths.shape[0] != x.size:
        raise ValueError(f"Need strengths (n,) and coefficients (n, d), got {x.shape} and {paths.shape}.")
    if not np.all(x > 0):
        raise ValueError("The axis of strengths is logarithmic: every strength must be positive.")
    for curve in curves:
        if curve is not None and curve.shape != x.shape:
            raise ValueError(f"A curve along the path must have shape {x.shape}, got {curve.shape}.")

    panels = [2.6] + [1.25 for curve in curves if curve is not None]
    width, left, right, top, bottom, between = 6.4, 0.75, 0.55, 0.25, 0.5, 0.2
    height = sum(panels) + between * (len(panels) - 1) + top + bottom
    figure = new_figure(width, height)
    axes: list[Axes] = []
    edge = height - top
    for panel in panels:
        edge -= panel
        place = (left / width, edge / height, (width - left - right) / width, panel / height)
        axes.append(figure.add_axes(place))
        edge -= between

    order = np.argsort(x)[::-1]
    x, paths = x[order], paths[order]
    _draw_paths(axes[0], x, paths)
    labels = ("validation loss", "its derivative")
    given = [(label, curve[order]) for label, curve in zip(labels, curves) if curve is not None]
    for below, (label, curve) in zip(axes[1:], given):
        below.plot(x, curve, color=INK, linewidth=1.3)
        below.set_ylabel(label, fontsize=TEXT_SIZE, color=SOFT)
        if label == labels[1]:
            below.axhline(0, color=FAINT, linewidth=0.8, zorder=0)
    best = None if curves[0] is None else x[int(np.argmin(curves[0][order]))]
    for panel_axes in axes:
        _finish(panel_axes, x, best, is_last=panel_axes is axes[-1])
    return figure


def _draw_paths(axes: "Axes", x: np.ndarray, paths: np.ndarray) -> None:
    """Color and number the largest coefficients over the gray of the others."""
    size = np.abs(paths).max(axis=0)
    largest = [int(index) for index in np.argsort(size)[::-1][:NAMED] if size[index] > 0]
    # Solvers report rounding as tiny entries; a line that never leaves zero is only ink.
    others = [index for index in range(paths.shape[1]) if index not in largest and size[index] > 0]
    axes.axhline(0, color=FAINT, linewidth=0.8, zorder=0)
    if others:
        axes.plot(x, paths[:, others], color="#c4c4c4", linewidth=0.6, zorder=1)
    ends = {index: paths[-1, index] for index in largest}
    for rank, index in enumerate(largest):
        axes.plot(x, paths[:, index], color=color_of(rank), linewidth=1.5, zorder=2)
    low, high = float(paths.min()), float(paths.max())
    spread = (high - low) or 1.0
    axes.set_ylim(low - 0.05 * spread, high + 0.05 * spread)
    for index, place in _apart(ends, 0.055 * spread).items():
        color = color_of(largest.index(index))
        axes.annotate(
            str(index),
            (1, place),
            (4, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            fontsize=TICK_SIZE,
            color=color,
            va="center",
            annotation_clip=False,
        )
    axes.set_ylabel("coefficient", fontsize=TEXT_SIZE, color=SOFT)


def _apart(places: dict[int, float], least: float) -> dict[int, float]:
    """Labels moved up just far enough that none covers another."""
    moved: dict[int, float] = {}
    last = -np.inf
    for index in sorted(places, key=lambda key: places[key]):
        last = max(float(places[index]), last + least)
        moved[index] = last
    return moved


def _finish(axes: "Axes", x: np.ndarray, best: float | None, *, is_last: bool) -> None:
    """The frame, the logarithmic axis, and the mark of the best strength."""
    plain_axes(axes)
    axes.set_xscale("log")
    if x[0] > x[-1]:
        axes.set_xlim(x[0], x[-1])
    few_ticks(axes.yaxis, 5)
    axes.tick_params(which="minor", length=1.5, width=0.4, color=SOFT, labelbottom=False)
    if best is not None:
        axes.axvline(best, color=SOFT, linewidth=0.8, dashes=(3.2, 1.8), zorder=0)
    if is_last:
        axes.set_xlabel("strength", fontsize=TEXT_SIZE, color=SOFT, labelpad=2)
    else:
        axes.tick_params(labelbottom=False)
