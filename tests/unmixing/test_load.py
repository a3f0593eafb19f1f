import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.io

from jaxopt_thoth.unmixing import load_scene, save_scene, Scene, SceneError


def _column_major(values, height, width):
    return values.reshape(-1, height, width).swapaxes(1, 2).reshape(-1, height * width)


def _write(folder, entries, suffix=".npz"):
    path = folder / f"scene{suffix}"
    if suffix == ".npz":
        np.savez(path, **entries)
    else:
        scipy.io.savemat(path, entries)
    return path


def test_npz_is_read_row_major(tmp_path, smooth_scene):
    labels = {"labels": np.array(["a", "b", "c"]), "wavelength": np.linspace(0.4, 2.5, 6), "p": 3, "L": 6, "N": 140}
    scene = load_scene(_write(tmp_path, smooth_scene | labels))
    np.testing.assert_allclose(scene.pixels, smooth_scene["Y"])
    np.testing.assert_allclose(scene.abundances, smooth_scene["A"])
    assert scene.names == ("a", "b", "c") and scene.wavelengths.shape == (6,) and scene.mask.all()
    assert scene.pixels.dtype == jnp.float64


def test_integers_are_scaled_and_missing_pixels_are_the_product(tmp_path, smooth_scene):
    stored = np.round(smooth_scene["Y"] * 1000).astype(np.uint16)
    scene = load_scene(_write(tmp_path, smooth_scene | {"Y": stored, "scale": 1e-3}))
    np.testing.assert_allclose(scene.pixels, stored * 1e-3)
    without = {name: value for name, value in smooth_scene.items() if name != "Y"}
    np.testing.assert_allclose(load_scene(_write(tmp_path, without)).pixels, smooth_scene["Y"])


def test_mat_is_read_column_major_with_the_names_of_public_files(tmp_path, smooth_scene):
    entries = {
        "V": _column_major(smooth_scene["Y"], 10, 14),
        "nRow": 10,
        "nCol": 14,
        "nBand": 6,
        "M": smooth_scene["E"],
        "A": _column_major(smooth_scene["A"], 10, 14),
        "cood": np.array([["#1 Soil"], ["#2 Tree"], ["#3 Water"]], dtype=object),
    }
    scene = load_scene(_write(tmp_path, entries, ".mat"))
    np.testing.assert_allclose(scene.pixels, smooth_scene["Y"])
    np.testing.assert_allclose(scene.abundances, smooth_scene["A"])
    np.testing.assert_allclose(scene.endmembers, smooth_scene["E"])
    assert scene.names == ("#1 Soil", "#2 Tree", "#3 Water")
    counts = np.round(entries["V"] * 500).astype(np.uint16)
    scaled = load_scene(_write(tmp_path, entries | {"V": counts, "maxValue": 500}, ".mat"))
    np.testing.assert_allclose(scaled.pixels, smooth_scene["Y"], atol=1.1e-3)


@pytest.mark.parametrize("suffix", [".npz", ".mat"])
def test_cubes_of_any_name_keep_their_layout(tmp_path, smooth_scene, suffix):
    cube = smooth_scene["Y"].reshape(6, 10, 14).transpose(1, 2, 0)
    maps = smooth_scene["A"].reshape(3, 10, 14)
    mask = np.ones((10, 14), bool)
    mask[2, 5] = False
    for abundances in (maps, maps.transpose(1, 2, 0)):
        entries = {"indian": cube, "A": abundances, "mask": mask.astype(np.uint8)}
        scene = load_scene(_write(tmp_path, entries, suffix))
        assert (scene.height, scene.width) == (10, 14) and not scene.mask[2 * 14 + 5]
        np.testing.assert_allclose(scene.to_map(scene.pixels)[:, mask], smooth_scene["Y"][:, mask.ravel()])
        np.testing.assert_allclose(scene.abundances[:, mask.ravel()], smooth_scene["A"][:, mask.ravel()])


@pytest.mark.parametrize("suffix", [".npz", ".mat"])
def test_wrong_order_is_noticed_and_can_be_overridden(tmp_path, smooth_scene, suffix):
    usual, other = ("C", "F") if suffix == ".npz" else ("F", "C")
    listed = smooth_scene["Y"] if other == "C" else _column_major(smooth_scene["Y"], 10, 14)
    truth = smooth_scene["A"] if other == "C" else _column_major(smooth_scene["A"], 10, 14)
    path = _write(tmp_path, smooth_scene | {"Y": listed, "A": truth}, suffix)
    with pytest.raises(SceneError, match=f"pass order='{other}'"):
        load_scene(path)
    scene = load_scene(path, order=other)
    np.testing.assert_allclose(scene.pixels, smooth_scene["Y"])
    np.testing.assert_allclose(scene.abundances, smooth_scene["A"])
    assert load_scene(path, order=usual).pixels.shape == (6, 140)
    stated = "column-major" if other == "F" else "row-major"
    path = _write(tmp_path, smooth_scene | {"Y": listed, "A": truth, "order": stated}, suffix)
    np.testing.assert_allclose(load_scene(path).pixels, smooth_scene["Y"])


def test_order_of_abundances_beside_a_cube_is_checked(tmp_path, smooth_scene):
    cube = smooth_scene["Y"].reshape(6, 10, 14).transpose(1, 2, 0)
    path = _write(tmp_path, {"Y": cube, "A": smooth_scene["A"]}, ".mat")
    with pytest.raises(SceneError, match="pass order='C'"):
        load_scene(path)
    np.testing.assert_allclose(load_scene(path, order="C").abundances, smooth_scene["A"])


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_not_taken_for_a_wrong_order(tmp_path, seed):
    noise = np.random.default_rng(seed).normal(size=(2, 4 * 9)) + 5
    assert load_scene(_write(tmp_path, {"Y": noise, "H": 4, "W": 9})).num_pixels == 36


def test_pixels_without_data_are_masked(tmp_path, smooth_scene):
    pixels = smooth_scene["Y"].copy()
    pixels[2, 0], pixels[1, 3] = np.nan, np.inf
    pixels[:, 5], pixels[:, 7] = 0, -9999
    pixels[:, 9] = -1.0
    path = _write(tmp_path, smooth_scene | {"Y": pixels})
    assert np.flatnonzero(~np.asarray(load_scene(path).mask)).tolist() == [0, 3, 5, 7]
    assert np.flatnonzero(~np.asarray(load_scene(path, nodata=-1).mask)).tolist() == [0, 3, 5, 9]
    stated = _write(tmp_path, smooth_scene | {"Y": pixels, "nodata": -1.0, "mask": np.arange(140) != 20})
    scene = load_scene(stated)
    assert np.flatnonzero(~np.asarray(scene.mask)).tolist() == [0, 3, 5, 9, 20]
    assert jnp.isfinite(scene.pixels).all() and jnp.isnan(scene.cube()[1, 6]).all()


def _without(*names):
    return lambda entries: {name: value for name, value in entries.items() if name not in names}


def _with(**changes):
    return lambda entries: entries | changes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("H"), "needs H and W, the size of the image; the file has A, E, W, Y"),
        (_without("Y", "E"), r"needs Y \(L, N\), a cube .*; the file has A, H, W"),
        (_with(H=0), "height must be a positive integer"),
        (_with(W=-14), "width must be a positive integer"),
        (_with(W=13.5), "width must be a positive integer"),
        (_with(W=15), "H \\* W = 10 \\* 15 = 150 pixels"),
        (_with(H=np.array([10, 10])), "height must be a single number"),
        (_with(Y=np.ones((140, 6))), "looks transposed"),
        (_with(Y=np.array(["a", "b"])), "Y must hold real numbers"),
        (_with(Y=np.ones((6, 140), complex)), "Y must hold real numbers"),
        (_with(Y=np.ones(140)), r"Y must have shape \(L, N\)"),
        (_with(Y=np.ones((14, 10, 6))), "the cube .* must be"),
        (_with(Y=np.ones((1, 140)), E=np.ones((1, 3))), "at least 2 bands"),
        (_with(Y=np.zeros((6, 140))), "no pixel is valid"),
        (_with(E=np.ones((5, 3))), "endmembers must have shape"),
        (_with(E=np.full((6, 3), np.nan)), "endmembers must be finite"),
        (_with(E=np.ones((2, 6, 3))), r"E must have shape \(L, p\)"),
        (_with(A=np.ones((2, 140)), p=2), "p = 2, but the arrays of the file have 3"),
        (_with(A=np.ones((2, 140))), "abundances must have shape"),
        (_with(A=np.ones((3, 4, 5))), "A must have shape"),
        (_with(L=7), "L = 7, but"),
        (_with(N=7), "N = 7, but"),
        (_with(scale=0.0), "scale must be positive"),
        (_with(mask=np.ones(3)), "mask has shape"),
        (_with(D=np.ones((5, 9))), "library must have shape"),
        (_with(wavelengths=np.ones(5)), "wavelengths must have shape"),
        (_with(labels=np.array(["a", "b"])), "names must hold 3 names"),
        (lambda e: {"x": np.ones((2, 2, 2)), "y": np.ones((2, 2, 2))}, "several cubes"),
        (lambda e: {}, "holds no arrays"),
        (lambda e: _without("Y")(e) | {"E": np.ones((6, 2))}, "disagree on the number of endmembers"),
    ],
)
def test_files_with_a_fault_say_which(tmp_path, smooth_scene, change, message):
    path = _write(tmp_path, change(smooth_scene))
    with pytest.raises(SceneError, match=message) as caught:
        load_scene(path)
    assert str(caught.value).startswith("scene.npz: ") and "\n" not in str(caught.value)


def test_files_that_cannot_be_read_say_why(tmp_path):
    def expect(name, message, content=None):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(SceneError, match=message) as caught:
            load_scene(path)
        assert "\n" not in str(caught.value)

    expect("absent.npz", "no such file")
    expect("scene.xyz", "unknown kind of file '.xyz'", b"")
    expect("scene", "unknown kind of file", b"")
    expect("text.npz", "damaged or not a .npz", b"this is not an archive")
    expect("empty.npz", "damaged", b"")
    expect("pickle.npz", "pickled objects", pickle.dumps({"Y": [1.0]}))
    expect("text.mat", "damaged or not a .mat", b"this is not a matrix" * 20)
    expect("empty.mat", "damaged", b"")
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + (0x0200).to_bytes(2, "little") + b"IM"
    expect("new.mat", "damaged or not an HDF5", header + bytes(400))

    (tmp_path / "folder.npz").mkdir()
    expect("folder.npz", "is not a file")
    np.savez(tmp_path / "objects.npz", Y=np.array([{}, None], dtype=object))
    expect("objects.npz", "pickled objects")
    np.save(tmp_path / "single.npy", np.ones(3))
    expect("single.npz", "single array without names", (tmp_path / "single.npy").read_bytes())
    np.savez_compressed(tmp_path / "whole.npz", Y=np.random.default_rng(0).normal(size=(50, 50)))
    whole = (tmp_path / "whole.npz").read_bytes()
    expect("truncated.npz", "damaged", whole[: len(whole) // 2])
    expect("flipped.npz", "damaged", whole[:2000] + bytes(100) + whole[2100:])
    with pytest.raises(SceneError, match="order must be"):
        load_scene(tmp_path / "whole.npz", order="row")


def test_save_and_load_round_trip(tmp_path, rng):
    scene = Scene(rng.uniform(size=(9, 84)), 7, 12, np.linspace(0.4, 2.5, 9), np.ones((9, 3)), np.ones((3, 84)))
    mask = jnp.ones(84, bool).at[5].set(False)
    scene = Scene(
        scene.pixels,
        7,
        12,
        wavelengths=scene.wavelengths,
        endmembers=scene.endmembers,
        abundances=scene.abundances,
        library=jnp.ones((9, 4)),
        mask=mask,
        names=["soil", "tree", "water"],
        library_names=["a", "b", "c", "d"],
    )
    save_scene(tmp_path / "scene.npz", scene)
    again = load_scene(tmp_path / "scene.npz")
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), again, scene))
    assert (again.names, again.library_names, again.height) == (scene.names, scene.library_names, 7)
    save_scene(tmp_path / "bare.NPZ", Scene(scene.pixels, 7, 12))
    assert load_scene(tmp_path / "bare.NPZ").endmembers is None


def test_save_errors(tmp_path):
    scene = Scene(jnp.ones((4, 6)), 2, 3)
    with pytest.raises(SceneError, match="end the name in"):
        save_scene(tmp_path / "scene.mat", scene)
    with pytest.raises(SceneError, match="cannot be written"):
        save_scene(tmp_path / "absent" / "scene.npz", scene)


def test_samson_and_dc1_load(samson, data_file):
    assert (samson.num_bands, samson.height, samson.width, samson.names) == (156, 95, 95, ("Soil", "Tree", "Water"))
    assert samson.mask.all() and samson.library.shape == (156, 105) and float(samson.pixels.max()) <= 1.0
    dc1 = load_scene(data_file("dc1.npz"))
    assert (dc1.num_bands, dc1.height, dc1.library.shape, len(dc1.library_names)) == (224, 75, (224, 240), 240)
    np.testing.assert_allclose(dc1.pixels, dc1.endmembers @ dc1.abundances, atol=1e-12)


def test_order_check_on_a_real_image(samson, tmp_path):
    cropped = np.asarray(samson.pixels).reshape(156, 95, 95)[:, :40].reshape(156, -1)
    path = _write(tmp_path, {"Y": cropped, "H": 40, "W": 95})
    np.testing.assert_allclose(load_scene(path).pixels, cropped)
    path = _write(tmp_path, {"Y": _column_major(cropped, 40, 95), "H": 40, "W": 95})
    with pytest.raises(SceneError, match="look column-major; pass order='F'"):
        load_scene(path)
