from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, Key

from .. import _tree
from .._validate import require_nonnegative
from ._functional_adjoint import AbstractFunctionalAdjoint
from ._functional_bilevel import FunctionalBilevel, FunctionalBilevelRecord
from ._functional_linear_features import last_hidden_layer, LinearFeatures
from ._functional_rows import Batch
from ._two_stage_least_squares import ridge_regression


class InstrumentalRegression(eqx.Module):
    """What `instrumental_regression` returns.

    Attributes:
        structural: the fitted module, which maps a treatment to its effect.
        first_stage: the module that predicts, from an instrument, the effect of the treatments seen with it.
        record: what each outer step saw.
    """

    structural: Any
    first_stage: Any
    record: FunctionalBilevelRecord


def instrumental_regression(
    structural: Any,
    first_stage: Any,
    instruments: Float[Array, "n ..."],
    treatments: Float[Array, "n ..."],
    outcomes: Float[Array, " n"],
    *,
    key: Key[Array, ""],
    num_steps: int = 1000,
    ridge: ArrayLike = 0.0,
    refit: bool = True,
    adjoint: AbstractFunctionalAdjoint | None = None,
    inner_optimizer: optax.GradientTransformation | None = None,
    outer_optimizer: optax.GradientTransformation | None = None,
    inner_steps: int = 20,
    batch_size: int | None = None,
) -> InstrumentalRegression:
    """Nonlinear effect of treatments on outcomes, freed of confounding by instruments, by functional bilevel descent.

    The first stage `h(z)` regresses `f(x)` on the instruments, the outer problem fits f such that `h(z)` predicts the
    outcome: `min_f E (h(z) - o)^2` with `h = argmin E (h(z) - f(x))^2`. With both linear and `refit` it ends at
    `two_stage_least_squares`. A constant is identified like any other effect: the confounder has mean zero.

    Petrulionyte, Mairal and Arbel, "Functional bilevel optimization for machine learning", 2024; Xu et al., "Learning
    deep features in instrumental variable regression", 2021.

    Args:
        structural: equinox module f that maps a treatment to a number; its weights are the start.
        first_stage: equinox module h that maps an instrument to a number; its weights are the start.
        instruments: what moves the treatments but not the outcomes otherwise, a row for each example.
        treatments: causes, a row for each example.
        outcomes: what they act on (n,).
        key: random key of the batches.
        num_steps: number of outer steps.
        ridge: strength of the penalty on the last layer of the first stage and on the adjoint, beside means.
        refit: whether the last layer of the first stage, an `equinox.nn.MLP` or `Linear`, is solved for after the
            inner steps.
        adjoint: by default `LinearFeatures` on the last hidden layer of the first stage.
        inner_optimizer: optax transformation of the first stage, by default `optax.adam(1e-3)`.
        outer_optimizer: optax transformation of the structural function, by default `optax.adam(1e-3)`.
        inner_steps: number of inner steps before each outer one.
        batch_size: number of examples drawn at a time; None takes all.

    Raises:
        ValueError: if a module does not return a number, lengths differ, or a setting is out of range.
        TypeError: if `refit` meets a first stage without a known last layer.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, optax, jaxopt_thoth as jt
        >>> z, u = jnp.array([[-1.0], [-1.0], [1.0], [1.0]]), jnp.array([-1.0, 1.0, -1.0, 1.0])
        >>> x = z[:, 0] + u  # confounded: u moves the outcome too
        >>> f, h = (eqx.nn.Linear(1, "scalar", key=key) for key in jax.random.split(jax.random.key(0)))
        >>> found = jt.bilevel.instrumental_regression(f, h, z, x[:, None], 1.5 * x + 2 * u, key=jax.random.key(1),
        ...     num_steps=100, inner_steps=0, outer_optimizer=optax.sgd(0.3))
        >>> print(found.structural.weight.round(3))
        [[1.5]]
    """
    require_nonnegative(ridge, "ridge")
    if refit and not isinstance(first_stage, eqx.nn.MLP | eqx.nn.Linear):
        raise TypeError(
            f"refit needs an equinox MLP or Linear as first_stage, got {type(first_stage).__name__}; pass refit=False."
        )
    z, x, o = (_tree.as_inexact(a) for a in (instruments, treatments, outcomes))
    for name, module, data in (("structural", structural, x), ("first_stage", first_stage, z)):
        shape = jax.eval_shape(module, data[0]).shape
        if shape != o.shape[1:]:
            raise ValueError(
                f"{name} must return what one outcome is, of shape {o.shape[1:]}, got shape {shape}; pass outcomes of "
                'shape (n,), and "scalar" as the output size of the module.'
            )
    strength = _tree.setting(ridge)
    method = FunctionalBilevel(
        outer_loss=lambda f, v, z, o: (v - o) ** 2,
        inner_loss=lambda f, v, z, x: (v - f(x)) ** 2,
        # A squared error has the Hessian 2: this ridge on the adjoint is that on the first stage.
        adjoint=LinearFeatures(ridge=2 * strength, scalar_hessian=True) if adjoint is None else adjoint,
        inner_optimizer=inner_optimizer,
        outer_optimizer=outer_optimizer,
        inner_steps=inner_steps,
        refit=(lambda h, f, batch: _refit_last_layer(h, f, batch, strength)) if refit else None,
        inner_batch_size=batch_size,
        outer_batch_size=batch_size,
    )
    state, record = method.run(first_stage, structural, (z, x), (z, o), key=key, num_steps=num_steps)
    return InstrumentalRegression(state.hyper, state.model, record)


def _refit_last_layer(model: Any, structural: Any, batch: Batch, ridge: Array) -> Any:
    """The model with the last layer that least squares gives it, the constant free of the ridge."""
    features = jax.vmap(lambda z: last_hidden_layer(model, z))(batch[0])
    targets = jax.vmap(structural)(batch[1])
    middle, mean = jnp.mean(features, axis=0, keepdims=True), jnp.mean(targets)
    weight = ridge_regression(features - middle, (targets - mean)[:, None], ridge.astype(features.dtype)).T
    last = lambda m: m.layers[-1] if isinstance(m, eqx.nn.MLP) else m
    bias = mean[None] - middle[0] @ weight.T
    model = eqx.tree_at(lambda m: last(m).weight, model, weight)
    if last(model).bias is None:
        raise TypeError("refit needs a first_stage whose last layer has a bias; pass use_final_bias=True.")
    return eqx.tree_at(lambda m: last(m).bias, model, bias)
