import builtins
import sys

import jax
import numpy as np
import pytest
import scipy.io

from jaxopt_thoth.unmixing import GeoReference, load_scene, open_scene, sample_pixels, SceneError, write_maps


h5py = pytest.importorskip("h5py")
netCDF4 = pytest.importorskip("netCDF4")
rasterio = pytest.importorskip("rasterio")
envi = pytest.importorskip("spectral.io.envi")

WAVELENGTHS = np.linspace(400.0, 2400.0, 6)
WHERE = GeoReference((30.0, 0.0, 5e5, 0.0, -30.0, 4.2e6), "EPSG:32633")


@pytest.fixture
def cube(rng):
    """A cube (H, W, L) of values that float32 holds, one pixel of it without data and one of zeros."""
    values = np.round(rng.uniform(0.1, 0.9, (5, 7, 6)) * 1024) / 1024
    values[1, 2], values[4, 6] = -9999, 0
    return values


def _pixels(cube):
    expected = cube.reshape(-1, cube.shape[-1]).T.copy()
    expected[:, [1 * 7 + 2, 4 * 7 + 6]] = np.nan
    return expected


def _write_envi(folder, cube, interleave="bsq", **header):
    axes = {"bsq": (2, 0, 1), "bil": (0, 2, 1), "bip": (0, 1, 2)}[interleave]
    path = folder / "image.hdr"
    entries = {"lines": 5, "samples": 7, "bands": 6, "data type": 4, "byte order": 0, "header offset": 0}
    entries |= {"interleave": interleave, "wavelength": list(WAVELENGTHS), "wavelength units": "nm"} | header
    dtype = np.dtype(envi.envi_to_dtype.get(str(entries["data type"]), "f4"))
    dtype = dtype.newbyteorder("<" if entries["byte order"] == 0 else ">")
    body = cube.transpose(axes).astype(dtype).tobytes()
    (folder / "image.img").write_bytes(bytes(int(entries["header offset"])) + body)
    envi.write_envi_header(str(path), {name: value for name, value in entries.items() if value is not None})
    return path


def _write_geotiff(path, cube, **profile):
    height, width, bands = cube.shape
    settings = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": bands,
        "dtype": "float32",
        "nodata": -9999,
    }
    settings |= {"crs": "EPSG:32633", "transform": rasterio.transform.Affine(*WHERE.transform)} | profile
    with rasterio.open(path, "w", **settings) as image:
        image.write(cube.transpose(2, 0, 1).astype(settings["dtype"]))
        for band, center in enumerate(WAVELENGTHS[:bands], 1):
            image.update_tags(band, wavelength=str(center))
    return path


def _write_emit(path, cube, good=None):
    with netCDF4.Dataset(path, "w") as file:
        for name, size in zip(("downtrack", "crosstrack", "bands"), cube.shape):
            file.createDimension(name, size)
        file.setncatts({"geotransform": [10.0, 0.1, 0.0, 50.0, 0.0, -0.1], "spatial_ref": "EPSG:4326"})
        axes = ("downtrack", "crosstrack", "bands")
        file.createVariable("reflectance", "f4", axes, fill_value=-9999.0)[:] = cube
        file.createVariable("mask", "f4", axes)[:] = cube
        group = file.createGroup("sensor_band_parameters")
        group.createVariable("wavelengths", "f4", ("bands",))[:] = WAVELENGTHS
        group["wavelengths"].units = "nm"
        group.createVariable("good_wavelengths", "u1", ("bands",))[:] = np.ones(6) if good is None else good
        location = file.createGroup("location")
        for name, values in zip(("lat", "lon"), np.indices(cube.shape[:2]).astype(float)):
            location.createVariable(name, "f8", ("downtrack", "crosstrack"))[:] = values
    return path


def _write_hdf5(path, cube):
    with h5py.File(path, "w") as file:
        file["group/reflectance"] = cube
        file["group/wavelengths"] = WAVELENGTHS
        file["title"] = "a scene"
    return path


def _write_mat73(path, cube):
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in (("Y", cube), ("wavelengths", WAVELENGTHS[None])):
            file[name] = values.T
            file[name].attrs["MATLAB_class"] = np.bytes_("double")
        file["#refs#/a"] = np.array([[ord(c)] for c in "soil"], np.uint16)
        file["#refs#/a"].attrs["MATLAB_class"] = np.bytes_("char")
        file.create_dataset("cood", (1, 1), dtype=h5py.ref_dtype)[0, 0] = file["#refs#/a"].ref
        file["cood"].attrs["MATLAB_class"] = np.bytes_("cell")
    with open(path, "r+b") as handle:
        handle.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + (0x0200).to_bytes(2, "little") + b"IM")
    return path


def _write(folder, kind, cube):
    if kind in ("bsq", "bil", "bip"):
        return _write_envi(folder, cube, kind)
    path = folder / f"image.{kind.removeprefix('v7.3').removeprefix('z').removeprefix('list')}"
    if kind == "tif":
        return _write_geotiff(path, cube)
    if kind == "nc":
        return _write_emit(path, cube)
    if kind == "h5":
        return _write_hdf5(path, cube)
    if kind == "v7.3mat":
        return _write_mat73(path, cube)
    if kind == "mat":
        scipy.io.savemat(path, {"scene": cube, "wavelengths": WAVELENGTHS})
    elif kind == "listmat":
        listed = cube.transpose(2, 1, 0).reshape(6, -1)
        scipy.io.savemat(path, {"Y": listed, "H": 5, "W": 7, "wavelengths": WAVELENGTHS})
    elif kind == "npy":
        np.save(path, cube)
    elif kind == "listnpz":
        np.savez(path, Y=cube.reshape(-1, 6).T, H=5, W=7, wavelengths=WAVELENGTHS)
    else:
        (np.savez_compressed if kind == "znpz" else np.savez)(path, Y=cube, wavelengths=WAVELENGTHS)
    return path


KINDS = ("bsq", "bil", "bip", "tif", "nc", "h5", "v7.3mat", "mat", "listmat", "npy", "npz", "znpz", "listnpz")


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_reads_rows_and_wholes_alike(tmp_path, cube, kind):
    path = _write(tmp_path, kind, cube)
    source = open_scene(path)
    assert (source.height, source.width, source.num_bands, source.num_pixels) == (5, 7, 6, 35)
    assert (source.wavelengths is None) == (kind == "npy")
    if source.wavelengths is not None:
        np.testing.assert_allclose(source.wavelengths, WAVELENGTHS, rtol=1e-6)
    for rows in (slice(0, 5), slice(1, 3), slice(4, 5), slice(3, 3), slice(2, 99)):
        expected = _pixels(cube).reshape(6, 5, 7)[:, rows].reshape(6, -1)
        np.testing.assert_array_equal(source.read(rows), expected)
    scene = load_scene(path)
    np.testing.assert_array_equal(scene.to_map(scene.pixels).reshape(6, -1), _pixels(cube))
    with pytest.raises(SceneError, match="step"):
        source.read(slice(0, 5, 2))


def test_a_large_npz_is_mapped(tmp_path, rng):
    pixels = rng.uniform(size=(8, 40 * 60))
    np.savez(tmp_path / "a.npz", Y=pixels, H=40, W=60)
    np.savez(tmp_path / "f.npz", Y=np.asfortranarray(pixels), H=40, W=60, order="column-major")
    np.testing.assert_array_equal(open_scene(tmp_path / "a.npz").read(slice(3, 5)), pixels[:, 180:300])
    expected = pixels.reshape(8, 60, 40)[:, :, 3:5].swapaxes(1, 2).reshape(8, -1)
    np.testing.assert_array_equal(open_scene(tmp_path / "f.npz").read(slice(3, 5)), expected)


def test_products_of_the_truth_are_pixels_too(tmp_path, smooth_scene):
    entries = {name: value for name, value in smooth_scene.items() if name != "Y"}
    for path in (tmp_path / "a.npz", tmp_path / "b.npz"):
        maps = smooth_scene["A"].reshape(3, 10, 14)
        np.savez(path, **(entries if path.stem == "a" else entries | {"A": maps.transpose(1, 2, 0)}))
        np.testing.assert_allclose(open_scene(path).read(slice(2, 4)), smooth_scene["Y"][:, 28:56])


def test_bad_bands_scales_and_markers_of_the_file(tmp_path, cube):
    path = _write_envi(tmp_path, cube, bbl=[1, 1, 0, 1, 1, 0])
    np.testing.assert_array_equal(open_scene(path).read(slice(None)), _pixels(cube)[[0, 1, 3, 4]])
    np.testing.assert_array_equal(open_scene(path).wavelengths, WAVELENGTHS[[0, 1, 3, 4]])
    counts = np.where(cube < 0, -50, cube * 1024)
    header = {"data type": 2, "byte order": 1, "reflectance scale factor": 1024, "data ignore value": -50}
    path = _write_envi(tmp_path, counts, "bil", **header, **{"header offset": 100})
    np.testing.assert_array_equal(open_scene(path).read(slice(None)), _pixels(cube))
    np.testing.assert_array_equal(open_scene(path.with_suffix(".img")).read(slice(None)), _pixels(cube))

    path = _write_geotiff(tmp_path / "a.tif", counts, dtype="int16", nodata=-50)
    with rasterio.open(path, "r+") as image:
        image.scales = (1 / 1024,) * 6
    np.testing.assert_array_equal(open_scene(path).read(slice(None)), _pixels(cube))

    path = _write_emit(tmp_path / "a.nc", cube, good=[0, 1, 1, 1, 1, 1])
    source = open_scene(path)
    np.testing.assert_array_equal(source.read(slice(None)), _pixels(cube)[1:])
    assert source.wavelength_units == "nm" and source.georeference.latitude[3, 0] == 3.0
    # That transform is of the projected grid.
    assert source.georeference.transform is None and source.georeference.crs == "EPSG:4326"
    np.testing.assert_array_equal(open_scene(path, variable="mask").read(slice(None)), _pixels(cube)[1:])


def test_fewer_bands_and_pixels(tmp_path, cube):
    source = open_scene(_write(tmp_path, "npz", cube))
    few = source.with_bands(source.wavelengths > 800).with_bands(np.array([2, 0]))
    np.testing.assert_array_equal(few.read(slice(1, 2)), _pixels(cube)[[4, 2], 7:14])
    np.testing.assert_array_equal(few.wavelengths, WAVELENGTHS[[4, 2]])
    mask = np.ones((5, 7), bool)
    mask[0, 3] = False
    masked = source.with_mask(mask.reshape(-1)).with_mask(~np.eye(5, 7, dtype=bool))
    assert np.flatnonzero(np.isnan(masked.read(slice(0, 2))[0])).tolist() == [0, 3, 8, 9]
    for keep in (np.ones(5, bool), np.array([0, 9]), np.array([1]), np.array([0.5, 1.0])):
        with pytest.raises(SceneError, match=r"keep|at least 2 bands"):
            source.with_bands(keep)
    with pytest.raises(SceneError, match="mask must hold"):
        source.with_mask(np.ones((7, 5), bool))


def _truncate(path, keep=0.6):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])


@pytest.mark.parametrize("kind", ["bsq", "tif", "nc", "h5", "v7.3mat", "mat", "npy", "npz"])
def test_truncated_files_are_refused(tmp_path, cube, kind):
    # Large enough that half of the bytes lack data, and not only what comes after it.
    cube = np.tile(cube, (8, 9, 1))
    if kind == "bsq":
        path = _write_envi(tmp_path, cube, lines=40, samples=63)
        _truncate(path.with_suffix(".img"))
    else:
        path = _write(tmp_path, kind, cube) if kind != "nc" else _write_cube(tmp_path / "image.nc", cube)
        _truncate(path)
    with pytest.raises(SceneError, match="image") as caught:
        open_scene(path).read(slice(None))
    assert "\n" not in str(caught.value)
    with pytest.raises(SceneError, match="image"):
        load_scene(path)


def _write_cube(path, cube, **attributes):
    with netCDF4.Dataset(path, "w") as file:
        for name, size in zip(("y", "x", "wavelength"), cube.shape):
            file.createDimension(name, size)
        file.createVariable("data", "f8", ("wavelength", "y", "x"))[:] = cube.transpose(2, 0, 1)
        file["data"].setncatts(attributes)
        file.createVariable("crs", "i4").setncatts({"crs_wkt": "EPSG:32633", "GeoTransform": "1 2 0 3 0 -4"})
    return path


def test_a_cube_of_netcdf_with_its_own_axes_scale_and_place(tmp_path, cube):
    path = _write_cube(
        tmp_path / "a.nc", cube, scale_factor=0.5, add_offset=1.0, missing_value=-9999.0, grid_mapping="crs"
    )
    source = open_scene(path)
    np.testing.assert_allclose(source.read(slice(1, 4)), 0.5 * _pixels(cube)[:, 7:28] + 1)
    assert source.georeference.transform == (2.0, 0.0, 1.0, 0.0, -4.0, 3.0)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"lines": None}, "lacks 'lines'"),
        ({"samples": 0}, "'samples = 0' must be a positive integer"),
        ({"bands": "many"}, "'bands = many' must be a positive integer"),
        ({"lines": 6}, "has 840 bytes where .* need 1008; it is truncated, or its header is wrong"),
        ({"bands": 1, "wavelength": None}, "at least 2 bands"),
        ({"data type": 6}, "'data type = 6' is not a type of real numbers"),
        ({"data type": 77}, "'data type = 77' is not"),
        ({"interleave": "tiled"}, "must be bsq, bil or bip"),
        ({"byte order": 3}, "must be 0 or 1"),
        ({"wavelength": [1, 2]}, "'wavelength' lists 2 numbers for 6 bands"),
        ({"wavelength": list("abcdef")}, "'wavelength' must list numbers"),
        ({"bbl": [0, 0, 0, 0, 0, 1]}, "at least 2 bands to read, got 1"),
        ({"reflectance scale factor": 0}, "must be positive"),
        ({"data ignore value": "none"}, "'data ignore value' must be a number"),
        ({"header offset": -4}, "must not be negative"),
        ({"map info": ["UTM", 1, 1]}, "at least 7 items"),
        ({"map info": ["UTM", 1, 1, "a", 2, 3, 4]}, "six numbers"),
        ({"file type": "ENVI Spectral Library"}, "spectral library"),
        ({"file compression": 1}, "compressed"),
    ],
)
def test_wrong_headers_say_what_to_mend(tmp_path, cube, header, message):
    stated = {"interleave": "bsq"} | header
    path = _write_envi(tmp_path, cube)
    base = {"lines": 5, "samples": 7, "bands": 6, "data type": 4, "byte order": 0, "wavelength": list(WAVELENGTHS)}
    entries = {name: value for name, value in (base | stated).items() if value is not None}
    envi.write_envi_header(str(path), entries)
    with pytest.raises(SceneError, match=message) as caught:
        open_scene(path)
    assert str(caught.value).startswith("image.") and "\n" not in str(caught.value)


def test_other_faults_of_files(tmp_path, cube):
    def expect(path, message, **arguments):
        with pytest.raises(SceneError, match=message):
            open_scene(path, **arguments)

    expect(tmp_path / "none.tif", "no such file")
    expect(tmp_path, "unknown kind of file")
    (tmp_path / "a.hdr").write_text("not a header")
    expect(tmp_path / "a.hdr", "no data file beside it")
    (tmp_path / "a.img").write_bytes(b"123")
    expect(tmp_path / "a.hdr", "is not an ENVI header")
    (tmp_path / "a.hdr").write_bytes(bytes(range(128, 255)))
    expect(tmp_path / "a.img", "is not an ENVI header")
    (tmp_path / "b.img").write_bytes(b"123")
    expect(tmp_path / "b.img", "has no header beside it")
    for name in ("c.tif", "c.nc", "c.h5", "c.npy"):
        (tmp_path / name).write_bytes(b"these are not the bytes of such a file" * 20)
        expect(tmp_path / name, "damaged")
    path = _write_emit(tmp_path / "d.nc", cube)
    expect(path, "no variable 'height' is in the file; it has .*location/lat", variable="height")
    expect(path, "has 3 axes", variable="location/lat")
    path = _write(tmp_path, "h5", cube)
    expect(path, "no variable 'x'; the file has group/reflectance", variable="x")
    with h5py.File(path, "a") as file:
        file["other"] = cube
    expect(path, r"several cubes \(group/reflectance, other\); pass variable=")
    assert open_scene(path, variable="other").num_bands == 6
    path = _write(tmp_path, "tif", cube)
    expect(path, "leave variable= out", variable="x")
    expect(_write_geotiff(tmp_path / "e.tif", cube[..., :1]), "at least 2 bands")
    expect(_write(tmp_path, "npz", np.full((5, 7, 6), np.nan)), "order must be", order="row")
    np.save(tmp_path / "flat.npy", np.ones((3, 4)))
    expect(tmp_path / "flat.npy", "must hold a cube")
    for bad in (np.full((5, 7, 6), np.nan), np.zeros((5, 7, 6)), np.full((5, 7, 6), -9999.0)):
        source = open_scene(_write(tmp_path, "bil", bad))
        assert np.isnan(source.read(slice(None))).all()
        with pytest.raises(SceneError, match=r"image\.img: no pixel is valid"):
            load_scene(tmp_path / "image.hdr")
        with pytest.raises(SceneError, match=r"image\.img: no pixel is valid"):
            sample_pixels(source, 4, key=jax.random.key(0))


@pytest.mark.parametrize(
    ("kind", "module"), [("bsq", "spectral"), ("tif", "rasterio"), ("nc", "netCDF4"), ("h5", "h5py")]
)
def test_a_missing_library_names_its_extra(tmp_path, cube, kind, module, monkeypatch):
    path = _write(tmp_path, kind, cube)
    usual = builtins.__import__

    def absent(name, *arguments):
        if name.split(".")[0] == module:
            raise ImportError(name)
        return usual(name, *arguments)

    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(builtins, "__import__", absent)
    extra = {"spectral": "envi", "rasterio": "geotiff", "netCDF4": "netcdf", "h5py": "hdf5"}[module]
    with pytest.raises(SceneError, match=rf'need {module}; pip install "jaxopt_thoth\[{extra}\]"'):
        load_scene(path)
    if module != "h5py":
        out = tmp_path / {"spectral": "out.hdr", "rasterio": "out.tif", "netCDF4": "out.nc"}[module]
        with pytest.raises(SceneError, match=rf"jaxopt_thoth\[{extra}\]"):
            write_maps(out, np.ones((2, 5, 7)))


@pytest.mark.parametrize("suffix", [".hdr", ".img", ".tif", ".nc", ".npz", ".npy"])
def test_maps_come_back_with_their_place(tmp_path, rng, suffix):
    maps = rng.uniform(size=(3, 5, 7)).astype(np.float32)
    maps[:, 2, 2] = np.nan
    names = ["soil, dry", "soil {wet}", "3 trees"]
    path = write_maps(tmp_path / f"maps{suffix}", maps, names, like=WHERE)
    if suffix in (".npz", ".npy"):
        stored = np.load(path)
        np.testing.assert_array_equal(stored["maps"] if suffix == ".npz" else stored, maps)
        if suffix == ".npz":
            assert stored["names"].tolist() == names and tuple(stored["transform"]) == WHERE.transform
            assert stored["crs"] == WHERE.crs
        return
    if suffix == ".nc":
        with netCDF4.Dataset(path) as file:
            stored = [np.ma.filled(file[name][:], np.nan) for name in ("soil__dry", "soil__wet", "map_3_trees")]
            assert file["soil__dry"].long_name == names[0] and file["soil__dry"].grid_mapping == "crs"
            assert file["x"][0] == 5e5 + 15 and file["y"][1] == 4.2e6 - 45
        np.testing.assert_array_equal(np.stack(stored), maps)
        return
    # GDAL's own reader of ENVI checks what was written, the place included.
    with rasterio.open(path) as image:
        np.testing.assert_array_equal(image.read(), maps)
        assert tuple(image.transform)[:6] == WHERE.transform and image.crs.to_epsg() == 32633
        assert image.descriptions[2] == "3 trees" and np.isnan(image.nodata)
    source = open_scene(path)
    assert source.georeference.transform == WHERE.transform
    np.testing.assert_array_equal(source.read(slice(None)), maps.reshape(3, -1))


@pytest.mark.parametrize("suffix", [".hdr", ".tif"])
@pytest.mark.parametrize("kind", ["bil", "tif"])
def test_the_place_of_an_image_is_kept_across_formats(tmp_path, cube, kind, suffix):
    if kind == "tif":
        path = _write_geotiff(tmp_path / "image.tif", cube)
    else:
        info = ["UTM", 2, 3, 500030.0, 4199940.0, 30, 30, 33, "North", "WGS-84", "units=Meters"]
        path = _write_envi(tmp_path, cube, kind, **{"map info": info})
    out = write_maps(tmp_path / f"maps{suffix}", np.ones((2, 5, 7)), like=open_scene(path))
    with rasterio.open(out) as image:
        assert tuple(image.transform)[:6] == WHERE.transform and image.crs.to_epsg() == 32633


def test_rotated_images_keep_their_place(tmp_path):
    cos, sin = np.cos(0.3), np.sin(0.3)
    where = GeoReference((30 * cos, 30 * sin, 5e5, 30 * sin, -30 * cos, 4e6), "EPSG:32733")
    path = write_maps(tmp_path / "maps.hdr", np.ones((2, 5, 7)), like=where)
    with rasterio.open(path) as image:
        np.testing.assert_allclose(tuple(image.transform)[:6], where.transform, rtol=1e-9)
    np.testing.assert_allclose(open_scene(path).georeference.transform, where.transform, rtol=1e-12)


def test_images_in_the_geometry_of_the_sensor_keep_their_coordinates(tmp_path, cube):
    source = open_scene(_write_emit(tmp_path / "image.nc", cube))
    out = write_maps(tmp_path / "maps.nc", np.ones((2, 5, 7)), like=source)
    with netCDF4.Dataset(out) as file:
        np.testing.assert_array_equal(file["lat"][:], source.georeference.latitude)
        assert file["map_1"].coordinates == "lat lon"
    with rasterio.open(write_maps(tmp_path / "maps.tif", np.ones((2, 5, 7)), like=source)) as image:
        points, crs = image.gcps
        assert len(points) == 35 and crs.to_epsg() == 4326 and (points[-1].x, points[-1].y) == (6.0, 4.0)
    assert write_maps(tmp_path / "maps.hdr", np.ones((5, 7)), like=source).exists()


def test_faults_of_maps(tmp_path, cube):
    def expect(message, name="a.npz", shape=(2, 3, 4), **arguments):
        with pytest.raises(SceneError, match=message):
            write_maps(tmp_path / name, np.ones(shape), **arguments)

    expect("cannot be written as '.png'", "a.png")
    expect("maps must have shape", shape=(3,))
    expect("names must hold 2 names", names=["a"])
    expect("maps are 3 x 4 pixels, but image.npy has 5 x 7", like=open_scene(_write(tmp_path, "npy", cube)))
    expect("there is no folder", "absent/a.npy")
    expect("cannot be written", "absent/a.npz")
    with pytest.raises(ValueError, match="no transform"):
        GeoReference(None, "EPSG:4326").corner(0, 0)
