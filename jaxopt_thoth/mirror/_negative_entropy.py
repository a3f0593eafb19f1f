from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy
from jaxtyping import Array, Float

from .._types import Scalar
from ._base import AbstractMirrorMap


class NegativeEntropy(AbstractMirrorMap):
    """Negative entropy `sum x log x` on the unit simplex: the mirror step is exponentiated gradient.

    The dual variable is a vector of logits, known up to a constant; `from_dual` is the softmax, taken in logits and
    never by exponentials first. A logit of minus infinity freezes its entry at zero. Its modulus is 1 in the l1 norm.

    Args:
        axis: the axis along which slices are points of a simplex.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import mirror
        >>> entropy = mirror.NegativeEntropy()
        >>> [f"{p:.2f}" for p in entropy.step(jnp.array([0.5, 0.5]), jnp.array([0.0, jnp.log(3.0)]), 1.0)]
        ['0.75', '0.25']
    """

    axis: int = eqx.field(static=True, default=-1)
    domain: ClassVar[str] = "unit simplex"

    def potential(self, x: Float[Array, "..."]) -> Scalar:
        return jnp.sum(xlogy(x, x))

    def to_dual(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.log(x)

    def from_dual(self, dual: Float[Array, "..."]) -> Float[Array, "..."]:
        return jax.nn.softmax(dual, axis=self.axis)

    def divergence(self, x: Float[Array, "..."], y: Float[Array, "..."]) -> Scalar:
        """Kullback-Leibler divergence `sum x log(x / y) - x + y`, infinite where y alone is zero."""
        return jnp.sum(jax.scipy.special.kl_div(x, y))

    def dual_divergence(self, dual_x: Float[Array, "..."], dual_y: Float[Array, "..."]) -> Scalar:
        """Kullback-Leibler divergence of the points that two sets of logits stand for, without exponentials of one."""
        log_x, log_y = jax.nn.log_softmax(dual_x, self.axis), jax.nn.log_softmax(dual_y, self.axis)
        x = jnp.exp(log_x)
        return jnp.sum(jnp.where(x > 0, x * jnp.where(x > 0, log_x - log_y, 0), 0))

    def project(self, y: Float[Array, "..."]) -> Float[Array, "..."]:
        return y / jnp.sum(y, axis=self.axis, keepdims=True)

    def center_dual(self, dual: Float[Array, "..."]) -> Float[Array, "..."]:
        """The same logits shifted so that they are log-probabilities; keeps long runs from drifting."""
        return jax.nn.log_softmax(dual, self.axis)
