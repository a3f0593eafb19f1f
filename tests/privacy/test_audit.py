"""Audits: lower bounds on epsilon that hold as often as they say."""

import itertools

import jax
import numpy as np
import pytest
from scipy import stats

import jaxopt_thoth as jt
from jaxopt_thoth.privacy._audit_one_run import one_run_p_value


privacy = jt.privacy


def test_value_of_the_example() -> None:
    np.testing.assert_allclose(privacy.audit_epsilon(450, 1000, 20, 1000, 1e-5, 0.95), 2.61258, atol=1e-5)


def test_the_rates_are_bounded_by_clopper_and_pearson() -> None:
    # The bound from its definition: the rates at which so many or more, or so few or fewer, have half of the rest.
    hits, trials, alarms, others, confidence = 30, 40, 5, 50, 0.9
    low = stats.binomtest(hits, trials).proportion_ci(confidence, "exact").low
    high = stats.binomtest(alarms, others).proportion_ci(confidence, "exact").high
    expected = max(np.log((low - 1e-3) / high), np.log((1 - high - 1e-3) / (1 - low)))
    np.testing.assert_allclose(privacy.audit_epsilon(hits, trials, alarms, others, 1e-3, confidence), expected)


def test_counts_at_their_ends() -> None:
    assert privacy.audit_epsilon(0, 10, 0, 10, 1e-5) == 0
    assert privacy.audit_epsilon(10, 10, 10, 10, 1e-5) == 0
    # A test that is always wrong shows nothing by itself: turned around it would.
    assert privacy.audit_epsilon(0, 10, 10, 10, 1e-5) == 0
    assert privacy.audit_epsilon(10, 10, 0, 10, 0.0) > privacy.audit_epsilon(9, 10, 0, 10, 0.0) > 0
    values = [privacy.audit_epsilon(900, 1000, 10, 1000, d, c) for d, c in [(0, 0.9), (0, 0.99), (0.1, 0.99)]]
    assert values[0] > values[1] > values[2] > 0


def test_audit_of_a_gaussian_release() -> None:
    scores = np.random.default_rng(0).normal(size=(2, 10_000))
    bounds = [
        privacy.audit_canaries(scores[0] + 1, scores[1], 1e-5, key).epsilon
        for key in jax.random.split(jax.random.key(0), 5)
    ]
    assert all(0.5 < bound <= 4.377178 for bound in bounds)


def test_threshold_is_chosen_on_other_data(rng: np.random.Generator) -> None:
    # Scores that tell nothing: a threshold chosen on the data it is tested on would find something more often.
    found = [
        privacy.audit_canaries(*rng.normal(size=(2, 60)), 0.0, jax.random.key(seed), 0.8).epsilon > 0
        for seed in range(60)
    ]
    assert np.mean(found) <= 0.2
    audit = privacy.audit_canaries(np.arange(100.0) + 1000, np.arange(101.0), 1e-5, jax.random.key(1))
    assert (audit.positives, audit.negatives) == (50, 51)
    expected = privacy.audit_epsilon(audit.true_positives, 50, audit.false_positives, 51, 1e-5)
    np.testing.assert_allclose(audit.epsilon, expected, rtol=1e-12)


def test_one_run_p_value_is_the_sum_of_its_definition() -> None:
    for correct, guesses, canaries, epsilon, delta in [
        (7, 10, 30, 0.5, 1e-3),
        (10, 10, 10, 2.0, 1e-2),
        (1, 5, 9, 0, 0.01),
    ]:
        accuracy = 1 / (1 + np.exp(-epsilon))
        law = stats.binom(guesses, accuracy).pmf(np.arange(guesses + 1))
        excess = max(law[correct - i : correct].sum() / i for i in range(1, correct + 1))
        expected = min(law[correct:].sum() + 2 * canaries * delta * excess, 1)
        np.testing.assert_allclose(one_run_p_value(correct, guesses, canaries, epsilon, delta), expected, rtol=1e-10)


def test_one_run_audit() -> None:
    bound = privacy.one_run_audit(90, 100, 1000, 0.0)
    # Without delta: the rate of Clopper and Pearson, one-sided, as odds.
    low = stats.binomtest(90, 100, alternative="greater").proportion_ci(0.95, "exact").low
    np.testing.assert_allclose(bound, np.log(low / (1 - low)), rtol=1e-8)
    assert bound > privacy.one_run_audit(90, 100, 1000, 1e-5) > privacy.one_run_audit(90, 100, 1000, 1e-4) > 0
    assert privacy.one_run_audit(90, 100, 1000, 0.0, 0.99) < bound
    assert privacy.one_run_audit(50, 100, 1000, 0.0) == privacy.one_run_audit(0, 1, 1, 0.0) == 0


def test_one_run_audit_holds_for_randomized_response(rng: np.random.Generator) -> None:
    epsilon, canaries = 1.0, 500
    correct = rng.binomial(canaries, 1 / (1 + np.exp(-epsilon)), size=200)
    bounds = {count: privacy.one_run_audit(count, canaries, canaries, 0.0, 0.9) for count in set(correct.tolist())}
    values = np.array([bounds[count] for count in correct.tolist()])
    assert np.mean(values > epsilon) <= 0.13
    assert np.mean(values) > 0.7


def test_bad_counts_are_refused() -> None:
    for counts, match in [
        ((11, 10, 0, 10), "true_positives must not exceed"),
        ((1, 0, 0, 10), "true_positives must not exceed|positives must be at least"),
        ((-1, 10, 0, 10), "true_positives must be one whole"),
        ((1.5, 10, 0, 10), "true_positives must be one whole"),
        ((1, 10, np.nan, 10), "false_positives must be one whole"),
    ]:
        with pytest.raises(ValueError, match=match):
            privacy.audit_epsilon(*counts, 1e-5)
    for delta, confidence in itertools.product([-0.1, 1.0], [0.95]):
        with pytest.raises(ValueError, match="delta must be"):
            privacy.audit_epsilon(1, 10, 1, 10, delta, confidence)
    with pytest.raises(ValueError, match="confidence must lie in"):
        privacy.audit_epsilon(1, 10, 1, 10, 0.0, 1.0)
    with pytest.raises(ValueError, match="counts must satisfy"):
        privacy.one_run_audit(5, 4, 10, 0.0)
    with pytest.raises(ValueError, match="scores_in must be a vector"):
        privacy.audit_canaries([1.0, np.nan], [0.0, 1.0], 0.0, jax.random.key(0))
    with pytest.raises(TypeError, match="being traced"):
        jax.jit(lambda k: privacy.audit_epsilon(k, 10, 0, 10, 0.0))(3)
