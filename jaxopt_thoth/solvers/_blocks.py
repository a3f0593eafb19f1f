from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from .._loop import Progress
from .._result import RESULTS, Solution
from .._types import Params
from ..implicit import AbstractAdjoint, attach, Implicit
from ..problems import Composite
from ..stopping import AbstractStop
from ._base import AbstractSolver
from ._solve import solve, solve_frozen


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


@eqx.filter_jit
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
) -> Solution:
    """Solve a batch block after block, each block under `vmap`; with `warm`, each starts where the last one ended."""
    adjoint = Implicit() if adjoint is None else adjoint
    length = batch_size(batch, chunk)
    chunk = min(chunk, length)
    num_blocks = -(-length // chunk)
    padding = num_blocks * chunk - length

    def to_blocks(leaf: Any) -> jax.Array:
        leaf = jnp.asarray(leaf)
        # The last row fills the last block up: it costs no step that the block does not take anyway.
        leaf = jnp.concatenate([leaf, jnp.repeat(leaf[-1:], padding, axis=0)]) if padding else leaf
        return leaf.reshape((num_blocks, chunk, *leaf.shape[1:]))

    def from_blocks(leaf: jax.Array) -> jax.Array:
        return leaf.reshape((num_blocks * chunk, *leaf.shape[2:]))[:length]

    blocks = jax.tree.map(to_blocks, batch)
    first = problem_of(jax.tree.map(lambda leaf: leaf[0, 0], blocks))
    params = lax.stop_gradient(first.check(params))

    def solve_one(item: Any, start: Params) -> Any:
        problem = problem_of(item)
        if adjoint.unrolls:
            return solve(problem, solver, start, stop=stop, adjoint=adjoint), None, None
        return solve_frozen(problem.closed(start), solver, start, stop, adjoint)

    def block(carry: tuple[Params, jax.Array], items: Any) -> tuple[Any, Any]:
        start, done = carry
        outcome = jax.vmap(solve_one, in_axes=(0, None))(items, start)
        last = jax.tree.map(lambda leaf: lax.stop_gradient(leaf[-1]), outcome[0].params)
        done = jnp.minimum(done + chunk, length)
        if progress is not None:
            jax.debug.callback(progress, done, length)
        return (last if warm else start, done), outcome

    _, outcome = lax.scan(block, (params, jnp.asarray(0, jnp.int32)), blocks)
    solution, step, tol = jax.tree.map(from_blocks, outcome)
    if not adjoint.unrolls:
        # Outside of the scan, so that the linear systems of all problems run as one batch.
        differentiate = lambda item, w, s, t: attach(adjoint, problem_of(item).closed(w), w, s, t)
        batch = jax.tree.map(jnp.asarray, batch)
        solution = eqx.tree_at(lambda s: s.params, solution, jax.vmap(differentiate)(batch, solution.params, step, tol))
    if throw:
        failed = jnp.any(solution.result != RESULTS.converged)
        worst = RESULTS.where(failed, RESULTS.max_steps_reached, RESULTS.converged)
        for kind in (RESULTS.max_steps_reached, RESULTS.diverged, RESULTS.infeasible, RESULTS.nonfinite):
            worst = RESULTS.where(jnp.any(solution.result == kind), kind, worst)
        solution = worst.error_if(solution, failed)
    return solution
