from collections.abc import Callable
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int, Key

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative, require_positive
from ..gradients._descend import descend
from ..solvers._settings import count_setting
from ._hyper_layer import responding
from ._hyperparameter_entropy import perturbation_entropy
from ._hyperparameter_one_sided import softplus_inverse
from ._hyperparameter_perturb import perturb
from ._random_batch import num_examples, random_batch
from ._self_tuning_state import SelfTuningRecord, SelfTuningState


# Arguments: model, perturbed hyper-parameters (batch, m), their center (m,), batch, key.
Loss = Callable[[Any, Array, Array, Any, Key[Array, ""]], Scalar]


class SelfTuning(eqx.Module):
    """Self-Tuning Networks: weights that are functions of the hyper-parameters, tuned while they are trained.

    The model is built of `HyperLinear` and `HyperConv2d` (other layers respond to nothing). A training step draws
    hyper-parameters around the current ones for each example, and descends the training loss in the weights alone: it
    is never differentiated in the hyper-parameters, which may act through a floor. A validation step descends
    `valid_loss - entropy_weight * entropy` in the hyper-parameters and the scales of their perturbation; the
    hyper-parameters act there through the weights only. An update is `train_steps` of one, `valid_steps` of the other.

    With `centered=True` (Delta-STN) the gates see the distance from the current hyper-parameters; the base of each
    layer learns from the unperturbed loss, the response from the perturbed one in which the base is held fixed, and a
    loss that predicts by `linearized_response` has the structure of that paper. Otherwise `center` is zero.

    MacKay, Vicol, Lorraine, Duvenaud and Grosse, "Self-tuning networks: bilevel optimization of hyperparameters using
    structured best-response functions", 2019; Bae and Grosse, "Delta-STN: efficient bilevel optimization for neural
    networks using structured response Jacobians", 2020.

    Args:
        train_loss: `train_loss(model, h, center, batch, key)`, a mean over the batch; `h` (batch, m) is one row per
            example, which sets the regularization and goes to the layers with `center` (m,).
        valid_loss: a function of the same arguments, without regularization.
        optimizer: optax transformation for the weights; gradient descent of rate 0.01 with momentum 0.9 by default.
        hyper_optimizer: optax transformation for the hyper-parameters; Adam with rate 3e-3 by default.
        scale_optimizer: optax transformation for the scales; Adam with rate 3e-3 by default.
        train_steps: number of training steps in an update.
        valid_steps: number of validation steps in an update.
        entropy_weight: weight of the entropy; a larger one widens the perturbation.
        initial_scale: scale of the perturbation at the start, one number or one each.
        tune_scales: adapt the scales; otherwise validation steps take the hyper-parameters as they are.
        centered: train as Delta-STN.

    Raises:
        ValueError: if a setting is out of range; from `init`, if `h` is no vector.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from jaxopt_thoth import bilevel
        >>> x = jnp.linspace(-1.0, 1.0, 8)[:, None]
        >>> fit = lambda model, h, center, batch, key: jnp.mean((model(batch[0], h, center) - batch[1]) ** 2)
        >>> def train(model, h, center, batch, key):
        ...     penalty = jnp.exp(h) * model(jnp.ones_like(batch[0]), h, center) ** 2
        ...     return fit(model, h, center, batch, key) + jnp.mean(penalty)
        >>> model = bilevel.HyperLinear(1, 1, num_hyper=1, key=jax.random.key(0))
        >>> method = bilevel.SelfTuning(train, fit, optimizer=optax.sgd(0.1), hyper_optimizer=optax.adam(0.03))
        >>> state = method.init(model, jnp.zeros(1), key=jax.random.key(1))
        >>> state, record = method.run(state, (x, x), (x, x), num_updates=200)
        >>> bool(state.h[0] < -1)  # less regularization is better here
        True
    """

    train_loss: Loss
    valid_loss: Loss
    entropy_weight: Scalar
    initial_scale: Array
    optimizer: optax.GradientTransformation = eqx.field(static=True)
    hyper_optimizer: optax.GradientTransformation = eqx.field(static=True)
    scale_optimizer: optax.GradientTransformation = eqx.field(static=True)
    train_steps: int = eqx.field(static=True)
    valid_steps: int = eqx.field(static=True)
    tune_scales: bool = eqx.field(static=True)
    centered: bool = eqx.field(static=True)

    def __init__(
        self,
        train_loss: Loss,
        valid_loss: Loss,
        *,
        optimizer: optax.GradientTransformation | None = None,
        hyper_optimizer: optax.GradientTransformation | None = None,
        scale_optimizer: optax.GradientTransformation | None = None,
        train_steps: int = 2,
        valid_steps: int = 1,
        entropy_weight: ArrayLike = 1e-3,
        initial_scale: ArrayLike = 0.5,
        tune_scales: bool = True,
        centered: bool = False,
    ):
        require_nonnegative(entropy_weight, "entropy_weight")
        require_positive(initial_scale, "initial_scale")
        self.train_loss, self.valid_loss = train_loss, valid_loss
        self.optimizer = optax.sgd(0.01, momentum=0.9) if optimizer is None else optimizer
        self.hyper_optimizer = optax.adam(3e-3) if hyper_optimizer is None else hyper_optimizer
        self.scale_optimizer = optax.adam(3e-3) if scale_optimizer is None else scale_optimizer
        self.train_steps = count_setting(train_steps, "train_steps", 1)
        self.valid_steps = count_setting(valid_steps, "valid_steps", 1)
        self.entropy_weight, self.initial_scale = _tree.setting(entropy_weight), _tree.setting(initial_scale)
        self.tune_scales, self.centered = tune_scales, centered

    def init(self, model: Any, h: Float[ArrayLike, " m"], *, key: Key[Array, ""]) -> SelfTuningState:
        """State at the start; `h` are the hyper-parameters on the real line."""
        h = _tree.setting(h)
        if h.ndim != 1:
            raise ValueError(f"h must be a vector, got shape {h.shape}; stack the hyper-parameters.")
        raw_scale = jnp.broadcast_to(softplus_inverse(self.initial_scale.astype(h.dtype)), h.shape)
        infinite = jnp.asarray(jnp.inf, h.dtype)
        return SelfTuningState(
            model=model,
            h=h,
            raw_scale=raw_scale,
            model_state=self.optimizer.init(eqx.filter(model, eqx.is_inexact_array)),
            hyper_state=self.hyper_optimizer.init(h),
            scale_state=self.scale_optimizer.init(raw_scale),
            key=key,
            count=jnp.asarray(0, jnp.int32),
            train_loss=infinite,
            valid_loss=infinite,
        )

    def train_step(self, state: SelfTuningState, batch: Any) -> SelfTuningState:
        """One step in the weights; the leading axis of the leaves of `batch` is that of the examples."""
        key, draw, *keys = jax.random.split(state.key, 4)
        perturbed = perturb(state.h, state.raw_scale, draw, num_examples(batch))
        center = self._center(state)
        weights, rest = eqx.partition(state.model, eqx.is_inexact_array)

        def loss(weights: Any) -> Scalar:
            model = eqx.combine(weights, rest)
            if not self.centered:
                return self.train_loss(model, perturbed, center, batch, keys[0])
            fixed = jax.tree.map(lambda leaf, free: leaf if free else lax.stop_gradient(leaf), weights, marks)
            response = self.train_loss(eqx.combine(fixed, rest), perturbed, center, batch, keys[0])
            level = jnp.broadcast_to(center, perturbed.shape)
            # Its value alone is reported, for it is the loss of the network that is kept.
            base = self.train_loss(model, level, center, batch, keys[1])
            return base + response - lax.stop_gradient(response)

        marks = eqx.filter(responding(state.model), jax.tree.map(eqx.is_inexact_array, state.model))
        value, gradient = jax.value_and_grad(loss)(weights)
        weights, model_state = descend(self.optimizer, gradient, state.model_state, weights)
        return replace(
            state,
            model=eqx.combine(weights, rest),
            model_state=model_state,
            key=key,
            count=state.count + 1,
            train_loss=value.astype(state.train_loss.dtype),
        )

    def valid_step(self, state: SelfTuningState, batch: Any) -> SelfTuningState:
        """One step in the hyper-parameters and, if they are tuned, in the scales."""
        key, draw, inside = jax.random.split(state.key, 3)
        size = num_examples(batch)
        center = self._center(state)

        def loss(hyper: tuple[Array, Array]) -> tuple[Scalar, Scalar]:
            h, raw_scale = hyper
            rows = perturb(h, raw_scale, draw, size) if self.tune_scales else jnp.broadcast_to(h, (size, *h.shape))
            value = self.valid_loss(state.model, rows, center, batch, inside)
            if not self.tune_scales:
                return value, value
            return value - self.entropy_weight.astype(value.dtype) * perturbation_entropy(raw_scale), value

        (_, value), (h_gradient, scale_gradient) = jax.value_and_grad(loss, has_aux=True)((state.h, state.raw_scale))
        h, hyper_state = descend(self.hyper_optimizer, h_gradient, state.hyper_state, state.h)
        raw_scale, scale_state = state.raw_scale, state.scale_state
        if self.tune_scales:
            raw_scale, scale_state = descend(self.scale_optimizer, scale_gradient, scale_state, raw_scale)
        return replace(
            state,
            h=h,
            raw_scale=raw_scale,
            hyper_state=hyper_state,
            scale_state=scale_state,
            key=key,
            valid_loss=value.astype(state.valid_loss.dtype),
        )

    def update(self, state: SelfTuningState, train_batches: Any, valid_batches: Any) -> SelfTuningState:
        """Training steps, then validation steps; the leading axes of the batches are `train_steps`, `valid_steps`."""
        take = lambda batches, at: jax.tree.map(lambda leaf: leaf[at], batches)
        for name, batches, count in (
            ("train_batches", train_batches, self.train_steps),
            ("valid_batches", valid_batches, self.valid_steps),
        ):
            if num_examples(batches) != count:
                raise ValueError(
                    f"{name} must have the number of steps, {count}, as their leading axis, got "
                    f"{num_examples(batches)}; stack one batch a step."
                )
        for at in range(self.train_steps):
            state = self.train_step(state, take(train_batches, at))
        for at in range(self.valid_steps):
            state = self.valid_step(state, take(valid_batches, at))
        return state

    def run(
        self,
        state: SelfTuningState,
        train_data: Any,
        valid_data: Any,
        *,
        num_updates: int,
        batch_size: int | None = None,
        warmup: int = 0,
    ) -> tuple[SelfTuningState, SelfTuningRecord]:
        """Take `num_updates` updates on batches drawn at random, of the whole data when `batch_size` is None.

        Args:
            state: from `init`, or from an earlier run.
            train_data: pytree of arrays whose leading axis is that of the examples.
            valid_data: the same.
            num_updates: number of updates.
            batch_size: number of examples of a batch, drawn without replacement.
            warmup: number of first updates without validation steps.

        Raises:
            ValueError: if a count is out of range, or the data are fewer than `batch_size`.
        """
        count_setting(num_updates, "num_updates")
        count_setting(warmup, "warmup")
        arrays, static = eqx.partition(state, eqx.is_array)

        def draw(arrays: Any, data: Any) -> tuple[Any, Any]:
            current = eqx.combine(arrays, static)
            if batch_size is None:
                return current, data
            key, inside = jax.random.split(current.key)
            return replace(current, key=key), random_batch(data, batch_size, inside)

        def advance(arrays: Any, at: Int[Array, ""]) -> tuple[Any, SelfTuningRecord]:
            for _ in range(self.train_steps):
                arrays = eqx.filter(self.train_step(*draw(arrays, train_data)), eqx.is_array)
            tuned = arrays
            for _ in range(self.valid_steps):
                tuned = eqx.filter(self.valid_step(*draw(tuned, valid_data)), eqx.is_array)
            if warmup:
                tuned = lax.cond(at < warmup, lambda: arrays, lambda: tuned)
            new = eqx.combine(tuned, static)
            return tuned, SelfTuningRecord(new.h, jax.nn.softplus(new.raw_scale), new.train_loss, new.valid_loss)

        arrays, record = lax.scan(advance, arrays, jnp.arange(num_updates))
        return eqx.combine(arrays, static), record

    def _center(self, state: SelfTuningState) -> Array:
        return state.h if self.centered else jnp.zeros_like(state.h)
