"""Clipped sums of per-example gradients: what the engines share, and the engine by `jax.vmap`."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .. import _tree
from .._types import Params, Scalar
from ._abstract_clipping import AbstractClipping, AbstractNormClipping
from ._ghost import Ghost
from ._per_layer_clip import PerLayerClip


# Of gradients, the total; of examples, how many there were, how many were clipped and how many were not finite.
Sums = tuple[list[Array], tuple[Array, Array, Array]]
# Norms and losses, one an example.
Rows = tuple[Array, Array]


def needs_norms_only(rule: AbstractClipping) -> bool:
    """Whether what the rule multiplies a gradient by depends on the norms of its leaves alone."""
    return isinstance(rule, AbstractNormClipping | PerLayerClip)


def accumulators(leaves: Sequence[Any]) -> list[Any]:
    """The dtypes to add up in: of the parameters, but float32 at least."""
    return [jnp.dtype(jnp.float32) if leaf.dtype.itemsize < 4 else leaf.dtype for leaf in leaves]


def by_vmap(
    loss: Callable[..., Scalar],
    leaves: Sequence[Array],
    rule: AbstractClipping,
    rebuild: Callable[[Sequence[Array]], Params],
    batch: Sequence[Array],
    mask: Bool[Array, " n"] | None,
) -> tuple[Sums, Rows]:
    """The clipped sum of gradients that are all held at once."""
    values, gradients = jax.vmap(lambda x: jax.value_and_grad(loss)(list(leaves), x))(list(batch))
    gradients = [g.astype(dtype) for g, dtype in zip(gradients, accumulators(leaves), strict=True)]
    squares = [jnp.sum(g * g, axis=tuple(range(1, g.ndim))) for g in gradients]
    norms, keep = _norms(squares, mask)
    if needs_norms_only(rule):
        weights, clipped = _weights(rule, squares, norms, rebuild)
        gradients = [_tree.along_rows(w.astype(g.dtype), g) * g for w, g in zip(weights, gradients, strict=True)]
    else:
        gradients = jax.tree.leaves(jax.vmap(rule)(rebuild(gradients)))
        after = [jnp.sum(g * g, axis=tuple(range(1, g.ndim))) for g in gradients]
        clipped = _norms(after, None)[0] < norms
    totals = [jnp.sum(jnp.where(_tree.along_rows(keep, g), g, 0), axis=0) for g in gradients]
    return (totals, _counts(keep, clipped, mask)), _rows(norms, values, mask)


def by_ghost(
    loss: Callable[..., Scalar],
    leaves: Sequence[Array],
    rule: AbstractClipping,
    rebuild: Callable[[Sequence[Array]], Params],
    batch: Sequence[Array],
    mask: Bool[Array, " n"] | None,
) -> tuple[Sums, Rows]:
    """The clipped sum of gradients of which only the norms are formed."""
    ghost = Ghost(loss, leaves, batch, accumulators(leaves))
    squares = [ghost.squared_norms(index) for index in range(len(leaves))]
    norms, keep = _norms(squares, mask)
    weights, clipped = _weights(rule, squares, norms, rebuild)
    totals = [ghost.weighted_sum(index, w, keep) for index, w in enumerate(weights)]
    return (totals, _counts(keep, clipped, mask)), _rows(norms, ghost.values, mask)


def total_norms(squares: Sequence[Float[Array, " n"]]) -> Float[Array, " n"]:
    """Norms of whole gradients from the squared norms of their leaves."""
    dtype = max((s.dtype for s in squares), key=lambda kind: kind.itemsize)
    return _tree.safe_sqrt(sum((s.astype(dtype) for s in squares[1:]), squares[0].astype(dtype)))


def _norms(squares: Sequence[Array], mask: Array | None) -> tuple[Array, Array]:
    norms = total_norms(squares)
    finite = jnp.isfinite(norms)
    return norms, finite if mask is None else finite & mask


def _weights(
    rule: AbstractClipping, squares: Sequence[Array], norms: Array, rebuild: Callable[[Sequence[Array]], Params]
) -> tuple[list[Array], Array]:
    """For each leaf what its gradients are multiplied by, and which examples that shortens."""
    # A derivative with respect to the level would otherwise be NaN where the norm is.
    tame = [jnp.where(jnp.isfinite(norms), s, 0) for s in squares]
    if isinstance(rule, AbstractNormClipping):
        weights = [jax.vmap(rule.factor)(total_norms(tame))] * len(squares)
    else:
        lengths = [_tree.safe_sqrt(s) for s in tame]
        after = jax.tree.leaves(jax.vmap(rule)(rebuild(lengths)))
        # A leaf without a gradient in this example adds zero whatever it is multiplied by.
        weights = [jnp.where(a > 0, b / jnp.where(a > 0, a, 1), 1) for a, b in zip(lengths, after, strict=True)]
    shortened = [(w < 1) & (s > 0) for w, s in zip(weights, tame, strict=True)]
    return weights, jnp.any(jnp.stack(shortened), axis=0)


def _counts(keep: Array, clipped: Array, mask: Array | None) -> tuple[Array, Array, Array]:
    inside = jnp.ones_like(keep) if mask is None else jnp.ones_like(keep) & mask
    count = lambda flags: jnp.sum(flags, dtype=jnp.int32)
    return count(inside), count(clipped & keep), count(inside & ~keep)


def _rows(norms: Array, values: Array, mask: Array | None) -> Rows:
    if mask is None:
        return norms, values
    return jnp.where(mask, norms, 0), jnp.where(mask, values, 0)
