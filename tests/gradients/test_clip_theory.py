"""What clipping does to a mean: floors, the laws that attain them, fixed points."""

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

from jaxopt_thoth import gradients as g


def least_variance(mean, clip):
    """Of all laws of a gradient of this mean on a grid, whose clipped mean is zero: a linear program."""
    grid = np.linspace(-2 * clip - mean, 6 * (clip + mean), 4001)
    rows = np.stack([np.ones_like(grid), grid, np.clip(grid, -clip, clip)])
    return linprog((grid - mean) ** 2, A_eq=rows, b_eq=[1.0, mean, 0.0]).fun


@pytest.mark.parametrize("clip", [4.0, 1.0, 0.6, 0.5, 0.4, 0.2, 0.05])
def test_the_floor_is_that_of_the_linear_program(clip):
    # No law of less than unit variance is at rest at a mean of the floor, and one of unit variance is.
    np.testing.assert_allclose(least_variance(float(g.clipping_floor(1.0, clip)), clip), 1.0, rtol=4e-3)


def test_the_extremal_law_attains_the_floor():
    sigma = jnp.array([1.0, 1.0, 1.0, 2.0, 0.3, 5.0])
    clip = jnp.array([4.0, 1.0, 0.6, 1.5, 7.0, 2.0])
    values, probabilities = g.clipping_extremal_law(sigma, clip)
    np.testing.assert_allclose(jnp.sum(values * probabilities, 0), 0, atol=1e-12)
    np.testing.assert_allclose(jnp.sum(values**2 * probabilities, 0), sigma**2, rtol=1e-12)
    lower, upper = jax.jit(jax.vmap(g.clipping_bias_interval, (1, 1, 0)))(values, probabilities, clip)
    np.testing.assert_allclose(upper, g.clipping_floor(sigma, clip), rtol=1e-12)
    # Where sigma > 2 clip the law is symmetric, and so are the points of rest.
    np.testing.assert_allclose(lower, jnp.where(sigma < 2 * clip, upper, -upper), rtol=1e-12)


def test_the_floor_at_its_borders():
    np.testing.assert_allclose(g.clipping_floor(1.0, jnp.array([4.0, 1.0, 0.5, 0.0])), [0.0625, 0.25, 0.5, 1.0])
    np.testing.assert_allclose(g.clipping_floor(0.0, jnp.array([0.0, 1.0, jnp.inf])), 0)
    assert g.clipping_floor(3.0, jnp.inf) == 0
    sigma, clip = np.meshgrid(np.geomspace(1e-3, 1e3, 13), np.geomspace(1e-3, 1e3, 11))
    floor = g.clipping_floor(sigma, clip)
    assert np.all(floor >= np.minimum(sigma, sigma**2 / clip) / 4 * (1 - 1e-14))
    assert np.all(floor <= np.minimum(sigma, sigma**2 / (4 * clip)) * (1 + 1e-14))
    slopes = jax.vmap(jax.grad(g.clipping_floor, (0, 1)))(jnp.array([1.0, 1.0, 0.0]), jnp.array([4.0, 0.2, 0.0]))
    np.testing.assert_allclose(slopes[0][:2], [1 / 8, 1.0])
    np.testing.assert_allclose(slopes[1][:2], [-1 / 64, -1.0])
    assert jnp.isfinite(jnp.stack(slopes)).all()
    assert g.clipping_floor(jnp.float32(1.0), jnp.float32(1.0)).dtype == jnp.float32
    values, probabilities = g.clipping_extremal_law(jnp.zeros(2), jnp.array([0.0, 1.0]))
    assert jnp.isfinite(values).all() and jnp.isfinite(probabilities).all()


TABLE = {0.01: 0.306836, 0.1: 0.305187, 0.5: 0.265528, 1: 0.158594, 2: 0.0524691, 5: 0.00248492}
LEVELS = jnp.array(list(TABLE))


def exponential_bias(clip, scale):
    return g.clipping_bias(lambda x: jnp.exp(-jnp.maximum(x / scale + 1, 0)), clip, breaks=[-scale])


exponential_biases = jax.jit(jax.vmap(exponential_bias, (0, None)))


def test_the_bias_of_exponential_noise():
    for scale in (1.0, 5e-3):
        np.testing.assert_allclose(
            exponential_biases(scale * LEVELS, scale) / scale, list(TABLE.values()), rtol=0, atol=5.1e-7
        )
    # From clip = 1 or so on, m = exp(-1 - (clip - m)).
    far = exponential_biases(jnp.full(6, 2.0), 1.0)[0]
    np.testing.assert_allclose(far, jnp.exp(-1 - (2.0 - far)), rtol=1e-13)
    # Clipping at zero takes a median.
    np.testing.assert_allclose(exponential_biases(jnp.full(6, 1e-5), 1.0), 1 - np.log(2), rtol=1e-9)
    single = jax.jit(exponential_bias)(jnp.float32(1.0), jnp.float32(1.0))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, TABLE[1], rtol=1e-5)


def test_derivatives_of_the_bias():
    in_level, in_scale = jax.jit(jax.vmap(jax.grad(exponential_bias, (0, 1)), (0, None)))(LEVELS, 1.0)
    h = 1e-6
    slopes = (exponential_biases(LEVELS + h, 1.0) - exponential_biases(LEVELS - h, 1.0)) / (2 * h)
    np.testing.assert_allclose(in_level, slopes, atol=1e-8)
    # The bias is homogeneous in both together.
    np.testing.assert_allclose(LEVELS * in_level + in_scale, exponential_biases(LEVELS, 1.0), rtol=1e-12)


def test_symmetric_noise_has_no_bias():
    tail = lambda x: jnp.where(x > 0, jnp.exp(-jnp.abs(x)) / 2, 1 - jnp.exp(-jnp.abs(x)) / 2)
    biases = jax.jit(lambda: (g.clipping_bias(jax.scipy.stats.norm.sf, 0.3), g.clipping_bias(tail, 0.3, breaks=[0.0])))
    np.testing.assert_allclose(jnp.stack(biases()), 0, atol=1e-14)


noises = hnp.arrays(float, 4, elements=st.floats(-10, 10, allow_subnormal=False))
weights = hnp.arrays(float, 4, elements=st.floats(0.01, 1))
interval = jax.jit(g.clipping_bias_interval)


@hypothesis.settings(deadline=None, max_examples=50)
@hypothesis.given(noises, weights, st.floats(0.01, 20))
def test_fixed_points_of_discrete_noises_are_fixed_and_below_the_floor(values, probabilities, clip):
    probabilities = probabilities / probabilities.sum()
    values = values - probabilities @ values
    lower, upper = interval(values, probabilities, clip)
    for root in (lower, upper):
        assert abs(probabilities @ np.clip(float(root) + values, -clip, clip)) <= 1e-13 * (clip + 10)
    sigma = np.sqrt(probabilities @ values**2)
    assert lower <= upper
    assert max(abs(lower), abs(upper)) <= g.clipping_floor(sigma, clip) * (1 + 1e-9) + 1e-12


def test_the_bias_bound_holds_in_any_dimension_and_is_attained(rng):
    h = rng.standard_t(3, size=(500, 20, 3)) * np.exp(rng.normal(size=(500, 1, 1)))
    clip = np.exp(rng.normal(size=500))
    moved = jnp.linalg.norm((h - jax.jit(jax.vmap(jax.vmap(g.clip, (0, None))))(h, clip)).mean(axis=1), axis=1)
    mean = np.linalg.norm(h.mean(axis=1), axis=1)
    sigma = np.sqrt(((h - h.mean(axis=1, keepdims=True)) ** 2).sum(axis=2).mean(axis=1))
    bound = g.clipping_bias_bound(mean, sigma, clip)
    assert jnp.all(moved <= bound * (1 + 1e-12))
    assert jnp.all(bound <= (mean**2 + sigma**2) / (4 * clip) * (1 + 1e-12))
    # Zero or twice the level, with any probability; or one value beyond it.
    p = 0.3
    np.testing.assert_allclose(g.clipping_bias_bound(2 * p, 2 * np.sqrt(p * (1 - p)), 1.0), p, rtol=1e-12)
    np.testing.assert_allclose(g.clipping_bias_bound(5.0, 0.0, 1.0), 4.0, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: g.clipping_floor(-1.0, 1.0), "sigma must be nonnegative"),
        (lambda: g.clipping_floor(1.0, -1.0), "clip must be nonnegative"),
        (lambda: g.clipping_extremal_law(-1.0, 1.0), "sigma must be nonnegative"),
        (lambda: g.clipping_bias_bound(-1.0, 1.0, 1.0), "mean_norm must be nonnegative"),
        (lambda: g.clipping_bias_bound(1.0, 1.0, -1.0), "max_norm must be nonnegative"),
        (lambda: g.clipped_descent_bound(-1.0, 1.0, 1.0, 1), "initial_gap must be nonnegative"),
        (lambda: g.clipped_descent_bound(1.0, 0.0, 1.0, 1), "step_size must be positive"),
        (lambda: g.clipped_descent_bound(1.0, 1.0, 0.0, 1), "max_norm must be positive"),
        (lambda: g.clipped_descent_bound(1.0, 1.0, 1.0, 0), "num_steps must be positive"),
        (lambda: g.clipping_bias(jnp.exp, 0.0), "clip must be positive"),
        (lambda: g.clipping_bias_interval(jnp.ones(2), jnp.ones(3), 1.0), "probabilities must be a vector"),
        (lambda: g.clipping_bias_interval(jnp.ones(2), jnp.ones(2), 1.0), "probabilities must sum to one"),
        (lambda: g.clipping_bias_interval(jnp.ones(2), jnp.array([2.0, -1.0]), 1.0), "probabilities must be nonneg"),
        (lambda: g.clipping_bias_interval(jnp.ones(2), jnp.ones(2) / 2, 0.0), "clip must be positive"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
