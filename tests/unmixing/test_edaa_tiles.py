import json

import jax
import numpy as np
import pytest

from jaxopt_thoth.unmixing import edaa, edaa_tiles, open_scene, SceneError, simulate_scene
from jaxopt_thoth.unmixing.files._compressed import combine_pixels_of, compress
from jaxopt_thoth.unmixing.files._tile_plan import TilePlan


SETTINGS = {"key": jax.random.key(3), "ensemble": 3, "num_steps": 30}
HEIGHT, WIDTH, BANDS, COUNT = 31, 20, 24, 3


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A cube with rows and a pixel without data, in a file."""
    scene = simulate_scene(jax.random.key(0), height=HEIGHT, width=WIDTH, num_bands=BANDS, snr_db=35)
    cube = np.array(scene.cube())
    cube[4:9] = 0
    cube[20, 3, 7] = np.nan
    path = tmp_path_factory.mktemp("scene") / "cube.npy"
    np.save(path, cube)
    return path


@pytest.fixture(scope="module")
def memory(path):
    """Enough for two rows at a time."""
    with pytest.raises(SceneError, match=r"memory must be at least .* lower the rank") as caught:
        edaa_tiles(path, COUNT, path.with_name("x.npy"), memory=1e3, **SETTINGS)
    least = float(str(caught.value).split("at least ")[1].split(" bytes")[0])
    held = HEIGHT * WIDTH * 8 * (2 * 20 + 2 + 10 * COUNT)
    return least + (least - held)


@pytest.fixture(scope="module")
def found(path, memory):
    seen = []
    result = edaa_tiles(
        path, COUNT, path.with_name("maps.npy"), memory=memory, progress=lambda *call: seen.append(call), **SETTINGS
    )
    return result, seen


def test_endmembers_are_those_of_the_whole_scene_in_memory(path, found):
    cube = np.load(path)
    whole = edaa(np.where((cube == 0).all(axis=2, keepdims=True), np.nan, cube), COUNT, **SETTINGS)
    np.testing.assert_allclose(found[0].endmembers, whole.endmembers, atol=1e-6)
    maps, valid = np.load(found[0].path), np.isfinite(np.asarray(whole.abundances)).all(axis=0)
    assert np.array_equal(np.isfinite(maps).all(axis=0), valid) and not valid[4:9].any() and not valid[20, 3]
    np.testing.assert_allclose(maps[:COUNT, valid].sum(axis=0), 1, atol=1e-5)
    # Exact abundances beside those of the descent.
    assert np.abs(maps[:COUNT, valid] - np.asarray(whole.abundances)[:, valid]).mean() < 0.03
    assert found[0].num_valid == valid.sum()


def test_components_and_combinations_of_tiles_equal_those_of_the_matrix(path, rng):
    source = open_scene(path)
    pixels = np.load(path).reshape(-1, BANDS).T
    valid = np.isfinite(pixels).all(axis=0) & (pixels != 0).any(axis=0)
    units = np.where(valid, pixels / np.where(valid, np.linalg.norm(pixels, axis=0), 1), 0)
    plan = TilePlan(2, 1)
    reduced = compress(source, 5, "pixel_l2", plan, None)
    assert np.array_equal(reduced.mask, valid)
    basis = np.linalg.svd(units, full_matrices=False)[0][:, :5]
    projected = basis.T @ units
    signs = np.sign(np.sum(projected * reduced.values, axis=1))
    np.testing.assert_allclose(reduced.values, signs[:, None] * projected, atol=1e-9)
    np.testing.assert_allclose(reduced.outside, np.sum((units - basis @ projected) ** 2), rtol=1e-6)
    weights = rng.uniform(size=(HEIGHT * WIDTH, 2))
    np.testing.assert_allclose(combine_pixels_of(source, weights, "pixel_l2", plan, None), units @ weights, rtol=1e-10)


def test_progress_says_the_stages_in_order(found):
    tiles = -(-HEIGHT // 2)
    stages = [("gram", tiles), ("components", tiles), ("runs", 3), ("endmembers", tiles)]
    # The components are gone when the maps are made: larger tiles fit.
    stages.append(("maps", found[0].num_tiles))
    assert 1 < found[0].num_tiles < tiles
    assert found[1] == [(name, k + 1, total) for name, total in stages for k in range(total)]


def test_an_interrupted_run_goes_on_without_the_passes_before(path, memory, found):
    out = path.with_name("again.npy")

    def stop(stage, done, total):
        if (stage, done) == ("maps", 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        edaa_tiles(path, COUNT, out, memory=memory, progress=stop, **SETTINGS)
    done = json.loads(out.with_name("again.npy.journal.json").read_text())["rows_done"]
    assert 0 < done < HEIGHT
    with pytest.raises(SceneError, match=f"{done} of 31 rows of an unfinished run"):
        edaa_tiles(path, COUNT, out, memory=memory, **SETTINGS)
    with pytest.raises(SceneError, match="begun with another settings"):
        edaa_tiles(path, COUNT, out, memory=memory, resume=True, **{**SETTINGS, "num_steps": 31})
    seen = []
    result = edaa_tiles(
        path, COUNT, out, memory=memory, resume=True, progress=lambda *call: seen.append(call), **SETTINGS
    )
    assert {stage for stage, *_ in seen} == {"maps"} and result.num_tiles == found[0].num_tiles - 1
    np.testing.assert_array_equal(np.load(out), np.load(found[0].path))
    np.testing.assert_array_equal(result.endmembers, found[0].endmembers)


def test_bad_settings_are_said_before_the_passes(path, tmp_path):
    out = tmp_path / "maps.npy"
    source = open_scene(path)
    for changes, error, message in (
        ({"rank": 2}, ValueError, "rank must be between 3"),
        ({"num_endmembers": 1}, ValueError, "num_endmembers must be between 2"),
        ({"num_steps": 0}, ValueError, "num_steps must be at least 1"),
        ({"normalization": "perspective"}, SceneError, "normalization must be one of"),
        ({"names": ["a"]}, SceneError, "names must hold 3 names"),
        ({"out": tmp_path / "maps.xyz"}, SceneError, "maps.xyz"),
    ):
        with pytest.raises(error, match=message):
            edaa_tiles(source, **{"num_endmembers": COUNT, "out": out, **SETTINGS, **changes})
    with pytest.raises(SceneError, match="no pixel is valid"):
        edaa_tiles(source.with_mask(np.zeros((HEIGHT, WIDTH), bool)), COUNT, out, **SETTINGS)
    assert not out.exists()
