"""Sums over a batch in chunks, one after the other."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

from .. import _loop, _tree


# Sums are added up, the rest is one entry an example.
Chunk = Callable[[Any, Bool[Array, " m"] | None], tuple[Any, Any]]


def in_chunks(chunk: Chunk, batch: Any, mask: Bool[Array, " n"] | None, size: int) -> tuple[Any, Any]:
    """`chunk(batch, mask)`, a pair of sums and of arrays with a leading axis, over at most `size` examples at a time.

    Chunks without an example inside of the mask are skipped.
    """
    number = len(jax.tree.leaves(batch)[0])
    if number <= size:
        return chunk(batch, mask)
    count = -(-number // size)
    missing = count * size - number
    if missing:
        mask = jnp.ones(number, bool) if mask is None else mask
        mask = jnp.concatenate([mask, jnp.zeros(missing, bool)])
        # Copies of an example, since a loss may be undefined at zero.
        batch = jax.tree.map(lambda a: jnp.concatenate([a, jnp.broadcast_to(a[-1:], (missing, *a.shape[1:]))]), batch)
    fold = lambda a: a.reshape(count, size, *a.shape[1:])
    chunks = (jax.tree.map(fold, batch), None if mask is None else fold(mask))
    shapes = jax.eval_shape(chunk, *jax.tree.map(lambda a: a[0], chunks))
    blank = jax.tree.map(lambda kind: _loop.match_varying(jnp.zeros(kind.shape, kind.dtype), kind), shapes)

    def step(sums: Any, piece: tuple[Any, Bool[Array, " m"] | None]) -> tuple[Any, Any]:
        inside = piece[1]
        part, rows = (
            chunk(*piece) if inside is None else lax.cond(jnp.any(inside), chunk, lambda *_: blank, piece[0], inside)
        )
        return _tree.add(sums, part), rows

    sums, rows = lax.scan(step, blank[0], chunks)
    return sums, jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:number], rows)
