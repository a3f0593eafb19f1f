from typing import Literal

import numpy as np
from jaxtyping import ArrayLike
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from .metrics import spectral_angle


Criterion = Literal["abundance", "spectral_angle"]


def align(estimate: ArrayLike, reference: ArrayLike, *, criterion: Criterion = "abundance") -> np.ndarray:
    """Assignment of estimated endmembers to the true ones, of least total distance (Hungarian method).

    A host function: it takes concrete arrays and does not run under `jax.jit` or `jax.vmap`. With "abundance" the
    distance is Euclidean between rows of abundances, as the field reports; with "spectral_angle" it is the angle
    between columns of endmembers. They can differ when an endmember is lost. More estimates than true endmembers are
    allowed; the surplus is left out.

    Args:
        estimate: (p', N) or (p', H, W) abundances, or (L, p') endmembers, p' >= p.
        reference: (p, N), (p, H, W) or (L, p), likewise; pixels with NaN in either do not count.
        criterion: what the arrays are.

    Returns:
        (p,) integers: estimate `permutation[i]` is true endmember i. See `permute`.

    Raises:
        ValueError: when the criterion is unknown, the shapes disagree, or there are fewer estimates than references.

    Source: H. Kuhn, "The Hungarian method for the assignment problem", 1955.

    Example:
        >>> import jax.numpy as jnp
        >>> truth = jnp.array([[1.0, 0.0, 0.2], [0.0, 1.0, 0.8]])
        >>> align(truth[::-1], truth).tolist()
        [1, 0]
    """
    first, second = np.asarray(estimate), np.asarray(reference)
    if criterion == "abundance":
        distances = _row_distances(first, second)
    elif criterion == "spectral_angle":
        distances = _angles(first, second)
    else:
        raise ValueError(f"criterion must be 'abundance' or 'spectral_angle', got {criterion!r}.")
    found, wanted = distances.shape
    if found < wanted:
        raise ValueError(f"estimate has {found} endmembers, fewer than the {wanted} of the reference; estimate more.")
    if not np.isfinite(distances).all():
        raise ValueError("estimate and reference must be finite (NaN is allowed at masked pixels of abundances only).")
    rows, columns = linear_sum_assignment(distances)
    return rows[np.argsort(columns)]


def permute(
    permutation: ArrayLike, *, endmembers: ArrayLike | None = None, abundances: ArrayLike | None = None
) -> tuple[ArrayLike | None, ArrayLike | None]:
    """Endmembers and abundances in the order that `align` found; what is None stays None.

    Args:
        permutation: (p,) integers from `align`.
        endmembers: (L, p'), or None.
        abundances: (p', N) or (p', H, W), or None.

    Returns:
        Endmembers (L, p) and abundances (p, ...), each of the kind (NumPy or JAX) that came in.

    Raises:
        IndexError: when NumPy arrays are too small for the permutation.

    Example:
        >>> import numpy as np
        >>> permute(np.array([1, 0]), abundances=np.array([[0.0], [1.0]]))[1].tolist()
        [[1.0], [0.0]]
    """
    index = np.asarray(permutation)
    return (
        None if endmembers is None else endmembers[:, index],  # type: ignore[index]
        None if abundances is None else abundances[index],  # type: ignore[index]
    )


def _row_distances(estimate: np.ndarray, reference: np.ndarray) -> np.ndarray:
    if estimate.ndim not in (2, 3) or estimate.shape[1:] != reference.shape[1:]:
        raise ValueError(
            f"abundances must be (p, N) or (p, H, W) over the same pixels, got {estimate.shape} and {reference.shape}."
        )
    first, second = (array.reshape(array.shape[0], -1).astype(np.float64) for array in (estimate, reference))
    known = ~(np.isnan(first).any(axis=0) | np.isnan(second).any(axis=0))
    return cdist(first[:, known], second[:, known])


def _angles(estimate: np.ndarray, reference: np.ndarray) -> np.ndarray:
    if estimate.ndim != 2 or reference.ndim != 2 or estimate.shape[0] != reference.shape[0]:
        raise ValueError(f"endmembers must be (L, p) over the same bands, got {estimate.shape} and {reference.shape}.")
    first = np.repeat(estimate, reference.shape[1], axis=1)
    second = np.tile(reference.astype(estimate.dtype), (1, estimate.shape[1]))
    return np.asarray(spectral_angle(first, second), np.float64).reshape(estimate.shape[1], reference.shape[1])
