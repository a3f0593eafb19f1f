"""The sequence of quadratic programs of SISAL and MVSA. A simplex is given by x (p, p): `x' y` are the abundances of a
pixel y lifted to (white coordinates, 1). Its rows sum to zero, and the last to one; vertices are the columns of the
inverse of x'."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from .. import _tree
from .._loop import while_loop
from .._result import RESULTS
from .._types import BoolScalar, IntScalar, Scalar
from ._extraction_input import first_vertices, lifted, Whitened
from ._facet_program import relative_change
from ._simplex_fit import SimplexFit


_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
_HALVINGS = 20


class _State(NamedTuple):
    x: Float[Array, "p p"]
    value: Scalar
    change: Scalar
    stalled: BoolScalar
    num_steps: IntScalar


def default_tolerance(dtype: jnp.dtype) -> float:
    """On the relative change of a simplex."""
    return 1e-7 if dtype == jnp.float64 else 1e-3


@partial(jax.jit, static_argnames=("count", "max_steps"))
def shrink_simplex(
    space: Whitened,
    valid: Bool[Array, " N"],
    price: Scalar | None,
    key: PRNGKeyArray | None,
    tol: Scalar,
    count: int,
    max_steps: int,
) -> SimplexFit:
    """Minimize `-log |det x| + price * sum max(-x' y, 0)` over simplices, or hold all pixels where there is no price.

    The programs are models of second order in the relative change D of x', `-log |det (I + D)|` being about
    `|D|^2 / 2 - tr D`. Each is followed by a line search, without a price along simplices inflated until they hold all
    pixels, so that the objective falls in every step.
    """
    # Masked pixels lie at the mean, and are never beyond a facet.
    points = lifted(space.coordinates)
    dtype = points.dtype

    def value_of(x: Array) -> Scalar:
        value = -jnp.linalg.slogdet(x)[1]
        if price is None:
            return value
        return value + price * jnp.sum(jax.nn.relu(-_matmul(x.T, points)))

    def step(state: _State) -> _State:
        relative = relative_change(_matmul(state.x.T, points), price, 0.1 * tol)
        direction = _matmul(state.x, relative.T)
        change = _tree.norm(relative)

        def reached(length: Scalar) -> Array:
            x = state.x + length * direction
            return inflate(x, points) if price is None else x

        def halve(length: Scalar) -> BoolScalar:
            fails = value_of(reached(length)) > state.value - 1e-3 * length * jnp.square(change)
            return fails & (length > 0.5**_HALVINGS)

        x = reached(while_loop(halve, lambda t: t / 2, jnp.ones((), dtype)))
        value = value_of(x)
        better = value < state.value
        return _State(
            jnp.where(better, x, state.x),
            jnp.where(better, value, state.value),
            change,
            ~better,
            state.num_steps + 1,
        )

    x = inflate(jnp.linalg.inv(points[:, first_vertices(space, valid, count, key)]).T, points)
    start = _State(x, value_of(x), jnp.asarray(jnp.inf, dtype), jnp.asarray(False), jnp.asarray(0, jnp.int32))
    go_on = lambda s: (s.change > tol) & ~s.stalled & (s.num_steps < max_steps)
    end = while_loop(go_on, step, start)
    # Near a minimum the objective cannot tell changes below the square root of its rounding.
    flat = end.stalled & (end.change <= 100 * jnp.sqrt(jnp.finfo(dtype).eps))
    result = RESULTS.where((end.change <= tol) | flat, RESULTS.converged, RESULTS.max_steps_reached)
    result = RESULTS.where(jnp.isfinite(end.value), result, RESULTS.nonfinite)
    return as_simplex_fit(end.x, points, space, valid, end.num_steps, result)


def inflate(x: Float[Array, "p p"], points: Float[Array, "p N"]) -> Float[Array, "p p"]:
    """Facets moved outward in parallel until no point is beyond them."""
    missing = jnp.maximum(-jnp.min(_matmul(x.T, points), axis=1), 0)
    return x.at[-1].add(missing) / (1 + jnp.sum(missing))


def as_simplex_fit(
    x: Array, points: Array, space: Whitened, valid: Bool[Array, " N"], num_steps: IntScalar, result: RESULTS
) -> SimplexFit:
    vertices = jnp.linalg.inv(x.T)[:-1]
    stretch = jnp.sum(jnp.log(jnp.abs(jnp.diagonal(jnp.linalg.qr(space.basis, mode="r")))))
    beyond = (_matmul(x.T, points) < -1000 * jnp.finfo(x.dtype).eps) & valid[None, :]
    volume = -jnp.linalg.slogdet(x)[1] - jax.scipy.special.gammaln(jnp.asarray(x.shape[0], x.dtype))
    return SimplexFit(
        endmembers=space.mean[:, None] + _matmul(space.basis, vertices),
        log_volume=stretch + volume,
        outside=jnp.sum(beyond, axis=1).astype(x.dtype) / jnp.sum(valid).astype(x.dtype),
        num_steps=num_steps,
        result=result,
    )
