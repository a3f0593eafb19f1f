"""Squared norms of the gradient of one example by what enters and what leaves a layer, without the gradient."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .. import _tree
from .._types import Scalar
from ._ghost_trace import Use


_HIGHEST = lax.Precision.HIGHEST


class Shape(NamedTuple):
    """The size of a factor: G blocks of T positions, p numbers in and o numbers out, and which axes they stand for."""

    blocks: int
    positions: int
    width_in: int
    width_out: int
    dims_in: tuple[int, ...] | None
    dims_out: tuple[int, ...] | None
    picks: bool


class Factor(NamedTuple):
    """The gradient `sum_t left[g, t]^T right[g, t]`, `left` (G, T, p) or, where rows are picked, their ids (T,)."""

    left: Array
    right: Array
    shape: Shape


def shape_of(use: Use, index: int) -> Shape | None:
    """The shape of the factor that `factor` gives, or None where no rule holds for this use."""
    if len(use.views) != 1 or len(use.traced) != 1:
        return None
    ((place, view),) = use.views.items()
    operation, settings = use.operation, use.operation.settings
    if operation.name == "dot_general":
        contracting, batch = (pair[place] for pair in settings["dimension_numbers"])
        free = tuple(at for at in range(len(view.shape)) if at not in contracting and at not in batch)
        size = lambda axes: math.prod(view.shape[at] for at in axes)
        total = math.prod(operation.avals[0].shape)
        positions = total // max(1, size(batch) * size(free))
        named = (None, None) if batch else (_named(view.dims, contracting, view), _named(view.dims, free, view))
        return Shape(size(batch), positions, size(contracting), size(free), *named, False)
    if operation.name == "conv_general_dilated" and place == 1 and settings["batch_group_count"] == 1:
        out, inner, *window = settings["dimension_numbers"].rhs_spec
        groups, width = settings["feature_group_count"], view.shape[out]
        named = (_named(view.dims, (inner, *window), view), _named(view.dims, (out,), view))
        positions = math.prod(operation.avals[0].shape) // max(1, width)
        size = math.prod(view.shape) // max(1, width)
        return Shape(groups, positions, size, width // groups, *((None, None) if groups > 1 else named), False)
    picked = _picked(use) if place == 0 else None
    if picked is None:
        return None
    rest = tuple(at for at in range(len(view.shape)) if at != picked)
    width = math.prod(view.shape[at] for at in rest)
    named = (_named(view.dims, (picked,), view), _named(view.dims, rest, view))
    positions = math.prod(operation.avals[0].shape) // max(1, width)
    return Shape(1, positions, view.shape[picked], width, *named, True)


def _named(dims: tuple[int | None, ...] | None, axes: Sequence[int], view: Any) -> tuple[int, ...] | None:
    if dims is None:
        return None
    return tuple(dim for at in axes if view.shape[at] > 1 and (dim := dims[at]) is not None)


def _picked(use: Use) -> int | None:
    """The axis along which whole rows are looked up, if that is what the operation does."""
    ((_, view),) = use.views.items()
    settings = use.operation.settings
    if use.operation.name not in ("dynamic_slice", "gather"):
        return None
    sizes = settings["slice_sizes"]
    partial = [at for at, size in enumerate(sizes) if size != view.shape[at]]
    # With a single row in the table, every axis is read in full.
    if len(partial) != 1 or sizes[partial[0]] != 1:
        return None
    if use.operation.name == "gather":
        numbers, clips = settings["dimension_numbers"], settings["mode"] == lax.GatherScatterMode.CLIP
        if numbers.operand_batching_dims or partial[0] not in numbers.start_index_map:
            return None
        # Elsewhere an index along an axis read in full may put a row out of bounds.
        if not clips and len(numbers.start_index_map) > 1:
            return None
    return partial[0]


def factor(use: Use, shape: Shape, record: Sequence[Any], derivative: Array, dtype: Any) -> Factor:
    """The factor of one example from the inputs and the derivative of the outputs of a use."""
    ((place, view),) = use.views.items()
    settings, groups = use.operation.settings, shape.blocks
    inputs = dict(zip(use.recorded, record, strict=True)) | use.constants
    derivative = derivative.astype(dtype)
    if use.operation.name == "dot_general":
        x = jnp.asarray(inputs[1 - place], dtype)
        contracting, batch = (pair[1 - place] for pair in settings["dimension_numbers"])
        free = tuple(at for at in range(x.ndim) if at not in contracting and at not in batch)
        left = x.transpose(*batch, *free, *contracting).reshape(groups, shape.positions, shape.width_in)
        if place == 0:
            right = derivative.reshape(groups, shape.width_out, shape.positions).swapaxes(1, 2)
        else:
            right = derivative.reshape(groups, shape.positions, shape.width_out)
        return Factor(left, right, shape)
    if use.operation.name == "conv_general_dilated":
        numbers = settings["dimension_numbers"]
        x = jnp.asarray(inputs[0], dtype).transpose(numbers.lhs_spec)
        window = [view.shape[at] for at in numbers.rhs_spec[2:]]
        names = ("window_strides", "padding", "lhs_dilation", "rhs_dilation")
        patches = lax.conv_general_dilated_patches(
            x, window, **{name: settings[name] for name in names}, precision=_HIGHEST
        )
        left = patches.reshape(len(x), groups, shape.width_in, -1).transpose(1, 0, 3, 2)
        right = derivative.transpose(numbers.out_spec).reshape(len(x), groups, shape.width_out, -1)
        right = right.transpose(1, 0, 3, 2)
        flat = lambda a: a.reshape(groups, shape.positions, a.shape[-1])
        return Factor(flat(left), flat(right), shape)
    axis = _picked(use)
    assert axis is not None
    if use.operation.name == "dynamic_slice":
        rows = jnp.reshape(inputs[1 + axis], (1,))
        right = derivative.reshape(1, 1, shape.width_out)
        inside = None
    else:
        numbers = settings["dimension_numbers"]
        indices = inputs[1]
        rows = indices[..., numbers.start_index_map.index(axis)].reshape(-1)
        last = numbers.offset_dims
        first = tuple(at for at in range(derivative.ndim) if at not in last)
        right = derivative.transpose(*first, *last).reshape(1, shape.positions, shape.width_out)
        clips = settings["mode"] == lax.GatherScatterMode.CLIP
        inside = None if clips else (rows >= 0) & (rows < view.shape[axis])
    if inside is not None:
        right = jnp.where(inside[None, :, None], right, 0)
    return Factor(jnp.clip(rows, 0, view.shape[axis] - 1), right, shape)


def combine(shapes: Sequence[Shape | None]) -> bool:
    """Whether the factors of all uses of a parameter add up to one expression, at less work than its gradients."""
    known = [shape for shape in shapes if shape is not None]
    if not known or len(known) < len(shapes):
        return False
    if len(known) == 1:
        return known[0].positions == 1 or _needs_gram(known[0])
    ids = [_sides(shape) for shape in known]
    if any(side is None or side != ids[0] for side in ids):
        return False
    lookups = {shape.dims_in for shape in known if shape.picks}
    if len(lookups) > 1:
        return False
    total = sum(shape.positions for shape in known)
    return total * (known[0].width_in + known[0].width_out) <= known[0].width_in * known[0].width_out


def _sides(shape: Shape) -> Any:
    if shape.dims_in is None or shape.dims_out is None or shape.blocks != 1:
        return None
    ordered = all(list(dims) == sorted(dims) for dims in (shape.dims_in, shape.dims_out))
    return frozenset((shape.dims_in, shape.dims_out)) if ordered else None


def _needs_gram(shape: Shape) -> bool:
    """Whether inner products of positions cost less than the gradient of one example."""
    if shape.picks:
        return shape.positions**2 <= shape.width_in * shape.width_out
    return shape.positions * (shape.width_in + shape.width_out) <= shape.width_in * shape.width_out


def squared_norm(factors: Sequence[Factor]) -> Scalar:
    """Squared norm of the sum of the gradients that the factors stand for."""
    if len(factors) == 1 and not factors[0].shape.picks:
        left, right, shape = factors[0]
        if shape.positions == 1:
            return jnp.sum(jnp.sum(left * left, axis=2) * jnp.sum(right * right, axis=2))
    side = next((f.shape.dims_in for f in factors if f.shape.picks), factors[0].shape.dims_in)
    turned = [f if f.shape.picks or f.shape.dims_in == side else Factor(f.right, f.left, f.shape) for f in factors]
    total = bound = jnp.zeros((), factors[0].right.dtype)
    for (i, a), (j, b) in itertools.combinations_with_replacement(enumerate(turned), 2):
        outer = jnp.einsum("gto,gso->gts", a.right, b.right, precision=_HIGHEST)
        inner = _products(a, b)
        total = total + (1 if i == j else 2) * jnp.sum(inner * outer)
        if i == j:
            lengths = [jnp.diagonal(c, axis1=1, axis2=2) for c in (inner, outer)]
            bound = bound + jnp.sum(_tree.safe_sqrt(lengths[0] * lengths[1]))
    # Where positions cancel, what rounding took from the sum would let the gradient exceed its bound: never too short.
    return jnp.maximum(total, 0) + 2 * jnp.finfo(total.dtype).eps * bound**2


def _products(a: Factor, b: Factor) -> Array:
    """Inner products of the left factors at every pair of positions, (G, T, S)."""
    if a.shape.picks and b.shape.picks:
        return (a.left[:, None] == b.left[None, :]).astype(a.right.dtype)[None]
    if a.shape.picks:
        return b.left[:, :, a.left].swapaxes(1, 2)
    if b.shape.picks:
        return a.left[:, :, b.left]
    return jnp.einsum("gtp,gsp->gts", a.left, b.left, precision=_HIGHEST)
