"""The likelihood of a simplex, and Newton's method for it. A simplex is given by q (p, p), the transpose of the x of
`_shrink_simplex`: `q y` are the abundances of a pixel y lifted to (white coordinates, 1)."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float

from .. import _tree
from .._loop import while_loop
from .._types import BoolScalar, IntScalar, Scalar


_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
# Pixels a block: the derivatives of a block are held at once, p (p - 1) times.
_BLOCK = 2048
_HALVINGS = 20
# Fraction of the pixels that may lie anywhere.
OUTLIERS = 1e-4
# Noise is taken this many times too large at first, which widens the reach of a start, then less and less.
_LEVELS = (4.0, 2.0, 1.0)
_FIRST_STEPS = 10
# Least chance that a material is absent: that of zero would never grow.
_ABSENT = 1e-3


class PixelModel(NamedTuple):
    """Lifted pixels (p, N), those that count, the covariance of their noise, and the log density of an outlier."""

    points: Float[Array, "p N"]
    valid: Bool[Array, " N"]
    noise: Float[Array, "p p"]
    outlier: Scalar


class LikelyState(NamedTuple):
    """A simplex, the chances that a material is absent, the mean loss, and the decrease the last step promised."""

    q: Float[Array, "p p"]
    absent: Float[Array, " p"]
    value: Scalar
    decrease: Scalar
    stalled: BoolScalar
    num_steps: IntScalar


def log_mass(deviations: Float[Array, " p"]) -> Scalar:
    """Logarithm of the integral of `prod Phi(a / s)` over the plane of abundances that sum to one, times (p - 1)!.

    A product of Phi is the chance that a exceeds independent normal numbers, so that the integral is that of
    `max(1 - t z, 0)^(p - 1)` over a normal z, with t the norm of s; by parts its moments have a recurrence.
    """
    variance = jnp.sum(deviations * deviations)
    spread = _tree.safe_sqrt(variance)
    ratio = 1 / jnp.where(spread > 0, spread, 1)
    before = jnp.where(spread > 0, norm.cdf(ratio), 1)
    moment = before + jnp.where(spread > 0, spread * norm.pdf(ratio), 0)
    for order in range(2, deviations.shape[0]):
        before, moment = moment, moment + (order - 1) * variance * before
    return jnp.log(moment)


def _log_parts(fractions: Array, deviations: Array, absent: Array) -> tuple[Array, Array]:
    """Terms of a fraction that is present and of one that is zero but for the noise."""
    ratios = fractions / deviations[:, None]
    within = norm.logcdf(ratios) + jnp.log1p(-absent)[:, None]
    beside = norm.logpdf(ratios) + jnp.log(absent / (deviations * (fractions.shape[0] - 1)))[:, None]
    return within, beside


def negative_log_density(
    fractions: Float[Array, "p m"],
    deviations: Float[Array, " p"],
    absent: Float[Array, " p"],
    log_gain: Scalar,
    outlier: Scalar,
) -> Float[Array, " m"]:
    """Of pixels uniform in the simplex or, with chances `absent`, on its facets, plus noise that moves abundances by
    `deviations`; up to (p - 1)!."""
    within, beside = _log_parts(fractions, deviations, absent)
    inside = jnp.sum(jnp.logaddexp(within, beside), axis=0) + log_gain - log_mass(deviations)
    return -jnp.logaddexp(inside + jnp.log1p(-jnp.asarray(OUTLIERS, inside.dtype)), outlier)


def likely_simplex(model: PixelModel, q: Float[Array, "p p"], tol: Scalar, max_steps: int) -> LikelyState:
    """Ascend the likelihood from q; the decrease that is left is what Newton's model promises, per pixel."""
    points, valid, noise, outlier = model
    p, count = points.shape
    dtype = points.dtype
    total = jnp.sum(valid).astype(dtype)
    identity = jnp.eye(p, dtype=dtype)
    sums = jnp.concatenate([jnp.ones((p, 1), dtype), identity[:, :-1]], axis=1)
    # Changes whose columns sum to zero: abundances go on summing to one.
    free = jnp.linalg.qr(sums)[0][:, 1:]
    zero = jnp.zeros(p * (p - 1), dtype)
    block = min(_BLOCK, count)
    pad = -count % block
    blocks = jnp.moveaxis(jnp.pad(points, ((0, 0), (0, pad))).reshape(p, -1, block), 1, 0)
    used = jnp.pad(valid, (0, pad)).reshape(-1, block)

    def change_of(theta: Array) -> Array:
        return _matmul(free, theta.reshape(p - 1, p))

    def add_up(q: Array, absent: Array, level: Array, measure: Callable[..., Any]) -> Any:
        """Sum over blocks of what `measure` makes of the loss of a block, a function of the change."""
        spread = level**2 * _matmul(_matmul(q, noise), q.T)
        log_gain = jnp.linalg.slogdet(q)[1]

        def loss(theta: Array, fractions: Array, use: Array) -> Scalar:
            rows = identity + change_of(theta)
            deviations = _tree.safe_sqrt(jnp.sum(_matmul(rows, spread) * rows, axis=1))
            gain = log_gain + jnp.linalg.slogdet(rows)[1]
            terms = negative_log_density(_matmul(rows, fractions), deviations, absent, gain, outlier)
            return jnp.sum(jnp.where(use, terms, 0)) / total

        def add(sums: Any, part: tuple[Array, Array]) -> tuple[Any, None]:
            here = partial(loss, fractions=_matmul(q, part[0]), use=part[1])
            return jax.tree.map(jnp.add, sums, measure(here)), None

        first = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, dtype), jax.eval_shape(lambda: measure(jnp.sum)))
        return jax.lax.scan(add, first, (blocks, used))[0]

    def value_of(q: Array, absent: Array, level: Array) -> Scalar:
        return add_up(q, absent, level, lambda loss: loss(zero))

    def update(q: Array, absent: Array, level: Array) -> Array:
        """One step of expectation and maximization: the mean chance that a fraction is absent."""
        deviations = level * _tree.safe_sqrt(jnp.sum(_matmul(q, noise) * q, axis=1))

        def add(sums: Array, part: tuple[Array, Array]) -> tuple[Array, None]:
            within, beside = _log_parts(_matmul(q, part[0]), deviations, absent)
            return sums + jnp.sum(jnp.where(part[1], jax.nn.sigmoid(beside - within), 0), axis=1), None

        return jnp.clip(jax.lax.scan(add, jnp.zeros(p, dtype), (blocks, used))[0] / total, _ABSENT, 1 - _ABSENT)

    def newton(loss: Callable[[Array], Array]) -> tuple[Array, ...]:
        return *jax.value_and_grad(loss)(zero), jax.hessian(loss)(zero)

    def step(state: LikelyState, level: Array) -> LikelyState:
        absent = update(state.q, state.absent, level)
        value, slope, curvature = add_up(state.q, absent, level, newton)
        sizes, axes = jnp.linalg.eigh(curvature)
        sizes = jnp.maximum(jnp.abs(sizes), 1e-4 * jnp.max(jnp.abs(sizes)))
        theta = -_matmul(axes, _matmul(axes.T, slope) / sizes)
        direction = _matmul(change_of(theta), state.q)
        promised = -jnp.dot(slope, theta)

        def fails(length: Scalar) -> BoolScalar:
            fell = value_of(state.q + length * direction, absent, level) <= value - 1e-4 * length * promised
            return ~fell & (length > 0.5**_HALVINGS)

        # No facet may move by more than half of the simplex at once.
        longest = jnp.minimum(1, 0.5 / jnp.maximum(_tree.norm(theta), jnp.finfo(dtype).tiny))
        length = while_loop(fails, lambda t: t / 2, longest.astype(dtype))
        q = state.q + length * direction
        reached = value_of(q, absent, level)
        better = reached < value
        return LikelyState(
            jnp.where(better, q, state.q),
            absent,
            jnp.where(better, reached, value),
            promised,
            ~better,
            state.num_steps + 1,
        )

    def descend(state: LikelyState, level: Array, tol: Array, most: Array) -> LikelyState:
        most = state.num_steps + most
        go_on = lambda s: (s.decrease > tol) & ~s.stalled & (s.num_steps < most)
        return while_loop(
            go_on,
            lambda s: step(s, level),
            state._replace(stalled=jnp.asarray(False), decrease=jnp.asarray(jnp.inf, dtype)),
        )

    unknown = jnp.asarray(jnp.inf, dtype)
    state = LikelyState(q, jnp.full(p, 0.1, dtype), unknown, unknown, jnp.asarray(False), jnp.asarray(0, jnp.int32))
    levels = jnp.asarray(_LEVELS, dtype)
    tols = jnp.full(levels.shape, 1e-3, dtype).at[-1].set(tol)
    most = jnp.full(levels.shape, _FIRST_STEPS, jnp.int32).at[-1].set(max_steps)
    return jax.lax.scan(lambda s, stage: (descend(s, *stage), None), state, (levels, tols, most))[0]
