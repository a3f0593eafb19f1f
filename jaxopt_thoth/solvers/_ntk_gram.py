import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from .. import _tree
from .._types import Params
from ._settings import count_setting


def ntk_gram(
    fn: Callable[[Params, Any], Array],
    params: Params,
    inputs: Any,
    other_inputs: Any | None = None,
    *,
    chunk: int | None = None,
) -> Float[Array, "n_k m_k"]:
    """Neural tangent kernel `J(inputs) J(other_inputs)'` of a model, J being its Jacobian in the parameters.

    Args:
        fn: model `fn(params, inputs)` to outputs (n, ...) of a batch of inputs, each row from its own input alone.
        params: where the Jacobian is taken.
        inputs: array or pytree of arrays with a leading axis of n examples.
        other_inputs: m further examples for a kernel between two sets; `inputs` by default.
        chunk: examples whose Jacobians are held at a time; all by default. Each is then taken n / chunk times.

    Returns:
        The kernel of shape (n k, m k) for k outputs an example, those of an example side by side.

    Raises:
        ValueError: if `chunk` is below 1, inputs have no examples, or `fn` does not return one row an example.

    A. Jacot, F. Gabriel and C. Hongler, "Neural tangent kernel: convergence and generalization in neural networks",
    2018.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import solvers
        >>> print(solvers.ntk_gram(lambda w, x: x @ w, jnp.ones(2), jnp.array([[1.0, 2.0], [0.0, 1.0]])))
        [[5. 2.]
         [2. 1.]]
    """
    params = _tree.as_inexact(params)
    left = _Rows(fn, params, inputs, "inputs")
    right = left if other_inputs is None else _Rows(fn, params, other_inputs, "other_inputs")
    if chunk is None:
        return _product(left.jacobian(left.inputs), right.jacobian(right.inputs))
    count_setting(chunk, "chunk", 1)

    def rows(block: Any) -> Array:
        jacobian = left.jacobian(block)
        columns = lax.map(lambda other: _product(jacobian, right.jacobian(other)), right.blocks(chunk))
        return jnp.concatenate(list(columns), axis=1)

    kernel = lax.map(rows, left.blocks(chunk))
    # The last blocks were filled up with copies.
    return kernel.reshape(-1, kernel.shape[-1])[: left.size * left.width, : right.size * right.width]


class _Rows:
    """Examples, and the Jacobians of the model at some of them."""

    def __init__(self, fn: Callable[[Params, Any], Array], params: Params, inputs: Any, name: str):
        self.fn, self.params = fn, params
        self.inputs = jax.tree.map(jnp.asarray, inputs)
        sizes = {leaf.shape[0] if leaf.ndim else 0 for leaf in jax.tree.leaves(self.inputs)}
        if len(sizes) != 1 or 0 in sizes:
            raise ValueError(f"{name} must have one leading axis of at least one example, got lengths {sorted(sizes)}.")
        self.size = sizes.pop()
        shape = jax.eval_shape(fn, params, self.inputs).shape
        if shape[:1] != (self.size,):
            raise ValueError(f"fn must return one row for each of the {self.size} {name}, got shape {shape}.")
        self.width = math.prod(shape[1:])

    def jacobian(self, inputs: Any) -> Array:
        def one(example: Any) -> Array:
            model = lambda w: self.fn(w, jax.tree.map(lambda leaf: leaf[None], example))[0].reshape(-1)
            outputs, pull = jax.vjp(model, self.params)
            basis = jnp.eye(outputs.size, dtype=outputs.dtype)
            return jax.vmap(lambda v: ravel_pytree(pull(v)[0])[0])(basis)

        rows = jax.vmap(one)(inputs)
        return rows.reshape(-1, rows.shape[-1])

    def blocks(self, chunk: int) -> Any:
        count = -(-self.size // chunk)
        at = jnp.minimum(jnp.arange(count * chunk), self.size - 1).reshape(count, chunk)
        return jax.tree.map(lambda leaf: leaf[at], self.inputs)


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b.T, precision=lax.Precision.HIGHEST)
