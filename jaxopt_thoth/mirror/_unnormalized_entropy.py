import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._types import Params, Scalar
from ..penalties import AbstractPenalty, L2Squared, NegativeEntropy as NegativeEntropyPenalty, Simplex
from ..penalties._parts import entropic_root
from ._base import max_norm, one_norm
from ._entrywise import AbstractEntrywiseMap
from ._stable import kl, kl_of_logs


class UnnormalizedEntropy(AbstractEntrywiseMap):
    """Entropy `sum x log x - x` of nonnegative entries, on any pytree: the mirror step is multiplicative.

    The dual is the logarithm; minus infinity freezes its entry at zero. `dual_step` holds duals where their
    exponentials are finite. `modulus` is 1 / radius in the l1 norm. The composite step is closed for `L1`,
    `NonNegative`, `Box`, `Simplex`, `L2Squared` and `penalties.NegativeEntropy`.

    Kivinen and Warmuth, "Exponentiated gradient versus gradient descent for linear predictors", 1997.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import mirror
        >>> mirror.UnnormalizedEntropy().step(jnp.array([1.0, 4.0]), jnp.array([0.0, jnp.log(2.0)]), 1.0).tolist()
        [1.0, 2.0]
    """

    domain: ClassVar[str] = "nonnegative orthant"

    def _potential(self, x: Array) -> Array:
        return xlogy(x, x) - x

    def _to_dual(self, x: Array) -> Array:
        return jnp.log(x)

    def _from_dual(self, dual: Array) -> Array:
        return jnp.exp(dual)

    def _conjugate(self, dual: Array) -> Array:
        return jnp.exp(dual)

    def _divergence(self, x: Array, y: Array) -> Array:
        return kl(x, y)

    def _dual_divergence(self, dual_x: Array, dual_y: Array) -> Array:
        return kl_of_logs(dual_x, dual_y)

    def _contains(self, x: Array) -> Array:
        return (x > 0) & jnp.isfinite(x)

    def _reach(self, value: Array) -> Array:
        positive = value > 0
        return jnp.where(positive, jnp.log(jnp.where(positive, value, 1)), -jnp.inf)

    def _entry_prox(self, dual: Array, penalty: AbstractPenalty, step: ArrayLike) -> Array | None:
        if isinstance(penalty, NegativeEntropyPenalty):
            s = _tree.match(penalty.strength, dual) * _tree.match(step, dual)
            return (dual - s) / (1 + s)
        if isinstance(penalty, L2Squared):
            s = _tree.match(penalty.strength, dual) * _tree.match(step, dual)
            curved = s > 0
            one = jnp.ones_like(dual)
            # Here s x solves w + log w = dual + log s.
            root = entropic_root(dual + jnp.log(jnp.where(curved, s, 1)), one, one)
            return dual - jnp.where(curved, root, 0)
        if isinstance(penalty, Simplex):
            axis = penalty.axis
            radius = penalty.radius.astype(dual.dtype)
            rows = jnp.expand_dims(radius, axis) if axis is not None and radius.ndim else radius
            return dual - jax.nn.logsumexp(dual, axis, keepdims=True) + jnp.log(rows)
        return None

    def dual_step(self, dual: Params, gradient: Params, step_size: ArrayLike) -> Params:
        """`dual - step_size * gradient`, kept where exponentials are finite; infinite entries stay as they are."""

        def clip(t: Array) -> Array:
            bound = float(math.floor(math.log(float(jnp.finfo(t.dtype).max))) - 9)
            return jnp.where(jnp.isinf(t), t, jnp.clip(t, -bound, bound))

        return jax.tree.map(clip, super().dual_step(dual, gradient, step_size))

    def norm(self, x: Params) -> Scalar:
        """The l1 norm."""
        return one_norm(x)

    def dual_norm(self, gradient: Params) -> Scalar:
        """The largest absolute entry."""
        return max_norm(gradient)

    def modulus(self, like: Params, radius: ArrayLike = jnp.inf) -> Scalar:
        return 1 / jnp.asarray(radius).astype(_tree.dtype_of(like))
