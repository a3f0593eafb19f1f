from collections.abc import Callable
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, ArrayLike, Key

from .. import _tree
from .._types import IntScalar, Params, Scalar
from .._validate import require_nonnegative, require_positive
from ..gradients._descend import descend
from ..solvers._settings import count_setting
from ._distribution_bilevel_state import DistributionBilevelRecord, DistributionBilevelState
from ._distribution_objective import check_estimator, DistributionObjective, Estimator
from ._random_batch import random_batch


class DistributionBilevel(eqx.Module):
    """Learn the distribution of random actions (augmentations) under which a model trains best, by stages.

    `min valid_loss(w(policy)) + kl_weight KL(policy | anchor)`, where `w(policy)` minimizes the expectation of
    `train_loss(w, action)`. A round is a cold start of the weights, `inner_steps` at a fixed policy, then, anchored at
    that policy and with a fresh outer optimizer, `outer_steps` that alternate one step each. The hypergradient looks
    through one gradient step of length `step_size`: the cost of an action is
    `-step_size <grad train_loss(w, action), grad valid_loss(w)>`, one directional derivative.

    Marrie, Arbel, Larlus and Mairal, "SLACK: stable learning of augmentations with cold-start and KL regularization",
    2023.

    Args:
        sample: `sample(policy, key)` draws an action, a pytree.
        log_prob: `log_prob(policy, action)`, a scalar; None will do for "pathwise".
        train_loss: `train_loss(weights, action, batch)`, a scalar.
        valid_loss: `valid_loss(weights, batch)`, a scalar.
        rounds: number of rounds.
        inner_steps: number of steps of a round at a fixed policy.
        outer_steps: number of alternating steps of a round; none makes a run train at a fixed policy.
        num_samples: number of actions drawn in a step.
        kl_weight: weight of the divergence from the anchor.
        kl: `kl(policy, anchor)`, for example `CategoricalPolicy.kl`; None estimates it from the draws.
        estimator: "score" (score function), "pathwise" (derivative of draws, which `sample` has to provide; needs `kl`)
            or "enumeration" (exact, over `actions`).
        actions: every action once, a pytree with a leading axis, for "enumeration".
        baseline: take the mean cost of the other draws off the cost of each, for "score".
        lookahead: take the gradient of the validation loss one (expected) training step ahead; "enumeration" then is
            the exact derivative of the validation loss after that step.
        step_size: length of the step looked through, one number or a schedule of the steps of a round (that of the
            inner optimizer).
        clip: bound on the norm of each leaf of the gradient of the validation loss.
        cold_start: start each round from the weights given to `init`; otherwise from the last ones.
        inner_optimizer: optax transformation for the weights, fresh in each round; gradient descent of rate 0.1 with
            momentum 0.9 by default.
        outer_optimizer: optax transformation for the policy; gradient descent of rate 1 with momentum 0.9 by default.
        projection: applied to the policy after each outer step.

    Raises:
        ValueError: if a setting is out of range, or one is missing that the estimator needs.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxopt_thoth import bilevel
        >>> shifts = jnp.array([0.0, 3.0])  # of the training data: the second one harms
        >>> method = bilevel.DistributionBilevel(
        ...     bilevel.CategoricalPolicy.sample,
        ...     bilevel.CategoricalPolicy.log_prob,
        ...     lambda w, action, batch: jnp.mean((w - batch - shifts[action]) ** 2),
        ...     lambda w, batch: jnp.mean((w - batch) ** 2),
        ...     kl=bilevel.CategoricalPolicy.kl, kl_weight=0.02, rounds=3, inner_steps=20, outer_steps=10,
        ... )
        >>> state = method.init(bilevel.CategoricalPolicy(jnp.zeros(2)), jnp.asarray(1.0), key=jax.random.key(0))
        >>> state, record = method.run(state, jnp.zeros(4), jnp.zeros(4))
        >>> bool(state.policy.probabilities()[1] < 0.01)
        True
    """

    sample: Callable[[Params, Key[Array, ""]], Any]
    log_prob: Callable[[Params, Any], Scalar] | None
    train_loss: Callable[[Params, Any, Any], Scalar]
    valid_loss: Callable[[Params, Any], Scalar]
    kl: Callable[[Params, Params], Scalar] | None
    projection: Callable[[Params], Params] | None
    actions: Any
    kl_weight: Scalar
    clip: Scalar | None
    step_size: Scalar | Callable[[Any], ArrayLike]
    inner_optimizer: optax.GradientTransformation = eqx.field(static=True)
    outer_optimizer: optax.GradientTransformation = eqx.field(static=True)
    rounds: int = eqx.field(static=True)
    inner_steps: int = eqx.field(static=True)
    outer_steps: int = eqx.field(static=True)
    num_samples: int = eqx.field(static=True)
    estimator: Estimator = eqx.field(static=True)
    baseline: bool = eqx.field(static=True)
    lookahead: bool = eqx.field(static=True)
    cold_start: bool = eqx.field(static=True)

    def __init__(
        self,
        sample: Callable[[Params, Key[Array, ""]], Any],
        log_prob: Callable[[Params, Any], Scalar] | None,
        train_loss: Callable[[Params, Any, Any], Scalar],
        valid_loss: Callable[[Params, Any], Scalar],
        *,
        rounds: int,
        inner_steps: int,
        outer_steps: int,
        num_samples: int = 8,
        kl_weight: ArrayLike = 0.02,
        kl: Callable[[Params, Params], Scalar] | None = None,
        estimator: Estimator = "score",
        actions: Any = None,
        baseline: bool = True,
        lookahead: bool = False,
        step_size: ArrayLike | Callable[[Any], ArrayLike] = 1.0,
        clip: ArrayLike | None = None,
        cold_start: bool = True,
        inner_optimizer: optax.GradientTransformation | None = None,
        outer_optimizer: optax.GradientTransformation | None = None,
        projection: Callable[[Params], Params] | None = None,
    ):
        check_estimator(estimator, log_prob, kl, actions, num_samples, baseline)
        require_nonnegative(kl_weight, "kl_weight")
        if clip is not None:
            require_positive(clip, "clip")
        if not callable(step_size):
            require_positive(step_size, "step_size")
            step_size = _tree.setting(step_size)
        self.sample, self.log_prob, self.train_loss, self.valid_loss = sample, log_prob, train_loss, valid_loss
        self.kl, self.projection, self.actions, self.step_size = kl, projection, actions, step_size
        self.kl_weight, self.clip = _tree.setting(kl_weight), None if clip is None else _tree.setting(clip)
        self.inner_optimizer = optax.sgd(0.1, momentum=0.9) if inner_optimizer is None else inner_optimizer
        self.outer_optimizer = optax.sgd(1.0, momentum=0.9) if outer_optimizer is None else outer_optimizer
        self.rounds = count_setting(rounds, "rounds", 1)
        self.inner_steps = count_setting(inner_steps, "inner_steps")
        self.outer_steps = count_setting(outer_steps, "outer_steps")
        count_setting(inner_steps + outer_steps, "inner_steps + outer_steps", 1)
        self.num_samples = count_setting(num_samples, "num_samples", 1)
        self.estimator, self.baseline, self.lookahead = estimator, baseline, lookahead
        self.cold_start = cold_start

    def init(self, policy: Params, weights: Params, *, key: Key[Array, ""]) -> DistributionBilevelState:
        """State at the start; cold starts go back to `weights`."""
        policy, weights = _tree.settings(policy), _tree.settings(weights)
        return DistributionBilevelState(
            weights=weights,
            policy=policy,
            anchor=policy,
            start=weights,
            inner_state=self.inner_optimizer.init(weights),
            outer_state=self.outer_optimizer.init(policy),
            key=key,
            count=jnp.asarray(0, jnp.int32),
            round=jnp.asarray(0, jnp.int32),
            valid_loss=jnp.asarray(jnp.inf, _tree.dtype_of(weights)),
        )

    def update(self, state: DistributionBilevelState, train_batch: Any, valid_batch: Any) -> DistributionBilevelState:
        """The next step of a round, whichever it is; rounds follow each other without end."""
        restarted, anchored = state.count == 0, state.count == self.inner_steps
        state = lax.cond(restarted, lambda state: self._restart(state), lambda state: state, state)
        state = lax.cond(anchored, lambda state: self._anchor(state), lambda state: state, state)
        return lax.cond(
            state.count < self.inner_steps,
            lambda: self._inner_step(state, train_batch),
            lambda: self._outer_step(state, train_batch, valid_batch),
        )

    def run(
        self, state: DistributionBilevelState, train_data: Any, valid_data: Any, *, batch_size: int | None = None
    ) -> tuple[DistributionBilevelState, DistributionBilevelRecord]:
        """Run `rounds` rounds from the start of one.

        Args:
            state: from `init` or from an earlier run.
            train_data: pytree of arrays whose leading axis is that of the examples.
            valid_data: the same.
            batch_size: number of examples of a batch, drawn without replacement; None takes all in each step.

        Raises:
            ValueError: if the data are fewer than `batch_size`.
        """

        def draw(state: DistributionBilevelState, data: Any) -> tuple[DistributionBilevelState, Any]:
            if batch_size is None:
                return state, data
            key, inside = jax.random.split(state.key)
            return replace(state, key=key), random_batch(data, batch_size, inside)

        def inner(state: DistributionBilevelState, _: None) -> tuple[DistributionBilevelState, None]:
            return self._inner_step(*draw(state, train_data)), None

        def outer(state: DistributionBilevelState, _: None) -> tuple[DistributionBilevelState, Scalar]:
            state, train_batch = draw(state, train_data)
            state, valid_batch = draw(state, valid_data)
            state = self._outer_step(state, train_batch, valid_batch)
            return state, state.valid_loss

        def one_round(state: DistributionBilevelState, _: None) -> tuple[DistributionBilevelState, tuple]:
            state = replace(self._restart(state), count=jnp.zeros_like(state.count))
            state, _ = lax.scan(inner, state, None, length=self.inner_steps)
            state, values = lax.scan(outer, self._anchor(state), None, length=self.outer_steps)
            return state, (state.policy, values)

        state, record = lax.scan(one_round, state, None, length=self.rounds)
        return state, DistributionBilevelRecord(*record)

    def hypergradient(
        self,
        policy: Params,
        anchor: Params,
        weights: Params,
        train_batch: Any,
        valid_batch: Any,
        *,
        key: Key[Array, ""],
        count: IntScalar | int = 0,
    ) -> tuple[Params, Scalar]:
        """Gradient in the policy of the objective of an outer step, and the validation loss; the key draws the actions.

        `count` is the number of steps taken in the round, which schedules look at.
        """
        dtype = _tree.dtype_of(weights)
        # Schedules of optax mix Python numbers with the count, which a caller's strict promotion would refuse.
        with jax.numpy_dtype_promotion("standard"):
            step_size = jnp.asarray(self.step_size(count) if callable(self.step_size) else self.step_size, dtype)
        return self._objective().hypergradient(policy, anchor, weights, train_batch, valid_batch, step_size, key)

    def _objective(self) -> DistributionObjective:
        return DistributionObjective(
            sample=self.sample,
            log_prob=self.log_prob,
            train_loss=self.train_loss,
            valid_loss=self.valid_loss,
            kl=self.kl,
            actions=self.actions,
            kl_weight=self.kl_weight,
            clip=self.clip,
            num_samples=self.num_samples,
            estimator=self.estimator,
            baseline=self.baseline,
            lookahead=self.lookahead,
        )

    def _restart(self, state: DistributionBilevelState) -> DistributionBilevelState:
        weights = state.start if self.cold_start else state.weights
        return replace(state, weights=weights, inner_state=self.inner_optimizer.init(weights))

    def _anchor(self, state: DistributionBilevelState) -> DistributionBilevelState:
        return replace(state, anchor=state.policy, outer_state=self.outer_optimizer.init(state.policy))

    def _inner_step(self, state: DistributionBilevelState, batch: Any) -> DistributionBilevelState:
        key, inside = jax.random.split(state.key)
        objective = self._objective()
        actions, shares = objective.draw(state.policy, jax.random.split(inside, self.num_samples))
        gradient = jax.grad(objective.expected_loss)(state.weights, actions, shares, batch)
        weights, inner_state = descend(self.inner_optimizer, gradient, state.inner_state, state.weights)
        count = state.count + 1
        done = count == self.inner_steps + self.outer_steps
        return replace(
            state,
            weights=weights,
            inner_state=inner_state,
            key=key,
            count=jnp.where(done, 0, count),
            round=state.round + done.astype(state.round.dtype),
        )

    def _outer_step(
        self, state: DistributionBilevelState, train_batch: Any, valid_batch: Any
    ) -> DistributionBilevelState:
        before = state.count
        state = self._inner_step(state, train_batch)
        key, inside = jax.random.split(state.key)
        gradient, value = self.hypergradient(
            state.policy, state.anchor, state.weights, train_batch, valid_batch, key=inside, count=before
        )
        policy, outer_state = descend(self.outer_optimizer, gradient, state.outer_state, state.policy)
        return replace(
            state,
            policy=policy if self.projection is None else self.projection(policy),
            outer_state=outer_state,
            key=key,
            valid_loss=value.astype(state.valid_loss.dtype),
        )
