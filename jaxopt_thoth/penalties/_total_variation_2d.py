import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from .. import _tree
from .._loop import while_loop
from .._types import BoolScalar, IntScalar, Scalar
from .._validate import require_nonnegative
from ._base import AbstractPenalty
from ._parts import shrink_ratio


# The gap costs as much as a few steps.
_STEPS_PER_CHECK = 16


class TotalVariation2D(AbstractPenalty):
    """Total variation of an image (H, W), `strength * sum |(x[i+1, j] - x[i, j], x[i, j+1] - x[i, j])|`.

    The norm of a pixel's two differences is Euclidean (`isotropic=True`) or their absolute sum (`isotropic=False`);
    differences across the border are zero. The prox is iterative: the dual fast gradient projection with restarts,
    ended by the duality gap. Its derivative is implicit: constant regions move as one, and between them the conjugate
    gradient method solves the linearized optimality conditions.

    `tol` bounds the relative gap that `prox_with_gap` returns, and so the square of the error relative to the contrast
    of the image: by default 1e-6 in float32, in float64 1e-8 if isotropic and else 1e-12. The anisotropic prox is exact
    once its regions are right; the isotropic one converges slowly, and its derivative is as good as the regions it has
    told apart (lower `tol` and raise `max_steps` to improve it). Raises `ValueError` for a known negative strength or
    tolerance, for a negative `max_steps`, and for an array that is not a matrix.

    Beck and Teboulle, "Fast gradient-based algorithms for constrained total variation image denoising and deblurring
    problems", 2009; O'Donoghue and Candes, "Adaptive restart for accelerated gradient schemes", 2015.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> image = jnp.zeros((4, 4)).at[:, 2:].set(8.0)
        >>> print(penalties.TotalVariation2D(1.0).prox(image, step=2.0)[0])
        [1. 1. 7. 7.]
    """

    strength: Scalar
    tol: Scalar | None
    isotropic: bool = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self, strength: ArrayLike, isotropic: bool = True, *, tol: ArrayLike | None = None, max_steps: int = 5_000
    ):
        require_nonnegative(strength, "strength")
        if tol is not None:
            require_nonnegative(tol, "tol")
        if max_steps < 0:
            raise ValueError(f"max_steps must be nonnegative, got {max_steps}.")
        self.strength = _tree.setting(strength)
        self.tol = None if tol is None else _tree.setting(tol)
        self.isotropic = bool(isotropic)
        self.max_steps = int(max_steps)

    def value(self, x: Float[Array, "h w"]) -> Scalar:
        _require_matrix(x)
        slopes = _differences(x)
        peak = jax.lax.stop_gradient(jnp.max(jnp.abs(slopes), initial=0))
        # In units of the steepest slope no square leaves the float range.
        unit = jnp.where(peak > 0, peak, 1)
        return _tree.match(self.strength, x) * unit * jnp.sum(_lengths(slopes / unit, self.isotropic))

    def prox(self, x: Float[Array, "h w"], step: ArrayLike) -> Float[Array, "h w"]:
        return self.prox_with_gap(x, step)[0]

    def prox_with_gap(self, x: Float[Array, "h w"], step: ArrayLike) -> tuple[Float[Array, "h w"], Scalar]:
        """The prox, and the duality gap that certifies it.

        The gap is in units of `|x - mean(x)|^2 / (2 step)`, the objective of the prox at the mean, so that the distance
        to the exact prox is at most `sqrt(gap) * |x - mean(x)|`. It exceeds `tol` where `max_steps` was reached. Its
        derivative is zero.
        """
        _require_matrix(x)
        if x.size == 0:
            return x, jnp.zeros((), x.dtype)
        t = _tree.match(self.strength, x) * _tree.match(step, x)
        # Without straight regions to snap to, the gap falls no faster than the square of the number of steps.
        floor = 1e-8 if self.isotropic else 0.0
        tol = max(_tree.default_tolerance(x.dtype) ** 1.5, floor) if self.tol is None else self.tol
        held = jax.lax.stop_gradient((x, t, _tree.match(tol, x)))
        z, regions, gap = _denoise(*held, isotropic=self.isotropic, max_steps=self.max_steps)
        return _solution(self.isotropic, self.max_steps, x, t, z, regions), gap

    def support(self, x: Float[Array, "h w"]) -> Array:
        return jnp.ones(x.shape, bool)


def _require_matrix(x: Array) -> None:
    if x.ndim != 2:
        raise ValueError(f"x must be an image (H, W), got shape {x.shape}; map over bands or a batch by jax.vmap.")


def _differences(x: Float[Array, "h w"]) -> Float[Array, "2 h w"]:
    """Differences to the pixel below and to the right, zero across the border."""
    return jnp.stack([jnp.diff(x, axis=0, append=x[-1:]), jnp.diff(x, axis=1, append=x[:, -1:])])


def _adjoint(p: Float[Array, "2 h w"]) -> Float[Array, "h w"]:
    """Adjoint of `_differences`, for flows that are zero across the border."""
    down, right = p
    return jnp.pad(down[:-1], ((1, 0), (0, 0))) - down + jnp.pad(right[:, :-1], ((0, 0), (1, 0))) - right


def _lengths(p: Float[Array, "2 h w"], isotropic: bool) -> Float[Array, "1 h w"]:
    """Norm of the two differences of each pixel."""
    return _tree.safe_sqrt(jnp.sum(p * p, 0, keepdims=True)) if isotropic else jnp.sum(jnp.abs(p), 0, keepdims=True)


def _project(p: Float[Array, "2 h w"], t: Scalar, isotropic: bool) -> Float[Array, "2 h w"]:
    return p * shrink_ratio(t, _lengths(p, True)) if isotropic else jnp.clip(p, -t, t)


# Compiled on its own, or each call outside `jit` would compile the loop anew.
@functools.partial(jax.jit, static_argnames=("isotropic", "max_steps"))
def _denoise(
    x: Float[Array, "h w"], t: Scalar, tol: Scalar, *, isotropic: bool, max_steps: int
) -> tuple[Float[Array, "h w"], Int[Array, "h w"], Scalar]:
    """The prox, the region of each pixel where it is constant, and the relative gap."""
    mean = jnp.mean(x)
    centered = x - mean
    peak = jnp.max(jnp.abs(centered))
    unit = jnp.where(peak > 0, peak, 1)
    u = centered / unit
    # A flow of that capacity carries any image in these units to its mean: more strength changes nothing.
    t = jnp.minimum(t / unit, 2 * x.size)
    energy = 0.5 * _tree.squared_norm(u)
    energy = jnp.where(energy > 0, energy, 1)

    def primal(p: Array) -> Array:
        return u - _adjoint(p)

    def gap_of(candidate: Array, p: Array, z: Array) -> Scalar:
        # The difference of the two objectives, as a sum of nonnegative terms.
        slopes = _differences(candidate)
        excess = t * _lengths(slopes, isotropic) - jnp.sum(p * slopes, 0, keepdims=True)
        return (jnp.sum(jax.nn.relu(excess)) + 0.5 * _tree.squared_norm(candidate - z)) / energy

    def step(carry: tuple[Array, Array, Scalar, IntScalar]) -> tuple[Array, Array, Scalar, IntScalar]:
        p, ahead, momentum, k = carry
        new = _project(ahead + _differences(primal(ahead)) / 8, t, isotropic)
        restarts = jnp.sum((ahead - new) * (new - p)) > 0
        momentum = jnp.where(restarts, 1, momentum)
        grown = 0.5 * (1 + jnp.sqrt(1 + 4 * momentum**2))
        ahead = new + jnp.where(restarts, 0, (momentum - 1) / grown) * (new - p)
        return new, ahead, grown, k + 1

    def snapped(p: Array, z: Array) -> tuple[Array, Array]:
        """The image that is exactly constant on its regions: for straight-sided ones the prox, once they are right."""
        reach = p + _differences(z) / 8
        flat = _lengths(reach, True) < t if isotropic else jnp.abs(reach) < t
        regions = _components(jnp.broadcast_to(flat, p.shape))
        flow = p if isotropic else jnp.where(flat, p, t * jnp.sign(reach))
        return _average(regions, u - _adjoint(flow)), regions

    def check(p: Array) -> tuple[Array, Array, Scalar]:
        z = primal(p)
        smooth, regions = snapped(p, z)
        gap, smooth_gap, mean_gap = (gap_of(c, p, z) for c in (z, smooth, jnp.zeros_like(z)))
        # The derivative belongs to the snapped image: take it unless the other one is needed.
        keep = smooth_gap <= jnp.maximum(gap, tol)
        best, gap = jnp.where(keep, smooth, z), jnp.where(keep, smooth_gap, gap)
        is_mean = mean_gap <= gap
        best, regions = jnp.where(is_mean, 0, best), jnp.where(is_mean, 0, regions)
        return best, regions, jnp.where(is_mean, mean_gap, gap)

    def unfinished(carry: tuple) -> BoolScalar:
        (_, _, _, k), (_, _, gap) = carry
        return (gap > tol) & (k < max_steps)

    def block(carry: tuple) -> tuple:
        last = jnp.minimum(carry[0][3] + _STEPS_PER_CHECK, max_steps)
        state = while_loop(lambda c: c[3] < last, step, carry[0])
        return state, check(state[0])

    p = jnp.zeros((2, *u.shape), u.dtype)
    start = (p, p, jnp.ones((), u.dtype), jnp.asarray(0, jnp.int32))
    _, (z, regions, gap) = while_loop(unfinished, block, (start, check(p)))
    return mean + unit * z, regions, gap


def _components(joined: Bool[Array, "2 h w"]) -> Int[Array, "h w"]:
    """Label of the connected component of each pixel, where `joined` says which of its neighbors belong to it."""
    shape = joined.shape[1:]
    down, right = joined[0, :-1], joined[1, :, :-1]

    def spread(labels: Array) -> Array:
        vertical = jnp.minimum(labels[:-1], labels[1:])
        labels = labels.at[:-1].min(jnp.where(down, vertical, labels[:-1]))
        labels = labels.at[1:].min(jnp.where(down, vertical, labels[1:]))
        horizontal = jnp.minimum(labels[:, :-1], labels[:, 1:])
        labels = labels.at[:, :-1].min(jnp.where(right, horizontal, labels[:, :-1]))
        return labels.at[:, 1:].min(jnp.where(right, horizontal, labels[:, 1:]))

    def advance(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        labels = carry[0]
        lowest = spread(labels).reshape(-1)
        # What one pixel learns, the pixel it points to learns too, and pointers are followed twice as far.
        lowest = lowest.at[labels.reshape(-1)].min(lowest)
        return lowest[lowest].reshape(shape), labels

    labels = jnp.arange(shape[0] * shape[1], dtype=jnp.int32).reshape(shape)
    return while_loop(lambda c: jnp.any(c[0] != c[1]), advance, (labels, labels - 1))[0]


def _average(regions: Int[Array, "h w"], x: Float[Array, "h w"]) -> Float[Array, "h w"]:
    """Mean of `x` over each region: the projection onto the images that are constant there."""
    flat = regions.reshape(-1)
    sums = jax.ops.segment_sum(x.reshape(-1), flat, x.size)
    counts = jax.ops.segment_sum(jnp.ones(x.size, x.dtype), flat, x.size)
    return (sums / jnp.maximum(counts, 1))[regions]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _solution(isotropic: bool, max_steps: int, x: Array, t: Scalar, z: Array, regions: Array) -> Array:
    """The prox `z` of `x`, with its derivative."""
    return z


@_solution.defjvp
def _(isotropic: bool, max_steps: int, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    x, t, z, regions = primals
    dx, dt = tangents[:2]
    z = _solution(isotropic, max_steps, x, t, z, regions)
    slopes = _differences(z)
    edges = _differences(regions) != 0
    if not isotropic:
        # Both the regions and the signs stay: the derivative averages.
        return z, _average(regions, dx - dt * _adjoint(jnp.where(edges, jnp.sign(slopes), 0)))

    slopes = jnp.where(edges, slopes, 0)
    peak = jax.lax.stop_gradient(jnp.max(jnp.abs(slopes)))
    unit = jnp.where(peak > 0, peak, 1)
    lengths = _lengths(slopes / unit, True)
    bends = lengths > 0
    lengths = jnp.where(bends, lengths, 1)
    normal = slopes / unit / lengths
    stiffness = jnp.where(bends, jnp.minimum(t / unit, 2 * x.size) / lengths, 0)

    def matvec(y: Array) -> Array:
        dslopes = jnp.where(edges, _differences(_average(regions, y)), 0)
        tangential = dslopes - normal * jnp.sum(normal * dslopes, 0, keepdims=True)
        return y + _average(regions, _adjoint(stiffness * tangential))

    weights = jax.lax.stop_gradient(jnp.where(edges, stiffness * (1 - normal**2), 0))
    diagonal = 1 + _average(regions, _incident(weights))

    def conjugate_gradient(matvec, rhs: Array) -> Array:
        size = jnp.max(jnp.abs(rhs))
        # The squares of a tiny right-hand side would underflow.
        size = jnp.where(size > 0, size, 1)
        tol = _tree.default_tolerance(rhs.dtype) ** 1.5
        precondition = lambda r: r / diagonal
        return size * jax.scipy.sparse.linalg.cg(matvec, rhs / size, tol=tol, maxiter=max_steps, M=precondition)[0]

    rhs = _average(regions, dx - dt * _adjoint(normal))
    return z, jax.lax.custom_linear_solve(matvec, rhs, conjugate_gradient, symmetric=True)


def _incident(weights: Float[Array, "2 h w"]) -> Float[Array, "h w"]:
    """Sum of the weights of the edges at each pixel."""
    down, right = weights
    return jnp.pad(down[:-1], ((1, 0), (0, 0))) + down + jnp.pad(right[:, :-1], ((0, 0), (1, 0))) + right
