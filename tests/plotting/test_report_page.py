import base64
import importlib.util
import json
import os
import re
import shutil
import subprocess

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth.plotting import _html, comparison_figure, report_page
from jaxopt_thoth.unmixing import Scene, Unmixing


NAMES = ["<script>alert(1)</script>", 'a "quoted" & name', "water"]


def mixture(height=8, width=6, bands=12, masked=True):
    generator = np.random.default_rng(0)
    endmembers = generator.uniform(0.1, 0.9, (bands, 3))
    abundances = generator.dirichlet(np.ones(3), height * width).T
    mask = np.arange(height * width) >= (2 if masked else 0)
    pixels = endmembers @ abundances + 0.01 * generator.normal(size=(bands, height * width))
    waves = np.linspace(2.5, 0.4, bands)
    scene = Scene(pixels, height, width, wavelengths=waves, endmembers=endmembers, mask=mask, names=NAMES)
    return scene, Unmixing(jnp.asarray(endmembers), jnp.where(jnp.asarray(mask), jnp.asarray(abundances), jnp.nan))


def data_of(page):
    text = re.search(r'<script type="application/json" id="report-data">(.*?)</script>', page, re.DOTALL)
    return json.loads(text[1])


def unpack(packed):
    codes = np.frombuffer(base64.b64decode(packed["values"]), f"<u{packed['bits'] // 8}").astype(float)
    top = 2 ** packed["bits"] - 1
    values = packed["low"] + codes * (packed["high"] - packed["low"]) / (top - 1)
    return np.where(codes == top, np.nan, values)


def test_the_stored_arrays_are_those_of_the_estimate():
    scene, estimate = mixture()
    data = data_of(report_page(scene, estimate))
    assert data["names"] == NAMES
    np.testing.assert_allclose(unpack(data["maps"]), np.asarray(estimate.abundances).reshape(-1), atol=1e-4)
    # Bands are put in increasing order.
    assert data["bands"]["values"] == sorted(data["bands"]["values"])
    kept = unpack(data["pixels"]).reshape(48, 12)[:, ::-1].T
    np.testing.assert_allclose(kept[:, 2:], np.asarray(scene.pixels)[:, 2:], atol=1e-4)
    assert np.isnan(kept[:, :2]).all() and data["rebuilt"] is None
    misfit = np.asarray(scene.pixels - estimate.endmembers @ jnp.nan_to_num(estimate.abundances))
    np.testing.assert_allclose(unpack(data["residual"])[2:], np.sqrt((misfit**2).mean(axis=0))[2:], atol=1e-5)


def test_a_model_that_is_not_linear_brings_its_reconstruction():
    scene, estimate = mixture()
    rebuilt = jnp.asarray(scene.pixels) * 0.5
    bent = eqx.tree_at(
        lambda u: u.diagnostics, estimate, {"reconstruction": rebuilt}, is_leaf=lambda leaf: leaf is None
    )
    data = data_of(report_page(scene, bent))
    kept = unpack(data["rebuilt"]).reshape(48, 12)[:, ::-1].T
    np.testing.assert_allclose(kept[:, 2:], np.asarray(rebuilt)[:, 2:], atol=1e-4)


def test_the_page_stands_alone_and_escapes_what_it_is_given():
    scene, estimate = mixture()
    evaluation = {"spectral_angle": [1.0, 2.0, 3.0], "mean_spectral_angle": 2.0, "relative_residual": 0.1}
    details = {"<i>": {"a & b": "<b>", "list": [1, 2], "none": None}}
    page = report_page(scene, estimate, evaluation, title="<u>title</u>", details=details)
    assert "http" not in page and "<link" not in page and "src=" not in page and "@import" not in page
    assert "<script>alert" not in page and "<u>" not in page and "<b>" not in page and "<i>" not in page
    assert "&lt;u&gt;title&lt;/u&gt;" in page and "a &amp; b" in page and "2.00" in page
    assert page.count("</script>") == 2


def test_the_script_finds_every_element_it_asks_for(tmp_path):
    scene, estimate = mixture()
    page = report_page(scene, estimate)
    script = page[page.rindex("<script>") + 8 : page.rindex("</script>")]
    asked = set(re.findall(r'byId\("([^"]+)"\)', script)) | {"report-data"}
    assert asked and all(f'id="{name}"' in page for name in asked)
    if shutil.which("node") is None:
        pytest.skip("node is not installed: the script is not parsed")
    (tmp_path / "report.js").write_text(script)
    assert subprocess.run(["node", "--check", str(tmp_path / "report.js")], check=False).returncode == 0


def test_large_scenes_are_thinned_and_it_is_said(monkeypatch):
    monkeypatch.setattr(_html, "_MAP_BYTES", 60)
    monkeypatch.setattr(_html, "_SPECTRUM_BYTES", 60)
    scene, estimate = mixture(masked=False)
    page = report_page(scene, estimate)
    data = data_of(page)
    assert (data["maps"]["step"], data["maps"]["rows"], data["maps"]["columns"], data["maps"]["bits"]) == (2, 4, 3, 8)
    assert data["pixels"]["step"] % 2 == 0
    assert "every 2." in page and "Spectra are kept of every" in page
    maps = np.asarray(estimate.abundances).reshape(3, 8, 6)[:, ::2, ::2]
    np.testing.assert_allclose(unpack(data["maps"]), maps.reshape(-1), atol=3e-3)


def test_an_estimate_of_another_size_is_refused():
    scene, estimate = mixture()
    with pytest.raises(ValueError, match="12 bands and 48 pixels"):
        report_page(scene, eqx.tree_at(lambda u: u.abundances, estimate, estimate.abundances[:, :4]))


def test_a_comparison_has_a_row_for_the_truth_and_each_estimate_in_one_order():
    scene, estimate = mixture()
    order = jnp.array([2, 0, 1])
    other = Unmixing(estimate.endmembers[:, order], estimate.abundances[order])
    figure = comparison_figure(scene, {"one": estimate, "two": other}, {"one": {"relative_residual": 0.25}})
    images = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert len(images) == 6
    for one, two in zip(images[:3], images[3:]):
        np.testing.assert_allclose(one.filled(0), two.filled(0))
    assert any("residual 25.0 %" in text.get_text() for text in figure.texts)
    with pytest.raises(ValueError, match="one number of endmembers"):
        comparison_figure(scene, {})


def test_the_page_runs_in_a_browser(tmp_path):
    """Needs the package playwright and, in CHROMIUM, the path of a Chromium."""
    browser_path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if importlib.util.find_spec("playwright") is None or browser_path is None:
        pytest.skip("no headless Chromium here: needs playwright, and a browser on the path or in CHROMIUM")
    from playwright.sync_api import sync_playwright

    scene, estimate = mixture()
    (tmp_path / "report.html").write_text(report_page(scene, estimate), encoding="utf-8")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page()
        faults, asked = [], []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path / "report.html").as_uri())
        page.locator("#maps canvas").first.focus()
        page.keyboard.press("ArrowRight")
        assert page.inner_text("#pixel-place").startswith("Row 5, column 5")
        assert "0." in page.text_content("#pixel-status")
        page.locator("#spectra-chart svg").hover()
        assert page.inner_text("#spectra-chart .readout").startswith("wavelength")
        browser.close()
    assert faults == [] and len(asked) == 1
