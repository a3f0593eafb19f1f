from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from .._loop import match_carry, Progress
from .._result import RESULTS, Solution
from .._types import Params, Scalar
from ..implicit import AbstractAdjoint, attach, Implicit
from ..problems import Composite
from ..stopping import AbstractStop
from ._base import AbstractSolver
from ._solve import require_parts, solve, solve_frozen


# Rows of one batch of adjoint systems: enough for full matrix products, few enough to be alike.
_ADJOINT_BLOCK = 32


def batch_size(batch: Any, chunk: int) -> int:
    """Length of the leading axis that every leaf of `batch` shares; raises `ValueError` when they do not."""
    lengths = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(batch)}
    if len(lengths) != 1 or () in lengths:
        raise ValueError(f"Every leaf of the batch needs the same leading axis, got leading axes {sorted(lengths)}.")
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}.")
    ((length,),) = lengths
    if length == 0:
        raise ValueError("The batch is empty; pass at least one problem.")
    return length


def _to_blocks(tree: Any, length: int, size: int) -> Any:
    """Leaves (length, ...) as blocks (k, size', ...) with size' <= size, filled up with copies of the last row."""
    num_blocks = -(-length // size)
    size = -(-length // num_blocks)
    padding = num_blocks * size - length

    def split(leaf: jax.Array) -> jax.Array:
        if padding:
            leaf = jnp.concatenate([leaf, jnp.repeat(leaf[-1:], padding, axis=0)])
        return leaf.reshape((num_blocks, size, *leaf.shape[1:]))

    return jax.tree.map(split, tree)


def _from_blocks(tree: Any, length: int) -> Any:
    return jax.tree.map(lambda leaf: leaf.reshape((-1, *leaf.shape[2:]))[:length], tree)


def solve_blocks(
    problem_of: Callable[[Any], Composite],
    batch: Any,
    solver: AbstractSolver,
    params: Params,
    stop: AbstractStop | None,
    adjoint: AbstractAdjoint | None,
    chunk: int,
    warm: bool,
    progress: Progress | None,
    throw: bool,
    order: Array | None = None,
) -> Solution:
    """Solve a batch block after block, each block under `vmap`; with `warm`, each starts where the last one ended.

    `order` is the permutation in which the rows are taken; they come back in their own.
    """
    adjoint = Implicit() if adjoint is None else adjoint
    batch_size(batch, chunk)
    batch = jax.tree.map(jnp.asarray, batch)
    first = problem_of(jax.tree.map(lambda leaf: leaf[0], batch))
    require_parts(first, solver, stop, adjoint)
    params = lax.stop_gradient(first.check(params))
    # Compiled as a whole, and anew at each call: `problem_of` may read what changes between calls.
    run = jax.jit(
        lambda batch, params, order: _run(
            problem_of, batch, solver, params, stop, adjoint, chunk, warm, progress, order
        )
    )
    solution = run(batch, params, order)
    if throw:
        failed = jnp.any(solution.result != RESULTS.converged)
        solution = _worst(solution.result).error_if(solution, failed)
    return solution


def _worst(result: RESULTS) -> RESULTS:
    """The gravest of a batch of results."""
    worst = RESULTS.converged
    for kind in (RESULTS.max_steps_reached, RESULTS.diverged, RESULTS.infeasible, RESULTS.nonfinite):
        worst = RESULTS.where(jnp.any(result == kind), kind, worst)
    return worst


def _run(
    problem_of: Callable[[Any], Composite],
    batch: Any,
    solver: AbstractSolver,
    params: Params,
    stop: AbstractStop | None,
    adjoint: AbstractAdjoint,
    chunk: int,
    warm: bool,
    progress: Progress | None,
    order: Array | None,
) -> Solution:
    length = len(jax.tree.leaves(batch)[0])
    # Rows that are taken out of order are fetched where they are used: sorted copies would be one more pass over them.
    blocks = _to_blocks(batch if order is None else order, length, chunk)
    fetch = (lambda rows: rows) if order is None else lambda rows: jax.tree.map(lambda leaf: leaf[rows], batch)

    def solve_one(item: Any, start: Params) -> Any:
        problem = problem_of(item)
        if adjoint.unrolls:
            return solve(problem, solver, start, stop=stop, adjoint=adjoint), None, None
        return solve_frozen(problem.closed(start), solver, start, stop, adjoint)

    def block(carry: tuple[Params, jax.Array], rows: Any) -> tuple[Any, Any]:
        start, done = carry
        items = fetch(rows)
        size = len(jax.tree.leaves(items)[0])
        if size == 1:
            # Alone, a row needs no mask of those that are done.
            outcome = jax.tree.map(lambda leaf: leaf[None], solve_one(jax.tree.map(lambda leaf: leaf[0], items), start))
        else:
            outcome = jax.vmap(solve_one, in_axes=(0, None))(items, start)
        last = jax.tree.map(lambda leaf: lax.stop_gradient(leaf[-1]), outcome[0].params)
        done = jnp.minimum(done + size, length)
        if progress is not None:
            jax.debug.callback(progress, done, length)
        return (last if warm else start, done), outcome

    first_rows = jax.tree.map(lambda leaf: leaf[0], blocks)
    start = match_carry(lambda carry: block(carry, first_rows)[0], (params, jnp.asarray(0, jnp.int32)))
    _, outcome = lax.scan(block, start, blocks)
    outcome = _from_blocks(outcome, length)
    if order is not None:
        back = jnp.argsort(order)
        outcome = jax.tree.map(lambda leaf: leaf[back], outcome)
    solution, step, tol = outcome
    if not adjoint.unrolls:
        # After the scan, so that the linear systems too run as batches, of a size that the slowest does not hold up.
        def differentiate(items: tuple[Any, Params, Scalar, Scalar]) -> Params:
            return jax.vmap(lambda item, w, s, t: attach(adjoint, problem_of(item).closed(w), w, s, t))(*items)

        found = _to_blocks((batch, solution.params, step, tol), length, max(chunk, _ADJOINT_BLOCK))
        solution = eqx.tree_at(lambda s: s.params, solution, _from_blocks(lax.map(differentiate, found), length))
    return solution
