import numpy as np
import scipy.stats
from jaxtyping import ArrayLike

from .._validate import concrete
from ._rdp_arithmetic import require_within


def audit_epsilon(
    true_positives: ArrayLike,
    positives: ArrayLike,
    false_positives: ArrayLike,
    negatives: ArrayLike,
    delta: ArrayLike,
    confidence: float = 0.95,
) -> float:
    """A lower bound on epsilon from how well a test told runs with a canary from runs without it.

    The counts are of independent trials of one test that was fixed before: `true_positives` of the `positives` trials
    with the canary, and `false_positives` of the `negatives` without it. A mechanism that is (epsilon, delta)-private
    has at least this epsilon, in a fraction `confidence` of audits: each of the two rates is bounded by Clopper and
    Pearson at half of the remaining probability. Zero where the counts show nothing. A small value is no evidence of
    privacy. `audit_canaries` chooses the threshold of a test on other data.

    Raises `ValueError` for counts that are not whole, negative or above the number of trials, no trials, delta outside
    [0, 1) and a confidence outside (0, 1); `TypeError` for traced arguments.

    Clopper and Pearson, "The use of confidence or fiducial limits", 1934; Jagielski, Ullman and Oprea, "Auditing
    differentially private machine learning", 2020.

    Example:
        >>> from jaxopt_thoth import privacy
        >>> print(f"{privacy.audit_epsilon(450, 1000, 20, 1000, 1e-5):.5f}")
        2.61258
    """
    hits, trials = checked_counts(true_positives, positives, "true_positives", "positives")
    alarms, others = checked_counts(false_positives, negatives, "false_positives", "negatives")
    failure = checked_delta(delta)
    require_within(confidence, "confidence", 0, 1, closed=False)
    return float(lower_bound(hits, trials, alarms, others, failure, confidence))


def lower_bound(hits, trials, alarms, others, delta: float, confidence: float) -> np.ndarray:
    """The bound for arrays of counts, without checks."""
    tail = (1 - confidence) / 2
    hits, alarms = np.asarray(hits, np.float64), np.asarray(alarms, np.float64)
    low = np.where(hits > 0, scipy.stats.beta.ppf(tail, np.maximum(hits, 1), trials - hits + 1), 0.0)
    left = np.maximum(others - alarms, 1)
    high = np.where(alarms < others, scipy.stats.beta.ppf(1 - tail, alarms + 1, left), 1.0)
    # Both the alarm and its absence must be as likely under either, up to epsilon and delta.
    return np.maximum(_log_ratio(low - delta, high), _log_ratio(1 - high - delta, 1 - low))


def _log_ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    shown = (top > bottom) & (bottom > 0)
    return np.log(np.where(shown, top, 1.0) / np.where(shown, bottom, 1.0))


def checked_counts(count: ArrayLike, total: ArrayLike, name: str, total_name: str) -> tuple[int, int]:
    found, most = checked_count(count, name), checked_count(total, total_name)
    if most == 0:
        raise ValueError(f"{total_name} must be at least 1, got 0; run some trials.")
    if found > most:
        raise ValueError(f"{name} must not exceed {total_name}, got {found} > {most}.")
    return found, most


def checked_count(count: ArrayLike, name: str) -> int:
    known = concrete(count)
    if known is None:
        raise TypeError(f"{name} is being traced, and an audit counts; call it outside jit, vmap and grad.")
    if known.size != 1 or not known.reshape(-1)[0] >= 0 or known.reshape(-1)[0] % 1 != 0:
        raise ValueError(f"{name} must be one whole number >= 0, got {known}.")
    return int(known.reshape(-1)[0])


def checked_delta(delta: ArrayLike) -> float:
    known = concrete(delta)
    if known is None or known.size != 1 or not 0 <= known.reshape(-1)[0] < 1:
        raise ValueError(f"delta must be one known number in [0, 1), got {delta}.")
    return float(known.reshape(-1)[0])
