"""Algebra of pytrees: what `optax.tree` lacks, and the names the solvers read best by."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike

from ._types import BoolScalar, Params, Scalar


add = optax.tree.add
sub = optax.tree.sub
scale = optax.tree.scale
zeros_like = optax.tree.zeros_like


def vdot(x: Params, y: Params) -> Scalar:
    """Inner product of two pytrees, in the highest matrix precision."""
    parts = jax.tree.map(lambda a, b: jnp.vdot(a, b, precision=jax.lax.Precision.HIGHEST), x, y)
    return jax.tree.reduce(jnp.add, parts, jnp.zeros((), dtype_of(x)))


def squared_norm(x: Params) -> Scalar:
    """Sum of the squares of every entry of a pytree."""
    parts = jax.tree.map(lambda a: jnp.sum(a * a), x)
    return jax.tree.reduce(jnp.add, parts, jnp.zeros((), dtype_of(x)))


def norm(x: Params) -> Scalar:
    """Euclidean norm of a pytree, with derivative zero (not NaN) at zero."""
    return safe_sqrt(squared_norm(x))


def safe_sqrt(x: Array) -> Array:
    """Square root whose derivative at zero is zero, and which passes NaN on."""
    positive = ~(x <= 0)
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), 0)


def stable_norm(x: Params) -> Scalar:
    """`norm` that neither overflows nor underflows, for one more pass over the entries."""
    peaks = [jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(x) if leaf.size]
    peak = jax.lax.stop_gradient(jnp.stack(peaks).max()) if peaks else jnp.ones((), dtype_of(x))
    # A constant factor leaves the derivative of the product untouched.
    unit = jnp.where(peak > 0, peak, 1)
    return unit * norm(jax.tree.map(lambda a: a / unit, x))


def add_scaled(x: Params, factor: ArrayLike, y: Params) -> Params:
    """`x + factor * y`, leaf by leaf, in the dtype of `x`."""
    return jax.tree.map(lambda a, b: a + jnp.asarray(factor, a.dtype) * b, x, y)


def where(predicate: ArrayLike, x: Params, y: Params) -> Params:
    """Select a whole pytree by one boolean."""
    return jax.tree.map(lambda a, b: jnp.where(predicate, a, b), x, y)


def all_finite(x: Params) -> BoolScalar:
    """Whether every floating-point entry of a pytree is finite."""
    checks = [
        jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(x) if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
    ]
    return jnp.stack(checks).all() if checks else jnp.asarray(True)


def dtype_of(x: Params) -> Any:
    """The floating-point dtype that the leaves of a pytree promote to."""
    leaves = [leaf for leaf in jax.tree.leaves(x) if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)]
    return jnp.result_type(*leaves) if leaves else jnp.result_type(float)


def as_inexact(x: Params) -> Params:
    """Every leaf as a floating-point array; integers and Python numbers take the default dtype."""

    def convert(leaf: ArrayLike) -> Array:
        array = jnp.asarray(leaf)
        return array if jnp.issubdtype(array.dtype, jnp.inexact) else array.astype(jnp.result_type(float))

    return jax.tree.map(convert, x)


def setting(value: ArrayLike) -> Array:
    """A numeric setting as a strongly typed floating-point leaf, so that any two values of it compile once."""
    array = jnp.asarray(value)
    return array.astype(array.dtype if jnp.issubdtype(array.dtype, jnp.inexact) else jnp.result_type(float))


def settings(value: Params) -> Params:
    """`setting` on every leaf of a pytree."""
    return jax.tree.map(setting, value)


def match(value: ArrayLike, x: Array) -> Array:
    """`value` in the dtype of `x`, broadcast to the shape of `x` unless it is a scalar (no rank promotion is left)."""
    dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.inexact) else jnp.result_type(float)
    array = jnp.asarray(value).astype(dtype)
    return array if array.ndim == 0 else jnp.broadcast_to(array, x.shape)


def spread(prefix: Params, x: Params, name: str = "a setting") -> Params:
    """A pytree prefix of `x` (one value, or one a block) repeated to the structure of `x`; the values keep their shape.

    Raises `ValueError` with the name of the argument where it is no prefix.
    """
    try:
        return jax.tree.broadcast(prefix, x)
    except ValueError as error:
        here, there = jax.tree.structure(prefix), jax.tree.structure(x)
        raise ValueError(
            f"{name} must be one number or array, or a pytree like the variable or a prefix of it, got {here} for "
            f"{there}; give it the structure of the variable (a list is a pytree: make it an array)."
        ) from error


def expand(prefix: Params, x: Params, name: str = "a setting") -> Params:
    """A pytree prefix of `x` (one number, or one a block) spread to the leaves and shapes of `x`, as by `spread`."""
    return jax.tree.map(lambda value, a: jnp.broadcast_to(match(value, a), a.shape), spread(prefix, x, name), x)


def align(x: Params, y: Params, names: str = "two settings") -> tuple[Params, Params]:
    """Two pytrees of which one is a prefix of the other, both in the structure of the finer one."""
    try:
        return jax.tree.broadcast(x, y), y
    except ValueError:
        return x, spread(y, x, names)


def default_tolerance(dtype: Any) -> float:
    """About the square root of the rounding unit: 1e-4 in float32, 1e-8 in float64."""
    return float(10.0 ** np.floor(np.log10(float(jnp.finfo(dtype).eps)) / 2))


def stop_gradient(x: Any) -> Any:
    """The same pytree with every floating-point array held constant; other leaves are left alone."""
    return jax.tree.map(lambda leaf: jax.lax.stop_gradient(leaf) if eqx.is_inexact_array(leaf) else leaf, x)
