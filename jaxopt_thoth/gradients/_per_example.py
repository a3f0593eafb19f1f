from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .. import _loop, _tree
from .._types import Params, Scalar
from ._abstract_clipping import AbstractClipping
from ._engine_clipped import accumulators, by_ghost, by_vmap, needs_norms_only, total_norms
from ._engine_costs import engine_costs
from ._ghost import Ghost
from ._microbatch import in_chunks


Engine = Literal["vmap", "microbatch", "ghost", "auto"]
_ENGINES = ("vmap", "microbatch", "ghost", "auto")
_MICROBATCH_SIZE = 32


class ClippedSum(eqx.Module):
    """What `per_example` with a clipping rule returns.

    Attributes:
        total: sum of the clipped gradients, a pytree like the parameters, in float32 at least; under sharding over
            `axis_name` that of all shards, as are the three numbers.
        num_examples: how many examples were not padding.
        num_clipped: how many gradients the rule made shorter.
        num_nonfinite: how many gradients had a norm that is not finite; they are not part of `total`.
        norms: (n,), norms before clipping, 0 where there is padding.
        values: (n,), losses, 0 where there is padding.
    """

    total: Params
    num_examples: Int[Array, ""]
    num_clipped: Int[Array, ""]
    num_nonfinite: Int[Array, ""]
    norms: Float[Array, " n"]
    values: Float[Array, " n"]


class PerExample(eqx.Module):
    """The function that `per_example` returns."""

    loss: Callable[..., Scalar] = eqx.field(static=True)
    clipping: AbstractClipping | None
    engine: Engine = eqx.field(static=True)
    microbatch_size: int | None = eqx.field(static=True)
    axis_name: str | tuple[str, ...] | None = eqx.field(static=True)

    # As for a function, so that `jax.jit` takes it.
    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __call__(self, params: Params, *batch: Any, mask: Bool[Array, " n"] | None = None) -> Any:
        """Per-example gradients, or the sum of the clipped ones where there is a clipping rule.

        Args:
            params: first argument of the loss: a pytree whose floating-point arrays are differentiated, an equinox
                module for example.
            batch: further arguments of the loss, pytrees of arrays with a leading axis of one length n.
            mask: (n,), False where an example is padding, which contributes zero; None where none is.

        Returns:
            Without clipping a pytree like `params` of gradients with a leading axis of length n, None in place of what
            is not differentiated; with clipping a `ClippedSum`.
        """
        task = _Task(self.loss, params, batch, mask)
        engine = self._engine(params, batch)
        if self.clipping is not None:
            return self._clipped_sum(task, engine, self.clipping)
        if engine == "ghost":
            run = lambda part, inside: ((), task.ghost_gradients(part))
        else:
            run = lambda part, inside: ((), task.gradients(part))
        gradients = in_chunks(run, task.batch, task.mask, self._chunk(engine, task))[1]
        if task.mask is not None:
            gradients = [jnp.where(_tree.along_rows(task.mask, g), g, 0) for g in gradients]
        return task.rebuild(gradients)

    def norms(self, params: Params, *batch: Any, mask: Bool[Array, " n"] | None = None) -> Float[Array, " n"]:
        """Norms of the per-example gradients, of shape (n,), zero where `mask` is False."""
        task = _Task(self.loss, params, batch, mask)
        engine = self._engine(params, batch)
        run = lambda part, inside: ((), task.norms(part, engine == "ghost"))
        norms = in_chunks(run, task.batch, task.mask, self._chunk(engine, task))[1]
        return norms if task.mask is None else jnp.where(task.mask, norms, 0)

    def _clipped_sum(self, task: "_Task", engine: str, rule: AbstractClipping) -> ClippedSum:
        way = by_ghost if engine == "ghost" else by_vmap
        run = partial(way, task.loss, task.leaves, rule, task.rebuild)
        sums, (norms, values) = in_chunks(run, task.batch, task.mask, self._chunk(engine, task))
        if self.axis_name is not None:
            sums = jax.lax.psum(sums, self.axis_name)
        totals, (examples, clipped, nonfinite) = sums
        return ClippedSum(task.rebuild(totals), examples, clipped, nonfinite, norms, values)

    def _engine(self, params: Params, batch: Sequence[Any]) -> str:
        if self.engine != "auto":
            return self.engine
        costs = engine_costs(self.loss, params, *batch, microbatch_size=self.microbatch_size or _MICROBATCH_SIZE)
        possible = self.clipping is None or needs_norms_only(self.clipping)
        return costs.best(("vmap", "microbatch", "ghost") if possible else ("vmap", "microbatch"))

    def _chunk(self, engine: str, task: "_Task") -> int:
        if engine == "microbatch":
            return self.microbatch_size or _MICROBATCH_SIZE
        if engine == "ghost" and self.engine == "ghost" and self.microbatch_size is not None:
            return self.microbatch_size
        return task.size


def per_example(
    loss: Callable[..., Scalar],
    engine: Engine = "vmap",
    *,
    clipping: AbstractClipping | None = None,
    microbatch_size: int | None = None,
    axis_name: str | tuple[str, ...] | None = None,
) -> PerExample:
    """The function that gives the gradient of `loss(params, *example)` for each example, or the sum of clipped ones.

    The engines give the same numbers up to rounding, at different costs (`engine_costs` prints them):

    - "vmap" holds all n gradients at once;
    - "microbatch" holds `microbatch_size` of them and scans over the batch, skipping chunks of padding;
    - "ghost" forms the norm of each gradient from what entered a layer and the derivative of what left it, and the sum
      of the clipped ones as one product of matrices: one backward pass, and no gradient of a single example. The layers
      are found in the traced loss, so that any function will do: products of matrices (linear layers, generalized
      linear models), convolutions and lookups have rules, over positions and for tied weights too; other parameters
      (biases, scales, whatever enters a scan) have their gradients formed one parameter at a time.
      Where positions nearly cancel, a norm is rounded up: it is never too short, but inexact;
    - "auto" takes the one that the cost model prefers at the shapes it is called with.

    The result is `PerExample`, called as `(params, *batch, mask=None)`; without `clipping` it returns the gradients,
    with it a `ClippedSum`, and `norms` with the same arguments returns the norms. A gradient whose norm is not finite
    (in float32 at least) contributes zero to the sum and is counted, whatever the rule says of NaN. Sums are
    accumulated and returned in float32 at least: add the noise before casting. The result can be differentiated in the
    levels of the rule.

    Args:
        loss: maps the parameters and one example, without a batch axis, to a scalar. It must not mix examples.
        engine: "vmap", "microbatch", "ghost" or "auto".
        clipping: the rule, `GlobalClip(1.0)` for example; None for the gradients as they are.
        microbatch_size: how many examples at a time, for "microbatch" (by default 32) and "ghost" (by default all).
        axis_name: axis or axes of `jax.shard_map` over which the examples are sharded; the sum is that of all shards.

    Raises:
        ValueError: for an unknown engine or a `microbatch_size` that is no positive integer or meets "vmap"; when
            called, if arguments do not share a leading axis, if the loss is not a floating-point scalar, or if `params`
            holds nothing to differentiate, or a batch normalization, which mixes examples.
        TypeError: if `clipping` is no clipping rule, or needs the gradients themselves with engine "ghost"; when
            called, for complex parameters or a mask that is not boolean.

    Li et al., "Large language models can be strong differentially private learners", 2022; Bu et al., "Differentially
    private optimization on large model at small cost", 2023.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import gradients
        >>> loss = lambda w, x, y: (x @ w - y) ** 2 / 2
        >>> x, y = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([-3.0, 0.5])
        >>> gradients.per_example(loss, engine="ghost")(jnp.zeros(2), x, y).tolist()
        [[3.0, 0.0], [0.0, -0.5]]
        >>> clipped = gradients.per_example(loss, engine="ghost", clipping=gradients.GlobalClip(1.0))
        >>> result = clipped(jnp.zeros(2), x, y)
        >>> result.total.tolist(), result.num_clipped.item()
        ([1.0, -0.5], 1)
    """
    if engine not in _ENGINES:
        raise ValueError(f"engine must be one of {', '.join(map(repr, _ENGINES))}, got {engine!r}.")
    if clipping is not None and not isinstance(clipping, AbstractClipping):
        raise TypeError(
            f"clipping must be a clipping rule or None, got {type(clipping).__name__}; pass for example "
            "gradients.GlobalClip(1.0)."
        )
    if engine == "ghost" and clipping is not None and not needs_norms_only(clipping):
        raise TypeError(
            f'clipping with engine="ghost" must depend on norms alone, which {type(clipping).__name__} does not; use '
            'engine="microbatch".'
        )
    if microbatch_size is not None:
        if isinstance(microbatch_size, bool) or not isinstance(microbatch_size, int) or microbatch_size < 1:
            raise ValueError(f"microbatch_size must be a positive integer, got {microbatch_size!r}.")
        if engine == "vmap":
            raise ValueError('microbatch_size has no meaning for engine="vmap"; use engine="microbatch".')
    return PerExample(loss, clipping, engine, microbatch_size, axis_name)


class _Task:
    """A loss of lists of arrays, with the checked arguments of a call."""

    def __init__(self, loss: Callable[..., Scalar], params: Params, batch: Sequence[Any], mask: Any):
        check_params(params)
        self.size = check_batch(batch)
        self.batch, examples = jax.tree.flatten(tuple(jax.tree.map(jnp.asarray, batch)))
        self.mask = _check_mask(mask, self.size)
        differentiated, fixed = eqx.partition(params, eqx.is_inexact_array)
        leaves, self.structure = jax.tree.flatten(differentiated)
        # A parameter that is the same on all devices would be given the sum of their gradients.
        for x in self.batch:
            leaves = [_loop.match_varying(leaf, jax.typeof(x)) for leaf in leaves]
        self.leaves: list[Array] = leaves

        def on_leaves(leaves: Sequence[Array], example: Sequence[Array]) -> Scalar:
            value = loss(
                eqx.combine(jax.tree.unflatten(self.structure, leaves), fixed), *jax.tree.unflatten(examples, example)
            )
            return check_value(value)

        self.loss = on_leaves

    def rebuild(self, leaves: Sequence[Array]) -> Params:
        return jax.tree.unflatten(self.structure, leaves)

    def gradients(self, batch: Sequence[Array]) -> list[Array]:
        return jax.vmap(lambda x: jax.grad(self.loss)(self.leaves, x))(list(batch))

    def ghost_gradients(self, batch: Sequence[Array]) -> list[Array]:
        ghost = Ghost(self.loss, self.leaves, batch, accumulators(self.leaves))
        return [ghost.gradients(at).astype(leaf.dtype) for at, leaf in enumerate(self.leaves)]

    def norms(self, batch: Sequence[Array], ghostly: bool) -> Array:
        wide = accumulators(self.leaves)
        if ghostly:
            ghost = Ghost(self.loss, self.leaves, batch, wide)
            return total_norms([ghost.squared_norms(at) for at in range(len(self.leaves))])
        gradients = [g.astype(dtype) for g, dtype in zip(self.gradients(batch), wide, strict=True)]
        return total_norms([jnp.sum(g * g, axis=tuple(range(1, g.ndim))) for g in gradients])


def check_params(params: Params) -> None:
    """Raise unless `params` can be differentiated, and one example at a time."""
    mixing = lambda node: isinstance(node, eqx.nn.BatchNorm)
    for node in jax.tree.leaves(params, is_leaf=mixing):
        # With its averages frozen it treats every example for itself.
        if mixing(node) and node.inference is not True:
            raise ValueError(
                "params must not hold an equinox.nn.BatchNorm, which mixes the examples of a batch so that none has a "
                "gradient of its own; use GroupNorm or LayerNorm, or freeze it by equinox.nn.inference_mode."
            )
    leaves = jax.tree.leaves(eqx.filter(params, eqx.is_inexact_array))
    if not leaves:
        raise ValueError(
            "params must hold a floating-point array to differentiate, got none; convert it by jnp.asarray."
        )
    if any(jnp.issubdtype(leaf.dtype, jnp.complexfloating) for leaf in leaves):
        raise TypeError("params must be real, got complex arrays; keep real and imaginary parts as two arrays.")


def check_batch(batch: Sequence[Any]) -> int:
    """The number of examples; raises unless every array has it as its leading axis."""
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(batch)]
    if not shapes:
        raise ValueError("batch must hold an array, got none; call with the arrays of examples after the parameters.")
    if any(not shape or shape[0] != shapes[0][0] for shape in shapes):
        raise ValueError(
            f"batch must be arrays that share the length of their leading axis, got shapes {shapes}; let the loss "
            "close over what is the same for all examples."
        )
    return shapes[0][0]


def check_value(value: Any) -> Scalar:
    """The loss of an example as an array; raises unless it is a floating-point scalar."""
    value = jnp.asarray(value)
    if value.shape or not jnp.issubdtype(value.dtype, jnp.floating):
        raise ValueError(
            f"loss must return a floating-point scalar for one example, got {value.dtype} of shape {value.shape}; "
            "reduce it, and keep what else it computes to itself."
        )
    return value


def _check_mask(mask: Any, size: int) -> Array | None:
    if mask is None:
        return None
    mask = jnp.asarray(mask)
    if mask.dtype != bool:
        raise TypeError(f"mask must be boolean, got {mask.dtype}; compare it with zero.")
    if mask.shape != (size,):
        raise ValueError(f"mask must have shape ({size},), one entry an example, got {mask.shape}.")
    return mask
