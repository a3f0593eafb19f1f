"""The relative Gaussian mechanism: a tight divergence, its largest order, and the targets that can be met."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt


privacy = jt.privacy


def renyi_of_gaussians(order, distance, first, second, dimension):
    """Divergence of isotropic Gaussians by the closed form."""
    mixed = order * second + (1 - order) * first
    if mixed <= 0:
        return np.inf
    logs = np.log(mixed) - (1 - order) * np.log(first) - order * np.log(second)
    return order * distance**2 / (2 * mixed) - dimension / (2 * (order - 1)) * logs


def test_closed_form_of_gaussians() -> None:
    cases = [(2, 1, 1, 1, 1.0), (2, 0.5, 1.3, 1, 0.40429820), (3, 0.7, 1, 1.4, 0.38933075), (1.5, 1, 2, 1, 1.84657359)]
    for order, distance, first, second, expected in cases:
        np.testing.assert_allclose(renyi_of_gaussians(order, distance, first, second, 1), expected, rtol=1e-8)


def test_values_of_the_table() -> None:
    rows = [
        (2, 0.05, 3, 10, 0.17660983),
        (8, 0.02, 5, 100, 0.61711662),
        (1.5, 0.3, 2, 5, 1.09003844),
        (2, 0.001, 10, 10, 0.0100401),
        (10, 0.01, 10, 100, 0.174616),
        (2, 0.1, 10, 1000, 22.5636),
    ]
    order, slope, noise, dimension, expected = (jnp.array(column, float) for column in zip(*rows))
    for function in (privacy.relative_gaussian_rdp, jax.jit(privacy.relative_gaussian_rdp)):
        np.testing.assert_allclose(function(order, slope, noise, dimension), expected, rtol=4e-6)


@pytest.mark.parametrize("squared", [False, True])
def test_no_neighbors_exceed_it_and_the_extremal_ones_attain_it(squared: bool, rng: np.random.Generator) -> None:
    def scale(norm, slope, offset):
        return np.sqrt(slope**2 * norm**2 + offset**2) if squared else slope * norm + offset

    closest = -np.inf
    for _ in range(600):
        slope, offset, noise = rng.uniform(0, 0.4), rng.uniform(0, 1) * rng.integers(0, 2), rng.uniform(0.3, 5)
        dimension = int(rng.integers(1, 30))
        low = rng.uniform(1e-3, 3)
        order = 1 + rng.uniform(0.01, 1.2) * min(1 / (slope * (2 + slope) + 1e-9), 20)
        bound = float(privacy.relative_gaussian_rdp(order, slope, noise, dimension))
        reach = scale(low, slope, offset)
        high = rng.uniform(low, low + reach)
        first, second = (noise * scale(norm, slope, offset) for norm in (high, low))
        for one, other in ((first, second), (second, first)):
            if one > 0 and other > 0:
                value = renyi_of_gaussians(order, reach, one**2, other**2, dimension)
                assert value <= bound * (1 + 1e-9)
        # Collinear, as far apart as allowed; in the squared variant without an offset.
        if not squared or offset == 0:
            first = noise * scale(low + reach, slope, offset)
            if second > 0:
                value = renyi_of_gaussians(order, reach, first**2, second**2, dimension)
                closest = max(closest, abs(value / bound - 1) if np.isfinite(bound) else 0.0)
    assert closest < 1e-9


def test_slope_zero_is_a_gaussian_and_a_small_one_is_near() -> None:
    orders = jnp.array([1.5, 3.0, 500.0])
    np.testing.assert_allclose(privacy.relative_gaussian_rdp(orders, 0.0, 2.0, 7), orders / 8, rtol=1e-15)
    r, d, s = 1e-6, 50, 2.0
    expected = orders / (2 * s**2) * (1 + 2 * (orders - 1) * r) + d * orders * r**2
    np.testing.assert_allclose(privacy.relative_gaussian_rdp(orders, r, s, d), expected, rtol=1e-5)
    # What infinite noise leaves, to all digits.
    floor = privacy.relative_gaussian_rdp(orders, r, np.inf, d)
    np.testing.assert_allclose(floor, d * orders * r**2, rtol=2e-3)


def test_infinite_from_the_largest_order_on() -> None:
    for slope, largest in [(0.05, 10.756), (0.02, 25.752), (0.3, 2.449)]:
        end = privacy.relative_gaussian_largest_order(slope)
        np.testing.assert_allclose(end, largest, atol=5e-4)
        orders = end * np.array([1 - 1e-6, 1 + 1e-6, 2.0, 100.0])
        for function in (privacy.relative_gaussian_rdp, jax.jit(privacy.relative_gaussian_rdp)):
            values = np.asarray(function(orders, slope, 3.0, 10))
            assert np.isfinite(values[0]) and np.all(values[1:] == np.inf)
    assert np.isinf(privacy.relative_gaussian_largest_order(0.0))
    assert np.isinf(privacy.relative_gaussian_rdp(2.0, 0.01, 0.0, 10))
    slopes = jax.grad(privacy.relative_gaussian_rdp, (1, 2))(20.0, 0.3, 3.0, 10.0)
    assert np.all(np.isfinite(slopes))


def test_float32_keeps_the_small_part() -> None:
    expected = privacy.relative_gaussian_rdp(2.0, 1e-4, 1e4, 1000)
    with jax.enable_x64(False):
        known = privacy.relative_gaussian_rdp(2.0, 1e-4, 1e4, 1000)
        traced = jax.jit(privacy.relative_gaussian_rdp)(2.0, 1e-4, 1e4, 1000)
    np.testing.assert_allclose(known, expected, rtol=2e-7)
    np.testing.assert_allclose(traced, expected, rtol=1e-5)


def test_calibration_and_the_target_that_no_noise_meets() -> None:
    r, d, delta = 2.22e-3, 10, 1e-5
    for steps, epsilon, expected, gaussian in [(50, 0.5, 70.5, 54.2), (50, 1, 31.1, 28.6), (50, 4, 8.31, 8.19)]:
        noise = privacy.calibrate_relative_gaussian(epsilon, delta, r, d, steps)
        np.testing.assert_allclose(noise, expected, rtol=2e-3)
        assert privacy.relative_gaussian_epsilon(r, noise, d, steps, delta) <= epsilon
        # Slope zero is a Gaussian, and needs less.
        least = privacy.calibrate_relative_gaussian(epsilon, delta, 0.0, d, steps)
        np.testing.assert_allclose(least, gaussian, rtol=2e-3)
    np.testing.assert_allclose(privacy.calibrate_relative_gaussian(1, delta, r, d, 200), 73.1, rtol=2e-3)
    with pytest.raises(ValueError, match=r"cost epsilon 0.56\d+ under infinite noise.*take fewer steps"):
        privacy.calibrate_relative_gaussian(0.5, delta, r, d, 200)


def test_derivatives_of_epsilon() -> None:
    arguments = (2e-3, 30.0, 10.0, 50.0, 1e-5)
    slopes = jax.jit(jax.grad(privacy.relative_gaussian_epsilon, (0, 1)))(*arguments)
    for place, slope in enumerate(slopes):
        h = 1e-4 * arguments[place]
        ends = [
            float(privacy.relative_gaussian_epsilon(*(a + e * (i == place) for i, a in enumerate(arguments))))
            for e in (h, -h)
        ]
        # The orders move along with the slope: a bound by a grid of them is not smooth in its last digits.
        np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * h), rtol=1e-3)


def test_bad_input_is_refused() -> None:
    for name, arguments in {
        "order": (1.0, 0.1, 1.0, 3),
        "slope": (2.0, -0.1, 1.0, 3),
        "noise_multiplier": (2.0, 0.1, -1.0, 3),
        "dimension": (2.0, 0.1, 1.0, 0),
    }.items():
        with pytest.raises(ValueError, match=f"{name} must be"):
            privacy.relative_gaussian_rdp(*arguments)
    with pytest.raises(ValueError, match="delta must lie in"):
        privacy.relative_gaussian_epsilon(0.1, 1.0, 3, 1, 0.0)
    assert privacy.relative_gaussian_epsilon(0.1, 0.0, 3, 0, 1e-5) == 0
    assert np.isinf(privacy.relative_gaussian_epsilon(0.1, 0.0, 3, 1, 1e-5))
