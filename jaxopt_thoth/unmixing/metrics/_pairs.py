import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from ... import _tree
from .._checks import same_dtype


def pair(estimate: ArrayLike, reference: ArrayLike) -> tuple[Array, Array]:
    """Two real arrays of one shape and dtype; raises `ValueError` otherwise."""
    first, second = _tree.as_inexact(estimate), _tree.as_inexact(reference)
    if first.shape != second.shape:
        raise ValueError(f"estimate {first.shape} and reference {second.shape} must have one shape; align them first.")
    same_dtype(first, "estimate", second, "reference")
    return first, second


def spectra_pair(estimate: ArrayLike, reference: ArrayLike) -> tuple[Array, Array]:
    """Two spectra (L,) or two lists of spectra (L, p)."""
    first, second = pair(estimate, reference)
    if first.ndim not in (1, 2):
        raise ValueError(f"estimate and reference must have shape (L,) or (L, p), got {first.shape}.")
    return first, second


def drop_unknown(estimate: Array, reference: Array) -> tuple[Array, Array, Bool[Array, "..."]]:
    """Both arrays with zeros where either is NaN (a masked pixel), and where both are known."""
    known = ~(jnp.isnan(estimate) | jnp.isnan(reference))
    return jnp.where(known, estimate, 0), jnp.where(known, reference, 0), known


def root_mean_square(difference: Float[Array, "..."], known: Bool[Array, "..."], axis: tuple[int, ...]) -> Array:
    """Root of the mean square over the known entries; NaN when there are none."""
    count = jnp.sum(known, axis=axis).astype(difference.dtype)
    total = jnp.sum(difference * difference, axis=axis)
    return jnp.where(count > 0, _tree.safe_sqrt(total / jnp.where(count > 0, count, 1)), jnp.nan)
