import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Key

from .. import _tree
from .._types import Scalar
from .._validate import require_positive
from ._categorical_kl import kl_categorical


class CategoricalPolicy(eqx.Module):
    """Independent categorical distributions, a pytree whose one leaf are the logits.

    Marrie, Arbel, Larlus and Mairal, "SLACK: stable learning of augmentations with cold-start and KL regularization",
    2023.

    Args:
        logits: logits (..., K); each slice of the last axis is a distribution, zeros are uniform ones.

    Raises:
        ValueError: if the logits are a scalar; from the methods, if shapes or settings do not fit.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxopt_thoth import bilevel
        >>> policy = bilevel.CategoricalPolicy(jnp.zeros((3, 4)))
        >>> actions = policy.sample(jax.random.key(0))
        >>> actions.shape, f"{jnp.exp(policy.log_prob(actions)) * 4**3:.1f}"
        ((3,), '1.0')
    """

    logits: Float[Array, "... K"]

    def __init__(self, logits: Float[ArrayLike, "... K"]):
        self.logits = _tree.setting(logits)
        if self.logits.ndim == 0:
            raise ValueError("logits must have an axis of outcomes, got a scalar; pass a vector of K logits.")

    def probabilities(self) -> Float[Array, "... K"]:
        """Probabilities (..., K) of the outcomes."""
        return jax.nn.softmax(self.logits)

    def entropy(self) -> Scalar:
        """Entropy, the sum of those of the factors."""
        return jnp.sum(jax.scipy.special.entr(self.probabilities()))

    def kl(self, anchor: "CategoricalPolicy") -> Scalar:
        """Kullback-Leibler divergence from another policy of the same shape."""
        return kl_categorical(self.logits, anchor.logits)

    def sample(self, key: Key[Array, ""]) -> Int[Array, "..."]:
        """Draw an outcome (...) of each factor."""
        return jax.random.categorical(key, self.logits)

    def sample_relaxed(
        self, key: Key[Array, ""], temperature: ArrayLike = 0.5, *, hard: bool = False
    ) -> Float[Array, "... K"]:
        """Draw weights (..., K) that sum to one and are differentiable in the logits (Gumbel softmax).

        Args:
            key: random key.
            temperature: positive; the weights approach one outcome as it vanishes, and their derivative grows.
            hard: weights of one outcome, with the derivative of the relaxed ones (straight through).
        """
        require_positive(temperature, "temperature")
        noise = jax.random.gumbel(key, self.logits.shape, self.logits.dtype)
        soft = jax.nn.softmax((self.logits + noise) / _tree.match(temperature, self.logits))
        if not hard:
            return soft
        outcome = jax.nn.one_hot(jnp.argmax(soft, -1), soft.shape[-1], dtype=soft.dtype)
        return soft + jax.lax.stop_gradient(outcome - soft)

    def log_prob(self, actions: Int[Array, "..."]) -> Scalar:
        """Log-probability of outcomes (...), the sum of those of the factors."""
        if actions.shape != self.logits.shape[:-1]:
            raise ValueError(
                f"actions must have shape {self.logits.shape[:-1]}, got {actions.shape}; use vmap for several draws."
            )
        return jnp.sum(jnp.take_along_axis(jax.nn.log_softmax(self.logits), actions[..., None], axis=-1))
