"""Makes the page "Gallery": every method on one scene, `gallery.md` and a picture of each in `images/gallery/`.

Run `python docs/gallery.py [NAME ...]`; needs the `plot` extra, and some minutes on two cores. The same pictures come
out each time but for rounding; the seconds of CPU are those of the machine. With names, only those methods run, and
the others stay as they were.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxopt_thoth import unmixing
from jaxopt_thoth.plotting._style import color_of, few_ticks, INK, new_figure, SOFT, TEXT_SIZE, TICK_SIZE
from jaxopt_thoth.plotting._truth import in_truth_order
from jaxopt_thoth.unmixing._methods import METHODS


HERE = Path(__file__).parent
PICTURES = HERE / "images" / "gallery"
CAPTIONS = PICTURES / "captions.json"
SIZE, BANDS, MATERIALS, SNR_DB = 40, 60, 4, 30.0
DECOYS = 20
Found = unmixing.Unmixing


class Entry(NamedTuple):
    """A method of the gallery: its name for `unmix`, its settings, and what the reader shall know."""

    method: str
    line: str
    settings: Mapping[str, Any] = MappingProxyType({})
    scene: str = "linear"


GIVEN = {"normalization": "none"}
CNNAEU = GIVEN | {"steps": 200, "width": 16, "patch": 16, "side": 5}
SHORT = {"steps": 300, "width": 24, "normalization": "none"}

CATEGORIES: dict[str, tuple[str, list[Entry]]] = {
    "Extraction": (
        "Pure pixels, or the corners of a small simplex around the pixels; the abundances are those of `fclsu`.",
        [
            Entry("vca+fclsu", "extremes along random directions, the largest simplex of ten runs", GIVEN),
            Entry("nfindr+fclsu", "the pixels of the largest simplex", GIVEN),
            Entry("ppi+fclsu", "the pixels that are extreme most often", GIVEN),
            Entry("sivm+fclsu", "pixels far from each other, one after the other", GIVEN),
            Entry("atgp+fclsu", "the pixel farthest from the span of those before", GIVEN),
            Entry("spa+fclsu", "the same, with pixels on a simplex", GIVEN),
            Entry("sisal+fclsu", "a simplex of least volume that leaves some pixels outside", GIVEN),
            Entry("mvsa+fclsu", "a simplex of least volume around all pixels: noise makes it large", GIVEN),
            Entry("ml-simplex+fclsu", "the simplex of maximum likelihood under noise: needs no pure pixels", GIVEN),
        ],
    ),
    "Supervised": (
        "The endmembers are given, the truth here.",
        [
            Entry("fclsu", "nonnegative and summing to one, exact"),
            Entry("ncls", "nonnegative"),
            Entry("scls", "summing to one"),
            Entry("ucls", "plain least squares: fractions below 0 and above 1"),
        ],
    ),
    "Library": (
        f"A library of {DECOYS + MATERIALS} spectra, the true ones among them; the method finds which. The maps are "
        "those of the four endmembers it hands back.",
        [
            Entry("sunsal", "sparse fractions of atoms, by the l1 norm", {"strength": 3e-3}),
            Entry("clsunsal", "the atoms are sparse, the same for all pixels", {"strength": 3e-2}),
            Entry("sunsal-tv", "sparse, and piecewise smooth maps", {"strength": 3e-3, "variation": 3e-3}),
            Entry("s2wsu", "sparse, reweighted by atoms and by neighbors", {"strength": 3e-3}),
            Entry("mua", "sparse, first on superpixels, then on pixels"),
            Entry("sunaa", "endmembers are convex mixtures of atoms: no strength to choose"),
            Entry("sunaa-tv", "the same, with piecewise smooth maps"),
            Entry("fasun", "mixtures of atoms by a splitting method, fast on large libraries"),
            Entry("suns", "the same, sparse"),
            Entry("mesma", "for each pixel the best few atoms, here at most two"),
            Entry("bundle", "constrained fractions of all atoms; each is a class of its own here"),
        ],
    ),
    "Blind": (
        "Nothing but the pixels and the number of endmembers.",
        [
            Entry("auto", "asks the pixels: archetypes of unit pixels, of raw ones, or the fitted simplex"),
            Entry("edaa", "archetypes by entropic descent, the consensus of ten runs", GIVEN),
            Entry("aa", "archetypal analysis by alternating exact fits", GIVEN),
            Entry("robust-aa", "the same for distances rather than their squares: bears outliers", GIVEN),
            Entry("nmf", "nonnegative factors: not unique, they depend on the start", GIVEN),
            Entry("mvc-nmf", "nonnegative factors of small volume", GIVEN),
            Entry("nmf-qmv", "the same, with the weight of the volume from the data", GIVEN),
            Entry("auto-bundles", "several spectra of each material from the image, fitted together", GIVEN),
        ],
    ),
    "Networks": (
        "Trained on this scene alone, and shortly: narrow networks and few steps, where the published settings take "
        "minutes to hours. The figures are those of such a short training.",
        [
            Entry("undip", "an image prior for the maps of picked pixels", SHORT),
            Entry("suncnn", "an image prior for the maps of all atoms of the library", {"steps": 300, "width": 24}),
            Entry("misicnet", "an image prior for the maps, endmembers of small volume", SHORT),
            Entry("cnnaeu", "a convolutional autoencoder that looks at angles", CNNAEU),
            Entry("pgmsu", "a generator draws the spectra of each pixel", GIVEN | {"steps": 400}),
            Entry("admmnet", "unrolled steps of ADMM, whose matrices are learned", GIVEN | {"steps": 1500}),
            Entry("msnet", "a pyramid of scales, in two stages", SHORT | {"steps": 60, "width": 12}),
        ],
    ),
    "Spectral variability": (
        "The same maps; the brightness of each material varies over the image by a factor of 0.6 to 1.4. The "
        "endmembers are given.",
        [
            Entry("fclsu", "blind to it, for comparison", {}, "varied"),
            Entry("sclsu", "one brightness a pixel, exact", {}, "varied"),
            Entry("elmm", "a brightness of each material in each pixel", {}, "varied"),
            Entry("plmm", "spectra that stray from the endmembers in any form", {}, "varied"),
        ],
    ),
    "Nonlinear": (
        "The same maps; each model unmixes the pixels that it mixed itself, with the endmembers given. The comparison "
        "is `fclsu` on the same pixels.",
        [
            Entry("fan", "light that met two materials in turn", {}, "fan"),
            Entry("gbm", "the same, weaker by a factor for each pair", {}, "gbm"),
            Entry("ppnm", "a parabola of the linear mixture", {}, "ppnm"),
            Entry("mlm", "light that goes on with a probability", {}, "mlm"),
            Entry("hapke", "intimate mixtures of grains", {}, "hapke"),
        ],
    ),
}  # fmt: skip
MODELS: dict[str, tuple[Callable[[], Any], float]] = {
    "fan": (unmixing.Fan, 0.0),
    "gbm": (unmixing.GeneralizedBilinear, 1.0),
    "ppnm": (unmixing.PolynomialPostNonlinear, 0.3),
    "mlm": (unmixing.Multilinear, 0.6),
    "hapke": (unmixing.Hapke, 0.0),
}


def make_scenes() -> dict[str, unmixing.Scene]:
    """The linear scene with its library, and the same maps under other models."""
    key = jax.random.key(7)
    first, other, noise = jax.random.split(key, 3)
    sizes = {"height": SIZE, "width": SIZE, "num_bands": BANDS}
    scene = unmixing.simulate_scene(first, num_endmembers=MATERIALS, snr_db=SNR_DB, correlation_length=8.0, **sizes)
    more = unmixing.simulate_scene(other, num_endmembers=DECOYS, **sizes)
    true, fractions = scene.endmembers, scene.abundances
    library = jnp.concatenate([more.endmembers, true], axis=1)
    scene = eqx.tree_at(lambda s: s.library, scene, library, is_leaf=lambda leaf: leaf is None)
    remixed = lambda pixels: eqx.tree_at(lambda s: s.pixels, scene, unmixing.awgn(pixels, SNR_DB, key=noise))
    y, x = np.meshgrid(np.linspace(0, 1, SIZE), np.linspace(0, 1, SIZE), indexing="ij")
    phases = np.arange(MATERIALS)[:, None, None]
    brightness = jnp.asarray(1 + 0.4 * np.sin(5 * x + 2 * phases) * np.cos(4 * y - phases), true.dtype)
    scenes = {"linear": scene, "varied": remixed(true @ (brightness.reshape(MATERIALS, -1) * fractions))}
    for name, (make, most) in MODELS.items():
        model = make()
        parameters = []
        if most > 0:
            shape = (model.num_parameters(MATERIALS), fractions.shape[1])
            parameters = [most * jax.random.uniform(jax.random.fold_in(noise, 1), shape, true.dtype)]
        scenes[name] = remixed(model.mix(true, fractions, *parameters))
    return scenes


def run(entry: Entry, scene: unmixing.Scene) -> tuple[Found, float, bool]:
    """The estimate, its CPU seconds, and whether they include compilation (of networks, which are trained once)."""
    settings = dict(entry.settings)
    kind = METHODS[entry.method].kind if "+" not in entry.method else "extraction"
    if kind in ("linear", "variability", "nonlinear"):
        settings["endmembers"] = scene.endmembers
    if entry.method == "mesma":
        settings["max_classes"] = 2
    count = None if kind == "classes" else MATERIALS
    call = lambda: jax.block_until_ready(
        unmixing.unmix(scene, count, method=entry.method, key=jax.random.key(0), **settings)
    )
    begin = time.process_time()
    found = call()
    seconds = time.process_time() - begin
    if "steps" in settings:
        return found, seconds, True
    begin = time.process_time()
    call()
    return found, time.process_time() - begin, False


def keep_largest(found: Found) -> Found:
    """The four endmembers of the largest total abundance, where a method hands back one for each class."""
    if found.num_endmembers == MATERIALS:
        return found
    totals = jnp.nansum(found.abundances, axis=1)
    chosen = jnp.argsort(-totals)[:MATERIALS]
    return Found(found.endmembers[:, chosen], found.abundances[chosen])


def draw(scene: unmixing.Scene, found: Found, path: Path) -> None:
    """Four maps on one scale, and beside them the spectra over the truth."""
    ordered = in_truth_order(scene, found)
    figure = new_figure(8.2, 1.62)
    figure.set_dpi(110)
    maps = np.asarray(scene.to_map(ordered.abundances))
    for k in range(MATERIALS):
        axes = figure.add_axes((0.006 + 0.153 * k, 0.035, 0.147, 0.80))
        axes.imshow(maps[k], cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        for line in axes.spines.values():
            line.set_color(color_of(k))
            line.set_linewidth(1.6)
        axes.set_title(scene.names[k] if scene.names else f"{k + 1}", fontsize=TEXT_SIZE, color=color_of(k), pad=3)
    axes = figure.add_axes((0.665, 0.175, 0.315, 0.66))
    waves = np.asarray(scene.wavelengths)
    unit = lambda spectra: np.asarray(spectra) / np.sqrt(np.mean(np.square(np.asarray(spectra)), axis=0, keepdims=True))
    for k, (true, spectrum) in enumerate(zip(unit(scene.endmembers).T, unit(ordered.endmembers).T)):
        axes.plot(waves, spectrum, color=color_of(k), linewidth=1.4)
        axes.plot(waves, true, color=INK, linewidth=0.8, dashes=(2, 2))
    axes.set_xlim(waves[0], waves[-1])
    axes.set_ylim(0, None)
    for edge in ("top", "right"):
        axes.spines[edge].set_visible(False)
    axes.tick_params(length=2, labelsize=TICK_SIZE, pad=1.5)
    few_ticks(axes.yaxis, 3)
    axes.set_title("spectra at unit size, dashed: the truth", fontsize=TEXT_SIZE, color=SOFT, pad=3)
    figure.canvas.draw()
    # A palette of 255 colors is a third of the bytes and looks the same.
    shades = (
        Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB").quantize(255, dither=Image.Dither.NONE)
    )
    shades.save(path, optimize=True)


def figures_of(scene: unmixing.Scene, found: Found) -> tuple[float, float]:
    """Mean spectral angle in degrees and abundance RMSE in per cent."""
    report = unmixing.evaluate(found.endmembers, found.abundances, scene)
    return float(report["mean_spectral_angle"]), float(report["abundance_rmse"])


def picture_of(entry: Entry) -> Path:
    """Where the picture of an entry lies."""
    stem = entry.method.removesuffix("+fclsu") + ("" if entry.scene in ("linear", entry.method) else f"-{entry.scene}")
    return PICTURES / f"{stem}.png"


def settings_text(entry: Entry) -> str:
    """The settings as one would write them."""
    own = {k: v for k, v in entry.settings.items() if not (k == "normalization" and v == "none")}
    if entry.method == "mesma":
        own["max_classes"] = 2
    shown = ", ".join(f"{name} {value:g}" for name, value in own.items())
    return shown or "default settings"


def caption_of(entry: Entry, scene: unmixing.Scene, is_given: bool) -> str:
    """Run a method, draw its picture, and say what it reached."""
    found, seconds, compiles = run(entry, scene)
    found = keep_largest(found)
    angle, rmse = figures_of(scene, found)
    draw(scene, found, picture_of(entry))
    told = [settings_text(entry), *([] if is_given else [f"angle {angle:.2f} degrees"]), f"RMSE {rmse:.2f} %"]
    if entry.scene in MODELS:
        linear = unmixing.fclsu(scene.pixels, scene.endmembers)
        told.append(f"`fclsu` {figures_of(scene, Found(scene.endmembers, linear))[1]:.2f} %")
    return "; ".join([*told, f"{seconds:.2g} s of CPU" + (" with compilation" if compiles else "")])


def page(captions: dict[str, str]) -> str:
    """The page in Markdown."""
    lines = [
        "# Gallery",
        "",
        f"Every method on the same scene: {SIZE} x {SIZE} pixels, {BANDS} bands, {MATERIALS} materials with some pure "
        f"pixels, {SNR_DB:g} dB, simulated. `python docs/gallery.py` makes this page. Of the blind methods and the "
        'extractions the normalization is "none", so that abundances are shares of area as those of the truth. Maps go '
        "from 0 (dark) to 1 (bright). Under each picture: the settings, the mean spectral angle, the root mean squared "
        "error of the abundances, and the CPU seconds of a call that is compiled. One scene shows what a method does, "
        "and does not rank methods: see [which method when](which_unmixing_method.md).",
        "",
        "The truth:",
        "",
        "![The truth](images/gallery/truth.png)",
        "",
    ]
    for category, (text, entries) in CATEGORIES.items():
        shown = [entry for entry in entries if picture_of(entry).stem in captions]
        lines += [f"## {category}", "", text, ""] if shown else []
        for entry in shown:
            path = picture_of(entry)
            is_contrast = entry.scene == "varied" and entry.method == "fclsu"
            lines += [
                f"### {entry.method}" + (", for comparison" if is_contrast else ""),
                "",
                f"{entry.line[0].upper()}{entry.line[1:]}.",
                "",
                f"![{entry.method}](images/gallery/{path.name})",
                "",
                f"*{captions[path.stem]}*",
                "",
            ]
    return "\n".join(lines).rstrip() + "\n"


def main(only: list[str]) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    captions = json.loads(CAPTIONS.read_text()) if CAPTIONS.exists() else {}
    scenes = make_scenes()
    truth = scenes["linear"]
    draw(truth, Found(truth.endmembers, truth.abundances), PICTURES / "truth.png")
    for category, (_, entries) in CATEGORIES.items():
        is_given = category in ("Supervised", "Spectral variability", "Nonlinear")
        for entry in entries:
            if only and entry.method not in only:
                continue
            path = picture_of(entry)
            captions[path.stem] = caption_of(entry, scenes[entry.scene], is_given)
            print(f"{entry.method:14s} {captions[path.stem]}; {path.stat().st_size / 1000:.0f} kB", flush=True)
            CAPTIONS.write_text(json.dumps(captions, indent=1, sort_keys=True) + "\n")
    (HERE / "gallery.md").write_text(page(captions), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
