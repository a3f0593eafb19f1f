from jaxtyping import Array, ArrayLike, Float

from ._pairs import drop_unknown, pair, root_mean_square


def abundance_rmse(estimate: ArrayLike, reference: ArrayLike, *, per_endmember: bool = False) -> Float[Array, "*p"]:
    """Root-mean-square error of abundances in per cent, over all endmembers and pixels; NaN entries do not count.

    Args:
        estimate: (p, N) or (p, H, W) fractions, in the order of `reference` (see `align`).
        reference: of the same shape.
        per_endmember: whether to average over the pixels only.

    Returns:
        Per cent: a scalar, or p values.

    Raises:
        ValueError: when the shapes or dtypes differ, or there are not 2 or 3 axes.

    Source: B. Rasti et al., "Image Processing and Machine Learning for Hyperspectral Unmixing" (HySUPP), 2024.

    Example:
        >>> import jax.numpy as jnp
        >>> estimate, truth = jnp.array([[0.5, 1.0], [0.5, 0.0]]), jnp.array([[0.4, 1.0], [0.6, 0.0]])
        >>> print(f"{float(abundance_rmse(estimate, truth)):.2f}")
        7.07
    """
    first, second = pair(estimate, reference)
    if first.ndim not in (2, 3):
        raise ValueError(f"estimate and reference must have shape (p, N) or (p, H, W), got {first.shape}.")
    first, second, known = drop_unknown(first, second)
    axes = tuple(range(int(per_endmember), first.ndim))
    return 100 * root_mean_square(first - second, known, axes)
