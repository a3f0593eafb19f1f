"""Checks of images and cubes, and of pairs of them on two grids."""

from typing import get_args, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._validate import known_leaves


Boundary = Literal["periodic", "symmetric", "edge", "zero"]


def require_boundary(boundary: str) -> None:
    """Raise `ValueError` for an unknown boundary."""
    if boundary not in get_args(Boundary):
        raise ValueError(f"boundary must be one of {', '.join(map(repr, get_args(Boundary)))}, got {boundary!r}.")


def require_count(value: int, name: str) -> None:
    """Raise `ValueError` unless `value` is an integer of at least one."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}.")


def as_cube(value: ArrayLike, name: str) -> Array:
    """`value` as a floating-point cube (H, W, L) without NaN; raises `ValueError` where it is none."""
    cube = _tree.as_inexact(value)
    if cube.ndim != 3 or 0 in cube.shape:
        raise ValueError(f"{name} must be a cube (H, W, L) that is not empty, got shape {cube.shape}; add the axes.")
    require_finite(cube, name)
    return cube


def require_finite(value: ArrayLike, name: str) -> None:
    """Raise `ValueError` where a known entry is not finite."""
    for known in known_leaves(value):
        if not np.all(np.isfinite(known)):
            raise ValueError(f"{name} must be finite, and has NaN or infinite entries; fill them in first.")


def as_kernel(kernel: ArrayLike, dtype: jnp.dtype) -> Array:
    """`kernel` (a, b) or (a, b, L) as an array of `dtype`; raises `ValueError` where it is none."""
    array = jnp.asarray(kernel).astype(dtype)
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise ValueError(
            f"kernel must have shape (a, b), or (a, b, L) with one for each band, got {array.shape}; a blur along one "
            "axis has the shape (1, b) or (a, 1)."
        )
    require_finite(array, "kernel")
    return array


def require_same_dtype(first: Array, second: Array, names: str) -> None:
    """Raise `ValueError` unless two arrays have one dtype."""
    if first.dtype != second.dtype:
        raise ValueError(f"{names} must have one dtype, got {first.dtype} and {second.dtype}; convert one of them.")


def require_grids(low: Array, high: Array, factor: tuple[int, int], names: str) -> None:
    """Raise `ValueError` unless the second cube is `factor` times as large as the first."""
    expected = low.shape[0] * factor[0], low.shape[1] * factor[1]
    if high.shape[:2] != expected:
        raise ValueError(
            f"{names} must be images of one scene whose sizes differ by factor {factor}, got {low.shape[:2]} and "
            f"{high.shape[:2]} instead of {expected}; crop them or mend factor."
        )


def high_precision(a: Array, b: Array) -> Array:
    """The matrix product in the highest precision."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
