from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from .. import _tree
from .._types import Params, Scalar
from ._distribution_enumeration_gradient import enumeration_gradient
from ._distribution_pathwise_gradient import pathwise_gradient
from ._distribution_score_gradient import score_function_gradient


Estimator = Literal["score", "pathwise", "enumeration"]


class DistributionObjective(eqx.Module):
    """The two losses of `DistributionBilevel` under random actions, and the estimate of the hypergradient.

    Its fields are settings of `DistributionBilevel`.
    """

    sample: Callable[[Params, Key[Array, ""]], Any]
    log_prob: Callable[[Params, Any], Scalar] | None
    train_loss: Callable[[Params, Any, Any], Scalar]
    valid_loss: Callable[[Params, Any], Scalar]
    kl: Callable[[Params, Params], Scalar] | None
    actions: Any
    kl_weight: Scalar
    clip: Scalar | None
    num_samples: int = eqx.field(static=True)
    estimator: Estimator = eqx.field(static=True)
    baseline: bool = eqx.field(static=True)
    lookahead: bool = eqx.field(static=True)

    def hypergradient(
        self,
        policy: Params,
        anchor: Params,
        weights: Params,
        train_batch: Any,
        valid_batch: Any,
        step_size: Scalar,
        key: Key[Array, ""],
    ) -> tuple[Params, Scalar]:
        """Gradient in the policy through one gradient step of length `step_size`, and the validation loss."""
        dtype = step_size.dtype
        keys = jax.random.split(key, self.num_samples)
        actions, shares = self.draw(policy, keys)
        point = weights
        if self.lookahead:
            gradient = jax.grad(self.expected_loss)(weights, actions, shares, train_batch)
            point = _tree.add_scaled(weights, -step_size, gradient)
        value, slope = jax.value_and_grad(self.valid_loss)(point, valid_batch)
        if (clip := self.clip) is not None:
            slope = jax.tree.map(lambda leaf: leaf * _clipping(leaf, clip), slope)

        def cost(action: Any) -> Scalar:
            loss = lambda weights: self.train_loss(weights, action, train_batch)
            return -step_size * jax.jvp(loss, (weights,), (slope,))[1]

        if self.estimator == "pathwise":
            estimate = pathwise_gradient(self.sample, policy, keys, cost)
        else:
            assert self.log_prob is not None
            costs = jax.vmap(cost)(actions)
            if self.kl is None:
                # Its gradient is the mean of this times the score, so that the same draws serve.
                ratio = lambda action: self.log_prob(policy, action) - self.log_prob(anchor, action)
                costs = costs + self.kl_weight.astype(dtype) * jax.vmap(ratio)(actions).astype(dtype)
            if self.estimator == "enumeration":
                estimate = enumeration_gradient(self.log_prob, policy, actions, costs)
            else:
                estimate = score_function_gradient(self.log_prob, policy, actions, costs, baseline=self.baseline)
        if self.kl is not None:
            # Exact, and so without the variance that its estimate from the draws would add.
            estimate = _tree.add_scaled(estimate, self.kl_weight, jax.grad(self.kl)(policy, anchor))
        return estimate, value

    def draw(self, policy: Params, keys: Key[Array, " S"]) -> tuple[Any, Array]:
        """Actions with a leading axis, and the share of each in the expectation."""
        if self.estimator == "enumeration":
            assert self.log_prob is not None
            return self.actions, jnp.exp(jax.vmap(self.log_prob, in_axes=(None, 0))(policy, self.actions))
        actions = jax.vmap(self.sample, in_axes=(None, 0))(policy, keys)
        return actions, jnp.full((self.num_samples,), 1 / self.num_samples)

    def expected_loss(self, weights: Params, actions: Any, shares: Array, batch: Any) -> Scalar:
        """The training loss as an expectation over the actions that were drawn."""
        losses = jax.vmap(self.train_loss, in_axes=(None, 0, None))(weights, actions, batch)
        return jnp.sum(shares.astype(losses.dtype) * losses)


def check_estimator(estimator: str, log_prob: Any, kl: Any, actions: Any, num_samples: int, baseline: bool) -> None:
    if estimator not in ("score", "pathwise", "enumeration"):
        raise ValueError(f'estimator must be "score", "pathwise" or "enumeration", got {estimator!r}.')
    if estimator != "pathwise" and log_prob is None:
        raise ValueError(f'log_prob is missing, which estimator="{estimator}" needs; pass it, or take "pathwise".')
    if estimator == "pathwise" and kl is None:
        raise ValueError('kl is missing, which estimator="pathwise" cannot estimate; pass kl(policy, anchor).')
    if (estimator == "enumeration") != (actions is not None):
        raise ValueError('actions go with estimator="enumeration": pass both, or neither.')
    if estimator == "score" and baseline and num_samples < 2:
        raise ValueError("baseline=True needs num_samples of at least 2; draw more, or pass baseline=False.")


def _clipping(leaf: Array, clip: Scalar) -> Scalar:
    norm = _tree.norm(leaf)
    bound = clip.astype(norm.dtype)
    return jnp.where(norm > bound, bound / jnp.where(norm > bound, norm, 1), 1)
