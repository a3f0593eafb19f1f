import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ... import _tree
from ._pairs import spectra_pair


def spectral_angle(estimate: ArrayLike, reference: ArrayLike) -> Float[Array, "*p"]:
    """Angle between spectra in degrees, whatever their brightness.

    Computed as `2 atan2(|u - v|, |u + v|)` of the unit spectra u, v: exact to rounding near 0 and 180 degrees, where
    the arc cosine loses half of its digits, and with a finite derivative everywhere. A zero spectrum is at 90
    degrees of any other.

    Args:
        estimate: (L,) or (L, p), any unit.
        reference: of the same shape.

    Returns:
        Degrees: a scalar for (L,), the p angles of corresponding columns for (L, p).

    Raises:
        ValueError: when the shapes or dtypes differ.

    Source: F. Kruse et al., "The spectral image processing system (SIPS)", 1993; W. Kahan, "How futile are mindless
    assessments of roundoff", 2006 (the stable form).

    Example:
        >>> import jax.numpy as jnp
        >>> print(f"{float(spectral_angle(jnp.array([1.0, 0.0]), jnp.array([2.0, 2.0]))):.3f}")
        45.000
    """
    first, second = (_unit(spectra) for spectra in spectra_pair(estimate, reference))
    half = jnp.arctan2(_length(first - second), _length(first + second))
    both_zero = (_length(first) == 0) & (_length(second) == 0)
    return jnp.where(both_zero, 90, jnp.degrees(2 * half))


def _length(spectra: Float[Array, "L *p"]) -> Float[Array, "*p"]:
    return _tree.safe_sqrt(jnp.sum(spectra * spectra, axis=0))


def _unit(spectra: Float[Array, "L *p"]) -> Float[Array, "L *p"]:
    # Dividing by the largest entry first keeps squares of tiny and huge radiances in range.
    largest = jnp.max(jnp.abs(spectra), axis=0, keepdims=True)
    scaled = spectra / jnp.where(largest > 0, largest, 1)
    length = _tree.safe_sqrt(jnp.sum(scaled * scaled, axis=0, keepdims=True))
    return scaled / jnp.where(length > 0, length, 1)
