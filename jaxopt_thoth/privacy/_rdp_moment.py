"""Moments of the privacy loss of a Gaussian seen through Poisson sampling."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jax.custom_derivatives import SymbolicZero

from ._rdp_arithmetic import Arithmetic, arithmetic


# Integer orders are summed exactly up to here, fractional ones integrated up to there.
LARGEST_ORDER = 1024
_LARGEST_INTEGRATED = 16
_LEAST_INTEGRATED_NOISE = 1e-3

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(10)
# Half-widths of the panels around a hump of the integrand, in units of the noise, and around its bend.
_HUMP = np.array([1.0, 2.5, 5.0, 8.0, 13.0])
_BEND = np.array([0.5, 1.5, 4.0, 10.0, 25.0])
_UNIFORM = 33


def log_moment(ops: Arithmetic, order: Any, rate: Any, noise: Any) -> Any:
    """`log E (1 + x)^order` for the centered likelihood ratio x, all arguments one-dimensional and of one size."""
    if ops.xp is np:
        return _log_moment(ops, order, rate, noise)
    # One program: alone, each of the hundred operations would be compiled for its own.
    if isinstance(order, np.ndarray):
        return _log_moment_at(tuple(order.tolist()), rate, noise)
    return _log_moment_of(order, rate, noise)


@functools.partial(jax.jit, static_argnums=0)
def _log_moment_at(order: tuple[float, ...], rate: Any, noise: Any) -> Any:
    return _entrywise(lambda q, s: _log_moment(arithmetic(q, s), np.array(order, np.float64), q, s))(rate, noise)


@jax.jit
def _log_moment_of(order: Any, rate: Any, noise: Any) -> Any:
    fixed = jax.lax.stop_gradient(order)
    return _entrywise(lambda q, s, a: _log_moment(arithmetic(a, q, s), a, q, s))(rate, noise, fixed)


def _entrywise(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with derivatives in its first two arguments that keep one number an entry, not every node."""
    wrapped = jax.custom_jvp(function)

    def derivatives(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
        total = None
        for place, tangent in enumerate(tangents[:2]):
            if type(tangent) is SymbolicZero:
                continue
            alone = lambda x, place=place: function(*primals[:place], x, *primals[place + 1 :])
            _, slope = jax.jvp(alone, (primals[place],), (jnp.ones_like(primals[place]),))
            part = slope * tangent
            total = part if total is None else total + part
        value = wrapped(*primals)
        return value, jnp.zeros_like(value) if total is None else total

    wrapped.defjvp(derivatives, symbolic_zeros=True)
    return wrapped


def _log_moment(ops: Arithmetic, order: Any, rate: Any, noise: Any) -> Any:
    # Of the moment less one are only positive terms computed, so that no digit of a small one is lost.
    xp = ops.xp
    if isinstance(order, np.ndarray):
        whole = order == np.floor(order)
        inner = ~whole & (order < _LARGEST_INTEGRATED)
        values = []
        places = [np.flatnonzero(mask) for mask in (whole, inner, ~whole & ~inner)]
        for part, kind in zip(places, (_summed, _fractional, _interpolated)):
            if part.size:
                values.append(kind(ops, order[part], rate[part], noise[part]))
        return xp.concatenate(values)[np.argsort(np.concatenate(places))] if values else noise
    between = (order != xp.floor(order)) & (order < _LARGEST_INTEGRATED)
    # The midpoint stands in where the integral is not asked for.
    integrated = _fractional(ops, xp.where(between, order, 1.5), rate, noise)
    return xp.where(between, integrated, _interpolated(ops, order, rate, noise))


def _softplus(xp: Any, x: Any) -> Any:
    return xp.logaddexp(xp.zeros_like(x), x)


def _summed(ops: Arithmetic, order: Any, rate: Any, noise: Any) -> Any:
    xp = ops.xp
    most = int(order.max()) if isinstance(order, np.ndarray) else LARGEST_ORDER
    count = np.arange(2, most + 1, dtype=np.float64)[None]
    # Known orders have their binomials in double precision whatever the rest is computed in.
    own, special = (np, scipy.special) if isinstance(order, np.ndarray) else (xp, ops.special)
    inside = count <= order[:, None] if own is np else ops.array(count) <= order[:, None]
    left = own.where(inside, order[:, None] - (count if own is np else ops.array(count)), 0.0)
    index = count if own is np else ops.array(count)
    log_binomial = special.gammaln(order + 1.0)[:, None] - special.gammaln(index + 1.0) - special.gammaln(left + 1.0)
    terms = ops.array(count)
    exponent = (terms * (terms - 1.0) / 2.0) / (noise * noise)[:, None]
    logs = (
        ops.array(log_binomial)
        + ops.array(left) * xp.log1p(-rate)[:, None]
        + terms * xp.log(rate)[:, None]
        + exponent
        + xp.log(-xp.expm1(-exponent))
    )
    return _softplus(xp, ops.special.logsumexp(xp.where(inside, logs, -xp.inf), axis=1))


def _interpolated(ops: Arithmetic, order: Any, rate: Any, noise: Any) -> Any:
    # Convex in the order, hence below its chords: an upper bound.
    own = np if isinstance(order, np.ndarray) else ops.xp
    low = own.floor(order)
    weight = ops.array(order - low)
    first = own.where(low > 1, low, 2.0)
    below = ops.xp.where(low > 1, _summed(ops, first, rate, noise), 0.0)
    above = _summed(ops, low + 1.0, rate, noise)
    return ops.xp.where(weight > 0, (1.0 - weight) * below + weight * above, below)


def _fractional(ops: Arithmetic, order: Any, rate: Any, noise: Any) -> Any:
    fine = noise >= _LEAST_INTEGRATED_NOISE
    integrated = _integrated(ops, ops.array(order), rate, ops.xp.where(fine, noise, 1.0))
    return ops.xp.where(fine, integrated, _interpolated(ops, order, rate, noise))


def _integrated(ops: Arithmetic, order: Any, rate: Any, noise: Any) -> Any:
    """The moment by Gauss-Legendre quadrature: the erfc series converges too slowly for rates that are not small."""
    xp = ops.xp
    points, log_weights = _quadrature(ops, order, rate, noise)
    ratio = points / noise[:, None] - (0.5 / (noise * noise))[:, None]
    logs = _log_remainder(xp, order[:, None], rate[:, None], ratio) - points * points / 2.0
    return _softplus(xp, ops.special.logsumexp(logs + log_weights, axis=1) - 0.5 * np.log(2 * np.pi))


def _quadrature(ops: Arithmetic, order: Any, rate: Any, noise: Any) -> tuple[Any, Any]:
    xp = ops.xp
    if xp is not np:
        # The integral does not depend on where it is sampled.
        order, rate, noise = jax.lax.stop_gradient((order, rate, noise))
    # The ratio bends where the sampled and the left-out outcome are as likely, over a length of the noise; humps of
    # width one lie at zero, and where its square and its power meet the Gaussian, which the bend may cut off.
    bend = noise * (xp.log1p(-rate) - xp.log(rate)) + 0.5 / noise
    top = order / noise
    humps = (xp.zeros_like(bend), xp.minimum(2.0 / noise, bend), xp.maximum(top, bend))
    around = ops.array(np.concatenate([-_HUMP[::-1], [0.0], _HUMP]))[None]
    grid = ops.array(np.linspace(0.0, 1.0, _UNIFORM))[None]
    graded = ops.array(np.concatenate([-_BEND[::-1], [0.0], _BEND]))[None]
    breaks = [hump[:, None] + around for hump in humps]
    breaks.append(-13.0 + (top[:, None] + 26.0) * grid)
    breaks.append(bend[:, None] + noise[:, None] * graded)
    edges = xp.sort(xp.concatenate(breaks, axis=1), axis=1)
    half = (edges[:, 1:] - edges[:, :-1]) / 2.0
    middle = (edges[:, 1:] + edges[:, :-1]) / 2.0
    points = middle[:, :, None] + half[:, :, None] * ops.array(_NODES)[None, None]
    weights = half[:, :, None] * ops.array(_WEIGHTS)[None, None]
    size = order.shape[0]
    flat = weights.reshape(size, -1)
    positive = flat > 0
    return points.reshape(size, -1), xp.where(positive, xp.log(xp.where(positive, flat, 1.0)), -xp.inf)


def _log_remainder(xp: Any, order: Any, rate: Any, log_ratio: Any) -> Any:
    """Logarithm of `(1 + x)^order - 1 - order x` at `x = rate (exp(log_ratio) - 1)`: what convexity leaves."""
    x = rate * xp.expm1(xp.minimum(log_ratio, 80.0))
    log1px = xp.logaddexp(xp.log1p(-rate) + xp.zeros_like(log_ratio), xp.log(rate) + log_ratio)
    near, high = xp.abs(x) < 0.25, x >= 0.25
    small = xp.where(near & (x != 0), x, 1e-18)
    series = xp.ones_like(x)
    for power in range(24, 2, -1):
        series = 1.0 + (order - power + 1.0) / power * small * series
    close = xp.log(order * (order - 1.0) / 2.0) + 2.0 * xp.log(xp.abs(small)) + xp.log(series)
    above = xp.where(high, log1px, 1.0)
    rest = 1.0 + (order - 1.0) * xp.exp(-order * above) - order * xp.exp(-(order - 1.0) * above)
    below = xp.where(near | high, -0.5, log1px)
    low = xp.log(xp.expm1(order * below) - order * xp.expm1(below))
    return xp.where(near, close, xp.where(high, order * above + xp.log(rest), low))
