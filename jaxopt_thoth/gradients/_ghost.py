"""The ghost engine: norms of per-example gradients from the inputs and the derivatives of the outputs of each layer."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._types import Scalar
from . import _ghost_rules as rules
from ._ghost_trace import Trace, trace, Use


# Computing these in a wider dtype than they were called in gives the derivative of the same function.
_WIDENED = (
    *("dot_general", "conv_general_dilated", "gather", "dynamic_slice", "broadcast_in_dim"),
    *("add", "sub", "mul", "div", "add_any"),
)


class Ghost:
    """One backward pass over a batch, and the gradients that can be read off it.

    Args:
        loss: `loss(leaves, example)`, both lists of arrays, of a single example.
        leaves: the parameters.
        batch: the examples, with a leading axis.
        dtypes: for each parameter the dtype to accumulate in.
    """

    def __init__(
        self,
        loss: Callable[..., Scalar],
        leaves: Sequence[Array],
        batch: Sequence[Array],
        dtypes: Sequence[Any],
    ):
        self.leaves = leaves
        self.dtypes = dtypes
        self.size = len(batch[0])
        self.formed: dict[int, Array] = {}
        self.trace: Trace

        def backward(example: Sequence[Array]) -> tuple[tuple[Scalar, Any], Any]:
            # In here, where the examples have the types that the loss sees, over devices too.
            self.trace = trace(loss, leaves, example)
            probed = lambda probes: self.trace.evaluate(probes, leaves, example)
            return jax.value_and_grad(probed, has_aux=True)(self.trace.probes())

        (self.values, self.records), self.derivatives = jax.vmap(backward)(list(batch))

    def squared_norms(self, index: int) -> Float[Array, " n"]:
        """Squared norms of the per-example gradients with respect to one parameter."""
        uses, dtype = self.trace.uses_of(index), self.dtypes[index]
        shapes = [rules.shape_of(use, index) for _, use in uses]
        if rules.combine(shapes):

            def of_example(records: Sequence[Any], derivatives: Sequence[Any]) -> Scalar:
                parts = zip(uses, shapes, records, derivatives, strict=True)
                return rules.squared_norm(
                    [rules.factor(use, shape, rec, d[0], dtype) for (_, use), shape, rec, d in parts if shape]
                )

            records, derivatives = zip(*((self.records[at], self.derivatives[at]) for at, _ in uses), strict=True)
            return jax.vmap(of_example)(records, derivatives)
        gradients = self.gradients(index)
        held = jax.tree.leaves([(self.records[at], self.derivatives[at]) for at, _ in uses])
        if gradients.size <= sum(a.size for a in held):
            # No larger than what is held for the backward pass anyway.
            self.formed[index] = gradients
        return jnp.sum(gradients**2, axis=tuple(range(1, gradients.ndim)))

    def gradients(self, index: int) -> Array:
        """Per-example gradients with respect to one parameter, with a leading axis."""
        dtype = self.dtypes[index]
        total = jnp.zeros((self.size, *self.leaves[index].shape), dtype)
        for at, use in self.trace.uses_of(index):
            pull = lambda record, d, use=use: self._pull(use, index, [record], [d], batched=False)
            total = total + jax.vmap(pull)(self.records[at], self.derivatives[at])
        return total

    def weighted_sum(self, index: int, weights: Float[Array, " n"], keep: Bool[Array, " n"]) -> Array:
        """Sum of the per-example gradients with weights; those outside of `keep` do not enter, whatever they are."""
        if index in self.formed:
            return jnp.sum(_weigh(self.formed[index], weights, keep, self.dtypes[index]), axis=0)
        total = jnp.zeros(self.leaves[index].shape, self.dtypes[index])
        for at, use in self.trace.uses_of(index):
            derivatives = [_weigh(d, weights, keep, self.dtypes[index]) for d in self.derivatives[at]]
            # Zero times NaN is NaN.
            records = [_weigh(record, None, keep, None) for record in self.records[at]]
            total = total + self._pull(use, index, [records], [derivatives], batched=True)
        return total

    def _pull(self, use: Use, index: int, records: Any, derivatives: Any, *, batched: bool) -> Array:
        """Derivative of a use with respect to one parameter, of one example or summed over a batch."""
        (record,), (derivative,), leaf, dtype = records, derivatives, self.leaves[index], self.dtypes[index]
        others = [view.leaf for view in use.views.values()]
        inexact = [a for a in record if jnp.issubdtype(a.dtype, jnp.inexact)]
        kinds = {a.dtype for a in (*inexact, *(self.leaves[at] for at in others))}
        kinds |= {use.operation.avals[at].dtype for at in use.traced}
        exact = kinds == {jnp.dtype(dtype)}
        wide = None if exact or use.operation.name not in _WIDENED else dtype
        if batched and not exact and wide is None:
            # The sum over the batch would be rounded to the dtype of the operation.
            single = jax.vmap(lambda r, d: self._pull(use, index, [r], [d], batched=False))
            return jnp.sum(single(record, derivative), axis=0)
        call = lambda w, *rest: use(index, w, self.leaves, rest, wide)
        start = leaf if wide is None else leaf.astype(dtype)
        targets = [use.operation.avals[at].dtype if wide is None else dtype for at in use.traced]
        if batched and not record:
            derivative = [jnp.sum(d, axis=0) for d in derivative]
        elif batched:
            call = lambda w, *rest: jax.vmap(lambda *r: use(index, w, self.leaves, r, wide))(*rest)
        _, pull = jax.vjp(lambda w: call(w, *record), start)
        (result,) = pull([d.astype(target) for d, target in zip(derivative, targets, strict=True)])
        return result.astype(dtype)


def _weigh(a: Array, weights: Array | None, keep: Array, dtype: Any) -> Array:
    if not jnp.issubdtype(a.dtype, jnp.inexact):
        return a
    column = (-1,) + (1,) * (a.ndim - 1)
    if weights is not None:
        a = a.astype(dtype) * weights.astype(dtype).reshape(column)
    return jnp.where(keep.reshape(column), a, 0)
