"""A loss of one example as a flat list of operations, and the places where its parameters enter."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Literal
from jaxtyping import Array

from .. import _loop
from .._types import Scalar


# Calls that only group operations: what they hold is read as if it stood in their place.
_CALLS = ("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2")
_REARRANGING = ("reshape", "transpose", "squeeze", "expand_dims", "convert_element_type", "copy", "copy_p", "pvary")


class Operation(NamedTuple):
    """One primitive, with the slots it reads and writes."""

    primitive: Any
    settings: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    avals: tuple[Any, ...]
    arguments: tuple[Any, ...]

    @property
    def name(self) -> str:
        return self.primitive.name

    def __call__(self, *values: Any, **changed: Any) -> list[Array]:
        bound = self.primitive.get_bind_params({**self.settings, **changed})
        # Before JAX 0.10 the functions of a call came beside its settings.
        functions, settings = ((), bound) if isinstance(bound, dict) else bound
        out = self.primitive.bind(*functions, *values, **settings)
        return list(out) if self.primitive.multiple_results else [out]


class View(NamedTuple):
    """A parameter whose entries have only been rearranged; `dims` names the axis of the parameter behind each axis."""

    leaf: int
    shape: tuple[int, ...]
    dims: tuple[int | None, ...] | None
    steps: tuple[Operation, ...] = ()

    def __call__(self, leaf: Array, *, cast: bool = True) -> Array:
        for step in self.steps:
            if cast or step.name != "convert_element_type":
                (leaf,) = step(leaf)
        return leaf


class Use(NamedTuple):
    """An operation that parameters enter, by the position of its input."""

    operation: Operation
    views: dict[int, View]
    constants: dict[int, Any]
    recorded: tuple[int, ...]
    traced: tuple[int, ...]

    def __call__(
        self, index: int, leaf: Array, leaves: Sequence[Array], record: Sequence[Array], dtype: Any
    ) -> list[Array]:
        """The differentiable outputs as a function of one parameter, in `dtype` unless that is None."""
        inputs: list[Any] = [None] * len(self.operation.inputs)
        for place, view in self.views.items():
            inputs[place] = view(leaf if view.leaf == index else leaves[view.leaf], cast=dtype is None)
        for place, value in zip(self.recorded, record, strict=True):
            inputs[place] = value
        inputs = [self.constants.get(place, value) for place, value in enumerate(inputs)]
        changed: dict[str, Any] = {}
        if dtype is not None:
            inputs = [_widen(value, dtype) for value in inputs]
            if "preferred_element_type" in self.operation.settings:
                changed = {"preferred_element_type": None}
        outputs = self.operation(*inputs, **changed)
        return [outputs[place] for place in self.traced]


def _widen(value: Any, dtype: Any) -> Array:
    return jnp.asarray(value, dtype) if jnp.issubdtype(jnp.result_type(value), jnp.inexact) else value


class Trace(NamedTuple):
    """The operations of a loss, and the uses of its parameters among them by their place in the list."""

    operations: tuple[Operation, ...]
    constants: dict[int, Any]
    params: tuple[int, ...]
    example: tuple[int, ...]
    out: int
    uses: dict[int, Use]

    def probes(self) -> list[list[Array]]:
        """A zero for each output whose derivative is wanted."""
        kinds = [[use.operation.avals[place] for place in use.traced] for use in self.uses.values()]
        # Across devices, a zero that is the same everywhere would collect the sum of their derivatives.
        return [[_loop.match_varying(jnp.zeros(kind.shape, kind.dtype), kind) for kind in row] for row in kinds]

    def evaluate(
        self, probes: Sequence[Sequence[Array]], leaves: Sequence[Array], example: Sequence[Array]
    ) -> tuple[Scalar, list[tuple[Array, ...]]]:
        """The loss with `probes` added to the outputs of the uses, and the inputs that met the parameters there."""
        memory = dict(self.constants)
        memory.update(zip(self.params, leaves, strict=True))
        memory.update(zip(self.example, example, strict=True))
        records, waiting = [], iter(probes)
        for place, operation in enumerate(self.operations):
            values = operation(*(memory[slot] for slot in operation.inputs))
            use = self.uses.get(place)
            if use is not None:
                records.append(tuple(memory[operation.inputs[at]] for at in use.recorded))
                for at, probe in zip(use.traced, next(waiting), strict=True):
                    values[at] = values[at] + probe
            memory.update(zip(operation.outputs, values, strict=True))
        return memory[self.out], records

    def uses_of(self, index: int) -> list[tuple[int, Use]]:
        """The uses of one parameter, with their places among the uses."""
        every = enumerate(self.uses.values())
        return [(place, use) for place, use in every if any(view.leaf == index for view in use.views.values())]


def trace(loss: Callable[..., Scalar], leaves: Sequence[Any], example: Sequence[Any]) -> Trace:
    """Trace `loss(leaves, example)`, which gives a scalar, at the shapes of its arguments."""

    def scalar(leaves: Sequence[Any], example: Sequence[Any]) -> Scalar:
        value = loss(leaves, example)
        # A parameter that is handed back as it came has a use this way.
        return value * jnp.ones((), value.dtype)

    return _read(jax.make_jaxpr(scalar)(list(leaves), list(example)), len(leaves))


def _read(closed: Any, num_leaves: int) -> Trace:
    operations: list[Operation] = []
    constants: dict[int, Any] = {}
    count = iter(range(10**9))

    def walk(jaxpr: Any, consts: Sequence[Any], inputs: Sequence[int]) -> list[int]:
        slots: dict[Any, int] = dict(zip(jaxpr.invars, inputs, strict=True))

        def constant(value: Any) -> int:
            slot = next(count)
            constants[slot] = value
            return slot

        slots.update((var, constant(value)) for var, value in zip(jaxpr.constvars, consts, strict=True))
        read = lambda atom: constant(atom.val) if isinstance(atom, Literal) else slots[atom]
        for eqn in jaxpr.eqns:
            places = [read(atom) for atom in eqn.invars]
            if eqn.primitive.name in _CALLS:
                inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
                results = walk(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), places)
            else:
                results = [next(count) for _ in eqn.outvars]
                avals = tuple(var.aval for var in eqn.outvars)
                kinds = tuple(atom.aval for atom in eqn.invars)
                operations.append(Operation(eqn.primitive, eqn.params, tuple(places), tuple(results), avals, kinds))
            slots.update(zip(eqn.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    arguments = [next(count) for _ in closed.jaxpr.invars]
    (out,) = walk(closed.jaxpr, closed.consts, arguments)
    shapes = [var.aval.shape for var in closed.jaxpr.invars]
    views = {
        slot: View(leaf, shape, tuple(range(len(shape))))
        for leaf, (slot, shape) in enumerate(zip(arguments[:num_leaves], shapes[:num_leaves], strict=True))
    }
    uses = {}
    for place, operation in enumerate(operations):
        entering = {at: views[slot] for at, slot in enumerate(operation.inputs) if slot in views}
        traced = tuple(at for at, aval in enumerate(operation.avals) if jnp.issubdtype(aval.dtype, jnp.inexact))
        if not entering or not traced:
            continue
        moved = _rearranged(entering, operation)
        if moved is not None:
            views[operation.outputs[0]] = moved
            continue
        fixed = {at: constants[slot] for at, slot in enumerate(operation.inputs) if slot in constants}
        recorded = tuple(at for at in range(len(operation.inputs)) if at not in entering and at not in fixed)
        uses[place] = Use(operation, entering, fixed, recorded, traced)
    return Trace(tuple(operations), constants, tuple(arguments[:num_leaves]), tuple(arguments[num_leaves:]), out, uses)


def _rearranged(entering: dict[int, View], operation: Operation) -> View | None:
    """The view that comes out where the operation moves entries without changing, adding or repeating any."""
    if len(operation.inputs) != 1:
        return None
    (view,) = entering.values()
    shape = operation.avals[0].shape
    spread = operation.name == "broadcast_in_dim" and math.prod(shape) == math.prod(view.shape)
    if operation.name not in _REARRANGING and not spread:
        return None
    dims = view.dims
    if dims is not None and operation.name == "transpose":
        dims = tuple(dims[at] for at in operation.settings["permutation"])
    elif shape != view.shape and dims is not None:
        # Axes of length one come and go; anything else mixes the axes.
        long = [dim for dim, size in zip(dims, view.shape, strict=True) if size > 1]
        same = [size for size in view.shape if size > 1] == [size for size in shape if size > 1]
        rest = iter(long)
        dims = tuple(next(rest) if size > 1 else None for size in shape) if same else None
    return View(view.leaf, shape, dims, (*view.steps, operation))
