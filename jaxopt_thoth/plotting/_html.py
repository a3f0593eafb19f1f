"""The interactive report: one page that needs nothing but a browser."""

import base64
import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Any, NamedTuple

import numpy as np

from ..unmixing import Scene, Unmixing
from ._fit import fitted_pixels, rebuilt_pixels
from ._report import ordered_spectra
from ._style import PALETTE, palette_bytes
from ._tiles import ABUNDANCE_COLORS, RESIDUAL_COLORS
from ._truth import endmember_names, presented


# Bytes of stored maps and of stored spectra; text is a third longer, so that a page stays below some 13 MB.
_MAP_BYTES = 3_000_000
_SPECTRUM_BYTES = 6_000_000
# The palette of the pictures, the dark ones lighter.
_ON_DARK = (
    "#4ba3e3",
    "#ff8a3d",
    "#2fc79a",
    "#e79ac6",
    "#f2b632",
    "#8fd0f7",
    "#9d8cf0",
    "#e0709a",
    "#c9c95a",
    "#58b368",
    "#d787d0",
    "#b7a07f",
)


def report_page(
    scene: Scene,
    unmixing: Unmixing,
    evaluation: Mapping[str, Any] | None = None,
    *,
    title: str | None = None,
    details: Mapping[str, Mapping[str, Any]] | None = None,
    names: Sequence[str] | None = None,
) -> str:
    """Write an unmixed scene as one web page: maps to move and zoom, and the spectra of any pixel beside its model.

    The page holds its data, style and script and loads nothing; it opens from a file. Maps of all endmembers and of
    the reconstruction error move together; the pixel under the pointer, or chosen by keys, shows its abundances and its
    spectrum against the reconstruction. Abundances and spectra are stored in 8 or 16 bits, and of large scenes every
    k-th pixel in each direction: the foot of the page says which. Light and dark follow the browser.

    Args:
        scene: the scene that was unmixed.
        unmixing: the estimate; it is shown in the order of the scene's truth when there is one.
        evaluation: what `evaluate` returned for this estimate, for the table of errors.
        title: the heading; by default the size of the scene.
        details: tables of names and values below the errors, by their headings: settings, versions.
        names: names of the endmembers, p of them; by default the scene's own, or numbers.

    Returns:
        The text of the page, to be written in UTF-8. Every text that is passed in is escaped.

    Raises:
        ImportError: without matplotlib, whose palettes it takes, naming the extra that brings it.
        ValueError: when the estimate and the scene differ in bands or pixels.

    Example:
        >>> import jax, jaxopt_thoth as jt
        >>> from jaxopt_thoth.plotting import report_page
        >>> scene = jt.unmixing.simulate_scene(jax.random.key(0), num_endmembers=3, height=16, width=16)
        >>> estimate = jt.unmixing.unmix(scene, 3, method="vca+fclsu", key=jax.random.key(1))
        >>> page = report_page(scene, estimate, title="A simulated scene")
        >>> page.startswith("<!DOCTYPE html>"), "http" in page
        (True, False)
    """
    ordered, p = presented(scene, unmixing), unmixing.num_endmembers
    names = list(names or endmember_names(scene, p))
    size = f"{scene.height} \N{MULTIPLICATION SIGN} {scene.width} pixels, {scene.num_bands} bands"
    data, notes = _data(scene, ordered, names)
    # A "<" in a name must not end the script element.
    packed = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    parts = files(__package__).joinpath("_page")
    read = lambda name: parts.joinpath(name).read_text(encoding="utf-8").strip()
    dashes = " The truth is dashed." if data["truth"] is not None else ""
    return Template(read("report.html")).substitute(
        title=html.escape(title or size),
        subtitle=html.escape(f"{size}, {p} endmembers"),
        brightness=f"Spectra at root mean square one, so that they compare by shape.{dashes}",
        errors=_errors(evaluation, names),
        run="\n".join(_table(heading, rows) for heading, rows in (details or {}).items()),
        notes=html.escape(" ".join(notes)),
        style=read("report.css"),
        script=read("report.js"),
        data=packed,
    )


class _Grid(NamedTuple):
    """The pixels that are stored: every `step`-th of each direction, in so many bits a number."""

    step: int
    bits: int

    @classmethod
    def of(cls, scene: Scene, numbers: int, most: int, unit: int = 1) -> "_Grid":
        """The finest that holds `numbers` values a pixel within so many bytes; its step is a multiple of `unit`."""
        step = unit
        while True:
            cells = len(range(0, scene.height, step)) * len(range(0, scene.width, step))
            if cells * numbers <= most:
                return cls(step, 16 if 2 * cells * numbers <= most else 8)
            step += unit

    def indices(self, scene: Scene) -> np.ndarray:
        """The stored pixels."""
        return np.arange(scene.num_pixels).reshape(scene.height, scene.width)[:: self.step, :: self.step].reshape(-1)

    def sizes(self, scene: Scene) -> dict[str, int]:
        return {
            "rows": len(range(0, scene.height, self.step)),
            "columns": len(range(0, scene.width, self.step)),
            "step": self.step,
        }

    def pack(self, values: np.ndarray) -> dict[str, Any]:
        """Numbers as codes between the least and the largest, little-endian; the largest code is no data."""
        known = np.isfinite(values)
        low, high = (float(values[known].min()), float(values[known].max())) if known.any() else (0.0, 1.0)
        top = 2**self.bits - 1
        codes = np.full(values.shape, top, dtype=f"<u{self.bits // 8}")
        codes[known] = np.rint((values[known] - low) * ((top - 1) / ((high - low) or 1.0)))
        return {"bits": self.bits, "low": low, "high": high, "values": base64.b64encode(codes.tobytes()).decode()}


def _data(scene: Scene, ordered: Unmixing, names: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """What the script reads, and how exact it is."""
    p = len(names)
    endmembers = np.asarray(ordered.endmembers, float)
    spectra, order = ordered_spectra(scene, endmembers)
    coarse = _Grid.of(scene, p + 1, _MAP_BYTES)
    is_linear = "reconstruction" not in (ordered.diagnostics or {})
    fine = _Grid.of(scene, scene.num_bands * (1 if is_linear else 2), _SPECTRUM_BYTES, coarse.step)

    pixels, is_scaled = fitted_pixels(scene, ordered)
    mask = np.asarray(scene.mask)
    here = coarse.indices(scene)
    maps = np.where(mask[here], np.asarray(ordered.abundances)[:, here], np.nan)
    residual = np.sqrt(np.mean((pixels[:, here] - rebuilt_pixels(ordered, here)) ** 2, axis=0))
    residual[~mask[here]] = np.nan
    there = fine.indices(scene)
    shown = np.where(mask[there], pixels[:, there], np.nan)[order].T
    rebuilt = None if is_linear else fine.pack(rebuilt_pixels(ordered, there)[order].T)
    data = {
        "height": scene.height,
        "width": scene.width,
        "names": list(names),
        "bands": {"values": _rounded(spectra.bands), "label": spectra.label},
        "maps": {**coarse.sizes(scene), **coarse.pack(maps)},
        "residual": coarse.pack(residual),
        "residual_top": float(np.nanpercentile(residual, 99.5)) if np.isfinite(residual).any() else 1.0,
        "pixels": {**fine.sizes(scene), **fine.pack(shown)},
        "rebuilt": rebuilt,
        "measured": "measured, scaled" if is_scaled else "measured",
        "endmembers": _rounded(endmembers[order].T),
        "curves": _rounded(spectra.estimate.T),
        "truth": None if spectra.truth is None else _rounded(spectra.truth.T),
        "colors": {"light": PALETTE, "dark": _ON_DARK},
        "palettes": {
            "abundance": base64.b64encode(palette_bytes(ABUNDANCE_COLORS)).decode(),
            "residual": base64.b64encode(palette_bytes(RESIDUAL_COLORS)).decode(),
        },
    }
    return data, _notes(coarse, fine, data)


def _notes(coarse: _Grid, fine: _Grid, data: Mapping[str, Any]) -> list[str]:
    digits = lambda packed: f"{(packed['high'] - packed['low']) / (2 ** packed['bits'] - 2) / 2:.1g}"
    notes = [
        f"On this page abundances are exact to {digits(data['maps'])} and pixel spectra to {digits(data['pixels'])}; "
        "the other files of the report hold full numbers."
    ]
    if coarse.step > 1:
        notes.append(f"Of the maps every {coarse.step}. row and column is shown.")
    if fine.step > 1:
        notes.append(f"Spectra are kept of every {fine.step}. pixel in each direction.")
    return notes


def _rounded(values: np.ndarray) -> Any:
    """Lists of numbers of six digits."""
    if values.ndim > 1:
        return [_rounded(row) for row in values]
    return [float(f"{value:.6g}") for value in values.tolist()]


def _errors(evaluation: Mapping[str, Any] | None, names: Sequence[str]) -> str:
    """A table of the errors of each endmember and of all, and below it those of the reconstruction."""
    found = evaluation or {}
    columns = {"spectral_angle": "spectral angle (degrees)", "abundance_rmse_per_endmember": "abundance RMSE (%)"}
    overall = {"spectral_angle": "mean_spectral_angle", "abundance_rmse_per_endmember": "abundance_rmse"}
    used = [key for key in columns if found.get(key) is not None]
    parts = []
    if used:
        head = "".join(f'<th scope="col" class="number">{columns[key]}</th>' for key in used)
        rows = []
        for index, name in enumerate(names):
            cells = "".join(_cell(found[key][index] if index < len(found[key]) else None) for key in used)
            rows.append(f'<tr><th scope="row">{html.escape(name)}</th>{cells}</tr>')
        total = "".join(_cell(found.get(overall[key])) for key in used)
        rows.append(f'<tr class="total"><th scope="row">all</th>{total}</tr>')
        parts.append(
            f'<div class="wide"><table><thead><tr><th scope="col">endmember</th>{head}</tr></thead>'
            f"<tbody>{''.join(rows)}</tbody></table></div>"
        )
    rest = {
        "root mean square of the reconstruction error": found.get("reconstruction_rmse"),
        "relative residual of the reconstruction": found.get("relative_residual"),
        "pixels": found.get("pixels"),
    }
    rest = {name: value for name, value in rest.items() if value is not None}
    if rest:
        parts.append(_table(None, rest))
    return "\n".join(parts) or '<p class="soft">Not evaluated.</p>'


def _cell(value: Any) -> str:
    return f'<td class="number">{"-" if value is None else f"{float(value):.2f}"}</td>'


def _table(heading: str | None, rows: Mapping[str, Any]) -> str:
    """Names and values."""
    caption = "" if heading is None else f"<caption>{html.escape(heading)}</caption>"
    body = "".join(
        f'<tr><th scope="row">{html.escape(str(name))}</th><td>{html.escape(_text(value))}</td></tr>'
        for name, value in rows.items()
    )
    return f"<table>{caption}<tbody>{body}</tbody></table>"


def _text(value: Any) -> str:
    if value is None:
        return "default"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} = {_text(item)}" for name, item in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
