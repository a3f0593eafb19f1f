from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._validate import concrete
from ._audit_epsilon import checked_delta, lower_bound
from ._rdp_arithmetic import require_within


class CanaryAudit(NamedTuple):
    """What `audit_canaries` found: a lower bound on epsilon, and the test and counts it rests on."""

    epsilon: float
    threshold: float
    true_positives: int
    positives: int
    false_positives: int
    negatives: int


def audit_canaries(
    scores_in: Float[ArrayLike, "n"],
    scores_out: Float[ArrayLike, "m"],
    delta: ArrayLike,
    key: Array,
    confidence: float = 0.95,
) -> CanaryAudit:
    """A lower bound on epsilon from scores of trials with and without a canary, with an honest choice of threshold.

    Scores are higher where the canary was in (its negative loss, say, or its product with a noisy update), and come
    from independent trials. The `key` splits both into halves: the threshold with the best bound on the first
    halves makes the test, and `audit_epsilon` of its counts on the second halves is the bound, which so keeps its
    `confidence`.

    Raises `ValueError` for fewer than two scores of a kind, scores that are not finite, delta outside [0, 1) and a
    confidence outside (0, 1); `TypeError` for traced scores.

    Jagielski, Ullman and Oprea, "Auditing differentially private machine learning: how private is private SGD?", 2020.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import privacy
        >>> audit = privacy.audit_canaries(jnp.full(2000, 3.0), jnp.zeros(2000), 1e-5, jax.random.key(0))
        >>> (audit.true_positives, audit.false_positives, audit.positives, 5 < audit.epsilon < 6)
        (1000, 0, 1000, True)
    """
    failure = checked_delta(delta)
    require_within(confidence, "confidence", 0, 1, closed=False)
    known_in, known_out = _checked_scores(scores_in, "scores_in"), _checked_scores(scores_out, "scores_out")
    keys = jax.random.split(key)
    choose_in, test_in = _halves(known_in, keys[0])
    choose_out, test_out = _halves(known_out, keys[1])
    thresholds = np.unique(np.concatenate([choose_in, choose_out]))
    bounds = lower_bound(
        _at_least(choose_in, thresholds),
        choose_in.size,
        _at_least(choose_out, thresholds),
        choose_out.size,
        failure,
        confidence,
    )
    threshold = thresholds[np.argmax(bounds)]
    hits, alarms = (int(_at_least(half, threshold)) for half in (test_in, test_out))
    epsilon = float(lower_bound(hits, test_in.size, alarms, test_out.size, failure, confidence))
    return CanaryAudit(epsilon, float(threshold), hits, test_in.size, alarms, test_out.size)


def _checked_scores(scores: ArrayLike, name: str) -> np.ndarray:
    known = concrete(scores)
    if known is None:
        raise TypeError(f"{name} is being traced, and an audit counts; call it outside jit, vmap and grad.")
    if known.ndim != 1 or known.size < 2 or not np.all(np.isfinite(known)):
        raise ValueError(f"{name} must be a vector of at least two finite scores, got the shape {known.shape}.")
    return known.astype(np.float64)


def _halves(scores: np.ndarray, key: Array) -> tuple[np.ndarray, np.ndarray]:
    shuffled = scores[np.asarray(jax.random.permutation(key, scores.size))]
    return shuffled[: scores.size // 2], shuffled[scores.size // 2 :]


def _at_least(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    return scores.size - np.searchsorted(np.sort(scores), thresholds, side="left")
