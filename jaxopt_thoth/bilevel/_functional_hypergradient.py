from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _tree
from .._types import Params, Scalar, State
from ._functional_adjoint import AbstractFunctionalAdjoint, FunctionalSystem
from ._functional_packed import float_leaves_as_arrays
from ._functional_rows import as_batch, Batch, flat_rows, loss_rows, mean_loss, num_rows, PointwiseLoss, predict


class FunctionalHypergradient(eqx.Module):
    """What `functional_hypergradient` returns.

    Attributes:
        value: mean outer loss at the model.
        gradient: its derivative in the hyper-parameters, through the inner problem; None at leaves that are not
            floating-point arrays.
        adjoint: the adjoint function at the inner inputs (n, ...), shaped as the predictions.
        adjoint_state: warm start of the next adjoint.
        adjoint_residual: relative residual of the adjoint in its function class, 0 where it is exact.
    """

    value: Scalar
    gradient: Params
    adjoint: Float[Array, "n ..."]
    adjoint_state: State
    adjoint_residual: Scalar


def functional_hypergradient(
    outer_loss: PointwiseLoss,
    inner_loss: PointwiseLoss,
    model: Callable[[Any], Array],
    hyper: Params,
    inner_batch: Batch,
    outer_batch: Batch,
    *,
    adjoint: AbstractFunctionalAdjoint,
    adjoint_state: State = None,
) -> FunctionalHypergradient:
    """Gradient of `E_out[outer_loss(w, h(x), ...)]` in w, h the function of least `E_in[inner_loss(w, h(x), ...)]`.

    The model stands for the inner solution h, whatever its weights: the inner loss has to be strongly convex in the
    prediction, and nothing is asked of the weights, which a network never determines. With the adjoint function q, for
    which `E_in[H q] = E_out[d]` against every function (H the Hessian of the inner loss, d the gradient of the outer
    loss in the prediction), the gradient is `E_out[d_w outer] - E_in[d_w (d_v inner' q)]`. It is exact where the model
    is the inner solution and the class of the adjoint holds q. The adjoint and the last term use the same inner batch.

    Petrulionyte, Mairal and Arbel, "Functional bilevel optimization for machine learning", 2024; there the adjoint
    function has the opposite sign.

    Args:
        outer_loss: `outer_loss(hyper, prediction, *example)`, the scalar loss of one outer example.
        inner_loss: `inner_loss(hyper, prediction, *example)`, the scalar loss of one inner example.
        model: maps one input to its prediction, an array; held constant.
        hyper: pytree of hyper-parameters w, an equinox module for example.
        inner_batch: arrays (or pytrees) of n rows; the first are the inputs, and a row of all of them is an example.
        outer_batch: arrays of m rows in the same order.
        adjoint: `LinearFeatures(...)`, `NetworkAdjoint(...)` or `ExactDiscrete()`.
        adjoint_state: that of the previous hypergradient; None starts afresh.

    Raises:
        ValueError: if a batch has arrays of different length, the predictions differ in shape, or a loss is no scalar.
        TypeError: if the model does not return one floating-point array, or `adjoint` is none.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> z, x = jnp.array([-1.0, 1.0]), jnp.array([-1.5, 2.5])
        >>> inner = lambda w, v, z, x: (v - w * x) ** 2
        >>> outer = lambda w, v, z, o: (v - o) ** 2
        >>> model = lambda z: 2.0 * z  # regression through 0 of w x on z, for w = 1
        >>> found = jt.bilevel.functional_hypergradient(
        ...     outer, inner, model, 1.0, (z, x), (z, 3 * z), adjoint=jt.bilevel.LinearFeatures(lambda h, z: z[None]))
        >>> print(found.value.round(3), found.gradient.round(3))  # of (2 w - 3)^2
        1.0 -4.0
    """
    if not isinstance(adjoint, AbstractFunctionalAdjoint):
        raise TypeError(f"adjoint must be one of this room, LinearFeatures(...) for example, got {adjoint!r}.")
    inner_batch, outer_batch = as_batch(inner_batch, "inner_batch"), as_batch(outer_batch, "outer_batch")
    # The model stands for the inner solution: what its weights depend on is the business of the adjoint.
    model = _tree.stop_gradient(model)
    hyper = float_leaves_as_arrays(hyper)
    trained, fixed = eqx.partition(hyper, eqx.is_inexact_array)
    inner_inputs, outer_inputs = inner_batch[0], outer_batch[0]
    inner_values, outer_values = (jax.lax.stop_gradient(predict(model, x)) for x in (inner_inputs, outer_inputs))
    if inner_values.shape[1:] != outer_values.shape[1:]:
        raise ValueError(
            f"model must predict one shape, got {inner_values.shape[1:]} on inner_batch and {outer_values.shape[1:]} "
            "on outer_batch; the first entry of each batch are its inputs."
        )
    shape = inner_values.shape

    def inner_slopes(values: Array) -> Array:
        return jax.grad(lambda v: jnp.sum(loss_rows(inner_loss, hyper, v, inner_batch, "inner_loss")))(values)

    slopes = jax.grad(lambda v: jnp.sum(loss_rows(outer_loss, hyper, v, outer_batch, "outer_loss")))(outer_values)
    _, tangent = jax.linearize(inner_slopes, inner_values)

    def hessian() -> Array:
        directions = jnp.eye(flat_rows(inner_values).shape[1], dtype=inner_values.dtype)
        # One pass for each output serves every row at once.
        along = lambda e: flat_rows(tangent(jnp.broadcast_to(e.reshape((1, *shape[1:])), shape)))
        return jax.vmap(along, out_axes=2)(directions)

    system = FunctionalSystem(
        model=model,
        inner_inputs=inner_inputs,
        outer_inputs=outer_inputs,
        outer_slopes=flat_rows(slopes),
        product=lambda q: flat_rows(tangent(q.reshape(shape))),
        hessian=hessian,
    )
    found = adjoint.solve(system, adjoint.init() if adjoint_state is None else adjoint_state)
    q = jax.lax.stop_gradient(found.values.reshape(shape))

    def total(trained: Params) -> tuple[Scalar, Scalar]:
        hyper = eqx.combine(trained, fixed)
        value = mean_loss(outer_loss, hyper, outer_values, outer_batch, "outer_loss")
        risk = lambda v: jnp.sum(loss_rows(inner_loss, hyper, v, inner_batch, "inner_loss"))
        cross = jax.jvp(risk, (inner_values,), (q,))[1] / num_rows(inner_batch)
        return value - cross, value

    gradient, value = jax.grad(total, has_aux=True)(trained)
    return FunctionalHypergradient(value, gradient, q, found.state, found.residual)
