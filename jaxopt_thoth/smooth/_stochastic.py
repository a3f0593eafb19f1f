from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from .._types import Params, Scalar
from ._base import AbstractSmooth


class AbstractStochastic(AbstractSmooth):
    """A smooth term that is the expectation of random functions, `f(w) = E fn(w, example)`.

    What stochastic solvers ask for is `sampled_value_and_grad`, an unbiased estimate of f and of its gradient.
    """

    def draw(self, key: Key[Array, ""]) -> Any:
        """A batch of examples: a pytree whose leaves have a leading axis."""
        raise NotImplementedError

    def evaluate(self, params: Params, example: Any) -> Scalar:
        """The function of one example."""
        raise NotImplementedError

    def sampled_value_and_grad(self, params: Params, key: Key[Array, ""]) -> tuple[Scalar, Params]:
        """Value and gradient of the mean over a batch of examples."""
        batch = self.draw(key)
        return jax.value_and_grad(lambda w: jnp.mean(jax.vmap(lambda example: self.evaluate(w, example))(batch)))(
            params
        )
