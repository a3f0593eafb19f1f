import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _tree, _validate
from ._checks import as_matrix


def resample_spectra(spectra: ArrayLike, wavelengths: ArrayLike, targets: ArrayLike) -> Float[Array, "K M"]:
    """Spectra at other wavelengths, by linear interpolation; never beyond the ends.

    Args:
        spectra: (L, M) values at `wavelengths`.
        wavelengths: (L,) in any order, without repetition.
        targets: (K,) in any order. Where one of the two lies below 100 and the other above, one is taken as micrometers
            and the other as nanometers.

    Raises:
        ValueError: when the shapes disagree, wavelengths are repeated or not finite, or targets lie outside them.

    Example:
        >>> import jax.numpy as jnp
        >>> resample_spectra(jnp.array([[0.0], [1.0]]), jnp.array([0.4, 0.6]), jnp.array([450.0])).round(3).tolist()
        [[0.25]]
    """
    values = as_matrix(spectra, "spectra", "(L, M)")
    own, wanted = _tree.as_inexact(wavelengths), _tree.as_inexact(targets)
    if own.shape != (values.shape[0],) or wanted.ndim != 1:
        raise ValueError(
            f"wavelengths must have shape ({values.shape[0]},) and targets (K,), got {own.shape} and {wanted.shape}."
        )
    own, wanted = own.astype(values.dtype), wanted.astype(values.dtype)
    known, asked = _validate.concrete(own), _validate.concrete(wanted)
    if known is not None and asked is not None:
        wanted = wanted * _check(np.asarray(known, float), np.asarray(asked, float))
        # What the change of unit rounds off must not put the ends outside.
        wanted = jnp.clip(wanted, jnp.min(own), jnp.max(own))
    order = jnp.argsort(own)
    interpolate = lambda column: jnp.interp(wanted, own[order], column[order])
    return jax.vmap(interpolate, in_axes=1, out_axes=1)(values)


def unit_factor(own: np.ndarray, wanted: np.ndarray) -> float:
    """What `wanted` is multiplied by to be in the unit of `own`: micrometers are below 100, nanometers above."""
    if (own.max() < 100) == (wanted.max() < 100):
        return 1.0
    return 1e-3 if own.max() < 100 else 1e3


def _check(own: np.ndarray, wanted: np.ndarray) -> float:
    if not (np.isfinite(own).all() and np.isfinite(wanted).all()):
        raise ValueError("wavelengths and targets must be finite.")
    if np.unique(own).size < own.size:
        raise ValueError("wavelengths must not repeat.")
    factor = unit_factor(own, wanted)
    scaled, slack = factor * wanted, 1e-5 * own.max()
    if scaled.min() < own.min() - slack or scaled.max() > own.max() + slack:
        raise ValueError(
            f"targets from {wanted.min():g} to {wanted.max():g} must lie within the spectra, which go from "
            f"{own.min() / factor:g} to {own.max() / factor:g}."
        )
    return factor
