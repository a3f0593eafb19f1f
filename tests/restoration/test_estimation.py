"""Responses and point spreads are found again, and nothing that the data does not tell is invented."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth.restoration import (
    Blur,
    Downsample,
    estimate_point_spread,
    estimate_sensors,
    estimate_spectral_response,
)


def test_a_response_is_recovered_and_its_constraints_hold(rng: np.random.Generator) -> None:
    cube = jnp.array(rng.uniform(size=(9, 8, 6)))
    response = jnp.array([[0.0, 0.2, 0.5, 0.3, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.5, 0.5]])
    found = estimate_spectral_response(cube, cube @ response.T, smoothness=0.0)
    assert found.result == jt.RESULTS.converged and found.kernel is None
    np.testing.assert_allclose(found.response, response, atol=1e-6)
    image = cube @ response.T + 0.1 * jnp.array(rng.normal(size=(9, 8, 2)))
    simplex = estimate_spectral_response(cube, image, sum_to_one=True).response
    np.testing.assert_allclose(jnp.sum(simplex, 1), 1, atol=1e-6)
    assert simplex.min() >= -1e-12


def test_a_response_meets_its_optimality_conditions_in_any_unit(rng: np.random.Generator) -> None:
    spectra = rng.uniform(size=(3, 8))
    cube = jnp.array(rng.dirichlet(np.ones(3), size=(9, 7)) @ spectra)
    image = jnp.array(rng.uniform(size=(9, 7, 1)))
    found = estimate_spectral_response(cube, image, smoothness=0.1).response[0]
    flat, target = cube.reshape(-1, 8), image.ravel()
    gram, steps = flat.T @ flat / 63, jnp.diff(jnp.eye(8), axis=0)
    gradient = gram @ found - flat.T @ target / 63 + 0.1 * jnp.trace(gram) / 8 * steps.T @ steps @ found
    np.testing.assert_allclose(jnp.minimum(found, gradient), 0, atol=1e-6)
    scaled = estimate_spectral_response(1000 * cube, 1000 * image, smoothness=0.1).response[0]
    np.testing.assert_allclose(scaled, found, atol=1e-6)


def test_a_point_spread_is_recovered_from_coarse_pixels(rng: np.random.Generator) -> None:
    sharp = jnp.array(rng.uniform(size=(12, 15, 2)))
    kernel = jnp.array(rng.dirichlet(np.ones(12)).reshape(4, 3)).at[0, 0].set(0.0)
    kernel = kernel / jnp.sum(kernel)
    blurred = Downsample(3, 1)(Blur(kernel, "edge")(sharp))
    found = estimate_point_spread(sharp, blurred, (4, 3), factor=3, offset=1, boundary="edge")
    assert found.result == jt.RESULTS.converged
    np.testing.assert_allclose(found.kernel, kernel, atol=1e-6)
    gain = estimate_point_spread(sharp, 3 * blurred, (4, 3), factor=3, offset=1, boundary="edge", sum_to_one=False)
    np.testing.assert_allclose(gain.kernel, 3 * kernel, atol=1e-5)


@pytest.mark.slow
def test_response_and_point_spread_together(rng: np.random.Generator) -> None:
    fine = jnp.array(rng.uniform(size=(30, 30, 4)))
    kernel = jnp.outer(jnp.array([0.2, 0.5, 0.3]), jnp.array([0.25, 0.5, 0.25]))
    response = jnp.array([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.3, 0.7]])
    coarse = Downsample(3, 1)(Blur(kernel, "symmetric")(fine))
    settings = {"factor": 3, "offset": 1, "response_smoothness": 1e-3, "kernel_smoothness": 1e-3}

    def objective(response: jax.Array, kernel: jax.Array) -> jax.Array:
        image = fine @ jnp.array([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.3, 0.7]]).T
        misfit = coarse @ response.T - Downsample(3, 1)(Blur(kernel, "symmetric")(image))
        steps = sum(jnp.sum(jnp.diff(kernel, axis=axis) ** 2) for axis in (0, 1))
        units = jnp.mean(coarse**2), jnp.mean(image**2)
        rough = 1e-3 * (units[0] * jnp.sum(jnp.diff(response, axis=1) ** 2) + units[1] * steps * 2)
        return jnp.sum(misfit**2) / 100 / 2 + rough / 2

    values = []
    for rounds in (1, 8):
        found = estimate_sensors(coarse, fine @ response.T, (3, 3), num_rounds=rounds, **settings)  # type: ignore[arg-type]
        values.append(objective(found.response, found.kernel))
    assert values[1] <= values[0]
    assert found.result == jt.RESULTS.converged
    np.testing.assert_allclose(found.response, response, atol=0.03)
    np.testing.assert_allclose(found.kernel, kernel, atol=0.03)


CUBE = jnp.ones((4, 4, 2))
BAD = {
    "grids": (lambda: estimate_spectral_response(CUBE, CUBE[:2]), "sizes differ by factor"),
    "dtype": (lambda: estimate_spectral_response(CUBE, CUBE.astype(jnp.float32)), "one dtype"),
    "smoothness": (lambda: estimate_spectral_response(CUBE, CUBE, smoothness=-1.0), "smoothness must be nonnegative"),
    "bands": (lambda: estimate_point_spread(CUBE, CUBE[..., :1], (1, 1)), "the same bands"),
    "size": (lambda: estimate_point_spread(CUBE, CUBE, (0, 1)), "size must be an integer"),
    "factor": (lambda: estimate_sensors(CUBE, CUBE, (1, 1), factor=2), "sizes differ by factor"),
    "rounds": (lambda: estimate_sensors(CUBE, CUBE, (1, 1), factor=1, num_rounds=0), "num_rounds must be"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case: str) -> None:
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
