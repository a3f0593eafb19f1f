import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._loop import while_loop
from .._validate import concrete, require_nonnegative
from ._simplex import simplex_rows


def transport(
    x: Float[ArrayLike, "n m"], sums: tuple[ArrayLike, ArrayLike], max_steps: int = 500
) -> Float[Array, "n m"]:
    """Euclidean projection onto the transport polytope `{Z >= 0, Z @ 1 = row_sums, Z.T @ 1 = column_sums}`.

    `sums` is the pair `(row_sums, column_sums)`; each is a vector, or a number for all. The longer of the two holds to
    rounding, the other to the tolerance of the dtype unless `max_steps` steps end first: `transport_residual` tells.
    Differentiable in `x` and both sums, forward and reverse. Raises `ValueError` for known sums that are
    negative or whose totals differ.

    On the dual, a semismooth Newton method in the column multipliers, the row multipliers being eliminated exactly,
    safeguarded by exact minimization over one block at a time (Blondel, Seguy and Rolet, "Smooth and sparse optimal
    transport", 2018; Li, Sun and Toh, "On the efficient computation of a generalized Jacobian of the projector over
    the Birkhoff polytope", 2020).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> plan = projections.transport(jnp.array([[1.0, 0.0], [0.0, 1.0]]), (jnp.array([0.75, 0.25]), 0.5))
        >>> plan.round(6).tolist()
        [[0.5, 0.25], [0.0, 0.25]]
    """
    array, a, b = read_problem(x, sums)
    if array.size == 0:
        return array
    steps = jnp.asarray(max_steps)
    # The linear systems have the size of the second axis.
    return _transport(array, a, b, steps) if array.shape[0] >= array.shape[1] else _transport(array.T, b, a, steps).T


def read_problem(x: ArrayLike, sums: tuple[ArrayLike, ArrayLike]) -> tuple[Array, Array, Array]:
    """The matrix and the vectors of sums, checked."""
    array = _tree.as_inexact(x)
    if array.ndim != 2:
        raise ValueError(f"x must be a matrix, got shape {array.shape}; vmap over its leading axes.")
    shapes = tuple((size,) for size in array.shape)
    known = [concrete(value) for value in sums]
    for value, name in zip(known, ("row_sums", "column_sums")):
        if value is not None:
            require_nonnegative(value, name)
    rows, columns = (None if value is None else np.broadcast_to(value, s) for value, s in zip(known, shapes))
    if rows is not None and columns is not None and array.size:
        # What rounding of the arguments in float32 may cost is let pass.
        supply, demand = rows.astype(float).sum(), columns.astype(float).sum()
        if abs(supply - demand) > 1e-5 * (supply + demand):
            raise ValueError(f"row_sums and column_sums must have one total, got {supply} and {demand}; rescale one.")
    a, b = (jnp.broadcast_to(jnp.asarray(value).astype(array.dtype), s) for value, s in zip(sums, shapes))
    return array, a, b


def _laplacian(weights: Array, degree: Array) -> Array:
    """Hessian of the dual in the column multipliers, the row multipliers being eliminated."""
    coupling = jnp.matmul(weights.T, weights / degree[:, None], precision=jax.lax.Precision.HIGHEST)
    return jnp.diag(jnp.sum(weights, 0)) - coupling


def marginal_tangent(weights: Array, degree: Array, inner: Array, da: Array, db: Array) -> Array:
    """`inner + weights * (du + dv)`, with multipliers of rows and columns such that the sums change as asked.

    `degree` is the row sums of the weights, guarded against zero. The support may fall apart, and multipliers be free
    in each part: the solution of least norm is taken.
    """
    multiply = lambda left, right: jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)
    mean = (da - jnp.sum(inner, 1)) / degree
    gap = db - jnp.sum(inner, 0) - multiply(weights.T, mean)
    dv = lx.linear_solve(lx.MatrixLinearOperator(_laplacian(weights, degree)), gap, lx.SVD()).value
    du = mean - multiply(weights, dv) / degree
    return inner + weights * (du[:, None] + dv[None, :])


# Compiled on its own, or each call outside `jit` would compile the loop anew.
@jax.custom_jvp
@jax.jit
def _transport(x: Float[Array, "n m"], a: Float[Array, " n"], b: Float[Array, " m"], max_steps: Array) -> Array:
    eps = jnp.finfo(x.dtype).eps
    size = jnp.max(a) + jnp.max(b)
    dot = lambda left, right: jnp.vdot(left, right, precision=jax.lax.Precision.HIGHEST)

    def look(v: Array) -> tuple[Array, Array]:
        """The plan at the best row multipliers, and the gradient of the dual in the column multipliers."""
        z = simplex_rows(x + v[None, :], a)
        return z, jnp.sum(z, 0) - b

    def by_columns(v: Array, z: Array) -> Array:
        u = jnp.max(z, 1) - jnp.max(x + v[None, :], 1)
        shifted = x + u[:, None]
        return jnp.max(simplex_rows(shifted.T, b), 1) - jnp.max(shifted, 0)

    def search(v: Array, direction: Array, slope: Array) -> Array:
        """Step along a descent direction to where the slope, which only grows, is at most half as steep."""
        slope_at = lambda t: dot(direction, look(v + t * direction)[1])

        def unfinished(carry: tuple[Array, ...]) -> Array:
            *_, found, count = carry
            return ~found & (count < 40)

        def shrink(carry: tuple[Array, ...]) -> tuple[Array, ...]:
            _, low, at_low, high, at_high, _, count = carry
            # False position, which bisection (in the logarithm at first) keeps from crawling.
            secant = low - at_low * (high - low) / jnp.where(at_high > at_low, at_high - at_low, 1)
            middle = jnp.where(low > 0, low + (high - low) / 2, high / 16)
            t = jnp.where(count % 2 == 0, secant, middle)
            new = slope_at(t)
            left = new < 0
            low, at_low = jnp.where(left, t, low), jnp.where(left, new, at_low)
            high, at_high = jnp.where(left, high, t), jnp.where(left, at_high, new)
            return t, low, at_low, high, at_high, jnp.abs(new) <= -slope / 2, count + 1

        one, zero = jnp.ones((), x.dtype), jnp.zeros((), x.dtype)
        full = slope_at(one)
        # Still steep after the full step: that is a descent all the same.
        carry = (one, zero, slope, one, full, full <= -slope / 2, jnp.asarray(0))
        t, low, *_, found, _ = while_loop(unfinished, shrink, carry)
        return jnp.where(found, t, low)

    def unfinished(carry: tuple[Array, ...]) -> Array:
        v, _, gradient, _, step = carry
        # What the sums x + v lose by rounding cannot be gained back.
        rounding = 4 * size + 2 * x.shape[0] ** 0.5 * jnp.max(jnp.abs(x + v[None, :]))
        return (jnp.max(jnp.abs(gradient)) > eps * rounding) & (step < max_steps)

    def improve(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        v, z, _, damping, step = carry
        # Gives each column a support, without which Newton's method would be blind to it.
        v = by_columns(v, z)
        z, gradient = look(v)
        # Where the support falls apart, the Hessian is singular beyond the common shift of all multipliers.
        support = (z > 0).astype(x.dtype)
        hessian = _laplacian(support, jnp.maximum(jnp.sum(support, 1), 1))
        hessian = hessian + damping * jnp.eye(x.shape[1], dtype=x.dtype)
        direction = -jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(hessian), gradient)
        t = search(v, direction, dot(direction, gradient))
        v = v + t * direction
        # Levenberg and Marquardt: trust the quadratic model more after a full step, less after a short one.
        damping = jnp.where(t == 1, damping / 10, jnp.where(t < 0.1, damping * 10, damping))
        damping = jnp.clip(damping, 10 * eps * x.shape[1], 1)
        return v - jnp.mean(v), *look(v), damping, step + 1

    start = jnp.zeros_like(b)
    return while_loop(unfinished, improve, (start, *look(start), jnp.asarray(0.1, x.dtype), jnp.asarray(0)))[1]


@_transport.defjvp
def _(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    x, a, b, max_steps = primals
    dx, da, db, _ = tangents
    z = _transport(x, a, b, max_steps)
    support = (z > 0).astype(x.dtype)
    return z, marginal_tangent(support, jnp.maximum(jnp.sum(support, 1), 1), support * dx, da, db)
