from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike

from .._types import Params
from .._validate import known_leaves
from ._lmo import AbstractLMO
from ._lmo_entrywise import LInfLMO
from ._lmo_spectral import RMSToRMSLMO


Oracles = AbstractLMO | Params | None


def is_oracle(leaf: Any) -> bool:
    return isinstance(leaf, AbstractLMO)


def spread_oracles(oracles: Oracles, updates: Params) -> Params:
    """One oracle for each leaf: by default `RMSToRMSLMO` for arrays of two axes or more, `LInfLMO` for the rest."""
    if oracles is None:
        return jax.tree.map(lambda leaf: RMSToRMSLMO() if jnp.ndim(leaf) > 1 else LInfLMO(), updates)
    others = [leaf for leaf in jax.tree.leaves(oracles, is_leaf=is_oracle) if not is_oracle(leaf)]
    if others:
        raise TypeError(
            f"oracles must be a linear minimization oracle, or a pytree of them, got {type(others[0]).__name__}; pass "
            "for example SpectralLMO()."
        )
    try:
        return jax.tree.map(
            lambda oracle, part: jax.tree.map(lambda _: oracle, part), oracles, updates, is_leaf=is_oracle
        )
    except ValueError as error:
        raise ValueError(
            "oracles must be one oracle, or a pytree of them that is a prefix of the weights, got "
            f"{jax.tree.structure(oracles, is_leaf=is_oracle)} for {jax.tree.structure(updates)}."
        ) from error


def scale_by_lmo(oracles: Oracles = None) -> optax.GradientTransformation:
    """Replace each array of the updates by the point of its norm ball that descends most along it.

    Stateless, to be put behind a momentum: `optax.chain(optax.trace(0.9), scale_by_lmo(), optax.scale(0.01))`. The
    oracles have the sign of a descent, so that no rate is to be negated.

    T. Pethick, W. Xie, K. Antonakopoulos, Z. Zhu, A. Silveti-Falls and V. Cevher, "Training deep learning models with
    norm-constrained LMOs", 2025.

    Args:
        oracles: one oracle, or a pytree of them that is a prefix of the weights; by default `RMSToRMSLMO()` for arrays
            of two axes or more, with weights (out, in), and `LInfLMO()` for the rest.

    Raises:
        TypeError: for an oracle that is none.
        ValueError: if the pytree does not fit, or an oracle of matrices meets a vector.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> transformation = jt.gradients.scale_by_lmo(jt.gradients.L2LMO())
        >>> print(transformation.update(jnp.array([3.0, -4.0]), transformation.init(None))[0])
        [-0.6  0.8]
    """

    def update(updates: Params, state: optax.EmptyState, params: Params = None) -> tuple[Params, optax.EmptyState]:
        points = jax.tree.map(lambda leaf, oracle: oracle(leaf), updates, spread_oracles(oracles, updates))
        return points, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def scion(
    learning_rate: ArrayLike | optax.Schedule,
    oracles: Oracles = None,
    *,
    momentum: ArrayLike = 0.1,
    nesterov: bool = False,
    constrained: bool = False,
    accumulator_dtype: Any = None,
) -> optax.GradientTransformation:
    """Scion: momentum, then a step given by linear minimization over a norm ball for each layer.

    Unconstrained, `w <- w + rate * lmo(m)`; constrained, the Frank-Wolfe step `w <- (1 - rate) w + rate * lmo(m)`,
    which keeps weights in their balls once they are there, and is the first with decoupled weight decay. The momentum
    is `m <- (1 - a) m + a g`, a the setting `momentum`; a factor of m changes nothing, so that `optax.trace(1 - a)` is
    it. With spectral balls and `nesterov` it is Muon (`optax.contrib.muon`, but for its bias correction). Where an
    oracle is approximate (Newton-Schulz), so is the ball.

    T. Pethick, W. Xie, K. Antonakopoulos, Z. Zhu, A. Silveti-Falls and V. Cevher, "Training deep learning models with
    norm-constrained LMOs", 2025. Which norm a layer gets is a choice: theirs for biases is the root mean square.

    Args:
        learning_rate: a number or a schedule; with `constrained` in [0, 1].
        oracles: as in `scale_by_lmo`.
        momentum: share of the newest gradient, in (0, 1]; 1 is without momentum.
        nesterov: whether to look ahead, as Muon does.
        constrained: whether the steps are those of Frank and Wolfe.
        accumulator_dtype: dtype of the momentum; that of the weights by default.

    Raises:
        TypeError: for an oracle that is none.
        ValueError: if a setting is out of range; if `constrained` and `update` gets no `params`.

    Example:
        >>> import jax.numpy as jnp, optax, jaxopt_thoth as jt
        >>> optimizer = jt.gradients.scion(0.1, jt.gradients.LInfLMO(2.0), momentum=1.0, constrained=True)
        >>> weights = jnp.array([1.0, -1.0])
        >>> updates, _ = optimizer.update(jnp.array([3.0, -4.0]), optimizer.init(weights), weights)
        >>> print(optax.apply_updates(weights, updates))
        [ 0.7 -0.7]
    """
    for known in known_leaves(momentum):
        if known.ndim or not 0 < known <= 1:
            raise ValueError(
                f"momentum must be the share of the newest gradient, in (0, 1], got {known}; 0.1 is usual."
            )
    if not callable(learning_rate):
        for known in known_leaves(learning_rate):
            if known.ndim or not (0 <= known <= 1 if constrained else known >= 0):
                limits = "in [0, 1], since it is a share of the way to the ball," if constrained else "nonnegative"
                raise ValueError(f"learning_rate must be {limits} got {known}.")
    trace = optax.trace(1 - momentum, nesterov, accumulator_dtype)
    towards = [_displacement()] if constrained else []
    rate = optax.scale_by_learning_rate(learning_rate, flip_sign=False)
    return optax.chain(trace, scale_by_lmo(oracles), *towards, rate)


def _displacement() -> optax.GradientTransformation:
    """Points as displacements from the weights to them."""

    def update(points: Params, state: optax.EmptyState, params: Params = None) -> tuple[Params, optax.EmptyState]:
        if params is None:
            raise ValueError("scion(constrained=True) needs the weights: pass them, update(gradients, state, params).")
        difference: Any = lambda point, weight: point - jnp.asarray(weight).astype(point.dtype)
        return jax.tree.map(difference, points, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def dual_norms(oracles: Oracles, updates: Params) -> list[Array]:
    """The dual norm of each leaf, in the order of the leaves."""
    spread = jax.tree.leaves(spread_oracles(oracles, updates), is_leaf=is_oracle)
    return [oracle.dual_norm(leaf) for oracle, leaf in zip(spread, jax.tree.leaves(updates), strict=True)]
