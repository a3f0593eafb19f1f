import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from .._types import Params
from .._validate import known_leaves
from ._power_ema import require_power
from ._wide import wide


_BLOCK = 1 << 14


def post_hoc_coefficients(
    steps: Sequence[int] | ArrayLike,
    powers: Sequence[float] | ArrayLike,
    *,
    step: int,
    power: float,
) -> tuple[np.ndarray, float]:
    """Coefficients of stored power averages whose combination is nearest to a power average that was never taken.

    The weights that each stored average gives to the weights of the steps 1, 2, ... are known exactly:
    `(s/t)^(p+1) - ((s-1)/t)^(p+1)` for the average of power p after t of them. Their combination fits those of the
    target by least squares, by an orthogonal factorization in blocks of steps (no normal equations), under the
    condition that coefficients sum to one. That condition is added here, so that constant weights are reproduced;
    Karras et al. solve the normal equations of continuous profiles without it. Computed by NumPy in float64, since
    steps and powers are plain numbers; the target needs snapshots near and before its own step.

    T. Karras, M. Aittala, J. Lehtinen, J. Hellsten, T. Aila and S. Laine, "Analyzing and improving the training
    dynamics of diffusion models", 2024.

    Args:
        steps: number of averages behind each snapshot, shape (n,).
        powers: power of each snapshot, shape (n,).
        step: number of averages of the target; at least that of the earliest snapshot.
        power: power of the target.

    Returns:
        The coefficients (n,), and the norm of the misfit of the weights relative to that of the target.

    Raises:
        ValueError: if shapes or values do not fit, or two snapshots are the same.

    Example:
        >>> import jaxopt_thoth as jt
        >>> steps, powers = [50, 50, 100, 100], [6.94, 16.97, 6.94, 16.97]
        >>> coefficients, misfit = jt.gradients.post_hoc_coefficients(steps, powers, step=100, power=10.0)
        >>> print(coefficients.round(2), round(misfit, 3))
        [-0.02  0.01  0.67  0.34] 0.047
    """
    times, gammas = _checked(steps, powers, step, power)
    last = int(max(times.max(), step))
    # Columns of snapshots and of the target; only the triangular factor of what has been seen is kept.
    all_times, all_gammas = np.append(times, step), np.append(gammas, power)
    factor = np.zeros((0, all_times.size))
    for begin in range(0, last, _BLOCK):
        edges = np.arange(begin, min(begin + _BLOCK, last) + 1, dtype=float)
        cumulative = np.minimum(edges[:, None] / all_times, 1) ** (all_gammas + 1)
        factor = np.asarray(np.linalg.qr(np.vstack([factor, np.diff(cumulative, axis=0)]), mode="r"))
    basis, target = factor[:, :-1], factor[:, -1]
    # Differences to the snapshot of nearest length leave the sum of the coefficients at one.
    pivot = int(np.argmin(np.abs(times - step) + np.abs(gammas - power) / (1 + abs(power))))
    others = np.delete(np.arange(times.size), pivot)
    moves = basis[:, others] - basis[:, [pivot]]
    found = np.linalg.lstsq(moves, target - basis[:, pivot], rcond=None)[0]
    coefficients = np.empty(times.size)
    coefficients[others] = found
    coefficients[pivot] = 1 - found.sum()
    misfit = np.linalg.norm(basis @ coefficients - target) / np.linalg.norm(target)
    return coefficients, float(misfit)


def post_hoc_ema(
    averages: Params,
    steps: Sequence[int] | ArrayLike,
    powers: Sequence[float] | ArrayLike,
    *,
    step: int,
    power: float,
) -> Params:
    """A power average of the weights that was never taken, from stored ones, after the training.

    The combination of `post_hoc_coefficients`, which also tells how well it fits. Two powers, taken at once by
    `with_ema(optimizer, PowerDecay(powers))` and stored at regular steps, span all wider profiles between them.

    T. Karras, M. Aittala, J. Lehtinen, J. Hellsten, T. Aila and S. Laine, "Analyzing and improving the training
    dynamics of diffusion models", 2024.

    Args:
        averages: the snapshots, each leaf with a leading axis of length n.
        steps: number of averages behind each snapshot, shape (n,).
        powers: power of each snapshot, shape (n,).
        step: number of averages of the target.
        power: power of the target.

    Raises:
        ValueError: if shapes or values do not fit, or two snapshots are the same.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> snapshots = {"w": jnp.ones((4, 2))}
        >>> print(jt.gradients.post_hoc_ema(snapshots, [5, 5, 9, 9], [3, 7, 3, 7], step=9, power=5.0)["w"].round(6))
        [1. 1.]
    """
    coefficients, _ = post_hoc_coefficients(steps, powers, step=step, power=power)
    for leaf in jax.tree.leaves(averages):
        if leaf.ndim == 0 or leaf.shape[0] != coefficients.size:
            raise ValueError(
                f"averages must have a leading axis of length {coefficients.size}, one entry a snapshot, got the shape "
                f"{leaf.shape}; stack the snapshots leaf by leaf."
            )

    def combine(leaf: Array) -> Array:
        snapshots = wide(leaf)
        weights = jnp.asarray(coefficients, snapshots.dtype)
        return jnp.tensordot(weights, snapshots, 1, precision=jax.lax.Precision.HIGHEST).astype(leaf.dtype)

    return jax.tree.map(combine, averages)


def _checked(
    steps: Sequence[int] | ArrayLike, powers: Sequence[float] | ArrayLike, step: int, power: float
) -> tuple[np.ndarray, np.ndarray]:
    if len(known_leaves((steps, powers, step, power))) != len(jax.tree.leaves((steps, powers, step, power))):
        raise ValueError("steps and powers must be known numbers, not traced ones; take coefficients outside of jit.")
    times, gammas = np.asarray(steps, float), np.asarray(powers, float)
    if times.ndim != 1 or times.size == 0 or times.shape != gammas.shape:
        raise ValueError(
            f"steps and powers must be two vectors of one length, got the shapes {times.shape} and {gammas.shape}; "
            "repeat a step for each of its powers."
        )
    require_power(gammas, "powers")
    require_power(power, "power")
    if (times < 1).any() or (times % 1 != 0).any():
        raise ValueError(f"steps must be whole numbers from 1 up, got {times}.")
    if operator.index(step) < times.min():
        raise ValueError(f"step must be at least that of the earliest snapshot, {int(times.min())}, got {step}.")
    if len({*zip(times.tolist(), gammas.tolist())}) < times.size:
        raise ValueError("steps and powers must tell any two snapshots apart; leave out the one given twice.")
    return times, gammas
