from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from .._types import IntScalar, Params
from ._dct_basis import dct_coefficients, dct_columns, expand_columns
from ._wide import wide


class DCTLowRankState(NamedTuple):
    """State of `dct_low_rank`.

    Attributes:
        inner: state of the optimizer, with arrays of `rank` columns in place of the projected ones.
        indices: columns of the basis that each array is projected to; none for one that is left alone.
        residual: what the projections have left out so far, where it is fed back; empty otherwise.
        num_steps: number of steps.
    """

    inner: Any
    indices: Params
    residual: Params
    num_steps: IntScalar


def dct_low_rank(
    optimizer: optax.GradientTransformation,
    rank: int,
    *,
    every: int = 1,
    error_feedback: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """An optimizer run in the `rank` cosine basis vectors nearest to each gradient: less state, and no decomposition.

    The rows of a matrix of gradients (its columns, if these are shorter) are transformed by a fast cosine transform;
    the columns of largest norm are kept, the optimizer sees them alone, an array (m, rank), and its updates are
    transformed back. Only their indices are stored. When they change, what the optimizer holds of the shape of the
    gradients moves along: `Q_old' Q_new` of two choices from one orthonormal basis matches common columns, and new
    ones start at zero. So around `optax.scale_by_adam` it is DCT-AdamW. What is left out of a gradient is at most
    `(1 - rank / n) |G|^2`, n the shorter side; with `error_feedback` it is added to the next gradient, for one array
    of the size of the gradient in state.

    Vectors, and matrices with no side above `rank`, go to the optimizer as they are. It sees weights projected alike:
    put weight decay that shall reach all of a weight behind the wrapper. Arrays of more than two axes are seen as
    (first axis, all others).

    I.-V. Modoranu, M. Safaryan, E. Schultheis, M. Ryabinin, A. Chumachenko and D. Alistarh, "FFT-based dynamic subspace
    selection for low-rank adaptive optimization of large language models", 2025; theirs may store the residual in a few
    bits, which is not done here.

    Args:
        optimizer: any transformation whose state has the shapes of its gradients, or scalars: not Adafactor.
        rank: number of columns kept.
        every: number of steps from one choice of columns to the next.
        error_feedback: whether what was left out is added to the next gradient.

    Raises:
        TypeError: if `optimizer` is no gradient transformation.
        ValueError: if a setting is out of range; for an optimizer with a state that cannot be moved.

    Example:
        >>> import jax, jax.numpy as jnp, optax, jaxopt_thoth as jt
        >>> optimizer = jt.gradients.dct_low_rank(optax.adam(0.1), rank=2)
        >>> state = optimizer.init(jnp.zeros((6, 5)))
        >>> print(sorted({leaf.shape for leaf in jax.tree.leaves(state.inner)}))
        [(), (6, 2)]
    """
    if not isinstance(optimizer, optax.GradientTransformation):
        raise TypeError(f"optimizer must be an optax.GradientTransformation, got {type(optimizer).__name__}.")
    for value, name in ((rank, "rank"), (every, "every")):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number from 1 up, got {value!r}.")
    inner = optax.with_extra_args_support(optimizer)

    def init(params: Params) -> DCTLowRankState:
        indices = jax.tree.map(lambda leaf: jnp.arange(rank if _is_reduced(leaf, rank) else 0, dtype=jnp.int32), params)
        residual = jax.tree.map(
            lambda leaf: jnp.zeros_like(wide(leaf) if error_feedback and _is_reduced(leaf, rank) else jnp.zeros(0)),
            params,
        )
        inner_state = inner.init(jax.tree.map(_project, params, indices))
        _move(inner, inner_state, indices, indices)
        return DCTLowRankState(inner_state, indices, residual, jnp.zeros((), jnp.int32))

    def update(
        updates: Params, state: DCTLowRankState, params: Params = None, **extra: Any
    ) -> tuple[Params, DCTLowRankState]:
        gradients = jax.tree.map(_add_residual, updates, state.residual)
        indices = jax.lax.cond(
            state.num_steps % every == 0,
            lambda: jax.tree.map(_choose, gradients, state.indices),
            lambda: state.indices,
        )
        inner_state = _move(inner, state.inner, state.indices, indices)
        low = jax.tree.map(_project, gradients, indices)
        residual = jax.tree.map(_leave_out, gradients, low, indices, state.residual)
        low = jax.tree.map(lambda a, b: a.astype(b.dtype), low, updates)
        low_params = None if params is None else jax.tree.map(_project, params, indices)
        steps, inner_state = inner.update(low, inner_state, low_params, **extra)
        new = jax.tree.map(_back, steps, indices, updates)
        return new, DCTLowRankState(inner_state, indices, residual, optax.safe_increment(state.num_steps))

    return optax.GradientTransformationExtraArgs(init, update)


def _is_reduced(leaf: Array, rank: int) -> bool:
    return jnp.ndim(leaf) > 1 and min(jnp.shape(leaf)[0], jnp.size(leaf) // max(jnp.shape(leaf)[0], 1)) > rank


def _tall(leaf: Array) -> Array:
    """As a matrix whose rows are its shorter side."""
    matrix = leaf.reshape(leaf.shape[0], -1)
    return matrix.T if matrix.shape[0] < matrix.shape[1] else matrix


def _untall(matrix: Array, like: Array) -> Array:
    rows = like.shape[0]
    return (matrix.T if rows < like.size // rows else matrix).reshape(like.shape)


def _project(leaf: Array, indices: Int[Array, " rank"]) -> Array:
    """The coefficients in the chosen columns, in the dtype that came in."""
    return dct_coefficients(_tall(leaf))[:, indices].astype(leaf.dtype) if indices.size else leaf


def _expand(low: Array, indices: Int[Array, " rank"], like: Array) -> Array:
    return _untall(expand_columns(low, indices, _tall(like).shape[1]), like)


def _choose(gradient: Array, indices: Int[Array, " rank"]) -> Int[Array, " rank"]:
    return dct_columns(dct_coefficients(_tall(gradient)), indices.size) if indices.size else indices


def _add_residual(update: Array, residual: Array) -> Array:
    # In the precision of the residual, until the optimizer gets its part.
    return wide(update) + residual if residual.size else update


def _leave_out(gradient: Array, low: Array, indices: Int[Array, " rank"], residual: Array) -> Array:
    return gradient - _expand(low, indices, gradient) if residual.size else residual


def _back(step: Array, indices: Int[Array, " rank"], like: Array) -> Array:
    return _expand(step, indices, like).astype(step.dtype) if indices.size else step


def _move(optimizer: optax.GradientTransformation, state: Any, old: Params, new: Params) -> Any:
    """The state with its arrays of the shape of gradients in the columns `new`, what was in none of `old` zero."""

    def move(leaf: Array, before: Int[Array, " rank"], after: Int[Array, " rank"]) -> Array:
        if not after.size or jnp.ndim(leaf) == 0:
            return leaf
        if jnp.ndim(leaf) != 2 or leaf.shape[1] != after.size:
            raise ValueError(
                f"optimizer must keep arrays of the shape of its gradients, got one of the shape {leaf.shape} for "
                f"{after.size} columns, which cannot be moved to other columns; use for example optax.scale_by_adam()."
            )
        same = before[:, None] == after[None, :]
        moved = jnp.take(leaf, jnp.argmax(same, 0), axis=1)
        return jnp.where(jnp.broadcast_to(jnp.any(same, 0)[None, :], moved.shape), moved, 0)

    return optax.tree_map_params(optimizer, move, state, old, new)
