import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth.unmixing import cube_to_pixels, pixels_to_cube, Scene, SceneError


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_cube_and_pixels_are_inverse_and_row_major(dtype):
    cube = jnp.arange(2 * 3 * 4, dtype=dtype).reshape(2, 3, 4)
    pixels = cube_to_pixels(cube)
    assert pixels.shape == (4, 6)
    np.testing.assert_array_equal(pixels[:, 1 * 3 + 2], cube[1, 2])
    np.testing.assert_array_equal(pixels_to_cube(pixels, 2, 3), cube)
    assert pixels.dtype == dtype


def test_cube_conversions_name_the_wrong_shape():
    with pytest.raises(ValueError, match=r"cube must have shape \(H, W, L\)"):
        cube_to_pixels(jnp.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"pixels must have shape \(L, 6\)"):
        pixels_to_cube(jnp.zeros((4, 5)), 2, 3)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_masked_pixels_are_zero_inside_and_nan_outside(dtype):
    pixels = jnp.ones((4, 6), dtype).at[2, 1].set(jnp.nan)
    mask = jnp.ones(6, bool).at[3].set(False)
    scene = Scene(pixels, 2, 3, mask=mask, abundances=jnp.full((2, 6), 0.5), endmembers=jnp.ones((4, 2)))
    assert scene.mask.tolist() == [True, False, True, False, True, True]
    assert not scene.pixels[:, 1].any() and not scene.pixels[:, 3].any() and not scene.abundances[:, 3].any()
    assert scene.pixels.dtype == scene.abundances.dtype == scene.endmembers.dtype == dtype
    cube = scene.cube()
    assert cube.shape == (2, 3, 4)
    assert jnp.isnan(cube[0, 1]).all() and jnp.isnan(cube[1, 0]).all() and jnp.isfinite(cube[1, 1:]).all()
    assert scene.to_map(jnp.ones((5, 2, 6), dtype)).shape == (5, 2, 2, 3)
    assert jnp.isnan(scene.to_map(jnp.arange(6))).sum() == 2


def test_scene_passes_through_jit_and_vmap():
    scene = Scene(jnp.arange(24.0).reshape(4, 6), 2, 3, names=None)
    assert jax.jit(lambda s: s.cube())(scene).shape == (2, 3, 4)
    batch = jax.vmap(lambda scale: Scene(scene.pixels * scale, 2, 3))(jnp.arange(1.0, 4.0))
    assert batch.pixels.shape == (3, 4, 6)
    assert jax.vmap(Scene.cube)(batch).shape == (3, 2, 3, 4)


_OK = {"pixels": np.ones((4, 6)), "height": 2, "width": 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixels": np.ones((2, 3, 4))}, "use cube_to_pixels"),
        ({"height": 0}, "height must be a positive integer"),
        ({"width": -3}, "width must be a positive integer"),
        ({"width": 2.5}, "width must be a positive integer"),
        ({"width": 4}, "height \\* width must equal the number of pixels"),
        ({"pixels": np.ones((1, 6))}, "at least 2 bands"),
        ({"pixels": np.full((4, 6), np.nan)}, "no pixel is valid"),
        ({"mask": np.zeros(6, bool)}, "no pixel is valid"),
        ({"mask": np.ones(5, bool)}, "mask must have shape"),
        ({"wavelengths": np.ones(3)}, r"wavelengths must have shape \(4\)"),
        ({"wavelengths": np.full(4, np.inf)}, "wavelengths must be finite"),
        ({"endmembers": np.ones((5, 2))}, r"endmembers must have shape \(4, any\)"),
        ({"endmembers": np.full((4, 2), np.nan)}, "endmembers must be finite"),
        ({"endmembers": np.ones((4, 0))}, "endmembers must have shape"),
        ({"library": np.ones((3, 9))}, "library must have shape"),
        ({"library": np.full((4, 9), -np.inf)}, "library must be finite"),
        ({"abundances": np.ones((2, 5))}, "abundances must have shape"),
        ({"abundances": np.full((2, 6), np.nan)}, "abundances of the valid pixels must be finite"),
        ({"endmembers": np.ones((4, 2)), "abundances": np.ones((3, 6))}, r"abundances must have shape \(2, 6\)"),
        ({"endmembers": np.ones((4, 2)), "names": ["a"]}, "names must hold 2 names"),
        ({"abundances": np.ones((2, 6)), "names": ["a"]}, "names must hold 2 names"),
        ({"library": np.ones((4, 2)), "library_names": ["a"]}, "library_names must hold 2 names"),
    ],
)
def test_scene_errors_name_the_argument(change, message):
    with pytest.raises(SceneError, match=message) as caught:
        Scene(**(_OK | change))
    assert "\n" not in str(caught.value)


def test_to_map_rejects_another_image():
    with pytest.raises(SceneError, match="6 pixels on the last axis"):
        Scene(**_OK).to_map(jnp.ones(5))
