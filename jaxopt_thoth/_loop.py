"""The one loop: the only place of the library where iteration is controlled."""

from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from . import _tree
from ._result import History, RESULTS
from ._types import BoolScalar, IntScalar, Params, Scalar, State


Mode = Literal["while", "checkpointed", "scan"]
Step = Callable[[Params, State], tuple[Params, State]]
# Arguments: new params, new state, previous params, number of steps, previous error.
Measure = Callable[[Params, State, Params, IntScalar, Scalar], tuple[Scalar, BoolScalar]]
Progress = Callable[[Any, Any], None]

_PROGRESS_EVERY = 10


class Run(eqx.Module):
    """The loop's carry, and what it returns."""

    params: Params
    state: State
    num_steps: IntScalar
    error: Scalar
    first_error: Scalar
    result: RESULTS

    @property
    def running(self) -> BoolScalar:
        """Whether no step has ended the run: it only would be by their number."""
        return self.result == RESULTS.max_steps_reached


def run_loop(
    step: Step,
    measure: Measure,
    params: Params,
    state: State,
    *,
    max_steps: int,
    mode: Mode = "while",
    checkpoints: int | None = None,
    objective: Callable[[Params], Scalar] | None = None,
    feasible: BoolScalar | None = None,
    progress: Progress | None = None,
    error_shows_nan: bool = False,
) -> tuple[Run, History | None]:
    """Iterate `step` until `measure` says so, a new value is not finite, or `max_steps` is reached.

    A non-finite step is discarded: the run ends at the last finite iterate.

    Args:
        step: maps `(params, state)` to the next pair; every leaf of the state is an array.
        measure: maps new params, new state, old params, number of steps and the previous error to `(error, done)`.
        mode: "while" (fastest; no reverse mode), "checkpointed" (reverse mode by recomputation) or "scan" (fixed
            length, finished rows frozen, forward and reverse mode).
        checkpoints: number of iterates kept by the checkpointed loop; None chooses.
        objective: recorded after each step when given.
        feasible: where false no step is taken and the result is `RESULTS.infeasible`.
        progress: called on the host as `progress(num_steps, error)` between blocks of steps, in mode "while".
        error_shows_nan: whether the error is NaN wherever the parameters are not finite, which spares a look at them.

    Raises:
        ValueError: for an unknown mode, or a history or progress that the mode cannot give.
    """
    _check_mode(mode, objective, progress)
    dtype = _tree.dtype_of(params)
    # Growth of the residual beyond which no convex problem comes back within the precision of the dtype.
    hopeless = 1e3 / float(jnp.finfo(dtype).eps)

    def advance(run: Run) -> Run:
        new_params, new_state = step(run.params, run.state)
        num_steps = run.num_steps + 1
        error, done = measure(new_params, new_state, run.params, num_steps, run.error)
        error = error.astype(dtype)
        finite = ~jnp.isnan(error)
        if not error_shows_nan:
            finite = finite & _tree.all_finite(new_params)
        finite = lax.optimization_barrier(finite)
        first_error = jnp.where(jnp.isfinite(run.first_error), run.first_error, error)
        diverged = jnp.isfinite(error) & (error > hopeless * first_error) & ~done
        result = RESULTS.where(diverged, RESULTS.diverged, RESULTS.max_steps_reached)
        result = RESULTS.where(done, RESULTS.converged, result)
        return Run(
            params=_tree.where(finite, new_params, run.params),
            state=_tree.where(finite, new_state, run.state),
            num_steps=num_steps,
            error=jnp.where(finite, error, run.error),
            first_error=first_error,
            result=RESULTS.where(finite, result, RESULTS.nonfinite),
        )

    start = jnp.asarray(True) if feasible is None else jnp.asarray(feasible)
    run = Run(
        params=params,
        state=state,
        num_steps=jnp.asarray(0, jnp.int32),
        error=jnp.asarray(jnp.inf, dtype),
        first_error=jnp.asarray(jnp.inf, dtype),
        result=RESULTS.where(start, RESULTS.max_steps_reached, RESULTS.infeasible),
    )
    if mode == "scan":
        return _scan(advance, run, max_steps, objective)
    if mode == "checkpointed":
        run = match_carry(advance, run)
        # The checkpointed loop cannot be empty.
        if max_steps > 0:
            run = eqxi.while_loop(
                lambda r: r.running, advance, run, max_steps=max_steps, kind="checkpointed", checkpoints=checkpoints
            )
        return run, None
    return _while(advance, run, max_steps, objective, progress)


def _check_mode(mode: str, objective: Any, progress: Any) -> None:
    if mode not in ("while", "checkpointed", "scan"):
        raise ValueError(f'mode must be "while", "checkpointed" or "scan", got {mode!r}.')
    if mode == "checkpointed" and objective is not None:
        raise ValueError('history=True needs mode="scan", or mode="while" without Unrolled().')
    if mode != "while" and progress is not None:
        raise ValueError('progress needs mode="while"; the other modes run as one differentiable block.')


def _scan(advance: Callable, run: Run, length: int, objective: Callable | None) -> tuple[Run, History | None]:
    def body(run: Run, _: None) -> tuple[Run, Any]:
        active = run.running
        new = _tree.where(active, advance(run), run)
        if objective is None:
            return new, None
        nan = jnp.asarray(jnp.nan, run.error.dtype)
        value = objective(new.params).astype(run.error.dtype)
        return new, (jnp.where(active, value, nan), jnp.where(active, new.error, nan))

    run = match_carry(lambda run: body(run, None)[0], run)
    run, record = lax.scan(body, run, None, length=length)
    return run, None if record is None else History(*record)


def _while(
    advance: Callable, run: Run, max_steps: int, objective: Callable | None, progress: Progress | None
) -> tuple[Run, History | None]:
    history = None
    if objective is not None:
        blank = jnp.full((max_steps,), jnp.nan, run.error.dtype)
        history = History(blank, blank)

    def body(carry: tuple[Run, History | None]) -> tuple[Run, History | None]:
        old, history = carry
        new = advance(old)
        if history is None or objective is None:
            return new, None
        value = objective(new.params).astype(new.error.dtype)
        at = old.num_steps
        return new, History(history.value.at[at].set(value), history.error.at[at].set(new.error))

    def run_until(carry: tuple[Run, History | None], limit: Any) -> tuple[Run, History | None]:
        return packed_while_loop(lambda c: c[0].running & (c[0].num_steps < limit), body, carry)

    if progress is None:
        return run_until((run, history), max_steps)

    # The callback sits between blocks: inside the body it would fire at every step.
    def block(carry: tuple[Run, History | None]) -> tuple[Run, History | None]:
        carry = run_until(carry, jnp.minimum(carry[0].num_steps + _PROGRESS_EVERY, max_steps))
        jax.debug.callback(progress, carry[0].num_steps, carry[0].error)
        return carry

    return while_loop(lambda c: c[0].running & (c[0].num_steps < max_steps), block, (run, history))


def while_loop(condition: Callable[[Any], BoolScalar], body: Callable[[Any], Any], carry: Any) -> Any:
    """`lax.while_loop` that may also run inside `shard_map`, whatever runs it."""
    return lax.while_loop(condition, body, match_carry(body, carry))


# XLA fuses no more operands than this into one vector.
_PACK = 8


def packed_while_loop(condition: Callable[[Any], BoolScalar], body: Callable[[Any], Any], carry: Any) -> Any:
    """`while_loop` whose scalars travel as vectors: XLA compiles a kernel, for ten milliseconds, for each array."""
    carry = match_carry(body, carry)
    if jax.sharding.get_abstract_mesh().manual_axes:
        return lax.while_loop(condition, body, carry)
    leaves, structure = jax.tree.flatten(carry)
    groups: dict[Any, list[int]] = {}
    for place, leaf in enumerate(leaves):
        if leaf.ndim == 0 and jnp.issubdtype(leaf.dtype, jnp.number):
            groups.setdefault(leaf.dtype, []).append(place)
    packs = [group[i : i + _PACK] for group in groups.values() for i in range(0, len(group), _PACK)]
    packed = {place for pack in packs for place in pack}

    def pack(carry: Any) -> tuple[list[Array], list[Array]]:
        leaves = jax.tree.leaves(carry)
        rest = [leaf for place, leaf in enumerate(leaves) if place not in packed]
        return rest, [jnp.stack([leaves[place] for place in pack]) for pack in packs]

    def unpack(carry: tuple[list[Array], list[Array]]) -> Any:
        rest, vectors = iter(carry[0]), carry[1]
        scalars = {place: v[i] for pack, v in zip(packs, vectors, strict=True) for i, place in enumerate(pack)}
        return jax.tree.unflatten(structure, [scalars[i] if i in packed else next(rest) for i in range(len(leaves))])

    return unpack(lax.while_loop(lambda c: condition(unpack(c)), lambda c: pack(body(unpack(c))), pack(carry)))


def match_carry(body: Callable[[Any], Any], carry: Any) -> Any:
    """Strip weak types, and give the carry the varying axes that the body has inside `shard_map`."""
    carry = jax.tree.map(lambda leaf: lax.convert_element_type(leaf, jnp.result_type(leaf)), carry)
    if not jax.sharding.get_abstract_mesh().manual_axes:
        return carry
    # Two rounds: the axes that the first round adds may spread to further leaves.
    for _ in range(2):
        carry = jax.tree.map(match_varying, carry, jax.eval_shape(body, carry))
    return carry


def _varying_axes(aval: Any) -> frozenset[str]:
    kind = getattr(aval, "manual_axis_type", None)
    return frozenset(getattr(kind, "varying", None) or getattr(aval, "vma", None) or ())


def match_varying(leaf: Any, target: Any) -> Any:
    """The array as one that varies over the axes of devices over which `target` does."""
    missing = tuple(_varying_axes(target) - _varying_axes(jax.typeof(leaf)))
    return lax.pcast(leaf, missing, to="varying") if missing else leaf
