import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth.unmixing import fclsu, open_scene, sample_pixels, SceneError, unmix_tiles, vca
from jaxopt_thoth.unmixing.files._journal import Journal
from jaxopt_thoth.unmixing.files._tile_plan import plan_tiles


HEIGHT, WIDTH, BANDS, COUNT = 23, 8, 12, 3


@pytest.fixture
def image(tmp_path, rng):
    """The path of a cube whose rows 5 to 9 and one more pixel are without data, and its endmembers."""
    endmembers = rng.uniform(0.1, 0.9, (BANDS, COUNT))
    fractions = rng.dirichlet(np.ones(COUNT), HEIGHT * WIDTH).T
    pixels = endmembers @ fractions + 0.01 * rng.normal(size=(BANDS, HEIGHT * WIDTH))
    cube = pixels.T.reshape(HEIGHT, WIDTH, BANDS)
    cube[5:10] = 0
    cube[2, 3, 7] = np.nan
    np.save(tmp_path / "cube.npy", cube)
    return tmp_path / "cube.npy", endmembers


def _row_bytes(path):
    return plan_tiles(open_scene(path), COUNT, 1e9).bytes_per_row


def _fit(pixels, endmembers):
    return fclsu(pixels, endmembers)


def _expected(path, endmembers, normalize=False):
    pixels = np.load(path).reshape(-1, BANDS).T
    valid = np.isfinite(pixels).all(axis=0) & (pixels != 0).any(axis=0)
    norms = np.linalg.norm(pixels[:, valid], axis=0) if normalize else 1.0
    units = pixels[:, valid] / norms
    maps = np.full((COUNT + 1, HEIGHT * WIDTH), np.nan)
    maps[:COUNT, valid] = fclsu(jnp.asarray(units), jnp.asarray(endmembers))
    maps[COUNT, valid] = np.sqrt(np.mean((units - endmembers @ maps[:COUNT, valid]) ** 2, axis=0)) * norms
    return maps.reshape(-1, HEIGHT, WIDTH)


def test_tiles_equal_the_whole_and_share_one_program(tmp_path, image):
    path, endmembers = image
    traces = []

    def fit(pixels, spectra):
        traces.append(pixels.shape)
        return fclsu(pixels, spectra)

    seen = []
    result = unmix_tiles(
        path,
        endmembers,
        tmp_path / "maps.npy",
        fit=fit,
        memory=2 * _row_bytes(path),
        progress=lambda *n: seen.append(n),
    )
    expected = _expected(path, endmembers)
    np.testing.assert_allclose(np.load(result.path), expected, atol=1e-6)
    # 23 rows by two: twelve tiles, the last of one row, and two of nothing but zeros.
    assert traces == [(BANDS, 2 * WIDTH)] and seen == [(k, 12) for k in range(1, 13)] and result.num_tiles == 12
    assert (result.num_pixels, result.num_valid, result.num_failed) == (184, 143, 0)
    assert result.names == ("endmember 1", "endmember 2", "endmember 3", "reconstruction_error")
    rmse = np.sqrt(np.nanmean(expected[-1] ** 2))
    np.testing.assert_allclose(result.reconstruction_rmse, rmse, rtol=1e-5)
    journal = json.loads((tmp_path / "maps.npy.journal.json").read_text())
    assert journal["rows_done"] == HEIGHT and np.array_equal(journal["endmembers"], endmembers)


def test_pixels_of_unit_norm(tmp_path, image):
    path, endmembers = image
    endmembers = endmembers / np.linalg.norm(endmembers, axis=0)
    result = unmix_tiles(
        path, endmembers, tmp_path / "maps.npy", fit=_fit, normalization="pixel_l2", memory=2 * _row_bytes(path)
    )
    np.testing.assert_allclose(np.load(result.path), _expected(path, endmembers, True), atol=1e-6)


class _Stop(Exception):
    pass


@pytest.mark.parametrize("kind", [".npy", ".hdr", ".tif", ".nc"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, _Stop])
def test_interrupted_runs_go_on_bit_by_bit(tmp_path, image, kind, error):
    path, _ = image
    key = jax.random.key(3)
    calls = []

    def extract(sample):
        calls.append(sample.num_pixels)
        return vca(sample.pixels, COUNT, key=key)[0]

    def run(name, **arguments):
        out = tmp_path / f"{name}{kind}"
        return unmix_tiles(path, extract, out, key=key, sample=60, fit=_fit, memory=2 * _row_bytes(path), **arguments)

    whole = run("whole")

    def interrupt(done, total):
        if done == 7:
            raise error

    with pytest.raises(error):
        run("parts", progress=interrupt)
    with pytest.raises(SceneError, match="14 of 23 rows of an unfinished run; pass resume=True"):
        run("parts")
    seen = []
    resumed = run("parts", resume=True, progress=lambda *n: seen.append(n))
    assert seen == [(k, 5) for k in range(1, 6)] and resumed.num_tiles == 5
    # The endmembers come from the journal.
    assert calls == [60, 60]
    assert whole.path.read_bytes() == resumed.path.read_bytes() if kind != ".nc" else True
    np.testing.assert_array_equal(_read(whole), _read(resumed))
    assert (resumed.num_valid, resumed.reconstruction_rmse) == (whole.num_valid, whole.reconstruction_rmse)
    assert run("parts", resume=True).num_tiles == 0


def test_a_tile_that_was_written_but_not_noted_is_written_again(tmp_path, image, monkeypatch):
    path, endmembers = image
    arguments = {"fit": _fit, "memory": 2 * _row_bytes(path)}
    whole = unmix_tiles(path, endmembers, tmp_path / "whole.npy", **arguments)
    usual, calls = Journal.save, []

    def save(journal, file):
        calls.append(file)
        if len(calls) == 9:
            raise _Stop
        usual(journal, file)

    monkeypatch.setattr(Journal, "save", save)
    with pytest.raises(_Stop):
        unmix_tiles(path, endmembers, tmp_path / "parts.npy", **arguments)
    resumed = unmix_tiles(path, endmembers, tmp_path / "parts.npy", resume=True, **arguments)
    assert resumed.num_tiles == 5 and resumed.path.read_bytes() == whole.path.read_bytes()
    assert resumed.reconstruction_rmse == whole.reconstruction_rmse


def _read(result):
    if result.path.suffix == ".npy":
        return np.load(result.path)
    if result.path.suffix == ".nc":
        netCDF4 = pytest.importorskip("netCDF4")
        with netCDF4.Dataset(result.path) as file:
            names = ("endmember_1", "endmember_2", "endmember_3", "reconstruction_error")
            return np.stack([np.ma.filled(file[name][:], np.nan) for name in names])
    return open_scene(result.path).read(slice(None))


def test_other_settings_or_input_are_not_gone_on_with(tmp_path, image):
    path, endmembers = image
    out = tmp_path / "maps.npy"
    memory = 2 * _row_bytes(path)

    def run(given=endmembers, **arguments):
        return unmix_tiles(path, given, out, **({"fit": _fit, "memory": memory, "resume": True} | arguments))

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(settings={"method": "vca", "seed": 1}, progress=stop)
    with pytest.raises(SceneError, match=r"another settings .*seed"):
        run(settings={"method": "vca", "seed": 2})
    same = {"settings": {"method": "vca", "seed": 1}}
    with pytest.raises(SceneError, match='another normalization \\("none", now "pixel_l2"\\)'):
        run(normalization="pixel_l2", **same)
    with pytest.raises(SceneError, match="another fit"):
        run(fit=fclsu, **same)
    with pytest.raises(SceneError, match="another names"):
        run(names=["a", "b", "c"], **same)
    with pytest.raises(SceneError, match="other endmembers"):
        run(endmembers + 1, **same)
    original = path.read_bytes()
    np.save(path, np.load(path) + 0.1)
    with pytest.raises(SceneError, match=r"another input .* delete the journal"):
        run(**same)
    path.write_bytes(original)
    journal = tmp_path / "maps.npy.journal.json"
    out.rename(tmp_path / "elsewhere.npy")
    with pytest.raises(SceneError, match=r"maps\.npy: is gone|another input"):
        run(**same)
    journal.write_text("{")
    with pytest.raises(SceneError, match="damaged one; delete it"):
        run(**same)
    journal.unlink()
    # Without a journal a run that resumes is a run that starts.
    assert run(**same).num_tiles == 12
    assert run(resume=False).num_tiles == 12


def test_the_plan_stays_within_the_memory(image):
    source = open_scene(image[0])
    row = plan_tiles(source, COUNT, 1e9).bytes_per_row
    assert row == WIDTH * (BANDS * (8 + 8 + 1 + 8) + 8 * (4 * BANDS + 12 * (COUNT + 1)))
    for memory in (row, 1.99 * row, 5 * row, 1e9):
        plan = plan_tiles(source, COUNT, memory)
        assert plan.working_set <= memory and plan.rows == min(int(memory // row), HEIGHT)
        tiles = plan.tiles(0, HEIGHT)
        assert [first for first, _ in tiles] == list(range(0, HEIGHT, plan.rows)) and tiles[-1][1] == HEIGHT
    # Bands that are left out are read all the same.
    few = plan_tiles(source.with_bands(np.arange(6)), COUNT, 1e9).bytes_per_row
    assert few == WIDTH * (BANDS * 8 + 6 * 17 + 8 * (4 * 6 + 12 * (COUNT + 1)))
    for memory in (row - 1, 0, -1.0, float("nan")):
        with pytest.raises(SceneError, match=f"memory must be at least {row} bytes"):
            plan_tiles(source, COUNT, memory)


def test_samples_are_valid_uniform_and_independent_of_the_tiles(image):
    source = open_scene(image[0])
    key = jax.random.key(0)
    memory = plan_tiles(source, 1, 1e9).bytes_per_row
    everything = source.read(slice(None))
    valid = np.isfinite(everything).all(axis=0)
    sample = sample_pixels(source, 50, key=key)
    np.testing.assert_array_equal(sample, sample_pixels(source, 50, key=key, memory=memory))
    places = [int(np.flatnonzero((everything == column[:, None]).all(axis=0))[0]) for column in sample.T]
    assert valid[places].all() and len(set(places)) == 50 and places == sorted(places)
    np.testing.assert_array_equal(sample_pixels(source, 10_000, key=key), everything[:, valid])
    counts = np.zeros(HEIGHT * WIDTH)
    for k in range(60):
        drawn = sample_pixels(source, 50, key=jax.random.key(k))[0]
        counts[np.isin(everything[0], drawn)] += 1
    # Each of the 143 is drawn with probability 50 / 143: the count is within five standard deviations.
    rate = 50 / 143
    assert np.abs(counts[valid] - 60 * rate).max() < 5 * np.sqrt(60 * rate * (1 - rate)) and not counts[~valid].any()
    with pytest.raises(SceneError, match="count must be at least 1"):
        sample_pixels(source, 0, key=key)


def test_fits_that_fail_are_counted_and_marked(tmp_path, image):
    path, endmembers = image
    fit = lambda pixels, spectra: jnp.where(pixels[:1] > jnp.median(pixels[0]), jnp.nan, _fit(pixels, spectra))
    result = unmix_tiles(path, endmembers, tmp_path / "maps.npy", fit=fit)
    maps = np.load(result.path)
    assert 0 < result.num_failed < result.num_valid
    assert np.isfinite(maps).all(axis=0).sum() == result.num_valid - result.num_failed
    assert np.isfinite(result.reconstruction_rmse)


def test_faults_of_arguments(tmp_path, image):
    path, endmembers = image

    def expect(message, spectra=endmembers, out="maps.npy", **arguments):
        with pytest.raises(SceneError, match=message):
            unmix_tiles(path, spectra, tmp_path / out, **arguments)
        assert not list(tmp_path.glob("maps*"))

    expect("endmembers must have shape .* 12 bands of cube.npy, got", endmembers[:5])
    expect("endmembers must have shape", endmembers[:, 0])
    expect("endmembers must be finite", endmembers * np.nan)
    expect("endmembers must have shape", lambda sample: np.ones((2, 2)), key=jax.random.key(0))
    expect("key must be a random key", lambda sample: endmembers)
    expect("normalization must be one of", normalization="perspective")
    expect("names must hold 3 names", names=["a"])
    expect("memory must be at least", memory=10)
    expect("cannot be written as '.npz'", out="maps.npz")
    expect("no folder", out="absent/maps.npy")
    np.save(path, np.zeros((HEIGHT, WIDTH, BANDS)))
    expect("no pixel is valid", lambda sample: endmembers, key=jax.random.key(0))
    with pytest.raises(SceneError, match="no pixel is valid"):
        unmix_tiles(path, endmembers, tmp_path / "maps.npy")
