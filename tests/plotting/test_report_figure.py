import builtins
import io

import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest

from jaxopt_thoth import RESULTS
from jaxopt_thoth.plotting import report_figure
from jaxopt_thoth.plotting._layout import TileLayout
from jaxopt_thoth.unmixing import Scene, Unmixing


def mixture(p=3, height=8, width=6, bands=20, *, truth=True, masked=False, wavelengths=True, names=None):
    generator = np.random.default_rng(0)
    endmembers = generator.uniform(0.1, 0.9, (bands, p))
    abundances = generator.dirichlet(np.ones(p), height * width).T
    mask = np.ones(height * width, bool)
    mask[:2] = not masked
    scene = Scene(
        jnp.asarray(endmembers @ abundances),
        height,
        width,
        wavelengths=np.linspace(0.4, 2.5, bands) if wavelengths else None,
        endmembers=endmembers if truth else None,
        abundances=abundances if truth else None,
        mask=mask,
        names=names,
    )
    estimate = Unmixing(
        endmembers=jnp.asarray(endmembers),
        abundances=jnp.where(jnp.asarray(mask), jnp.asarray(abundances), jnp.nan),
        result=RESULTS.converged,
    )
    return scene, estimate


def words(figure):
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    return texts + [text.get_text() for text in figure.texts]


@pytest.mark.parametrize("p", range(2, 13))
def test_every_endmember_has_a_map_and_a_curve_and_nothing_leaves_the_page(p):
    scene, estimate = mixture(p)
    figure = report_figure(scene, estimate)
    # Two axes a tile, the residual's among them, and two color bars.
    assert len(figure.axes) == 2 * (p + 1) + 2
    assert [f"endmember {index + 1}" in words(figure) for index in range(p)] == [True] * p
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    page = figure.bbox
    for axes in figure.axes:
        box = axes.get_tightbbox(renderer)
        assert box.x0 >= page.x0 and box.y0 >= page.y0
        assert box.x1 <= page.x1 and box.y1 <= page.y1


@pytest.mark.parametrize(("height", "width"), [(3, 60), (60, 3), (20, 20), (1, 9)])
def test_maps_keep_the_shape_of_the_scene_and_tiles_do_not_overlap(height, width):
    scene, estimate = mixture(4, height, width)
    figure = report_figure(scene, estimate)
    page = figure.get_size_inches()
    image = figure.axes[0].get_position()
    shape = (image.height * page[1]) / (image.width * page[0])
    np.testing.assert_allclose(shape, height / width, rtol=1e-9)
    boxes = [axes.get_position() for axes in figure.axes]
    for index, one in enumerate(boxes):
        for other in boxes[index + 1 :]:
            overlap_x = min(one.x1, other.x1) - max(one.x0, other.x0)
            overlap_y = min(one.y1, other.y1) - max(one.y0, other.y0)
            assert min(overlap_x, overlap_y) < 1e-9


def test_maps_share_the_scale_zero_to_one():
    figure = report_figure(*mixture())
    images = [axes.images[0] for axes in figure.axes if axes.images]
    assert [image.get_clim() for image in images[:3]] == [(0.0, 1.0)] * 3


def test_masked_pixels_are_gray_and_explained():
    scene, estimate = mixture(masked=True)
    figure = report_figure(scene, estimate)
    image = figure.axes[0].images[0]
    shown = image.cmap(image.norm(image.get_array()))
    red, green, blue, _ = shown[0, 0]
    assert red == green == blue
    assert "masked" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert not np.ma.is_masked(figure.axes[-3].images[0].get_array() if figure.axes[-3].images else 0)


@pytest.mark.parametrize("truth", [True, False])
def test_truth_is_dashed_beside_the_estimate_when_it_is_known(truth):
    figure = report_figure(*mixture(truth=truth))
    curve = figure.axes[1]
    assert any(line.is_dashed() for line in curve.lines) == truth
    assert bool(figure.legends) == truth


def test_names_angles_and_title_are_written():
    scene, estimate = mixture(names=["soil", "tree", "water"])
    figure = report_figure(scene, estimate, {"spectral_angle": [1.24, 2.5, 0.06]}, title="A field")
    assert {"soil", "tree", "water", "1.2\N{DEGREE SIGN}", "A field"} <= set(words(figure))


def test_spectra_of_unlike_brightness_are_drawn_alike():
    scene, estimate = mixture()
    bright = Unmixing(endmembers=7 * estimate.endmembers, abundances=estimate.abundances, result=estimate.result)
    one, other = (report_figure(scene, each).axes[1].lines[2].get_ydata() for each in (estimate, bright))
    np.testing.assert_allclose(one, other)


def test_missing_bands_break_the_curve():
    scene, estimate = mixture()
    wavelengths = np.linspace(0.4, 2.5, 20)
    wavelengths[10:] += 0.8
    broken = Scene(scene.pixels, scene.height, scene.width, wavelengths=wavelengths)
    line = report_figure(broken, estimate).axes[1].lines[0].get_ydata()
    assert np.flatnonzero(np.isnan(line)).tolist() == [10]


def test_without_wavelengths_the_axis_counts_bands():
    figure = report_figure(*mixture(wavelengths=False))
    assert "band" in {axes.get_xlabel() for axes in figure.axes}


def test_an_estimate_of_another_scene_is_refused():
    scene, _ = mixture()
    _, other = mixture(bands=21)
    with pytest.raises(ValueError, match="21"):
        report_figure(scene, other)


def test_a_png_comes_out_and_global_settings_stay():
    before = dict(matplotlib.rcParams)
    buffer = io.BytesIO()
    report_figure(*mixture()).savefig(buffer)
    assert buffer.getvalue().startswith(b"\x89PNG")
    assert dict(matplotlib.rcParams) == before


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest, **options):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest, **options)

    scene, estimate = mixture()
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r"jaxopt_thoth\[plot\]"):
        report_figure(scene, estimate)


def test_tiles_fill_rows_of_even_length():
    for count in range(3, 14):
        layout = TileLayout.of(count, 10, 10)
        assert (layout.rows - 1) * layout.columns < count <= layout.rows * layout.columns
        assert layout.size[0] < 13


def test_residual_is_taken_in_the_unit_that_the_method_worked_in():
    scene, estimate = mixture()
    norms = jnp.linalg.norm(scene.pixels, axis=0, keepdims=True)
    sizes = jnp.linalg.norm(estimate.endmembers, axis=0, keepdims=True)
    shaded = Scene(scene.pixels * jnp.linspace(0.3, 1.0, 48)[None], 8, 6)
    spectra = estimate.endmembers / sizes
    weights = estimate.abundances * sizes.T / norms
    scale = jnp.linalg.norm(shaded.pixels, axis=0)
    of_unit_pixels = Unmixing(endmembers=spectra, abundances=weights, pixel_scale=scale)
    for one, other, remark in ((scene, estimate, False), (shaded, of_unit_pixels, True)):
        figure = report_figure(one, other)
        assert ("rmse, scaled" in words(figure)) == remark
        residual = [axes.images[0].get_array() for axes in figure.axes if axes.images][3]
        assert residual.max() < 1e-12


def test_an_estimate_in_another_order_is_drawn_in_that_of_the_truth():
    scene, estimate = mixture()
    order = jnp.array([2, 0, 1])
    turned = Unmixing(estimate.endmembers[:, order], estimate.abundances[order], estimate.result)
    for one, other in zip(report_figure(scene, estimate).axes, report_figure(scene, turned).axes):
        for here, there in zip(one.lines, other.lines):
            np.testing.assert_allclose(here.get_ydata(), there.get_ydata())
