"""The one-page report of an unmixed scene."""

from collections.abc import Mapping, Sequence
from typing import Any, TYPE_CHECKING

import numpy as np

from ..unmixing import Scene, Unmixing
from ._fit import fitted_pixels, rebuilt_pixels
from ._layout import TileLayout
from ._style import color_of, INK, new_figure, SOFT, unit_rms
from ._tiles import (
    ABUNDANCE_COLORS,
    draw_map,
    draw_scale,
    draw_spectrum,
    finish_curve,
    RESIDUAL_COLORS,
    Spectra,
    with_gaps,
    write_header,
    write_name,
)
from ._truth import endmember_names, presented


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def report_figure(
    scene: Scene,
    unmixing: Unmixing,
    evaluation: Mapping[str, Any] | None = None,
    *,
    title: str | None = None,
    names: Sequence[str] | None = None,
) -> "Figure":
    """Draw an unmixed scene: a map and a spectrum of each endmember, and where the model misses the data.

    Each endmember has a tile: its abundances on the common scale 0 to 1, and below them its spectrum in color over the
    others in gray, with the truth dashed when the scene knows it. The last tile shows the reconstruction error of each
    pixel and of each band, of the scaled pixels when the method scaled them. Spectra are drawn at root mean square
    one; masked pixels are gray.

    Args:
        scene: the scene that was unmixed.
        unmixing: the estimate; it is drawn in the order of the scene's truth when there is one.
        evaluation: what `evaluate` returned for this estimate; its angles are written beside the names.
        title: the heading; by default the size of the scene.
        names: names of the endmembers, p of them; by default the scene's own, or numbers.

    Returns:
        A matplotlib figure, ready for `figure.savefig(path)`.

    Raises:
        ImportError: without matplotlib, naming the extra that brings it.
        ValueError: when the estimate and the scene differ in bands or pixels.

    Example:
        >>> import jax, jaxopt_thoth as jt
        >>> from jaxopt_thoth.plotting import report_figure
        >>> scene = jt.unmixing.simulate_scene(jax.random.key(0), num_endmembers=3)
        >>> estimate = jt.unmixing.unmix(scene, 3, method="vca+fclsu", key=jax.random.key(1))
        >>> report_figure(scene, estimate).savefig("report.png")
    """
    ordered, p = presented(scene, unmixing), unmixing.num_endmembers
    endmembers = np.asarray(ordered.endmembers)
    maps = np.asarray(scene.to_map(ordered.abundances))

    spectra, order = ordered_spectra(scene, endmembers)
    layout = TileLayout.of(p + 1, scene.height, scene.width)
    figure = new_figure(*layout.size)
    names = list(names or endmember_names(scene, p))
    notes = _notes(evaluation, p)

    for index, (image_axes, curve_axes) in enumerate(layout.axes(figure)):
        if index < p:
            image = draw_map(image_axes, maps[index], ABUNDANCE_COLORS, 0.0, 1.0)
            draw_spectrum(curve_axes, spectra, index)
            write_name(image_axes, layout, names[index], notes[index], color_of(index))
        else:
            pixels, is_scaled = fitted_pixels(scene, ordered)
            write_name(image_axes, layout, "residual", "rmse, scaled" if is_scaled else "rmse", None)
            misfit = pixels - np.nan_to_num(rebuilt_pixels(ordered))
            valid = np.isfinite(maps).all(axis=0)
            _draw_residual(figure, layout, image_axes, curve_axes, misfit[order], valid, spectra.bands)
        finish_curve(
            curve_axes,
            spectra.bands,
            spectra.label if layout.is_last_of_column(index) else None,
            show_values=index == p or layout.is_first_column(index),
            side="right" if index == p else "left",
        )
        if layout.is_first_column(index) and index < p:
            curve_axes.set_ylabel("reflectance / rms", fontsize=8, color=SOFT, labelpad=3)

    if title is None:
        title = f"{scene.height} \N{MULTIPLICATION SIGN} {scene.width} pixels, {scene.num_bands} bands"
    write_header(
        figure,
        layout,
        title,
        image,
        has_truth=spectra.truth is not None,
        has_masked=bool(np.isnan(maps).any()),
    )
    return figure


def ordered_spectra(scene: Scene, endmembers: np.ndarray) -> tuple[Spectra, np.ndarray]:
    """The spectra to draw, their bands increasing, and the order that made them so."""
    if scene.wavelengths is None:
        bands, label = np.arange(1.0, endmembers.shape[0] + 1), "band"
    else:
        bands = np.asarray(scene.wavelengths, float)
        label = "wavelength (\N{GREEK SMALL LETTER MU}m)" if bands.max() < 100 else "wavelength (nm)"
    order = np.argsort(bands, kind="stable")
    truth = None if scene.endmembers is None else np.asarray(scene.endmembers)
    if truth is not None and truth.shape[1] > endmembers.shape[1]:
        truth = None
    return Spectra(
        bands[order],
        label,
        unit_rms(endmembers)[order],
        None if truth is None else unit_rms(truth)[order],
    ), order


def _notes(evaluation: Mapping[str, Any] | None, p: int) -> list[str]:
    """The angle of each endmember to its truth, where it was evaluated."""
    angles = None if evaluation is None else evaluation.get("spectral_angle")
    notes = [f"{float(angle):.1f}\N{DEGREE SIGN}" for angle in angles or ()]
    return (notes + [""] * p)[:p]


def _draw_residual(
    figure: "Figure",
    layout: TileLayout,
    image_axes: "Axes",
    curve_axes: "Axes",
    misfit: np.ndarray,
    valid: np.ndarray,
    bands: np.ndarray,
) -> None:
    """The last tile: reconstruction error of each valid pixel, and below it of each band."""
    squares = misfit**2
    of_pixels = np.where(valid, np.sqrt(squares.mean(axis=0)).reshape(valid.shape), np.nan)
    of_bands = np.sqrt(squares[:, valid.reshape(-1)].mean(axis=1))
    # One bright outlier must not darken the rest of the map.
    high = float(np.nanpercentile(of_pixels, 99.5))
    image = draw_map(image_axes, of_pixels, RESIDUAL_COLORS, 0.0, high or 1.0)
    draw_scale(layout.scale_beside(figure, layout.count - 1), image, "vertical")
    curve_axes.plot(*with_gaps(bands, of_bands), color=INK, linewidth=1.0)
    curve_axes.set_ylim(0, 1.1 * float(of_bands.max()) or 1.0)
