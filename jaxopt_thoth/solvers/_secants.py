"""Secant pairs in limited memory, and the inverse metric that they define on some of the entries."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from .. import _tree
from .._types import BoolScalar, Params, Scalar


class Pairs(eqx.Module):
    """The last m differences of iterates and of gradients, newest last; blank ones are zero.

    Attributes:
        moves: differences of iterates, each leaf with a leading axis of length m.
        changes: differences of gradients, likewise.
    """

    moves: Params
    changes: Params


def blank_pairs(params: Params, count: int) -> Pairs:
    """A memory of `count` pairs that are all blank."""
    blank = jax.tree.map(lambda x: jnp.zeros((count, *x.shape), x.dtype), params)
    return Pairs(blank, blank)


def push_pair(pairs: Pairs, move: Params, change: Params, wanted: BoolScalar) -> tuple[Pairs, Scalar, BoolScalar]:
    """The memory with a new pair, if wanted and of positive curvature; its inverse curvature; whether it was kept."""
    product, squared = _tree.vdot(move, change), _tree.squared_norm(change)
    least = jnp.finfo(product.dtype).eps * _tree.norm(move) * _tree.norm(change)
    kept = wanted & (product > least) & (squared > 0)
    push = lambda memory, x: jnp.concatenate([memory[1:], x[None]])
    pushed = Pairs(jax.tree.map(push, pairs.moves, move), jax.tree.map(push, pairs.changes, change))
    inverse_curvature = product / jnp.where(squared > 0, squared, 1)
    return _tree.where(kept, pushed, pairs), inverse_curvature, kept


def apply_inverse(pairs: Pairs, gradient: Params, free: Params, scale: Scalar) -> Params:
    """Product of the inverse metric with `gradient`: L-BFGS on the free entries, `scale` on the others.

    Pairs are restricted to the free entries, and those without positive curvature there are passed over, so that
    the metric is positive definite.
    """
    cut = lambda memory: jax.tree.map(lambda f, x: jnp.where(f[None], x, 0), free, memory)
    moves, changes = cut(pairs.moves), cut(pairs.changes)
    products = jax.vmap(_tree.vdot)(moves, changes)
    sizes = jax.vmap(_tree.squared_norm)(changes)
    lengths = jax.vmap(_tree.squared_norm)(moves)
    valid = products > jnp.finfo(products.dtype).eps * jnp.sqrt(sizes * lengths)
    inverse = jnp.where(valid, 1 / jnp.where(valid, products, 1), 0)
    newest = jnp.max(jnp.where(valid, jnp.arange(valid.size), -1))
    start = jnp.where(newest >= 0, products[newest] / jnp.where(valid, sizes, 1)[newest], scale)

    def backward(q, pair):
        move, change, weight = pair
        alpha = weight * _tree.vdot(move, q)
        return _tree.add_scaled(q, -alpha, change), alpha

    def forward(r, pair):
        move, change, weight, alpha = pair
        return _tree.add_scaled(r, alpha - weight * _tree.vdot(change, r), move), None

    q = jax.tree.map(lambda f, g: jnp.where(f, g, 0), free, gradient)
    q, alphas = lax.scan(backward, q, (moves, changes, inverse), reverse=True)
    r, _ = lax.scan(forward, _tree.scale(start, q), (moves, changes, inverse, alphas))
    return jax.tree.map(lambda f, a, g: jnp.where(f, a, scale.astype(g.dtype) * g), free, r, gradient)
