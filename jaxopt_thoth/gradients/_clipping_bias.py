from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Scalar
from .._validate import require_positive


# Exact to rounding for an analytic survival function that varies on the scale of a panel.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_DOUBLINGS = 64


def clipping_bias(
    survival: Callable[[Float[Array, " n"]], Float[Array, " n"]], clip: ArrayLike, breaks: Sequence[ArrayLike] = ()
) -> Scalar:
    """Mean gradient at which clipped SGD rests under a given noise: the root m of E clip(m + noise) = 0.

    The mean is `-clip` plus the integral of P(m + noise > t) over |t| <= clip, by Gauss's quadrature between the
    breaks; the root by bisection and a Newton step, through which the root is differentiated (once) in the level and in
    whatever `survival` closes over. Where the noise leaves a gap of mass around the root, one of the roots is returned.

    Args:
        survival: maps points x, of shape (n,), to the probabilities that the noise exceeds them.
        clip: scalar, the level.
        breaks: scalars, the points where `survival` is not smooth, in particular the ends of the support of the noise.

    Raises:
        ValueError: for a known `clip` that is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import gradients
        >>> survival = lambda x: jnp.exp(-jnp.maximum(x + 1, 0))  # an exponential variable minus its mean
        >>> print(f"{gradients.clipping_bias(survival, clip=1.0, breaks=[-1.0]):.4f}")
        0.1586
    """
    require_positive(clip, "clip")
    clip = _tree.setting(clip)
    points = [jnp.asarray(b).astype(clip.dtype) for b in breaks]
    nodes, weights = (jnp.asarray(x, clip.dtype) for x in (_NODES, _WEIGHTS))

    def clipped_mean(m: Scalar) -> Scalar:
        inner = [jnp.clip(m + b, -clip, clip) for b in points]
        ends = jnp.sort(jnp.stack([-clip, *inner, clip]))
        middle, half = (ends[1:] + ends[:-1]) / 2, jnp.diff(ends) / 2
        t = (middle[:, None] + half[:, None] * nodes[None]).ravel()
        return jnp.sum((half[:, None] * weights[None]).ravel() * survival(t - m)) - clip

    def widen(_, width: Scalar) -> Scalar:
        enough = (clipped_mean(-width) <= 0) & (clipped_mean(width) >= 0)
        return jnp.where(enough, width, 2 * width)

    def halve(_, bracket: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
        lower, upper = bracket
        middle = (lower + upper) / 2
        low = clipped_mean(middle) < 0
        return jnp.where(low, middle, lower), jnp.where(low, upper, middle)

    width = lax.fori_loop(0, _DOUBLINGS, widen, lax.stop_gradient(clip))
    lower, upper = lax.fori_loop(0, jnp.finfo(clip.dtype).nmant + 8, halve, (-width, width))
    root = lax.stop_gradient((lower + upper) / 2)
    above = survival(jnp.stack([-clip - root, clip - root]))
    slope = lax.stop_gradient(above[0] - above[1])
    # Without mass between the levels the mean is flat, and the root is as good as any.
    return root - jnp.where(slope > 0, clipped_mean(root) / jnp.where(slope > 0, slope, 1), 0)
