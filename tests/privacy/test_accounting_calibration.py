"""The exact curve of a Gaussian, calibration, and the accountant by privacy loss distributions."""

import builtins

import jax
import numpy as np
import pytest
from scipy import stats

import jaxopt_thoth as jt
from jaxopt_thoth.gradients import NeighboringRelation


privacy = jt.privacy


@pytest.mark.parametrize(
    "epsilon, noise, expected",
    [
        # From the formula in sixty digits.
        (1.0, 3.73, 1.002815e-5),
        (0.01, 1e3, 7.5120257e-28),
        (50.0, 0.2, 1.255667e-14),
        (50.0, 0.09, 0.83190487),
        (5.0, 0.24, 0.73534539),
        (1e-6, 1e5, 3.5093551e-6),
    ],
)
def test_exact_curve(epsilon: float, noise: float, expected: float) -> None:
    np.testing.assert_allclose(privacy.gaussian_delta(epsilon, noise), expected, rtol=5e-8)
    np.testing.assert_allclose(jax.jit(privacy.gaussian_delta)(epsilon, noise), expected, rtol=5e-8)


def test_exact_curve_against_the_formula_and_its_derivatives() -> None:
    epsilon, noise = np.linspace(0, 6, 25)[:, None], np.linspace(0.12, 3, 24)[None]
    upper, lower = 0.5 / noise - epsilon * noise, -0.5 / noise - epsilon * noise
    values = privacy.gaussian_delta(epsilon, noise)
    tails = stats.norm.cdf(upper) - np.exp(epsilon) * stats.norm.cdf(lower)
    np.testing.assert_allclose(values, tails, rtol=1e-9, atol=1e-14)
    slopes = jax.jit(jax.vmap(jax.vmap(jax.grad(privacy.gaussian_delta, (0, 1)), (None, 0)), (0, None)))
    by_epsilon, by_noise = slopes(epsilon[:, 0], noise[0])
    np.testing.assert_allclose(by_epsilon, -np.exp(epsilon) * stats.norm.cdf(lower), rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(by_noise, -stats.norm.pdf(upper) / noise**2, rtol=1e-9, atol=1e-13)


def test_exact_curve_at_its_ends() -> None:
    assert privacy.gaussian_delta(3.0, 0.0) == 1
    assert privacy.gaussian_delta(3.0, np.inf) == 0
    assert privacy.gaussian_delta(np.inf, 1.0) == 0
    for name, arguments in {"epsilon": (-1.0, 1.0), "noise_multiplier": (1.0, -1.0)}.items():
        with pytest.raises(ValueError, match=f"{name} must be nonnegative"):
            privacy.gaussian_delta(*arguments)


def test_analytic_calibration() -> None:
    for epsilon, delta, expected in [(1, 1e-5, 3.730632), (2, 1e-5, 1.993812), (8, 1e-5, 0.600229)]:
        np.testing.assert_allclose(privacy.calibrate_gaussian(epsilon, delta), expected, atol=1e-6)
    noise = privacy.calibrate_gaussian(0.5, 1e-6)
    np.testing.assert_allclose(noise, 8.057618, atol=1e-6)
    assert privacy.gaussian_delta(0.5, noise) <= 1e-6 < privacy.gaussian_delta(0.5, noise * (1 - 1e-8))
    np.testing.assert_allclose(privacy.calibrate_gaussian(0.5, 1e-6, steps=9), 3 * noise, rtol=1e-12)
    assert privacy.calibrate_gaussian(1.0, 1e-5) < np.sqrt(2 * np.log(1.25e5))


def test_calibration_of_subsampled_releases() -> None:
    for epsilon, rate, steps, expected in [(1, 0.01, 1000, 1.51312), (3, 256 / 60000, 14062, 1.01400)]:
        noise = privacy.calibrate_noise(epsilon, 1e-5, rate, steps)
        np.testing.assert_allclose(noise, expected, atol=1e-5)
        assert privacy.epsilon(rate, noise, steps, 1e-5) <= epsilon
        assert privacy.epsilon(rate, noise * (1 - 2e-6), steps, 1e-5) > epsilon
    assert privacy.calibrate_noise(1.0, 1e-5, 0.0, 10) == 0
    assert privacy.calibrate_noise(1.0, 1e-5, 0.1, 0) == 0
    for target in (0.05, 300.0):
        noise = privacy.calibrate_noise(target, 1e-12, 0.5, 10**6)
        assert privacy.epsilon(0.5, noise, 10**6, 1e-12) <= target
    with pytest.raises(ValueError, match="epsilon must lie in"):
        privacy.calibrate_noise(0.0, 1e-5, 0.1, 10)
    with pytest.raises(ValueError, match="pass accountant='pld'"):
        privacy.calibrate_noise(1e-3, 1e-12, 0.5, 10**6)
    with pytest.raises(TypeError, match="epsilon is being traced"):
        jax.jit(lambda e: privacy.calibrate_noise(e, 1e-5, 0.1, 10))(1.0)


def test_calibration_by_loss_distributions() -> None:
    noise = privacy.calibrate_noise(1, 1e-5, 0.01, 1000, "pld", tolerance=1e-3)
    np.testing.assert_allclose(noise, 1.41464, rtol=1e-3)


@pytest.mark.parametrize(
    "row, expected",
    [
        ((1, 1, 1, 1e-5), 4.377178),
        ((1, 4, 1, 1e-5), 0.926342),
        ((1, 10, 100, 1e-5), 4.377178),
        ((0.01, 1, 1000, 1e-5), 1.828244),
        ((0.01, 1.1, 10000, 1e-5), 5.192620),
        ((256 / 60000, 1.1, 14062, 1e-5), 2.381686),
        ((256 / 60000, 1.3, 3515, 1e-5), 0.864459),
        ((4096 / 50000, 3, 2000, 1e-5), 5.774279),
        ((1e-3, 0.8, 20000, 1e-6), 1.286152),
    ],
)
def test_epsilon_by_loss_distributions(row: tuple, expected: float) -> None:
    value = privacy.epsilon(*row, accountant="pld")
    np.testing.assert_allclose(value, expected, atol=2e-6)
    assert value <= privacy.epsilon(*row)
    if row == (1, 1, 1, 1e-5):
        np.testing.assert_allclose(privacy.gaussian_delta(value, 1.0), 1e-5, rtol=1e-3)


def test_loss_distributions_at_the_ends() -> None:
    pld = lambda *row, **kwargs: privacy.epsilon(*row, accountant="pld", **kwargs)
    assert pld(0.1, 0.0, 1, 1e-5) == np.inf
    assert pld(0.1, 0.0, 0, 1e-5) == pld(0.0, 1.0, 10, 1e-5) == pld(0.1, np.inf, 10, 1e-5) == 0
    # A large loss, and a million steps.
    assert pld(1.0, 0.1, 1, 1e-5) <= privacy.epsilon(1.0, 0.1, 1, 1e-5)
    assert pld(1e-3, 1.0, 10**6, 1e-12) <= privacy.epsilon(1e-3, 1.0, 10**6, 1e-12)
    # The noise is counted in sensitivities, under any relation.
    full = [pld(1.0, 2.0, 1, 1e-5, relation=relation) for relation in NeighboringRelation]
    np.testing.assert_allclose(full, full[0], rtol=1e-5)
    assert pld(0.1, 1.0, 10, 1e-5, relation=NeighboringRelation.replace_one) < pld(1.0, 1.0, 10, 1e-5)
    np.testing.assert_allclose(privacy.delta(1.0, 1.0, 1, 4.377178, "pld"), 1e-5, rtol=1e-3)
    both = privacy.composed_epsilon([1.0, 0.0], 1.0, [1, 5], 1e-5, "pld")
    np.testing.assert_allclose(both, 4.377178, atol=2e-6)
    with pytest.raises(TypeError, match="being traced"):
        jax.jit(lambda s: pld(0.1, s, 1, 1e-5))(1.0)
    with pytest.raises(ValueError, match="whole numbers"):
        pld(0.1, 1.0, 1.5, 1e-5)


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "dp_accounting":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r"pip install jaxopt_thoth\[privacy\]"):
        privacy.epsilon(0.1, 1.0, 10, 1e-5, "pld")
