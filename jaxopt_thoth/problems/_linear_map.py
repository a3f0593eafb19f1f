from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from .. import _tree
from .._loop import while_loop
from .._types import Params, Scalar
from .._validate import concrete
from ..operators import AbstractOperator


# A matrix-like operator, a linear function of a pytree, or None for the identity.
LinearMap = AbstractOperator | Callable[[Params], Params] | None


def apply(linear: LinearMap, x: Params) -> Params:
    """The image of `x`."""
    if linear is None:
        return x
    return linear.matvec(x) if isinstance(linear, AbstractOperator) else linear(x)


def apply_transpose(linear: LinearMap, like: Params, y: Params) -> Params:
    """The image of `y` under the transpose, a pytree like `like`."""
    if linear is None:
        return y
    if isinstance(linear, AbstractOperator):
        return linear.rmatvec(y)
    return jax.vjp(linear, like)[1](y)[0]


def norm(linear: LinearMap, like: Params, *, rtol: float = 1e-3, max_steps: int = 200) -> Scalar:
    """Estimate from below of the largest singular value on pytrees like `like`, by power iteration.

    Coarse on purpose: a method that watches its own products learns what is missing.
    """
    dtype = _tree.dtype_of(like)
    if linear is None:
        return jnp.ones((), dtype)

    frozen = _tree.stop_gradient(linear)

    def normalize(v: Params) -> tuple[Params, Scalar]:
        size = _tree.norm(v)
        return _tree.scale(1 / jnp.where(size > 0, size, 1), v), size

    def body(carry):
        v, old, _, count = carry
        new_v, new = normalize(apply_transpose(frozen, v, apply(frozen, v)))
        return new_v, new, jnp.abs(new - old) > rtol * new, count + 1

    # Irrational phases: no symmetry makes this start orthogonal to the top singular vector.
    phases = lambda x: jnp.cos(1 + jnp.sqrt(jnp.arange(2, x.size + 2, dtype=x.dtype))).reshape(x.shape)
    v, _ = normalize(jax.tree.map(phases, like))
    start = (v, jnp.zeros((), dtype), jnp.asarray(True), jnp.asarray(0, jnp.int32))
    v = while_loop(lambda c: c[2] & (c[3] < max_steps), body, start)[0]
    return _tree.norm(apply(frozen, v))


def check_image(linear: LinearMap, x: Params) -> None:
    """Raise `ValueError` where the map does not take `x`, or is known not to be linear."""
    if isinstance(linear, AbstractOperator):
        columns = linear.shape[1]
        if not isinstance(x, jax.Array) or x.ndim not in (1, 2) or x.shape[0] != columns:
            got = jax.tree.map(jnp.shape, x)
            raise ValueError(
                f"params must be an array of shape ({columns},) or ({columns}, k) for operator, got {got}."
            )
    elif linear is not None:
        for leaf in jax.tree.leaves(linear(_tree.zeros_like(x))):
            known = concrete(leaf)
            if known is not None and np.any(known != 0):
                raise ValueError(
                    "operator must be linear, and maps zero to another point; move the constant into composed."
                )
