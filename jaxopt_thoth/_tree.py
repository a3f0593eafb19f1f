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


def along_rows(values: Array, x: Array) -> Array:
    """Values of the leading axes of `x`, in the rank of `x`."""
    return values.reshape(values.shape + (1,) * (x.ndim - values.ndim))


# Up to here the serial sums of a single pass lose less than a thousandth in float32, and cost no more than the passes.
_ONE_PASS = 4096
_TOGETHER = 4


def inner_products(*pairs: tuple[Params, Params]) -> tuple[Scalar, ...]:
    """Inner products of pairs of pytrees, those of one shape in one pass where they are small.

    XLA compiles three kernels for each sum on its own, and each kernel takes it about ten milliseconds.
    """
    products = [[a * b for a, b in zip(*map(jax.tree.leaves, pair), strict=True)] for pair in pairs]
    totals = [jnp.zeros((), dtype_of(leaves)) for leaves in products]
    groups: dict[tuple[int, ...], list[tuple[int, Array]]] = {}
    for place, leaves in enumerate(products):
        for leaf in leaves:
            groups.setdefault(leaf.shape, []).append((place, leaf))
    shared = [group[i : i + _TOGETHER] for group in groups.values() for i in range(0, len(group), _TOGETHER)]
    for group in shared:
        for (place, _), part in zip(group, _sums(*(leaf for _, leaf in group)), strict=True):
            totals[place] = totals[place] + part
    return tuple(totals)


@jax.custom_jvp
def _sums(*arrays: Array) -> tuple[Scalar, ...]:
    if not 1 < arrays[0].size <= _ONE_PASS or any(a.dtype.itemsize < 4 for a in arrays):
        return tuple(jnp.sum(a) for a in arrays)
    # Parts are added up beside each other, and a sum alone in its pass would be split up by XLA.
    size, most = arrays[0].size, 2 * _TOGETHER // len(arrays)
    parts = next((count for count in range(most, 1, -1) if size % count == 0), 2)
    flat = [jnp.pad(a.ravel(), (0, -size % parts)).reshape(parts, -1) for a in arrays]
    sums = row_sums(*(part for a in flat for part in a))
    return tuple(sum(sums[i + 1 : i + parts], sums[i]) for i in range(0, len(sums), parts))


@_sums.defjvp
def _(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[tuple[Scalar, ...], tuple[Scalar, ...]]:
    return _sums(*primals), tuple(jnp.sum(t) for t in tangents)


def row_sums(*arrays: Array) -> tuple[Array, ...]:
    """Sums of several arrays of one shape over their last axis, in one pass where that is short."""
    # Half precision is summed up in single precision by `jnp.sum` alone.
    half = any(a.dtype.itemsize < 4 for a in arrays)
    if half or arrays[0].shape[-1] > _ONE_PASS or jax.sharding.get_abstract_mesh().manual_axes:
        return tuple(jnp.sum(a, -1) for a in arrays)
    zeros = tuple(np.zeros((), a.dtype) for a in arrays)
    plus = lambda xs, ys: tuple(x + y for x, y in zip(xs, ys, strict=True))
    return tuple(jax.lax.reduce(arrays, zeros, plus, (arrays[0].ndim - 1,)))


def compensated_sum(x: Array) -> Scalar:
    """Sum of all entries whose rounding is that of the last addition, in single precision too."""
    if x.dtype.itemsize != 4:
        return jnp.sum(x)
    high, low = x.ravel(), jnp.zeros(x.size, x.dtype)
    while high.size > 1:
        half = (high.size + 1) // 2
        pad = lambda a, half=half: jnp.pad(a[half:], (0, 2 * half - a.size))
        a, b = high[:half], pad(high)
        high = a + b
        # What the addition lost (Knuth), carried on its own.
        back = high - a
        low = low[:half] + pad(low) + ((a - (high - back)) + (b - back))
    return jnp.sum(high + low)


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
    # XLA multiplies by the inverse, which is flushed to zero where it is below the smallest normal number.
    unit = jnp.minimum(unit, jnp.asarray(1 / jnp.finfo(unit.dtype).tiny, unit.dtype))
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
