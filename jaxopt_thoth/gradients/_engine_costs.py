import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params

from .._types import Params, Scalar
from . import _ghost_rules as rules
from ._engine_clipped import accumulators, by_ghost, by_vmap
from ._ghost_trace import Operation, Trace, trace
from ._global_clip import GlobalClip
from ._microbatch import in_chunks


# Operations in the time that it takes to move a byte, about, on processors and accelerators alike.
_BALANCE = 8.0
_ENGINES = ("vmap", "microbatch", "ghost")
_MEMORY_LIMIT = 64 * 2**20
_PLACES = ("engine", "GFLOP", "MB moved", "MB held", "GFLOP (XLA)", "MB moved (XLA)", "MB held (XLA)")


class Cost(NamedTuple):
    """Operations, bytes moved and bytes held beyond arguments and result."""

    flops: float
    bytes: float
    memory: float


class EngineCosts(eqx.Module):
    """Costs of the engines of `per_example` on one batch, which `print` shows as a table.

    Attributes:
        model: a `Cost(flops, bytes, memory)` for each engine, from the shapes.
        compiled: the same from the compiler, or None; it counts the chunk of "microbatch" once.
    """

    model: dict[str, Cost] = eqx.field(static=True)
    compiled: dict[str, Cost] | None = eqx.field(static=True)

    def best(
        self, engines: Sequence[str] = ("vmap", "microbatch", "ghost"), memory_limit: float = _MEMORY_LIMIT
    ) -> str:
        """The engine that takes the least time, among those that hold no more than `memory_limit` bytes if any does.

        Time is counted as operations plus 8 for each byte moved.
        """
        time = lambda name: self.model[name].flops + _BALANCE * self.model[name].bytes
        within = [name for name in engines if self.model[name].memory <= memory_limit]
        return min(within or engines, key=time if within else lambda name: self.model[name].memory)

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [_PLACES if self.compiled else _PLACES[:4]]
        for name, cost in self.model.items():
            both = (cost,) if self.compiled is None else (cost, self.compiled[name])
            rows.append((name, *(f"{figure:.3g}" for c in both for figure in (c[0] / 1e9, c[1] / 1e6, c[2] / 1e6))))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        pad = lambda row: "  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True))
        return "\n".join(map(pad, rows))


def engine_costs(
    loss: Callable[..., Scalar], params: Params, *batch: Any, microbatch_size: int = 32, compiled: bool = False
) -> EngineCosts:
    """What the engines of `per_example` cost for a clipped sum, from shapes alone.

    The model counts a product of matrices forward, and again for each side that is differentiated; the n gradients that
    "vmap" writes and reads twice; and for "ghost" the norms by the rule of each parameter, with the gradients of those
    that have none. Elementwise operations count once for each direction.

    Args:
        loss, params, batch: as in `per_example`; arrays, or `jax.ShapeDtypeStruct` in place of the examples.
        microbatch_size: of engine "microbatch".
        compiled: whether to compile the three programs too, and add what XLA says of them.

    Raises:
        ValueError: if the arguments of `batch` have no common leading axis.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import gradients
        >>> loss = lambda w, x: jnp.sum(jnp.tanh(w @ x))
        >>> costs = gradients.engine_costs(loss, jnp.ones((200, 300)), jnp.ones((64, 300)))
        >>> costs.best()
        'ghost'
        >>> print(str(costs).splitlines()[0].split()[:2])
        ['engine', 'GFLOP']
    """
    differentiated, fixed = eqx.partition(params, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(differentiated)
    flat, examples = jax.tree.flatten(batch)
    shapes = [tuple(a.shape) for a in flat]
    if not shapes or any(not shape or shape[0] != shapes[0][0] for shape in shapes):
        raise ValueError(f"batch must be arrays that share the length of their leading axis, got shapes {shapes}.")
    number = shapes[0][0]

    def on_leaves(leaves: Sequence[Any], example: Sequence[Any]) -> Scalar:
        return loss(eqx.combine(jax.tree.unflatten(structure, leaves), fixed), *jax.tree.unflatten(examples, example))

    kinds = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
    ones = [jax.ShapeDtypeStruct(a.shape[1:], a.dtype) for a in flat]
    model = _model(trace(on_leaves, kinds, ones), kinds, number, min(microbatch_size, max(1, number)))
    if not compiled:
        return EngineCosts(model, None)

    def measured(way: Callable[..., Any], size: int) -> Cost:
        rule = GlobalClip(1.0)

        def total(leaves: Sequence[Any], flat: Sequence[Any]) -> Any:
            chunk = lambda part, mask: way(on_leaves, leaves, rule, partial(jax.tree.unflatten, structure), part, mask)
            return in_chunks(chunk, flat, None, size)

        whole = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in flat]
        program = jax.jit(total).lower(kinds, whole).compile()
        costs, memory = program.cost_analysis() or {}, program.memory_analysis()
        held = getattr(memory, "temp_size_in_bytes", math.nan)
        return Cost(costs.get("flops", math.nan), costs.get("bytes accessed", math.nan), held)

    found = {"vmap": measured(by_vmap, number), "microbatch": measured(by_vmap, microbatch_size)}
    return EngineCosts(model, found | {"ghost": measured(by_ghost, number)})


def _model(traced: Trace, leaves: Sequence[Any], number: int, chunk: int) -> dict[str, Cost]:
    backward, held, moved = 0.0, 0.0, 0.0
    depends = set(traced.params)
    for place, operation in enumerate(traced.operations):
        work = _work(operation)
        active = any(slot in depends for slot in operation.inputs)
        use = traced.uses.get(place)
        entering = () if use is None else use.views
        beyond = any(slot in depends for at, slot in enumerate(operation.inputs) if at not in entering)
        backward += work * (1 + bool(entering) + beyond)
        if active:
            depends.update(operation.outputs)
            sizes = [_bytes(aval) for aval in operation.avals]
            moved += 3 * sum(sizes)
            # What enters a use is kept for the gradient, and so is the derivative of what leaves it.
            held += sum(sizes) + (sum(sizes) if use is not None else 0)
    wide = accumulators(leaves)
    weights = [math.prod(leaf.shape) for leaf in leaves]
    whole = float(sum(size * dtype.itemsize for size, dtype in zip(weights, wide, strict=True)))
    flops = number * (backward + 4.0 * sum(weights))
    every = Cost(flops, number * (moved + 3 * whole) + whole, number * (held + whole))
    some = Cost(flops, every.bytes + 2 * whole * -(-number // chunk), min(chunk, number) * (held + whole))
    norms, formed, most = 0.0, 0.0, 0.0
    for index, (size, dtype) in enumerate(zip(weights, wide, strict=True)):
        work, room = _norm_cost(traced, index, size)
        norms += work
        formed += 3 * room * dtype.itemsize
        most = max(most, room * dtype.itemsize)
    ghost = Cost(number * (backward + norms), number * (1.3 * moved + formed) + whole, number * (1.3 * held + most))
    return {"vmap": every, "microbatch": some, "ghost": ghost}


def _norm_cost(traced: Trace, index: int, size: int) -> tuple[float, float]:
    """Operations, and entries to hold, of the norm of the gradient of one parameter."""
    uses = [use for _, use in traced.uses_of(index)]
    shapes = [rules.shape_of(use, index) for use in uses]
    if not rules.combine(shapes):
        return sum(map(_work, (use.operation for use in uses)), 3.0 * size), size
    known = [shape for shape in shapes if shape is not None]
    first, positions = known[0], sum(shape.positions for shape in known)
    if positions == 1:
        return 2.0 * first.blocks * (first.width_in + first.width_out), 0
    widths = first.width_out + (0 if first.picks else first.width_in)
    return 2.0 * first.blocks * positions**2 * widths, 2 * first.blocks * positions**2


def _work(operation: Operation) -> float:
    return _count(operation.name, operation.settings, operation.avals, operation.arguments)


def _count(name: str, settings: dict[str, Any], outputs: Sequence[Any], inputs: Sequence[Any]) -> float:
    size = float(sum(math.prod(aval.shape) for aval in outputs if hasattr(aval, "shape")))
    if name == "dot_general":
        return 2 * size * math.prod(inputs[0].shape[at] for at in settings["dimension_numbers"][0][0])
    if name == "conv_general_dilated":
        features = inputs[1].shape[settings["dimension_numbers"].rhs_spec[0]]
        return 2 * size * math.prod(inputs[1].shape) / max(1, features)
    inner = [sum(map(_of_equation, jaxpr.eqns)) for jaxpr in jaxprs_in_params(settings)]
    if inner:
        return (max if name == "cond" else sum)(inner) * settings.get("length", 1)
    return size


def _of_equation(eqn: Any) -> float:
    return _count(eqn.primitive.name, eqn.params, [v.aval for v in eqn.outvars], [v.aval for v in eqn.invars])


def _bytes(aval: Any) -> float:
    return float(math.prod(aval.shape) * aval.dtype.itemsize) if jnp.issubdtype(aval.dtype, jnp.inexact) else 0.0
