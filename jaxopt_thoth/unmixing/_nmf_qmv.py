from functools import partial
from typing import Any, get_args, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative
from ._alternate import alternate, Descent
from ._blind_input import from_descent, read_blind
from ._factor_steps import row_sweeps, squared_distance
from ._fclsu import fclsu
from ._scaled_pixels import Normalization
from ._scene import Scene
from ._unmixing import Unmixing


Volume = Literal["total_variation", "center", "boundary"]
# How far the misfit may rise, relative to that of the smallest weight.
_RISE = 0.01
# Weights that are tried where none is given.
_EXPONENTS = tuple(-6 + k / 2 for k in range(12))


def nmf_qmv(
    pixels: ArrayLike | Scene,
    num_endmembers: int,
    *,
    key: PRNGKeyArray,
    volume: ArrayLike | None = None,
    regularizer: Volume = "boundary",
    inner_steps: int = 4,
    max_steps: int = 500,
    tol: ArrayLike = 1e-5,
    normalization: Normalization = "pixel_l2",
    mask: ArrayLike | None = None,
) -> Unmixing:
    """Nonnegative matrix factorization with a quadratic stand-in for the volume, whose weight the data choose.

    `min |Y - E A|^2 / 2 + volume * N / 2 * V(E)` over nonnegative E and the columns of A in the unit simplex. V is
    the sum of the squared distances between all pairs of endmembers ("total_variation"), of the endmembers to the
    mean pixel ("center"), or to the pixels that VCA picks ("boundary", which did best on simulated scenes). A exactly
    by fully constrained least squares and E by cycles over its columns, in turn, from those pixels. The objective
    never rises.

    Without a `volume` twelve weights from 1e-6 to 3e-1 are tried. Too large a weight shrinks the simplex into the
    cloud of pixels, and the misfit grows with it; a small one leaves the simplex around it, and the misfit at the level
    of the noise. The largest weight is taken up to which the misfit stays within a hundredth of that of the smallest:
    the transition is the published idea, the hundredth ours.

    Args:
        pixels, num_endmembers, key, inner_steps, max_steps, tol, normalization, mask: as in `nmf`.
        volume: nonnegative weight, without a unit; None tries twelve.
        regularizer: name of V; static.

    Returns:
        `Unmixing` with endmembers (L, p) of the normalized pixels, abundances (p, N) or maps (NaN where masked), and
        in `diagnostics` the "loss" after each step (NaN beyond the last), "num_steps", the "volume" weight, and for a
        choice of it the weights "tried" and the "misfit" of each.

    Raises:
        ValueError: for a setting out of range, an unknown name, or pixels of a wrong shape.

    Source: L. Zhuang, C.-H. Lin, M. A. T. Figueiredo, J. M. Bioucas-Dias, "Regularization parameter selection in
    minimum volume hyperspectral unmixing", 2019.

    Example:
        >>> import jax
        >>> from jaxopt_thoth import unmixing
        >>> scene = unmixing.simulate_scene(jax.random.key(0), height=12, width=12, num_bands=20)
        >>> found = unmixing.nmf_qmv(scene, 3, key=jax.random.key(1), volume=1e-3, max_steps=5)
        >>> found.endmembers.shape, found.abundances.shape
        ((20, 3), (3, 144))
    """
    if regularizer not in get_args(Volume):
        raise ValueError(f"regularizer must be one of {get_args(Volume)}, got {regularizer!r}.")
    task = read_blind(pixels, num_endmembers, key, mask, normalization, max_steps, tol)
    if inner_steps < 1:
        raise ValueError(f"inner_steps must be at least 1, got {inner_steps}.")
    dtype = task.pixels.dtype
    data = (task.pixels, task.used, task.first, _tree.setting(tol))
    counts = {"inner_steps": inner_steps, "max_steps": max_steps}
    if volume is not None:
        require_nonnegative(volume, "volume")
        weight = _tree.setting(volume).astype(dtype)
        found, _ = _descend(*data, weight, regularizer=regularizer, **counts)
        endmembers, abundances = found.factors
        return from_descent(task, endmembers, abundances, found, volume=weight)
    tried = jnp.asarray([10**e for e in _EXPONENTS], dtype)
    runs, misfit = _descend_each(*data, tried, regularizer=regularizer, **counts)
    chosen = transition(misfit)
    found = jax.tree.map(lambda x: x[chosen], runs)
    endmembers, abundances = found.factors
    return from_descent(task, endmembers, abundances, found, volume=tried[chosen], tried=tried, misfit=misfit)


def transition(misfit: Float[Array, " k"]) -> Int[Array, ""]:
    """Last place up to which the misfit stays at the level of the first."""
    level = jnp.cumsum(misfit > (1 + _RISE) * misfit[0]) == 0
    return jnp.sum(level) - 1


class _Quadratic(NamedTuple):
    """`V(E) = <E, E S> - 2 <E, T> + constant`."""

    squares: Float[Array, "p p"]
    target: Float[Array, "L p"]
    constant: Scalar


def _volume(regularizer: Volume, mean: Float[Array, " L"], picked: Float[Array, "L p"]) -> _Quadratic:
    p, dtype = picked.shape[1], picked.dtype
    identity = jnp.eye(p, dtype=dtype)
    if regularizer == "total_variation":
        return _Quadratic(p * identity - jnp.ones((p, p), dtype), jnp.zeros_like(picked), jnp.zeros((), dtype))
    target = jnp.broadcast_to(mean[:, None], picked.shape) if regularizer == "center" else picked
    return _Quadratic(identity, target, jnp.sum(target * target))


@partial(jax.jit, static_argnames=("regularizer", "inner_steps", "max_steps"))
def _descend(
    pixels: Float[Array, "L N"],
    used: Bool[Array, " N"],
    first: Int[Array, " p"],
    tol: Scalar,
    volume: Scalar,
    *,
    regularizer: Volume,
    inner_steps: int,
    max_steps: int,
) -> tuple[Descent, Scalar]:
    matmul = partial(jnp.matmul, precision="highest")
    members = used.astype(pixels.dtype)[None, :]
    count = jnp.maximum(jnp.sum(members), 1)
    picked = jnp.maximum(pixels[:, first], 0)
    quadratic = _volume(regularizer, jnp.sum(pixels, axis=1) / count, picked)
    weight = volume * count

    def loss(endmembers: Array, abundances: Array) -> Scalar:
        curved = matmul(endmembers, quadratic.squares) - 2 * quadratic.target
        extent = jnp.sum(endmembers * curved) + quadratic.constant
        return squared_distance(pixels, endmembers, abundances) + weight * extent / 2

    def sweep(factors: tuple[Array, Array]) -> tuple[tuple[Array, Array], Scalar]:
        endmembers, abundances = factors
        squares = matmul(abundances, abundances.T) + weight * quadratic.squares
        products = matmul(abundances, pixels.T) + weight * quadratic.target.T
        endmembers = row_sweeps(squares, products, endmembers.T, inner_steps).T
        abundances = fclsu(pixels, endmembers) * members
        return (endmembers, abundances), loss(endmembers, abundances)

    abundances = fclsu(pixels, picked) * members
    found = alternate(sweep, (picked, abundances), loss(picked, abundances), tol, max_steps)
    return found, squared_distance(pixels, *found.factors)


@partial(jax.jit, static_argnames=("regularizer", "inner_steps", "max_steps"))
def _descend_each(
    pixels: Float[Array, "L N"],
    used: Bool[Array, " N"],
    first: Int[Array, " p"],
    tol: Scalar,
    volumes: Float[Array, " k"],
    *,
    regularizer: Volume,
    inner_steps: int,
    max_steps: int,
) -> tuple[Descent, Float[Array, " k"]]:
    settings: dict[str, Any] = {"regularizer": regularizer, "inner_steps": inner_steps, "max_steps": max_steps}
    return jax.lax.map(lambda volume: _descend(pixels, used, first, tol, volume, **settings), volumes)
