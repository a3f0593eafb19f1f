from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from .. import _tree
from .._loop import while_loop
from .._result import RESULTS
from .._types import IntScalar, Scalar
from .._validate import require_nonnegative
from ._fclsu import fclsu
from ._library_input import from_factors, read_library
from ._library_simplex import combine_atoms
from ._scene import Scene
from ._unmixing import Unmixing


def sunaa(
    pixels: ArrayLike | Scene,
    library: ArrayLike,
    *,
    num_endmembers: int,
    key: PRNGKeyArray | None = None,
    max_steps: int = 500,
    tol: ArrayLike = 1e-6,
    mask: ArrayLike | None = None,
) -> Unmixing:
    """Sparse unmixing by archetypal analysis, `min |Y - D B A|^2 / 2`, the columns of A and B in unit simplices.

    Endmembers are convex combinations of atoms of the library, one exact problem for each in turn, and abundances exact
    by fully constrained least squares; there is no strength to choose. Only products of the size of the endmembers
    see the pixels, twice a step: the residual is never formed. The start, all weights alike, is broken by taking the
    endmembers one after another, so that nothing is random. The objective never rises.

    Args:
        pixels: matrix (L, N), cube (H, W, L), or `Scene`.
        library: (L, M) spectra of the unit and the dtype of the pixels.
        num_endmembers: p; static.
        key: not used; library methods are called alike.
        max_steps: bound on the number of sweeps.
        tol: the end, when the endmembers move in a sweep by less than this, relative to their norm.
        mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite are left out anyway.

    Returns:
        `Unmixing` with `weights` B (M, p), `library_abundances` B A, and in `diagnostics` the `loss` and the
        `num_steps`.

    Raises:
        ValueError: for a library of other bands or dtype, or settings out of range.

    Source: B. Rasti, A. Zouaoui, J. Mairal, J. Chanussot, "SUnAA: Sparse unmixing using archetypal analysis", 2023.

    Example:
        >>> import jax.numpy as jnp
        >>> found = sunaa(jnp.array([[1.0, 0.5, 0.0], [0.0, 0.5, 1.0], [0.0, 0.0, 0.0]]), jnp.eye(3), num_endmembers=2)
        >>> print(sorted(found.indices.tolist()), f"{float(found.diagnostics['loss']):.2f}")
        [0, 1] 0.00
    """
    task = read_library(pixels, library, num_endmembers, mask)
    require_nonnegative(tol, "tol")
    if max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {max_steps}.")
    weights, abundances, loss, num_steps, done = descend(
        task.pixels, task.library, task.mask, _tree.setting(tol), num_endmembers=num_endmembers, max_steps=max_steps
    )
    result = RESULTS.where(done, RESULTS.converged, RESULTS.max_steps_reached)
    return from_factors(task, weights, abundances, result, {"loss": loss, "num_steps": num_steps})


class _State(NamedTuple):
    weights: Float[Array, "M p"]
    abundances: Float[Array, "p N"]
    change: Scalar
    num_steps: IntScalar


class LibraryProducts(NamedTuple):
    """The library about its mean, and its Gram matrix: weights that sum to one do not see the translation."""

    centered: Float[Array, "L M"]
    mean: Float[Array, " L"]
    gram: Float[Array, "M M"]


def library_products(library: Float[Array, "L M"]) -> LibraryProducts:
    """Products that each sweep over the endmembers needs."""
    mean = jnp.mean(library, axis=1)
    centered = library - mean[:, None]
    return LibraryProducts(centered, mean, _product(centered.T, centered))


def sweep_endmembers(
    products: LibraryProducts, weights: Float[Array, "M p"], target: Float[Array, "L p"], squares: Float[Array, "p p"]
) -> Float[Array, "M p"]:
    """One exact minimization of `|Y - D B A|^2` in each column of B in turn; `target` is Y A', `squares` A A'."""
    tiny = jnp.finfo(target.dtype).tiny

    def one(weights: Array, j: Array) -> tuple[Array, None]:
        spectra = _product(products.centered, weights) + products.mean[:, None]
        weight = squares[j, j]
        step = (target[:, j] - _product(spectra, squares[:, j])) / jnp.maximum(weight, tiny)
        # An endmember that no pixel uses stays.
        aim = spectra[:, j] + jnp.where(weight > tiny, step, 0) - products.mean
        column = combine_atoms(products.gram, _product(products.centered.T, aim), weights[:, j])
        return weights.at[:, j].set(column), None

    return jax.lax.scan(one, weights, jnp.arange(weights.shape[1]))[0]


_product = partial(jnp.matmul, precision="highest")


@partial(jax.jit, static_argnames=("num_endmembers", "max_steps"))
def descend(
    pixels: Array, library: Array, mask: Array, tol: Scalar, *, num_endmembers: int, max_steps: int
) -> tuple[Array, Array, Scalar, IntScalar, Array]:
    """Weights B, abundances A, the objective, the number of sweeps, and whether they settled."""
    atoms, count = library.shape[1], pixels.shape[1]
    products = library_products(library)
    dtype = pixels.dtype

    def step(state: _State) -> _State:
        used = jnp.where(mask[None, :], state.abundances, 0)
        weights = sweep_endmembers(products, state.weights, _product(pixels, used.T), _product(used, used.T))
        spectra, before = _product(library, weights), _product(library, state.weights)
        change = _tree.norm(spectra - before) / jnp.maximum(_tree.norm(spectra), jnp.finfo(dtype).tiny)
        return _State(weights, fclsu(pixels, spectra), change, state.num_steps + 1)

    def unfinished(state: _State) -> Array:
        return (state.change > tol.astype(dtype)) & (state.num_steps < max_steps)

    start = _State(
        jnp.full((atoms, num_endmembers), 1 / atoms, dtype),
        jnp.full((num_endmembers, count), 1 / num_endmembers, dtype),
        jnp.asarray(jnp.inf, dtype),
        jnp.asarray(0, jnp.int32),
    )
    end = while_loop(unfinished, step, jax.lax.stop_gradient(start))
    used = jnp.where(mask[None, :], end.abundances, 0)
    residual = jnp.where(mask[None, :], pixels - _product(_product(library, end.weights), used), 0)
    return end.weights, end.abundances, jnp.sum(residual**2) / 2, end.num_steps, end.change <= tol.astype(dtype)
