from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _tree


def linearized_response(
    predict: Callable[[Array], Any], h: Float[Array, "*batch m"], center: Float[Array, " m"]
) -> Any:
    """Predictions to first order in the distance of the hyper-parameters from their center.

    `predict(center) + J (h - center)`, J the derivative of `predict` at the center: in a network of `HyperLinear` and
    `HyperConv2d` the response of the weights is linear already, and this makes that of the outputs so.

    Bae and Grosse, "Delta-STN: efficient bilevel optimization for neural networks using structured response Jacobians",
    2020.

    Args:
        predict: function of the hyper-parameters, for example `lambda h: network(x, h, center)`.
        h: hyper-parameters, one vector (m,) or one a row (batch, m).
        center: where to linearize (m,).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import bilevel
        >>> print(bilevel.linearized_response(lambda h: jnp.sum(h**2, -1), jnp.array([[1.0], [3.0]]), jnp.ones(1)))
        [1. 5.]
    """
    level = jnp.broadcast_to(center, h.shape)
    value, change = jax.jvp(predict, (level,), (h - level,))
    return _tree.add(value, change)
