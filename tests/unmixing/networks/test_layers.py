import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth.unmixing.networks._layers import BatchNorm, Convolution, drop, resize
from jaxopt_thoth.unmixing.networks._network_input import angles
from jaxopt_thoth.unmixing.networks._pyramid import average_cells, blur, details, edge_distance


KEY = jax.random.key(0)


# 5 channels are stacked, 200 are summed up.
@pytest.mark.parametrize("channels", [5, 200])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_is_that_of_lax_with_reflected_borders(rng, channels, stride):
    layer = Convolution(channels, 4, 3, key=KEY, dtype=jnp.float64, stride=stride)
    image = jnp.asarray(rng.normal(size=(7, 6, channels)))
    padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0)), mode="reflect")[None]
    expected = jax.lax.conv_general_dilated(
        padded, layer.weight, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(layer(image), expected[0] + layer.bias[None, None], atol=1e-12)
    np.testing.assert_allclose(layer(jnp.stack([image, 2 * image]))[0], layer(image), atol=1e-12)


def test_a_wide_convolution_takes_an_image_smaller_than_its_border():
    layer = Convolution(2, 3, 11, key=KEY, dtype=jnp.float32, use_bias=False)
    out = layer(jnp.ones((3, 1, 2), jnp.float32))
    assert out.shape == (3, 1, 3) and out.dtype == jnp.float32
    np.testing.assert_allclose(out[1, 0], jnp.sum(layer.weight, axis=(0, 1, 2)), rtol=1e-4)


def test_batch_norm_has_mean_zero_and_variance_one(rng):
    out = BatchNorm(3, dtype=jnp.float64)(jnp.asarray(5 + 2 * rng.normal(size=(4, 6, 3))))
    np.testing.assert_allclose(jnp.mean(out, axis=(0, 1)), 0, atol=1e-12)
    np.testing.assert_allclose(jnp.var(out, axis=(0, 1)), 1, atol=1e-4)


def test_dropping_keeps_the_mean_and_drops_whole_channels():
    ones = jnp.ones((200, 3, 3, 50))
    out = drop(ones, 0.2, KEY, whole=True)
    assert abs(float(jnp.mean(out)) - 1) < 0.02
    np.testing.assert_array_equal(out, jnp.broadcast_to(out[:, :1, :1], out.shape))
    np.testing.assert_array_equal(drop(ones, 0.2, None), ones)


def test_resize_keeps_what_is_linear():
    ramp = jnp.arange(6.0)[:, None, None] * jnp.ones((1, 4, 1))
    wide = resize(ramp, 12, 8)
    np.testing.assert_allclose(wide[1:-1, 0, 0], np.arange(0.25, 5, 0.5), atol=1e-6)


def test_cells_average_the_pixels_in_use(rng):
    image = jnp.asarray(rng.normal(size=(5, 4, 2)))
    used = jnp.ones((5, 4)).at[0, 1].set(0).at[4].set(0)
    means, some = average_cells(image, used, 2)
    assert means.shape == (3, 2, 2)
    np.testing.assert_allclose(means[0, 0], (image[0, 0] + image[1, 0] + image[1, 1]) / 3)
    np.testing.assert_allclose(means[2, 0], (image[4, 0] + image[4, 1]) / 2)
    np.testing.assert_array_equal(some, [[1, 1], [1, 1], [0, 0]])


def test_a_flat_image_has_no_details_inside(rng):
    flat = jnp.ones((12, 11, 1))
    np.testing.assert_allclose(blur(flat), 1, atol=1e-12)
    np.testing.assert_allclose(details(flat)[2:-2, 2:-2], 0, atol=1e-12)
    image = jnp.asarray(rng.uniform(size=(12, 11, 2)))
    halved, _ = average_cells(image, jnp.ones((12, 11)), 2)
    # The smoothing of the absolute value is all that is left between equal images.
    np.testing.assert_allclose(edge_distance(image, halved), 1e-3)


def test_angles_are_stable():
    first = jnp.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    second = jnp.array([[0.0, 3.0], [1.0, 1e-9], [-1.0, 0.0], [1.0, 0.0]])
    np.testing.assert_allclose(angles(first, second), [np.pi / 2, 1e-9, np.pi, 0], rtol=1e-6)
    assert jnp.all(jnp.isfinite(jax.grad(lambda x: jnp.sum(angles(x, second)))(first)))
