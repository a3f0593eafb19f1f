import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Shaped

from .._types import Scalar
from .._validate import concrete
from ._base import AbstractLoss
from ._domain import finite_where, negative_entropy, slack


class Multinomial(AbstractLoss):
    """Softmax cross-entropy of k scores a row against an integer class, `logsumexp(score) - score[target]`.

    Scores are (..., k), targets (...) with classes 0 to k - 1; one loss a row. The conjugate is the negative entropy of
    `dual + onehot(target)` over the simplex; the Hessian has eigenvalues in [0, 1/2].

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import losses
        >>> print(f"{losses.Multinomial()(jnp.zeros((1, 4)), jnp.array([2]))[0]:.4f}")
        1.3863
    """

    def __call__(self, score: Float[Array, "... k"], target: Int[Array, "..."]) -> Float[Array, "..."]:
        return optax.losses.softmax_cross_entropy_with_integer_labels(score, jnp.asarray(target))

    @property
    def curvature(self) -> Scalar:
        return jnp.asarray(0.5)

    def derivative(self, score: Float[Array, "... k"], target: Int[Array, "..."]) -> Float[Array, "... k"]:
        return jax.nn.softmax(score) - jax.nn.one_hot(target, score.shape[-1], dtype=score.dtype)

    def conjugate(self, dual: Float[Array, "... k"], target: Int[Array, "..."]) -> Float[Array, "..."]:
        classes = dual.shape[-1]
        p = dual + jax.nn.one_hot(target, classes, dtype=dual.dtype)
        inside = (jnp.min(p, -1) >= -slack(dual)) & (jnp.abs(jnp.sum(p, -1) - 1) <= slack(dual) * classes**0.5)
        return finite_where(inside, jnp.sum(negative_entropy(p), -1))

    def balance_dual(
        self, dual: Float[Array, "n k"], targets: Int[Array, " n"], weights: Float[Array, " n"]
    ) -> Float[Array, "n k"]:
        """As for every loss: classes of too much probability are shrunk, and what each row lost goes to the others."""
        truth = jax.nn.one_hot(targets, dual.shape[-1], dtype=dual.dtype)
        p = jax.nn.relu(dual + truth)
        weights = weights[:, None]
        mass, wanted = jnp.sum(weights * p, 0), jnp.sum(weights * truth, 0)
        keep = jnp.where(mass > wanted, wanted / jnp.where(mass > 0, mass, 1), 1)
        lacking = jax.nn.relu(wanted - mass)
        total = jnp.sum(lacking)
        to = lacking / jnp.where(total > 0, total, 1)
        lost = jnp.sum(p * (1 - keep[None, :]), -1, keepdims=True)
        return p * keep[None, :] + lost * to[None, :] - truth

    def best_constant(
        self, targets: Int[Array, " n"], weights: Float[Array, " n"], num_outputs: int | None = None
    ) -> Float[Array, " k"]:
        if num_outputs is None:
            raise ValueError("num_outputs must be the number of classes, which targets do not tell; pass it.")
        share = jax.ops.segment_sum(weights / jnp.sum(weights), targets, num_outputs)
        # A class without rows would ask for minus infinity.
        return jnp.log(jnp.maximum(share, float(jnp.finfo(share.dtype).eps) ** 2))

    def check_targets(self, targets: Shaped[Array, "..."]) -> None:
        known = concrete(targets)
        if known is not None and (not np.issubdtype(known.dtype, np.integer) or np.any(known < 0)):
            raise ValueError(
                "targets of Multinomial must be integers from 0; encode labels with `np.unique(return_inverse=True)`."
            )
