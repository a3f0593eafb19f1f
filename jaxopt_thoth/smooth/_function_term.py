from collections.abc import Callable
from typing import Any, Self

import equinox as eqx
import jax
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Params, Scalar
from ._base import AbstractSmooth


class FunctionTerm(AbstractSmooth):
    """A smooth term given by any pure scalar function, `fn(params, *args)`.

    Args:
        fn: differentiable function of the parameters; arrays it closes over are differentiated too. Outside of
            `jax.jit` it is traced and compiled at each solve, so that it may read what changes between them.
        args: pytrees passed on to `fn`; their arrays are leaves of the problem, to be batched and differentiated.
        lipschitz_constant: Lipschitz constant of the gradient when it is known.

    Raises:
        TypeError: if `fn` is not callable.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import smooth
        >>> term = smooth.FunctionTerm(lambda w, t: jnp.sum((w - t) ** 2), jnp.array([1.0, 3.0]))
        >>> print(term.gradient(jnp.zeros(2)))
        [-2. -6.]
    """

    fn: Callable[..., Scalar]
    args: tuple[Any, ...]
    lipschitz_constant: Scalar | None

    def __init__(self, fn: Callable[..., Scalar], *args: Any, lipschitz_constant: ArrayLike | None = None):
        if not callable(fn):
            raise TypeError(f"fn must be a callable fn(params, *args), got {type(fn).__name__}.")
        self.fn = fn
        self.args = args
        self.lipschitz_constant = None if lipschitz_constant is None else _tree.setting(lipschitz_constant)

    def value(self, params: Params) -> Scalar:
        return self.fn(params, *self.args)

    def lipschitz(self) -> Scalar | None:
        return self.lipschitz_constant

    def closed(self, params: Params) -> Self:
        # Traced anew at each solve: a program kept for the function itself would go on using the values that the
        # function read from its surroundings when it was first compiled.
        fn = eqx.filter_closure_convert(lambda params, *args: self.fn(params, *args), params, *self.args)
        return eqx.tree_at(lambda term: term.fn, self, fn)

    def check(self, params: Params) -> Params:
        shape = jax.eval_shape(self.value, params).shape
        if shape != ():
            raise ValueError(f"fn must return a scalar, got shape {shape}; reduce it, for example with jnp.sum.")
        return params
