from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative
from ._alternate import alternate, Descent
from ._blind_input import from_descent, mean_square, read_blind
from ._factor_steps import row_sweeps, squared_distance
from ._fclsu import fclsu
from ._scaled_pixels import Normalization
from ._scene import Scene
from ._unmixing import Unmixing


def nmf(
    pixels: ArrayLike | Scene,
    num_endmembers: int,
    *,
    key: PRNGKeyArray,
    sum_to_one: ArrayLike = 1.0,
    inner_steps: int = 4,
    max_steps: int = 200,
    tol: ArrayLike = 1e-4,
    normalization: Normalization = "pixel_l2",
    mask: ArrayLike | None = None,
) -> Unmixing:
    """Blind unmixing by nonnegative matrix factorization, `min |Y - E A|^2 / 2` over nonnegative E and A.

    Hierarchical alternating least squares: each row of A and each column of E is minimized exactly in turn, several
    times before the other factor, from pixels that VCA picks. The objective never rises. A row of ones appended
    to Y and E draws the sums of the abundances towards one. The factorization of a scene is not unique, and this
    method takes one near its start; see `mvc_nmf`.

    Args:
        pixels: matrix (L, N), cube (H, W, L), or `Scene`; any unit. Negative entries stay, and are fitted from above.
        num_endmembers: p, at least 2 and at most L; static.
        key: random key of the start; `jax.vmap` over keys for a batch of starts.
        sum_to_one: weight of the appended row, relative to the root mean square of the norms of the pixels; 0 leaves
            the sums free.
        inner_steps: sweeps over one factor before the other.
        max_steps: bound on the number of outer steps.
        tol: the end, when the objective falls in an outer step by less than this, relative to itself.
        normalization: as in `edaa`.
        mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite are left out anyway, and zero ones
            where pixels are normalized.

    Returns:
        `Unmixing` with endmembers (L, p) of the normalized pixels, abundances (p, N) or maps (NaN where masked), and
        in `diagnostics` the "loss" after each step (NaN beyond the last; with the appended row) and "num_steps".

    Raises:
        ValueError: for a setting out of range, an unknown name, or pixels of a wrong shape.

    Source: N. Gillis, F. Glineur, "Accelerated multiplicative updates and hierarchical ALS algorithms for nonnegative
    matrix factorization", 2012.

    Example:
        >>> import jax
        >>> from jaxopt_thoth import unmixing
        >>> scene = unmixing.simulate_scene(jax.random.key(0), height=12, width=12, num_bands=20)
        >>> found = unmixing.nmf(scene, 3, key=jax.random.key(1), max_steps=5)
        >>> found.endmembers.shape, found.abundances.shape
        ((20, 3), (3, 144))
    """
    task = read_blind(pixels, num_endmembers, key, mask, normalization, max_steps, tol)
    require_nonnegative(sum_to_one, "sum_to_one")
    if inner_steps < 1:
        raise ValueError(f"inner_steps must be at least 1, got {inner_steps}.")
    weight = _tree.setting(sum_to_one).astype(task.pixels.dtype) ** 2 * mean_square(task)
    found = _descend(
        task.pixels, task.used, task.first, weight, _tree.setting(tol), inner_steps=inner_steps, max_steps=max_steps
    )
    endmembers, abundances = found.factors
    return from_descent(task, endmembers, abundances, found)


@partial(jax.jit, static_argnames=("inner_steps", "max_steps"))
def _descend(
    pixels: Float[Array, "L N"],
    used: Bool[Array, " N"],
    first: Int[Array, " p"],
    weight: Scalar,
    tol: Scalar,
    *,
    inner_steps: int,
    max_steps: int,
) -> Descent:
    matmul = partial(jnp.matmul, precision="highest")
    # Columns of zeros would otherwise be drawn towards a sum of one.
    ones = used.astype(pixels.dtype)[None, :]

    def loss(endmembers: Array, abundances: Array) -> Scalar:
        sums = jnp.sum(abundances, axis=0, keepdims=True)
        return squared_distance(pixels, endmembers, abundances) + weight * jnp.sum((sums - ones) ** 2) / 2

    def sweep(factors: tuple[Array, Array]) -> tuple[tuple[Array, Array], Scalar]:
        endmembers, abundances = factors
        gram = matmul(endmembers.T, endmembers) + weight
        cross = matmul(endmembers.T, pixels) + weight * ones
        abundances = row_sweeps(gram, cross, abundances, inner_steps)
        squares, products = matmul(abundances, abundances.T), matmul(abundances, pixels.T)
        endmembers = row_sweeps(squares, products, endmembers.T, inner_steps).T
        return (endmembers, abundances), loss(endmembers, abundances)

    endmembers = jnp.maximum(pixels[:, first], 0)
    abundances = fclsu(pixels, endmembers) * ones
    return alternate(sweep, (endmembers, abundances), loss(endmembers, abundances), tol, max_steps)
