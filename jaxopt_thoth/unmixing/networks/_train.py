from collections.abc import Callable
from typing import Any, get_args, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from ... import _tree
from ..._result import RESULTS
from ..._types import BoolScalar, IntScalar, Scalar
from ..._validate import require_nonnegative
from ...gradients._descend import descend


Keep = Literal["average", "last", "best"]
# Arguments: model, key of the step, share of the training that is done. Returns the loss and the output to average.
Objective = Callable[[Any, PRNGKeyArray, Scalar], tuple[Scalar, Any]]
Rate = ArrayLike | Callable[[Any], Any]
# The square root of a zero has no derivative, which a derivative through the training would meet.
ADAM = optax.scale_by_adam(eps_root=1e-16)
_BLOCK = 100


class Training(eqx.Module):
    """What a training run hands back.

    Attributes:
        model: the network after the last step with a finite loss, or the one of the lowest loss.
        average: exponential moving average of the objective's outputs, where it was asked for.
        loss: (steps,) before each step, NaN where none was made.
        num_steps: number of steps made.
        result: `nonfinite` where a loss or a derivative was not finite; `converged` where the mean loss of the last
            tenth of the steps is within 2 per cent of that of the tenth before, else `max_steps_reached`.
    """

    model: Any
    average: Any
    loss: Float[Array, " steps"]
    num_steps: IntScalar
    result: RESULTS


class _Carry(eqx.Module):
    params: Any
    state: Any
    finite: Any
    best: Any
    lowest: Scalar
    average: Any
    num_steps: IntScalar
    running: BoolScalar


def train(
    model: Any,
    objective: Objective,
    *,
    key: PRNGKeyArray,
    steps: int,
    learning_rate: Rate = 1e-3,
    weight_decay: ArrayLike = 0.0,
    scaling: optax.GradientTransformation = ADAM,
    optimizer: optax.GradientTransformation | None = None,
    keep: Keep = "last",
    smoothing: ArrayLike = 0.99,
    constrain: Callable[[Any], Any] | None = None,
    progress: Callable[[Any, Any], None] | None = None,
) -> Training:
    """Train a network: scans over blocks of steps, compiled once, that any optax transformation drives.

    Give `objective` as an equinox module with the data as fields, and `constrain` and `optimizer` as the same objects
    each time, so that a second training with other data of the same shapes compiles nothing. Pure: it runs under
    `jax.jit`, under `jax.vmap` over keys or data, and can be differentiated through.

    Args:
        model: equinox module; its floating-point arrays are trained.
        objective: maps `(model, key, done)`, `done` the share of the steps that is behind, to `(loss, output)`.
        key: random key; each step's own is folded from it.
        steps: number of steps; static.
        learning_rate: a scalar, or a schedule of optax.
        weight_decay: factor of the parameters that is added to the gradient, as Adam has it in PyTorch.
        scaling: what gives the gradient its size before the learning rate; Adam's by default.
        optimizer: a whole optimizer in place of the three arguments before.
        keep: "last" model, the "best" (of the lowest loss), or the last and the "average" of the outputs.
        smoothing: weight of what was before in the moving average, which starts at the first output.
        constrain: maps the model after each step to an admissible one.
        progress: called on the host as `progress(done, total)` steps, between blocks of 100 (inside of `jax.jit` only
            at the end).

    Returns:
        `Training`. A loss or derivative that is not finite ends it at the last model whose loss was.

    Raises:
        ValueError: for less than one step, an unknown `keep`, or a negative rate or decay.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> class Distance(eqx.Module):
        ...     target: jax.Array
        ...     def __call__(self, model, key, done):
        ...         return jnp.sum((model - self.target) ** 2), None
        >>> found = train(jnp.zeros(2), Distance(jnp.ones(2)), key=jax.random.key(0), steps=300, learning_rate=0.05)
        >>> print(found.model.round(2))
        [1. 1.]
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}.")
    if keep not in get_args(Keep):
        raise ValueError(f"keep must be one of {get_args(Keep)}, got {keep!r}.")
    require_nonnegative(weight_decay, "weight_decay")
    dtype = _tree.dtype_of(model)
    rates = _rates(learning_rate, steps).astype(dtype)
    settings = (_tree.setting(weight_decay).astype(dtype), _tree.setting(smoothing).astype(dtype))
    everything = (model, objective, key, settings, rates)
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(everything))
    # Blocks of one length serve any number of steps; inside of another program they would be so many copies.
    chunk = steps if traced else _BLOCK
    count = -(-steps // chunk)
    rates = jnp.pad(rates, (0, count * chunk - steps))
    tools = optimizer or scaling, optimizer is None, keep, constrain

    carry = _begin(model, objective, key, tools)
    losses = []
    for block in range(count):
        indices = block * chunk + jnp.arange(chunk)
        carry, loss = _run(
            carry,
            model,
            objective,
            key,
            (indices, rates[block * chunk : (block + 1) * chunk]),
            jnp.asarray(steps),
            settings,
            tools,
        )
        losses.append(loss)
        if progress is not None:
            done = min((block + 1) * chunk, steps)
            if traced:
                jax.debug.callback(progress, done, steps)
            else:
                jax.block_until_ready(loss)
                progress(done, steps)
    loss = jnp.concatenate(losses)[:steps]
    static = eqx.filter(model, eqx.is_inexact_array, inverse=True)
    kept = carry.best if keep == "best" else carry.params
    return Training(
        model=eqx.combine(kept, static),
        average=carry.average,
        loss=loss,
        num_steps=carry.num_steps,
        result=_result(loss, carry.running),
    )


def _rates(learning_rate: Rate, steps: int) -> Float[Array, " steps"]:
    if not callable(learning_rate):
        require_nonnegative(learning_rate, "learning_rate")
        return jnp.broadcast_to(_tree.setting(learning_rate), (steps,))
    with jax.numpy_dtype_promotion("standard"):
        return jnp.broadcast_to(_tree.setting(jax.vmap(learning_rate)(jnp.arange(steps))), (steps,))


def _result(loss: Float[Array, " steps"], finite: BoolScalar) -> RESULTS:
    tenth = max(loss.shape[0] // 10, 1)
    late, before = jnp.mean(loss[-tenth:]), jnp.mean(loss[-2 * tenth : -tenth] if loss.shape[0] > 1 else loss)
    settled = (loss.shape[0] >= 20) & (before - late <= 0.02 * jnp.abs(before))
    result = RESULTS.where(settled, RESULTS.converged, RESULTS.max_steps_reached)
    return RESULTS.where(finite, result, RESULTS.nonfinite)


def _build(tools: tuple, weight_decay: Scalar, rate: Scalar) -> optax.GradientTransformation:
    transformation, is_scaling, *_ = tools
    if not is_scaling:
        return transformation
    return optax.chain(optax.add_decayed_weights(weight_decay), transformation, optax.scale(-rate))


@eqx.filter_jit
def _begin(model: Any, objective: Objective, key: PRNGKeyArray, tools: tuple) -> _Carry:
    params = eqx.filter(model, eqx.is_inexact_array)
    zero = jnp.zeros((), _tree.dtype_of(model))
    loss, output = eqx.filter_eval_shape(objective, model, key, zero)
    _, _, keep, _ = tools
    average = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), output) if keep == "average" else None
    return _Carry(
        params=params,
        state=_build(tools, zero, zero).init(params),
        finite=params,
        best=params if keep == "best" else None,
        lowest=jnp.asarray(jnp.inf, loss.dtype),
        average=average,
        num_steps=jnp.asarray(0, jnp.int32),
        running=jnp.asarray(True),
    )


@eqx.filter_jit
def _run(
    carry: _Carry,
    model: Any,
    objective: Objective,
    key: PRNGKeyArray,
    steps: tuple[Array, Array],
    total: IntScalar,
    settings: tuple[Scalar, Scalar],
    tools: tuple,
) -> tuple[_Carry, Float[Array, " chunk"]]:
    static = eqx.filter(model, eqx.is_inexact_array, inverse=True)
    weight_decay, smoothing = settings
    _, _, keep, constrain = tools

    def advance(index: IntScalar, rate: Scalar, carry: _Carry) -> tuple[_Carry, Scalar]:
        done = index.astype(rate.dtype) / total.astype(rate.dtype)
        value_and_grad = eqx.filter_value_and_grad(objective, has_aux=True)
        (loss, output), gradient = value_and_grad(
            eqx.combine(carry.params, static), jax.random.fold_in(key, index), done
        )
        optimizer = _build(tools, weight_decay, rate)
        new, state = descend(optimizer, gradient, carry.state, carry.params)
        if constrain is not None:
            new = eqx.filter(constrain(eqx.combine(new, static)), eqx.is_inexact_array)
        fine = jnp.isfinite(loss) & _tree.all_finite(new)
        average = carry.average
        if keep == "average":
            before = jnp.where(carry.num_steps == 0, 0, smoothing)
            blended = jax.tree.map(lambda a, b: before * a + (1 - before) * b, average, output)
            average = _tree.where(fine, blended, average)
        better = fine & (loss < carry.lowest)
        following = _Carry(
            params=_tree.where(fine, new, carry.finite),
            state=_tree.where(fine, state, carry.state),
            finite=_tree.where(fine, carry.params, carry.finite),
            best=None if keep != "best" else _tree.where(better, carry.params, carry.best),
            lowest=jnp.where(better, loss, carry.lowest),
            average=average,
            num_steps=carry.num_steps + fine.astype(jnp.int32),
            running=fine,
        )
        return following, loss

    def skip(index: IntScalar, rate: Scalar, carry: _Carry) -> tuple[_Carry, Scalar]:
        return carry, jnp.full_like(carry.lowest, jnp.nan)

    def body(carry: _Carry, step: tuple[IntScalar, Scalar]) -> tuple[_Carry, Scalar]:
        index, rate = step
        return jax.lax.cond(carry.running & (index < total), advance, skip, index, rate, carry)

    return jax.lax.scan(body, carry, steps)
