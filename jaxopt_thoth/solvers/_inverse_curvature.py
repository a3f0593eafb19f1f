import jax
import jax.numpy as jnp

from .. import _tree
from .._loop import while_loop
from .._types import Params, Scalar
from ..problems import Composite


_MAX_ITERATIONS = 20


def inverse_curvature(problem: Composite, params: Params) -> Scalar:
    """About `1 / L` at `params`: from the Lipschitz constant where it is known, else by power iteration on the Hessian.

    It is the fixed-point step of solvers that have no step size of their own.
    """
    dtype = _tree.dtype_of(params)
    known = problem.smooth.lipschitz()
    if known is not None:
        largest = known.astype(dtype)
    else:
        _, hessian = jax.linearize(problem.smooth.gradient, params)

        def normalize(v: Params) -> tuple[Params, Scalar]:
            size = _tree.norm(v)
            return _tree.scale(1 / jnp.where(size > 0, size, 1), v), size

        def body(carry):
            v, _, k = carry
            return *normalize(hessian(v)), k + 1

        # Irrational phases: no symmetry makes this start orthogonal to the top eigenvector.
        phases = lambda x: jnp.cos(1 + jnp.sqrt(jnp.arange(2, x.size + 2, dtype=x.dtype))).reshape(x.shape)
        start, _ = normalize(jax.tree.map(phases, params))
        carry = (start, jnp.zeros((), dtype), jnp.asarray(0, jnp.int32))
        largest = while_loop(lambda c: c[2] < _MAX_ITERATIONS, body, carry)[1]
    good = jnp.isfinite(largest) & (largest > 0)
    return jnp.where(good, 1 / jnp.where(good, largest, 1), 1)


def inverse_curvature_along(problem: Composite, params: Params, gradient: Params) -> Scalar:
    """Inverse curvature of f along its gradient, at least 1 / L, so that a first trial is never timid; 1 if unknown."""
    (size,) = _tree.inner_products((gradient, gradient))
    return guarded_ratio(size, problem.smooth.curvature_along(params, gradient))


def guarded_ratio(numerator: Scalar, curvature: Scalar) -> Scalar:
    """`numerator / curvature` as a constant; 1 where that is not a positive number."""
    guess = numerator / jnp.where(curvature > 0, curvature, 1)
    return jax.lax.stop_gradient(jnp.where((guess > 0) & (curvature > 0) & jnp.isfinite(guess), guess, 1))
