from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import BoolScalar, Scalar
from ..penalties import AbstractPenalty, NegativeEntropy as NegativeEntropyPenalty
from ._base import AbstractMirrorMap
from ._boxed_simplex import boxed_simplex_prox
from ._slices import largest_of_slices, one_norm_of_slices, simplex_prox, sums_to_one
from ._stable import kl, kl_of_logs


class NegativeEntropy(AbstractMirrorMap):
    """Negative entropy `sum x log x` on the unit simplex: the mirror step is exponentiated gradient.

    The dual variable is a vector of logits, known up to a constant; `from_dual` is the softmax, taken in logits and
    never by exponentials first. A logit of minus infinity freezes its entry at zero. Its modulus is 1 in the l1 norm
    (of several slices: in the Euclidean norm of their l1 norms). The composite step is closed for `Simplex`, `L1`,
    `NonNegative`, with one strength `penalties.NegativeEntropy`, and under bounds: for `Box`, and for the indicators of
    `projections.capped_simplex` and (of one vector) of `projections.box_hyperplane`, which solvers take.

    Beck and Teboulle, "Mirror descent and nonlinear projected subgradient methods for convex optimization", 2003.

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

    def conjugate(self, dual: Float[Array, "..."]) -> Scalar:
        return jnp.sum(jax.nn.logsumexp(dual, axis=self.axis))

    def divergence(self, x: Float[Array, "..."], y: Float[Array, "..."]) -> Scalar:
        """Kullback-Leibler divergence `sum x log(x / y) - x + y`, infinite where y alone is zero."""
        return jnp.sum(kl(x, y))

    def dual_divergence(self, dual_x: Float[Array, "..."], dual_y: Float[Array, "..."]) -> Scalar:
        """Kullback-Leibler divergence of the points that two sets of logits stand for, without exponentials of one."""
        log_x, log_y = jax.nn.log_softmax(dual_x, self.axis), jax.nn.log_softmax(dual_y, self.axis)
        return jnp.sum(kl_of_logs(log_x, log_y))

    def project(self, y: Float[Array, "..."]) -> Float[Array, "..."]:
        return y / jnp.sum(y, axis=self.axis, keepdims=True)

    def center_dual(self, dual: Float[Array, "..."]) -> Float[Array, "..."]:
        """The same logits shifted so that they are log-probabilities; keeps long runs from drifting."""
        return jax.nn.log_softmax(dual, self.axis)

    def from_centered_dual(self, dual: Float[Array, "..."]) -> Float[Array, "..."]:
        return jnp.exp(dual)

    def _prox_dual(self, dual: Float[Array, "..."], penalty: AbstractPenalty, step: ArrayLike) -> Array | None:
        if isinstance(penalty, NegativeEntropyPenalty) and eqx.is_array(penalty.strength):
            s = _tree.match(penalty.strength, dual) * _tree.match(step, dual)
            # Of strengths that differ along a slice the multiplier of its sum has no closed form.
            return dual / (1 + s) if s.ndim == 0 else None
        boxed = boxed_simplex_prox(dual, penalty, self.axis)
        if boxed is not None:
            return boxed
        return simplex_prox(dual, penalty, step, self.axis)

    def norm(self, x: Float[Array, "..."]) -> Scalar:
        """The l1 norm of one slice; the Euclidean norm of those of several."""
        return one_norm_of_slices(x, self.axis)

    def dual_norm(self, gradient: Float[Array, "..."]) -> Scalar:
        """The largest absolute entry of one slice; the Euclidean norm of those of several."""
        return largest_of_slices(gradient, self.axis)

    def modulus(self, like: Float[Array, "..."], radius: ArrayLike = jnp.inf) -> Scalar:
        return jnp.ones((), _tree.dtype_of(like))

    def contains(self, x: Float[Array, "..."]) -> BoolScalar:
        return jnp.all(x > 0) & sums_to_one(x, self.axis)
