"""Algebra of pytrees: what `optax.tree` lacks, and the names the solvers read best by."""

from collections.abc import Callable
from typing import Any

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
    """Square root whose derivative at zero is zero."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), 0)


def add_scaled(x: Params, factor: ArrayLike, y: Params) -> Params:
    """`x + factor * y`, leaf by leaf, in the dtype of `x`."""
    return jax.tree.map(lambda a, b: a + jnp.asarray(factor, a.dtype) * b, x, y)


def where(predicate: ArrayLike, x: Params, y: Params) -> Params:
    """Select a whole pytree by one boolean."""
    return jax.tree.map(lambda a, b: jnp.where(predicate, a, b), x, y)


def all_finite(x: Params) -> BoolScalar:
    """Whether every floating-point entry of a pytree is finite."""
    checks = [
        jnp.all(jnp.isfinite(leaf))
        for leaf in jax.tree.leaves(x)
        if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
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


def default_tolerance(dtype: Any) -> float:
    """About the square root of the rounding unit: 1e-4 in float32, 1e-8 in float64."""
    return float(10.0 ** np.floor(np.log10(float(jnp.finfo(dtype).eps)) / 2))


def map_arrays(fn: Callable[[Array], Array], x: Any) -> Any:
    """Apply `fn` to the array leaves of a pytree and leave the rest alone."""
    return jax.tree.map(lambda leaf: fn(leaf) if isinstance(leaf, jax.Array) else leaf, x)
