from collections.abc import Callable
from typing import Self

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Shaped

from .. import _tree
from .._types import Params
from ..losses import AbstractLoss, Squared
from ._least_squares import LeastSquares


class OneHiddenLayer(LeastSquares):
    """Fit a network with one hidden layer, `f(x) = (1/m) sum_i v_i s(u_i . x)`; its Gram matrix needs no Jacobian.

    Parameters are a pair: hidden weights u (m, d), or (m, d + 1) with a bias in the last column, and output weights v
    (m,). With `A = s(X U')` and `B = s'(X U') diag(v)` the tangent kernel is `(A A' + X X' o B B') / m^2`, in n^2 m
    operations and n m numbers instead of the n m d of the Jacobian.

    Args:
        inputs: the rows x, of shape (n, d).
        targets: of shape (n,).
        activation: the function s of each entry.
        bias: append a constant 1 to each input.
        loss: of score and target; half the square by default.

    Raises:
        ValueError: if the shapes of inputs and targets do not fit; when solving, if those of the parameters do not.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> problem = jt.problems.OneHiddenLayer(jnp.eye(2), jnp.ones(2), jnp.tanh, bias=False)
        >>> print(problem.gram((jnp.eye(2), jnp.ones(2))).round(3))
        [[0.439 0.   ]
         [0.    0.439]]
    """

    activation: Callable[[Array], Array]

    def __init__(
        self,
        inputs: Float[ArrayLike, "n d"],
        targets: Shaped[ArrayLike, " n"],
        activation: Callable[[Array], Array] = jax.nn.silu,
        *,
        bias: bool = True,
        loss: AbstractLoss | None = None,
    ):
        rows = _tree.setting(inputs)
        targets = jnp.asarray(targets)
        if rows.ndim != 2 or targets.shape != rows.shape[:1]:
            raise ValueError(
                f"inputs must have shape (n, d) and targets (n,), got {rows.shape} and {targets.shape}; "
                "vmap over a batch."
            )
        if bias:
            rows = jnp.concatenate([rows, jnp.ones_like(rows[:, :1])], axis=1)
        super().__init__(_network, rows, loss=Squared() if loss is None else loss, targets=targets)
        self.activation = activation

    def outputs(self, params: Params) -> Float[Array, " n"]:
        return _network(params, self.args[0], self.activation)

    def gram(self, params: Params, chunk: int | None = None) -> Float[Array, "n n"]:
        hidden, output = params
        rows = self.args[0]
        product = lambda a, b: jnp.matmul(a, b.T, precision=lax.Precision.HIGHEST)
        scores = product(rows, hidden)
        features, slopes = jax.jvp(self.activation, (scores,), (jnp.ones_like(scores),))
        weighted = slopes * output[None]
        return (product(features, features) + product(rows, rows) * product(weighted, weighted)) / len(output) ** 2

    def closed(self, params: Params) -> Self:
        return self

    def check(self, params: Params) -> Params:
        width = self.args[0].shape[1]
        shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(params)]
        if not isinstance(params, tuple) or len(shapes) != 2 or shapes[0] != (*shapes[1], width):
            raise ValueError(f"params must be a pair of weights (m, {width}) and (m,), got shapes {shapes}.")
        return super().check(params)


def _network(params: Params, rows: Array, activation: Callable[[Array], Array]) -> Array:
    hidden, output = params
    scores = jnp.matmul(rows, hidden.T, precision=lax.Precision.HIGHEST)
    return jnp.matmul(activation(scores), output, precision=lax.Precision.HIGHEST) / len(output)
