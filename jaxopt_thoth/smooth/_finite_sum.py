from collections.abc import Callable
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Key

from .. import _tree
from .._types import Params, Scalar
from .._validate import concrete, require_nonnegative
from ._stochastic import AbstractStochastic


class FiniteSum(AbstractStochastic):
    """A mean of functions, `f(w) = sum_i p_i fn(w, example_i)`, which stochastic solvers sample and others compute.

    Args:
        fn: scalar function `fn(params, example)`, differentiable in the parameters.
        data: the n examples, a pytree whose leaves have a leading axis of length n.
        weights: the probabilities p_i up to a factor (n,), from which examples are drawn; equal ones by default.
        batch_size: number of examples drawn at a time, with replacement.

    Raises:
        TypeError: if `fn` is not callable.
        ValueError: if the leading axes differ or are empty, `weights` has another shape or a negative entry, or
            `batch_size` is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt
        >>> term = jt.smooth.FiniteSum(lambda w, t: (w - t) ** 2 / 2, jnp.array([1.0, 2.0, 6.0]))
        >>> value, gradient = term.sampled_value_and_grad(jnp.array(0.0), jax.random.key(0))
        >>> print(term.gradient(jnp.array(0.0)), bool(value == gradient**2 / 2))
        -3.0 True
    """

    fn: Callable[[Params, Any], Scalar]
    data: Any
    weights: Float[Array, " n"] | None
    batch_size: int = eqx.field(static=True)

    def __init__(
        self,
        fn: Callable[[Params, Any], Scalar],
        data: Any,
        *,
        weights: ArrayLike | None = None,
        batch_size: int = 1,
    ):
        if not callable(fn):
            raise TypeError(f"fn must be a callable fn(params, example), got {type(fn).__name__}.")
        self.fn = fn
        self.data = jax.tree.map(jnp.asarray, data)
        lengths = {leaf.shape[0] if leaf.ndim else 0 for leaf in jax.tree.leaves(self.data)}
        if len(lengths) != 1 or 0 in lengths:
            raise ValueError(
                "data must be arrays with one leading axis of examples, the same for all and not empty, got lengths "
                f"{sorted(lengths)}."
            )
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
        self.batch_size = batch_size
        self.weights = None
        if weights is not None:
            require_nonnegative(weights, "weights")
            self.weights = _tree.setting(weights)
            if self.weights.shape != (self.count,):
                raise ValueError(f"weights must have shape {(self.count,)}, got {self.weights.shape}.")
            known = concrete(self.weights)
            if known is not None and not (np.isfinite(known.sum()) and known.sum() > 0):
                raise ValueError("weights must have a positive, finite sum.")

    @property
    def count(self) -> int:
        """Number of examples."""
        return jax.tree.leaves(self.data)[0].shape[0]

    def probabilities(self, dtype: Any = None) -> Float[Array, " n"]:
        """The probability of each example."""
        dtype = jnp.result_type(float) if dtype is None else dtype
        if self.weights is None:
            return jnp.full((self.count,), 1 / self.count, dtype)
        weights = self.weights.astype(dtype)
        return weights / jnp.sum(weights)

    def evaluate(self, params: Params, example: Any) -> Scalar:
        return self.fn(params, example)

    def value(self, params: Params) -> Scalar:
        values = jax.vmap(lambda example: self.fn(params, example))(self.data)
        return jnp.vdot(self.probabilities(values.dtype), values)

    def draw(self, key: Key[Array, ""]) -> Any:
        shape = (self.batch_size,)
        if self.weights is None:
            index = jax.random.randint(key, shape, 0, self.count)
        else:
            index = jax.random.choice(key, self.count, shape, p=self.probabilities())
        return jax.tree.map(lambda leaf: leaf[index], self.data)

    def closed(self, params: Params) -> Self:
        example = jax.tree.map(lambda leaf: leaf[0], self.data)
        fn = eqx.filter_closure_convert(lambda w, example: self.fn(w, example), params, example)
        return eqx.tree_at(lambda term: term.fn, self, fn)

    def check(self, params: Params) -> Params:
        example = jax.tree.map(lambda leaf: leaf[0], self.data)
        _require_scalar(jax.eval_shape(self.fn, params, example).shape)
        return params


def _require_scalar(shape: tuple[int, ...]) -> None:
    if shape != ():
        raise ValueError(f"fn must return a scalar, got shape {shape}; reduce it, for example with jnp.sum.")
