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

    def check_targets(self, targets: Shaped[Array, "..."]) -> None:
        known = concrete(targets)
        if known is not None and (not np.issubdtype(known.dtype, np.integer) or np.any(known < 0)):
            raise ValueError(
                "targets of Multinomial must be integers from 0; encode labels with `np.unique(return_inverse=True)`."
            )
