from collections.abc import Callable
from types import FunctionType
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
        fn: differentiable function of the parameters; arrays it closes over are differentiated too.
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
        if not _may_hold_arrays(self.fn):
            return self
        fn = eqx.filter_closure_convert(self.fn, params, *self.args)
        return eqx.tree_at(lambda term: term.fn, self, fn)

    def check(self, params: Params) -> Params:
        shape = jax.eval_shape(self.value, params).shape
        if shape != ():
            raise ValueError(f"fn must return a scalar, got shape {shape}; reduce it, for example with jnp.sum.")
        return params


def _may_hold_arrays(fn: Callable) -> bool:
    # What a partial, a bound method or a compiled function holds cannot be seen.
    if not isinstance(fn, FunctionType):
        return True
    cells = [cell.cell_contents for cell in fn.__closure__ or ()]
    held = jax.tree.leaves((cells, fn.__defaults__, fn.__kwdefaults__))
    return any(not isinstance(leaf, bool | int | float | str) for leaf in held)
