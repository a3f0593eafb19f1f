"""The linear maps of images against SciPy, and their transposes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from jaxopt_thoth import restoration


SCIPY = {"periodic": "wrap", "symmetric": "reflect", "edge": "nearest", "zero": "constant"}


@pytest.mark.parametrize("boundary", SCIPY)
def test_blur_is_a_convolution_and_its_transpose_is_exact(boundary: str, rng: np.random.Generator) -> None:
    image, other = jnp.array(rng.normal(size=(2, 9, 8, 2)))
    kernel = rng.normal(size=(4, 3))
    blur = restoration.Blur(kernel, boundary)  # type: ignore[arg-type]
    expected = [scipy.ndimage.convolve(np.asarray(image[..., i]), kernel, mode=SCIPY[boundary]) for i in range(2)]
    np.testing.assert_allclose(blur(image), np.stack(expected, -1), atol=1e-13)
    np.testing.assert_allclose(jnp.vdot(blur(image), other), jnp.vdot(image, blur.transpose(other)), rtol=1e-12)


def test_blur_with_a_kernel_for_each_band(rng: np.random.Generator) -> None:
    image, kernels = jnp.array(rng.normal(size=(6, 5, 2))), jnp.array(rng.normal(size=(1, 3, 2)))
    each = [restoration.Blur(kernels[..., i], "edge")(image[..., i]) for i in range(2)]
    np.testing.assert_allclose(restoration.Blur(kernels, "edge")(image), jnp.stack(each, -1), atol=1e-13)


def test_downsample_and_its_transpose(rng: np.random.Generator) -> None:
    keep = restoration.Downsample((2, 3), offset=(1, 0))
    image, low = jnp.array(rng.normal(size=(4, 6, 2))), jnp.array(rng.normal(size=(2, 2, 2)))
    np.testing.assert_array_equal(keep(image), image[1::2, ::3])
    np.testing.assert_allclose(jnp.vdot(keep(image), low), jnp.vdot(image, keep.transpose(low)), rtol=1e-13)


@pytest.mark.parametrize("offset", [0, 1, 2])
def test_upsample_goes_through_the_pixels_and_keeps_linear_ramps(offset: int) -> None:
    rows, columns = jnp.meshgrid(jnp.arange(6.0), jnp.arange(5.0), indexing="ij")
    ramp = 2 * rows - columns
    fine = restoration.upsample(ramp, 3, offset)
    np.testing.assert_allclose(restoration.Downsample(3, offset)(fine), ramp, atol=1e-13)
    at = lambda n: (jnp.arange(3.0 * n) - offset) / 3
    expected = 2 * at(6)[:, None] - at(5)[None, :]
    np.testing.assert_allclose(fine[6:-6, 6:-6], expected[6:-6, 6:-6], atol=1e-13)


def test_blur_differentiates_in_the_kernel() -> None:
    image = jnp.arange(12.0).reshape(3, 4)
    loss = lambda kernel: jnp.sum(restoration.Blur(kernel, "symmetric")(image) ** 2)
    kernel = jnp.array([[0.2, 0.5, 0.3]])
    step = jnp.array([[0.0, 1e-4, 0.0]])
    slope = (loss(kernel + step) - loss(kernel - step)) / 2e-4
    np.testing.assert_allclose(jax.grad(loss)(kernel)[0, 1], slope, rtol=1e-8)
