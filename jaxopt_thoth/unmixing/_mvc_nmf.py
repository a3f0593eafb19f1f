from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative
from ..penalties import NonNegative
from ..problems import Composite
from ..smooth import AbstractSmooth
from ..solvers import ProximalGradient
from ._alternate import alternate, Descent
from ._blind_input import from_descent, mean_square, read_blind
from ._factor_steps import squared_distance
from ._fclsu import fclsu
from ._scaled_pixels import Normalization
from ._scene import Scene
from ._unmixing import Unmixing


def mvc_nmf(
    pixels: ArrayLike | Scene,
    num_endmembers: int,
    *,
    key: PRNGKeyArray,
    volume: ArrayLike = 1e-4,
    inner_steps: int = 4,
    max_steps: int = 500,
    tol: ArrayLike = 1e-5,
    normalization: Normalization = "pixel_l2",
    mask: ArrayLike | None = None,
) -> Unmixing:
    """Nonnegative matrix factorization whose endmembers span a simplex of small volume; needs no pure pixels.

    `min |Y - E A|^2 / 2 + strength det^2 [1'; U'(E - m 1')] / 2` over nonnegative E and the columns of A in the unit
    simplex, U the p - 1 principal components of the pixels about their mean m: the determinant is (p - 1)! times
    the volume of the endmembers seen there. Projected gradient steps in E with a line search, and A exactly by fully
    constrained least squares, in turn, from pixels that VCA picks. The objective never rises.

    Args:
        pixels, num_endmembers, key, inner_steps, max_steps, tol, normalization, mask: as in `nmf`; `inner_steps` counts
            the steps in E.
        volume: the strength relative to the pixels, whatever their unit: the penalty is `volume / 2` times the sum of
            the squared norms of the pixels for a simplex in which uniformly distributed pixels would have their
            covariance. The fit pays for a smaller volume: 1e-5 suits data that mix linearly with little noise, 1e-2
            data that do not.

    Returns:
        `Unmixing` with endmembers (L, p) of the normalized pixels, abundances (p, N) or maps (NaN where masked), and
        in `diagnostics` the "loss" after each step (NaN beyond the last) and "num_steps".

    Raises:
        ValueError: for a setting out of range, an unknown name, or pixels of a wrong shape.

    Source: L. Miao, H. Qi, "Endmember extraction from highly mixed data using minimum volume constrained nonnegative
    matrix factorization", 2007.

    Example:
        >>> import jax
        >>> from jaxopt_thoth import unmixing
        >>> scene = unmixing.simulate_scene(jax.random.key(0), height=12, width=12, num_bands=20)
        >>> found = unmixing.mvc_nmf(scene, 3, key=jax.random.key(1), max_steps=5)
        >>> found.endmembers.shape, found.abundances.shape
        ((20, 3), (3, 144))
    """
    task = read_blind(pixels, num_endmembers, key, mask, normalization, max_steps, tol)
    require_nonnegative(volume, "volume")
    if inner_steps < 1:
        raise ValueError(f"inner_steps must be at least 1, got {inner_steps}.")
    total = mean_square(task) * jnp.sum(task.used).astype(task.pixels.dtype)
    strength = _tree.setting(volume).astype(task.pixels.dtype) * total
    found = _descend(
        task.pixels, task.used, task.first, strength, _tree.setting(tol), inner_steps=inner_steps, max_steps=max_steps
    )
    endmembers, abundances = found.factors
    return from_descent(task, endmembers, abundances, found)


class SimplexVolume(AbstractSmooth):
    """`<E, E S> / 2 - <C, E> + strength det^2(T E + b) / 2`, the fit and the volume of endmembers E (L, p).

    T (p, L) has a first row of zeros and b a first one of ones, the others are the principal components.
    """

    squares: Float[Array, "p p"]
    products: Float[Array, "L p"]
    components: Float[Array, "p L"]
    offset: Float[Array, " p"]
    strength: Scalar

    def determinant(self, endmembers: Float[Array, "L p"]) -> Scalar:
        inside = jnp.matmul(self.components, endmembers, precision="highest")
        return jnp.linalg.det(inside + self.offset[:, None])

    def value(self, params: Float[Array, "L p"]) -> Scalar:
        curved = jnp.matmul(params, self.squares, precision="highest")
        return jnp.sum(params * (curved / 2 - self.products)) + self.strength * self.determinant(params) ** 2 / 2


@partial(jax.jit, static_argnames=("inner_steps", "max_steps"))
def _descend(
    pixels: Float[Array, "L N"],
    used: Bool[Array, " N"],
    first: Int[Array, " p"],
    strength: Scalar,
    tol: Scalar,
    *,
    inner_steps: int,
    max_steps: int,
) -> Descent:
    matmul = partial(jnp.matmul, precision="highest")
    p = first.shape[0]
    dtype = pixels.dtype
    members = used.astype(dtype)
    mean = jnp.sum(pixels, axis=1) / jnp.maximum(jnp.sum(members), 1)
    centered = (pixels - mean[:, None]) * members[None, :]
    scatter, axes = jnp.linalg.eigh(matmul(centered, centered.T) / jnp.maximum(jnp.sum(members), 1))
    scatter, axes = scatter[::-1][: p - 1], axes[:, ::-1][:, : p - 1]
    components = jnp.concatenate([jnp.zeros((1, mean.shape[0]), dtype), axes.T])
    offset = jnp.concatenate([jnp.ones(1, dtype), -matmul(axes.T, mean)])
    endmembers = jnp.maximum(pixels[:, first], 0)
    blank = SimplexVolume(jnp.zeros((p, p), dtype), jnp.zeros_like(endmembers), components, offset, jnp.ones((), dtype))
    # Pixels uniform in a simplex have the covariance `V V' / (p (p + 1))`, V its vertices about their mean, and the
    # squared determinant of the vertices is p times that of V V'.
    reference = p * jnp.prod(p * (p + 1) * scatter)
    unit = jnp.where(reference > 0, strength / jnp.where(reference > 0, reference, 1), 0)
    solver = ProximalGradient(accelerated=False)

    def loss(endmembers: Array, abundances: Array) -> Scalar:
        return squared_distance(pixels, endmembers, abundances) + unit * blank.determinant(endmembers) ** 2 / 2

    def sweep(factors: tuple[Array, Array]) -> tuple[tuple[Array, Array], Scalar]:
        endmembers, abundances = factors
        smooth = SimplexVolume(matmul(abundances, abundances.T), matmul(pixels, abundances.T), components, offset, unit)
        problem = Composite(smooth, NonNegative())
        state = solver.init(problem, endmembers)
        endmembers = jax.lax.fori_loop(
            0, inner_steps, lambda _, carry: solver.step(problem, *carry), (endmembers, state)
        )[0]
        abundances = fclsu(pixels, endmembers) * members[None, :]
        return (endmembers, abundances), loss(endmembers, abundances)

    abundances = fclsu(pixels, endmembers) * members[None, :]
    return alternate(sweep, (endmembers, abundances), loss(endmembers, abundances), tol, max_steps)
