from jaxtyping import Array, ArrayLike

from .. import _tree
from ._images import require_same_dtype


def image_pair(estimate: ArrayLike, reference: ArrayLike) -> tuple[Array, Array]:
    """Two images or cubes of one shape and dtype; raises `ValueError` where they are not."""
    first, second = _tree.as_inexact(estimate), _tree.as_inexact(reference)
    if first.shape != second.shape or first.ndim not in (2, 3) or 0 in first.shape:
        raise ValueError(
            f"estimate and reference must both be (H, W) or (H, W, L), got {first.shape} and {second.shape}."
        )
    require_same_dtype(first, second, "estimate and reference")
    return first, second
