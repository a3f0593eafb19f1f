import numpy as np
import scipy.stats
from jaxtyping import ArrayLike

from ._audit_epsilon import checked_count, checked_delta
from ._rdp_arithmetic import require_within


_LARGEST = 100.0


def one_run_audit(
    correct: ArrayLike, guesses: ArrayLike, canaries: ArrayLike, delta: ArrayLike, confidence: float = 0.95
) -> float:
    """A lower bound on epsilon from a single run, into which each of many canaries went by a fair coin of its own.

    Of the `canaries` an auditor who saw the outcome made `guesses`, in or out (and abstained from the others), of which
    `correct` were right. If the run was (epsilon, delta)-private, then the number of right guesses W of any auditor is
    no better than a binomial B of probability `1 / (1 + exp(-epsilon))`, up to delta:
    `P(W >= v) <= P(B >= v) + 2 delta canaries max_i P(v - i <= B < v) / i`. The least epsilon that this leaves with
    probability above `1 - confidence` is the bound; zero where the guesses show nothing.

    Raises `ValueError` for counts that are not whole or not ordered as `correct <= guesses <= canaries`, no guesses,
    delta outside [0, 1) and a confidence outside (0, 1); `TypeError` for traced arguments.

    Steinke, Nasr and Jagielski, "Privacy auditing with one (1) training run", 2023.

    Example:
        >>> from jaxopt_thoth import privacy
        >>> print(f"{privacy.one_run_audit(90, 100, 1000, 0.0):.3f}")
        1.631
    """
    found, tried = checked_count(correct, "correct"), checked_count(guesses, "guesses")
    most = checked_count(canaries, "canaries")
    if not found <= tried <= most or tried == 0:
        raise ValueError(
            f"counts must satisfy correct <= guesses <= canaries with some guesses, got {found}, {tried}, {most}."
        )
    failure = checked_delta(delta)
    require_within(confidence, "confidence", 0, 1, closed=False)
    low, high = 0.0, _LARGEST
    if found == 0 or one_run_p_value(found, tried, most, low, failure) > 1 - confidence:
        return 0.0
    while high - low > 1e-10:
        middle = (low + high) / 2
        refuted = one_run_p_value(found, tried, most, middle, failure) <= 1 - confidence
        low, high = (middle, high) if refuted else (low, middle)
    return low


def one_run_p_value(correct: int, guesses: int, canaries: int, epsilon: float, delta: float) -> float:
    """How likely so many right guesses are, at most, if the run was (epsilon, delta)-private."""
    accuracy = 1 / (1 + np.exp(-epsilon))
    window = np.cumsum(scipy.stats.binom.pmf(np.arange(correct - 1, -1, -1), guesses, accuracy))
    excess = np.max(window / np.arange(1, correct + 1))
    tail = scipy.stats.binom.sf(correct - 1, guesses, accuracy)
    return float(min(tail + 2 * delta * canaries * excess, 1.0))
