"""Checks of the arguments of this room; shapes always, values where they are known."""

from operator import index

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from .. import _tree, _validate


def as_matrix(value: ArrayLike, name: str, shape: str, hint: str = "") -> Float[Array, "rows columns"]:
    """`value` as a real floating-point matrix; raises `ValueError` naming the argument otherwise."""
    array = _tree.as_inexact(value)
    if array.ndim != 2 or 0 in array.shape or not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"{name} must be a real matrix of shape {shape}, got {array.dtype}{array.shape}.{hint}")
    return array


def as_spectra(value: ArrayLike, name: str, shape: str) -> Float[Array, "L m"]:
    """`value` as a matrix, as by `as_matrix`; raises `ValueError` when it is known not to be finite too."""
    array = as_matrix(value, name, shape)
    known = _validate.concrete(jnp.isfinite(array))
    if known is not None and not known.all():
        columns = np.flatnonzero(~known.all(axis=0))
        raise ValueError(
            f"{name} must be finite, got NaN or infinity in column {columns[0]} and {columns.size - 1} more; leave "
            "these columns, or those bands, out."
        )
    return array


def as_pixels(pixels: ArrayLike) -> Float[Array, "L N"]:
    """`pixels` as an (L, N) matrix."""
    return as_matrix(pixels, "pixels", "(L, N)", " Turn a cube (H, W, L) into a matrix with cube_to_pixels.")


def as_mask(mask: ArrayLike | None, num_pixels: int) -> Bool[Array, " N"]:
    """`mask` as N booleans, all true by default."""
    if mask is None:
        return jnp.ones(num_pixels, bool)
    array = jnp.asarray(mask)
    if array.shape != (num_pixels,) or array.dtype != bool:
        raise ValueError(
            f"mask must hold one boolean a pixel, shape ({num_pixels},), got {array.dtype}{array.shape}; "
            "pass True for the valid pixels."
        )
    return array


def require_finite_pixels(pixels: Float[Array, "L N"], valid: Bool[Array, " N"]) -> None:
    """Raise `ValueError` when a valid pixel is known not to be finite."""
    known = _validate.concrete(jnp.sum(valid & ~jnp.all(jnp.isfinite(pixels), axis=0)))
    if known is not None and known > 0:
        raise ValueError(
            f"pixels must be finite where they are valid, got {int(known)} with NaN or infinity; "
            "pass mask=jnp.isfinite(pixels).all(axis=0)."
        )


def check_count(num_endmembers: int, least: int, pixels: Float[Array, "L N"], mask: Bool[Array, " N"]) -> None:
    """Raise `ValueError` unless `least <= num_endmembers <=` the number of valid pixels."""
    try:
        count = index(num_endmembers)
    except TypeError:
        raise ValueError(f"num_endmembers must be a static integer, got {num_endmembers!r}; pass an int.") from None
    known = _validate.concrete(mask)
    available = pixels.shape[1] if known is None else int(known.sum())
    if not least <= count <= available:
        raise ValueError(f"num_endmembers must be between {least} and {available} (valid pixels), got {count}.")


def same_dtype(first: Array, first_name: str, second: Array, second_name: str) -> None:
    """Raise `ValueError` unless two arrays have one dtype."""
    if first.dtype != second.dtype:
        raise ValueError(
            f"{first_name} and {second_name} must have one dtype, got {first.dtype} and {second.dtype}; "
            f"convert one with .astype."
        )
