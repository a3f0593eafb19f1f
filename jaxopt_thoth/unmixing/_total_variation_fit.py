from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jax.scipy.fft import dctn, idctn
from jaxtyping import Array, Bool, Float

from .. import _tree
from .._loop import while_loop
from .._types import IntScalar, Scalar
from ..penalties import AbstractPenalty


# Rho is looked at after this many steps, and then each time that their number has doubled.
_FIRST_LOOK = 8
_product = partial(jnp.matmul, precision="highest")


class SpatialFit(NamedTuple):
    """Minimize `<X, G X> / 2 - <F, X>` over the pixels in use, plus `g(X)`, plus weighted total variation of the maps.

    Attributes:
        gram: G, (k, k); or one a pixel, (N, k, k), the first term then being the sum over pixels.
        cross: F, (k, N).
        penalty: g, of X (k, N).
        edge_weights: weights of the differences to the next row and column, (2, H, W), broadcast.
        strength: of the total variation.
        mask: (N,), the pixels with data.
    """

    gram: Float[Array, "*N k k"]
    cross: Float[Array, "k N"]
    penalty: AbstractPenalty
    edge_weights: Float[Array, "2 H W"]
    strength: Scalar
    mask: Bool[Array, " N"]


class SpatialState(NamedTuple):
    """Copies of the maps and of their differences with scaled multipliers, and where the method stands."""

    copy: Float[Array, "k N"]
    copy_dual: Float[Array, "k N"]
    smooth: Float[Array, "k N"]
    smooth_dual: Float[Array, "k N"]
    edges: Float[Array, "2 k H W"]
    edge_dual: Float[Array, "2 k H W"]
    rho: Scalar
    error: Scalar
    num_steps: IntScalar
    next_look: IntScalar


def differences(maps: Float[Array, "k H W"]) -> Float[Array, "2 k H W"]:
    """Differences to the next row and to the next column, zero at the border."""
    down = jnp.pad(maps[:, 1:] - maps[:, :-1], ((0, 0), (0, 1), (0, 0)))
    right = jnp.pad(maps[:, :, 1:] - maps[:, :, :-1], ((0, 0), (0, 0), (0, 1)))
    return jnp.stack([down, right])


def adjoint_differences(edges: Float[Array, "2 k H W"]) -> Float[Array, "k H W"]:
    """The transpose of `differences`."""
    down, right = edges[0, :, :-1], edges[1, :, :, :-1]
    rows = jnp.pad(down, ((0, 0), (1, 0), (0, 0))) - jnp.pad(down, ((0, 0), (0, 1), (0, 0)))
    columns = jnp.pad(right, ((0, 0), (0, 0), (1, 0))) - jnp.pad(right, ((0, 0), (0, 0), (0, 1)))
    return rows + columns


def start_spatial(maps: Float[Array, "k N"], image: tuple[int, int], rho: Scalar) -> SpatialState:
    """The state at `maps`."""
    zero = jnp.zeros_like(maps)
    edges = differences(maps.reshape(-1, *image))
    return SpatialState(
        maps,
        zero,
        maps,
        zero,
        edges,
        jnp.zeros_like(edges),
        rho.astype(maps.dtype),
        jnp.asarray(jnp.inf, maps.dtype),
        jnp.asarray(0, jnp.int32),
        jnp.asarray(_FIRST_LOOK, jnp.int32),
    )


def fit_spatial(
    problem: SpatialFit, state: SpatialState, *, image: tuple[int, int], coupled: bool, tol: Scalar, max_steps: int
) -> SpatialState:
    """Steps of an alternating direction method in two blocks, until both relative residuals fall below `tol`.

    X and the differences are one block; the copy of X in the set of g, and the one that is differenced, the other.
    Every step is in closed form: that of X by one diagonalization of G, that of the differenced copy by the cosine
    transform, which diagonalizes the differences with free borders. `coupled` shrinks all maps and both directions of
    a pixel together, else each entry alone. The maps are `state.copy`, in the set of g.
    """
    spectrum, basis = jnp.linalg.eigh(problem.gram)
    shared = problem.gram.ndim == 2
    spectrum = jnp.maximum(spectrum, 0)[:, None] if shared else jnp.maximum(spectrum, 0).T
    height, width = image
    dtype = problem.cross.dtype
    waves = [2 - 2 * jnp.cos(jnp.pi * jnp.arange(n, dtype=dtype) / n) for n in image]
    frequencies = 1 + waves[0][:, None] + waves[1][None, :]
    thresholds = (problem.strength * problem.edge_weights)[:, None]

    def solve(right: Array, rho: Scalar) -> Array:
        if shared:
            return _product(basis, _product(basis.T, right) / (spectrum + 2 * rho))
        inside = jnp.einsum("nij,in->jn", basis, right, precision="highest") / (spectrum + 2 * rho)
        return jnp.einsum("nij,jn->in", basis, inside, precision="highest")

    def shrink(edges: Array, rho: Scalar) -> Array:
        if coupled:
            sizes = _tree.safe_sqrt(jnp.sum(edges * edges, axis=(0, 1), keepdims=True))
            level = jnp.max(thresholds, axis=0, keepdims=True)
            return edges * jnp.maximum(1 - level / (rho * jnp.where(sizes > 0, sizes, 1)), 0)
        return jnp.sign(edges) * jnp.maximum(jnp.abs(edges) - thresholds / rho, 0)

    def step(state: SpatialState) -> SpatialState:
        rho = state.rho
        # First block.
        right = state.copy - state.copy_dual + state.smooth - state.smooth_dual
        full = solve(problem.cross + rho * right, rho)
        maps = jnp.where(problem.mask[None, :], full, right / 2)
        slopes = differences(state.smooth.reshape(-1, height, width))
        edges = shrink(slopes - state.edge_dual, rho)
        # Second block.
        copy = problem.penalty.prox(maps + state.copy_dual, 1 / rho)
        target = (maps + state.smooth_dual).reshape(-1, height, width) + adjoint_differences(edges + state.edge_dual)
        waves = dctn(target, axes=(1, 2), norm="ortho") / frequencies[None]
        image_smooth = idctn(waves, axes=(1, 2), norm="ortho")
        smooth = image_smooth.reshape(maps.shape)
        new_slopes = differences(image_smooth)
        copy_gap, smooth_gap, edge_gap = maps - copy, maps - smooth, edges - new_slopes
        primal = _tree.norm((copy_gap, smooth_gap, edge_gap))
        dual = rho * _tree.norm((copy - state.copy + smooth - state.smooth, new_slopes - slopes))
        duals = (state.copy_dual + copy_gap, state.smooth_dual + smooth_gap, state.edge_dual + edge_gap)
        entries = maps.size**0.5
        primal_error = primal / (entries * 1e-2 + _tree.norm(copy))
        dual_error = dual / (entries * 1e-2 + rho * _tree.norm(duals))
        num_steps = state.num_steps + 1
        look = num_steps >= state.next_look
        told = look & (primal_error > 0) & (dual_error > 0)
        change = jnp.clip(jnp.sqrt(jnp.where(told, primal_error, 1) / jnp.where(told, dual_error, 1)), 0.1, 10)
        change = jnp.where((change > 2) | (change < 0.5), change, 1)
        return SpatialState(
            copy,
            duals[0] / change,
            smooth,
            duals[1] / change,
            edges,
            duals[2] / change,
            rho * change,
            jnp.maximum(primal_error, dual_error),
            num_steps,
            jnp.where(look, 2 * state.next_look, state.next_look),
        )

    def unfinished(state: SpatialState) -> Array:
        return (state.error > tol) & (state.num_steps < max_steps)

    return while_loop(unfinished, step, state)
