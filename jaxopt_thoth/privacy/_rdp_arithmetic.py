"""Arithmetic of the accountants: NumPy in double precision where every argument is known, JAX where one is traced."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.special
import numpy as np
import scipy.special
from jaxtyping import Array, ArrayLike

from .._validate import concrete


class Arithmetic(NamedTuple):
    """The array module, its special functions and its floating-point dtype, under one set of names."""

    xp: Any
    special: Any
    dtype: Any

    def array(self, value: Any) -> Any:
        return self.xp.asarray(value).astype(self.dtype)


def arithmetic(*values: ArrayLike) -> Arithmetic:
    """The arithmetic for these arguments: what is known is computed in float64 whatever the setting of JAX."""
    if all(concrete(value) is not None for value in values):
        return Arithmetic(np, scipy.special, np.float64)
    return Arithmetic(jnp, jax.scipy.special, result_dtype(*values))


def result_dtype(*values: ArrayLike) -> Any:
    """The dtype that arguments are answered in: their own, and never half precision."""
    typed = [jnp.result_type(value) for value in values if isinstance(value, (jax.Array, np.ndarray, np.generic))]
    floats = [dtype for dtype in typed if jnp.issubdtype(dtype, jnp.floating)]
    # By NumPy, as one argument may be finer than another.
    return functools.reduce(np.promote_types, floats, np.dtype(np.float32)) if floats else jnp.result_type(float)


def answer(value: Any, *arguments: ArrayLike) -> Array:
    """A result as an array of JAX in the dtype of the arguments."""
    return jnp.asarray(value, result_dtype(*arguments))


def evaluate(function: Callable[..., Any], *arguments: ArrayLike) -> Array:
    """`function(arithmetic, *arguments)`, by NumPy where all is known and else as one compiled program.

    `function` is one of a module, by which the program is found again.
    """
    ops = arithmetic(*arguments)
    value = function(ops, *arguments) if ops.xp is np else _compiled(function, *arguments)
    return answer(value, *arguments)


@functools.partial(jax.jit, static_argnums=0)
def _compiled(function: Callable[..., Any], *arguments: Array) -> Array:
    return function(arithmetic(*arguments), *arguments)


def require_within(value: Any, name: str, lower: float, upper: float, *, closed: bool) -> None:
    """Raise `ValueError` unless every known entry of `value` lies in the interval from `lower` to `upper`."""
    known = concrete(value)
    if known is None:
        return
    inside = (known >= lower) & (known <= upper) if closed else (known > lower) & (known < upper)
    if not np.all(inside):
        interval = f"[{lower:g}, {upper:g}]" if closed else f"({lower:g}, {upper:g})"
        raise ValueError(f"{name} must lie in {interval}, got {known}; pass a value inside.")


def require_orders(order: Any) -> None:
    """Raise `ValueError` unless every known order is above 1."""
    known = concrete(order)
    if known is not None and not np.all(known > 1):
        raise ValueError(f"order must be above 1, got {known}; the divergence of order 1 is the limit from above.")


def log1p_excess(xp: Any, x: Any) -> Any:
    """`log1p(x) - x`, without cancellation near zero; minus infinity at -1."""
    small = xp.abs(x) < 0.25
    near = xp.where(small, x, 0.0)
    total = xp.zeros_like(near)
    for power in range(24, 1, -1):
        total = (-1.0) ** (power + 1) / power + near * total
    far = xp.where(small | (x <= -1), 1.0, x)
    return xp.where(small, near * near * total, xp.where(x <= -1, -xp.inf, xp.log1p(far) - far))
