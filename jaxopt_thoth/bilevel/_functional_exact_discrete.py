import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._types import State
from ._functional_adjoint import AbstractFunctionalAdjoint, FunctionalAdjoint, FunctionalSystem
from ._functional_rows import relative_residual


class ExactDiscrete(AbstractFunctionalAdjoint):
    """Adjoint function over finitely many inputs, in closed form: a value of its own at each.

    `q(x) = E_in[H | x]^-1 E_out[d | x] p_out(x) / p_in(x)`: where inner and outer inputs are spread differently, their
    ratio enters. It is exact where the model has minimized the inner risk at every input. Inputs are told apart by
    equality, row by row.

    An input that outer examples have and inner ones lack leaves the hypergradient undefined: it is left out, and
    `residual` says how much of the slope is there.

    Petrulionyte, Mairal and Arbel, "Functional bilevel optimization for machine learning", 2024.

    Raises:
        TypeError: when solving, if the input is a pytree and not one array.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> inputs, targets = jnp.array([0, 0, 0, 1]), jnp.array([1.0, 2.0, 3.0, 4.0])
        >>> table = jnp.array([2.0, 4.0])  # the minimizer of the inner risk for a weight of 1
        >>> inner = lambda weight, v, x, y: (v - weight * y) ** 2
        >>> outer = lambda weight, v, x: v**2
        >>> found = jt.bilevel.functional_hypergradient(
        ...     outer, inner, lambda x: table[x], 1.0, (inputs, targets), (jnp.array([0, 1]),),
        ...     adjoint=jt.bilevel.ExactDiscrete())
        >>> print(found.value, found.gradient)  # (2^2 + 4^2) / 2 weight^2
        10.0 20.0
    """

    def solve(self, system: FunctionalSystem, state: State) -> FunctionalAdjoint:
        inner, outer = _rows(system.inner_inputs), _rows(system.outer_inputs)
        n, m = inner.shape[0], outer.shape[0]
        count = n + m
        ids = jnp.unique(jnp.concatenate([inner, outer]), axis=0, size=count, return_inverse=True)[1].reshape(-1)
        place, other = ids[:n], ids[n:]
        slopes = jax.ops.segment_sum(system.outer_slopes / m, other, count)
        hessians = jax.ops.segment_sum(system.hessian() / n, place, count)
        seen = jax.ops.segment_sum(jnp.ones(n, slopes.dtype), place, count) > 0
        regular = jnp.where(seen[:, None, None], hessians, jnp.eye(slopes.shape[1], dtype=slopes.dtype)[None])
        right = jnp.where(seen[:, None], slopes, 0)
        values = jnp.linalg.solve(regular, right[:, :, None])[:, :, 0]
        left = jnp.einsum("gab,gb->ga", hessians, values, precision=jax.lax.Precision.HIGHEST)
        return FunctionalAdjoint(values[place], None, relative_residual(left - slopes, slopes))


def _rows(inputs: Array) -> Array:
    if not isinstance(inputs, jax.Array):
        raise TypeError(
            f"ExactDiscrete needs inputs in one array, got {type(inputs).__name__}; pass the index of each input."
        )
    return inputs.reshape(inputs.shape[0], -1)
