from collections.abc import Callable
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from .. import _tree
from .._types import Params, Scalar
from ._finite_sum import _require_scalar
from ._stochastic import AbstractStochastic


class Expectation(AbstractStochastic):
    """An expectation `f(w) = E fn(w, example)` over examples that a sampler draws, for stochastic solvers.

    The value of f and what follows from it, such as the history and the derivative of a solution, are NaN unless
    `exact` gives them.

    Args:
        fn: scalar function `fn(params, example)`, differentiable in the parameters.
        sample: function `sample(key)` to one example, a pytree of arrays.
        exact: function `exact(params)`, the expectation where it is known.
        batch_size: number of examples drawn at a time.

    Raises:
        TypeError: if `fn`, `sample` or `exact` is not callable.
        ValueError: if `batch_size` is below 1; when solving, if `fn` does not return a scalar.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt
        >>> term = jt.smooth.Expectation(lambda w, t: (w - t) ** 2 / 2, jax.random.normal, batch_size=10_000)
        >>> _, gradient = term.sampled_value_and_grad(jnp.array(3.0), jax.random.key(0))
        >>> print(gradient.round(1))
        3.0
    """

    fn: Callable[[Params, Any], Scalar]
    sample: Callable[[Key[Array, ""]], Any]
    exact: Callable[[Params], Scalar] | None
    batch_size: int = eqx.field(static=True)

    def __init__(
        self,
        fn: Callable[[Params, Any], Scalar],
        sample: Callable[[Key[Array, ""]], Any],
        *,
        exact: Callable[[Params], Scalar] | None = None,
        batch_size: int = 1,
    ):
        for name, value in (("fn(params, example)", fn), ("sample(key)", sample), ("exact(params)", exact)):
            if not callable(value) and (value is not None or not name.startswith("exact")):
                raise TypeError(f"{name} must be callable, got {type(value).__name__}.")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
        self.fn = fn
        self.sample = sample
        self.exact = exact
        self.batch_size = batch_size

    def evaluate(self, params: Params, example: Any) -> Scalar:
        return self.fn(params, example)

    def value(self, params: Params) -> Scalar:
        if self.exact is not None:
            return self.exact(params)
        # By way of the parameters, so that derivatives are NaN too and not zero.
        return jnp.nan * jax.tree.reduce(jnp.add, jax.tree.map(jnp.sum, params), jnp.zeros((), _tree.dtype_of(params)))

    def draw(self, key: Key[Array, ""]) -> Any:
        return jax.vmap(self.sample)(jax.random.split(key, self.batch_size))

    def closed(self, params: Params) -> Self:
        key = jax.random.key(0)
        example = jax.eval_shape(self.sample, key)
        fn = eqx.filter_closure_convert(lambda w, example: self.fn(w, example), params, example)
        sample = eqx.filter_closure_convert(lambda key: self.sample(key), key)
        term = eqx.tree_at(lambda term: (term.fn, term.sample), self, (fn, sample))
        if self.exact is None:
            return term
        exact = eqx.filter_closure_convert(lambda w: self.value(w), params)
        return eqx.tree_at(lambda term: term.exact, term, exact)

    def check(self, params: Params) -> Params:
        example = jax.eval_shape(self.sample, jax.random.key(0))
        _require_scalar(jax.eval_shape(self.fn, params, example).shape)
        return params
