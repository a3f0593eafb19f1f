from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._validate import require_positive
from ._blur import Blur
from ._downsample import Downsample
from ._fusion_input import FusionTask, read_fusion
from ._images import high_precision
from ._upsample import upsample


def fuse(
    hyperspectral: ArrayLike,
    multispectral: ArrayLike,
    kernel: ArrayLike,
    response: ArrayLike,
    *,
    factor: int | tuple[int, int],
    offset: int | tuple[int, int] = 0,
    rank: int | None = None,
    weight: ArrayLike = 1.0,
    strength: ArrayLike = 1e-3,
) -> Float[Array, "H W L"]:
    """Fuse a coarse hyperspectral and a fine multispectral image in closed form, by a Sylvester equation.

    Of all cubes X = A U' whose spectra lie in the span of `rank` principal spectra U of the hyperspectral image, the
    one that minimizes `|M B X - Y_h|^2 / 2 + weight |X R' - Y_m|^2 / 2 + strength |A - A_0|^2 / 2`, where B is
    `Blur(kernel)` with a periodic border, M is `Downsample(factor, offset)`, and A_0 is the cubic interpolation of the
    hyperspectral coordinates. The normal equations `(M B)'(M B) A + A C = F` are a Sylvester equation: the small matrix
    C is diagonalized, and for each of its eigenvalues the other term is inverted on the coarse grid, where
    `(M B)(M B)'` is again a convolution. Exact, without iterations. Derivatives hold U constant.

    Args:
        hyperspectral: Y_h, (h, w, L), finite.
        multispectral: Y_m, (H, W, l) with `H = h * factor`.
        kernel: (a, b), the point spread on the fine grid.
        response: R, (l, L).
        factor, offset: of the grids; static.
        rank: r, of the subspace; by default all L bands; static.
        weight: ratio of the variances of the noise, hyperspectral over multispectral; nonnegative.
        strength: ratio of the variance of the hyperspectral noise to that of A about A_0; positive.

    Returns:
        The fused cube (H, W, L).

    Raises:
        ValueError: for data that is not finite, of other shapes or dtypes, or settings out of range.

    Source: Q. Wei, N. Dobigeon, J.-Y. Tourneret, "Fast fusion of multi-band images based on solving a Sylvester
    equation", 2015.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxopt_thoth import restoration
        >>> truth = jax.random.uniform(jax.random.key(0), (8, 8, 2)) @ jnp.array([[1.0, 2.0, 3.0], [3.0, 1.0, 0.0]])
        >>> kernel, response = jnp.full((3, 3), 1 / 9), jnp.eye(3)[:2]
        >>> coarse = restoration.Downsample(2)(restoration.Blur(kernel)(truth))
        >>> fused = restoration.fuse(coarse, truth @ response.T, kernel, response, factor=2, rank=2, strength=1e-5)
        >>> print(jnp.abs(fused - truth).max() < 0.01)
        True
    """
    require_positive(strength, "strength")
    keep = Downsample(factor, offset)
    task = read_fusion(hyperspectral, multispectral, kernel, response, rank, keep, weight, strength)
    blur = Blur(task.kernel)
    # Raises where the image is smaller than the kernel.
    jax.eval_shape(blur, task.fine)
    return _fuse(task, keep=keep)


@partial(jax.jit, static_argnames="keep")
def _fuse(task: FusionTask, *, keep: Downsample) -> Array:
    rank = task.mixing.shape[1]
    blur = Blur(task.kernel)
    mean = upsample(task.coarse, keep.factor, keep.offset)
    seen = lambda x: keep(blur(x))
    spread = lambda y: blur.transpose(keep.transpose(y))
    right = spread(task.coarse) + task.weight * high_precision(task.fine, task.mixing) + task.strength * mean
    gram = high_precision(task.mixing.T, task.mixing)
    inner = task.weight * gram + task.strength * jnp.eye(rank, dtype=gram.dtype)

    def matvec(x: Array) -> Array:
        return spread(seen(x)) + high_precision(x, inner)

    # Constants of the solution by formula: the derivative is that of the equation, where eigenvalues coincide too.
    frozen = jax.lax.stop_gradient((gram, task.weight, task.strength, task.kernel))

    def by_formula(_, right: Array) -> Array:
        gram, weight, strength, kernel = frozen
        blur = Blur(kernel)
        size = right.shape[0] // keep.factor[0], right.shape[1] // keep.factor[1]
        values, vectors = jnp.linalg.eigh(gram)
        levels = weight * jnp.maximum(values, 0) + strength
        delta = jnp.zeros(size, right.dtype).at[0, 0].set(1)
        passed = jnp.fft.rfft2(keep(blur(blur.transpose(keep.transpose(delta))))).real
        rotated = high_precision(right, vectors)
        spectrum = jnp.fft.rfft2(keep(blur(rotated)), axes=(0, 1))
        damping = 1 / (passed[:, :, None] + levels[None, None, :])
        inside = jnp.fft.irfft2(spectrum * damping.astype(spectrum.dtype), s=size, axes=(0, 1))
        found = (rotated - blur.transpose(keep.transpose(inside))) / levels[None, None, :]
        return high_precision(found, vectors.T)

    found = jax.lax.custom_linear_solve(matvec, right, by_formula, symmetric=True)
    return high_precision(found, task.basis.T)
