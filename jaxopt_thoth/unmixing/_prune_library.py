import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Int

from ._checks import as_matrix


def prune_library(library: ArrayLike, min_angle: float) -> Int[Array, " K"]:
    """The spectra of a library to keep so that any two differ by `min_angle` degrees: in order, each that can stay.

    A host function: how many stay depends on the values.

    Args:
        library: (L, M) spectra; one of zeros has no angle and is left out.
        min_angle: least spectral angle in degrees, from 0 to 180.

    Returns:
        (K,) columns, increasing; the first spectrum is always among them unless it is zero.

    Raises:
        ValueError: when the library is no matrix or not finite, or the angle is out of range.

    Source: the usual preparation of a library for sparse unmixing, as in M. Iordache, J. Bioucas-Dias, A. Plaza,
    "Sparse unmixing of hyperspectral data", 2011.

    Example:
        >>> import jax.numpy as jnp
        >>> library = jnp.array([[1.0, 0.99, 0.0], [0.0, 0.05, 1.0]])
        >>> prune_library(library, 5.0).tolist()
        [0, 2]
    """
    spectra = as_matrix(library, "library", "(L, M)")
    if not 0 <= min_angle <= 180:
        raise ValueError(f"min_angle must be between 0 and 180 degrees, got {min_angle}.")
    if not bool(jnp.all(jnp.isfinite(spectra))):
        raise ValueError("library must be finite; remove NaN and infinity.")
    units, usable = _units(spectra)

    def visit(kept: Array, k: Array) -> tuple[Array, None]:
        angles = _angles(units, units[:, k])
        keep = usable[k] & ~jnp.any(kept & (angles < min_angle))
        return kept.at[k].set(keep), None

    count = spectra.shape[1]
    kept, _ = jax.lax.scan(visit, jnp.zeros(count, bool), jnp.arange(count))
    return jnp.flatnonzero(kept)


def least_angles(library: ArrayLike) -> Array:
    """For each spectrum of a library (L, M) the angle to the next one in degrees; NaN for zeros or a single one."""
    units, usable = _units(as_matrix(library, "library", "(L, M)"))
    count = units.shape[1]

    def one(k: Array) -> Array:
        others = usable & (jnp.arange(count) != k)
        least = jnp.min(jnp.where(others, _angles(units, units[:, k]), jnp.inf))
        return jnp.where(usable[k] & jnp.isfinite(least), least, jnp.nan)

    return jax.lax.map(one, jnp.arange(count), batch_size=16)


def _units(spectra: Array) -> tuple[Array, Array]:
    sizes = jnp.linalg.norm(spectra, axis=0, keepdims=True)
    return spectra / jnp.where(sizes > 0, sizes, 1), sizes[0] > 0


def _angles(units: Array, one: Array) -> Array:
    """Degrees between each column and one; by half chords, which do not cancel for near ones."""
    apart, along = units - one[:, None], units + one[:, None]
    half = jnp.arctan2(jnp.linalg.norm(apart, axis=0), jnp.linalg.norm(along, axis=0))
    return jnp.degrees(2 * half)
