import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._loop import while_loop
from .._validate import concrete, require_ordered


def box_hyperplane(
    x: Float[ArrayLike, "..."], lower: ArrayLike, upper: ArrayLike, normal: ArrayLike, offset: ArrayLike
) -> Float[Array, "..."]:
    """Euclidean projection onto `{lower <= z <= upper, <normal, z> = offset}`, where the dual of the kernel SVM lives.

    Bounds and `normal` are scalars or broadcast to the shape of `x`; bounds may be infinite; `offset` is a scalar.
    Differentiable in every argument, forward and reverse; where every entry sits at a bound the derivatives in `x`
    and `offset` are zero. Raises `ValueError` where known arguments leave the set empty.

    Dai and Fletcher, "New algorithms for singly linearly constrained quadratic programs subject to lower and upper
    bounds", 2006: the projection is `clip(x - t normal, lower, upper)` at the root `t` of a monotone piecewise linear
    function, found here by Newton's method inside a bracket that bisection keeps shrinking.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> projections.box_hyperplane(jnp.array([2.0, 0.5, 0.0]), 0.0, 1.0, jnp.array([1.0, 1.0, -1.0]), 0.75).tolist()
        [1.0, 0.125, 0.375]
    """
    require_ordered(lower, upper)
    array = _tree.as_inexact(x)
    require_crossing(lower, upper, normal, offset, array.shape)
    if array.size == 0:
        return array
    low, high, direction = (
        jnp.broadcast_to(_tree.match(value, array), array.shape).reshape(-1) for value in (lower, upper, normal)
    )
    level = jnp.asarray(offset).astype(array.dtype)
    return box_hyperplane_rows(array.reshape(-1), low, high, direction, level)[0].reshape(array.shape)


def require_crossing(
    lower: ArrayLike, upper: ArrayLike, normal: ArrayLike, offset: ArrayLike, shape: tuple[int, ...]
) -> None:
    known = [concrete(value) for value in (lower, upper, normal, offset)]
    if any(value is None for value in known):
        return
    low, high, direction, level = (np.asarray(value, float) for value in known)
    low, high, direction = (np.broadcast_to(value, shape) for value in (low, high, direction))
    ends = np.stack([np.where(direction == 0, 0, direction) * np.where(direction == 0, 0, end) for end in (low, high)])
    least, most = ends.min(0).sum(), ends.max(0).sum()
    # What rounding of the arguments in float32 may cost is let pass.
    finite_ends = np.where(np.isfinite(ends), ends, 0)
    slack = 1e-6 * (np.abs(finite_ends).sum() + np.abs(level).max())
    if not least - slack <= level <= most + slack:
        raise ValueError(f"offset must lie in [{least}, {most}], the values of <normal, z> on the box, got {level}.")


def together(*terms: Array) -> list[Array]:
    """Sums over the last axis in one pass over memory, which XLA on the CPU does not make of several sums."""
    shape = np.broadcast_shapes(*(term.shape for term in terms))
    spread = [jnp.broadcast_to(term, shape) for term in terms]
    zeros = [jnp.zeros((), term.dtype) for term in terms]
    return jax.lax.reduce(spread, zeros, lambda left, right: [a + b for a, b in zip(left, right)], (len(shape) - 1,))


# Compiled on its own, or each call outside `jit` would compile the loop anew.
@jax.custom_jvp
@jax.jit
def box_hyperplane_rows(
    v: Float[Array, "... n"],
    lower: Float[Array, "... #n"],
    upper: Float[Array, "... #n"],
    normal: Float[Array, "... #n"],
    offset: Float[Array, "..."],
) -> tuple[Float[Array, "... n"], Float[Array, "... 1"]]:
    """The projection of every row, and the multiplier `t` of `clip(v - t normal, lower, upper)`."""
    # Scaled, so that squares of the normal neither overflow nor vanish.
    peak = jnp.max(jnp.abs(normal), -1, keepdims=True)
    unit = jnp.where(peak > 0, peak, 1)
    a, b = normal / unit, offset[..., None] / unit
    moves = a != 0
    total = lambda terms: jnp.sum(terms, -1, keepdims=True)

    def look(t: Array) -> tuple[Array, Array, Array, Array]:
        """Balance of the entries at their bounds, excess, its size, slope."""
        free = v - t * a
        side = (free >= upper).astype(jnp.int32) - (free <= lower).astype(jnp.int32)
        # A coordinate that does not move may be infinite.
        terms = jnp.where(moves, a * jnp.clip(free, lower, upper), 0)
        squares = jnp.where((side == 0) & moves, a * a, 0)
        # Falls whenever an entry changes side, so that equal balances mean equal sides.
        balance = jnp.sign(a).astype(jnp.int32) * side
        found = together(balance, terms, jnp.abs(terms), squares)
        balance, excess, size, slope = (part[..., None] for part in found)
        return balance, excess - b, size + jnp.abs(b), slope

    def newton(t: Array, excess: Array, slope: Array) -> Array:
        return t + jnp.where(slope > 0, excess / jnp.where(slope > 0, slope, 1), 0)

    # The function bends between the first and the last breakpoint, and is linear outside.
    divisor = jnp.where(moves, a, 1)
    bends = [(v - end) / divisor for end in (lower, upper)]
    sift = lambda missing: [jnp.where(jnp.isfinite(bend) & moves, bend, missing) for bend in bends]
    first = jnp.min(jnp.minimum(*sift(jnp.inf)), -1, keepdims=True)
    last = jnp.max(jnp.maximum(*sift(-jnp.inf)), -1, keepdims=True)
    bent = first <= last
    first, last = jnp.where(bent, first, 0), jnp.where(bent, last, 0)
    rises = jnp.where(a > 0, upper, lower)
    falls = jnp.where(a > 0, lower, upper)
    tail = lambda ends: total(jnp.broadcast_to(jnp.where(jnp.isinf(ends) & moves, a * a, 0), v.shape))
    _, at_first, _, _ = look(first)
    _, at_last, _, _ = look(last)
    before, after = at_first < 0, at_last > 0
    start = jnp.where(bent, first + (last - first) / 2, 0)
    start = jnp.where(after, newton(last, at_last, tail(falls)), start)
    start = jnp.where(before, newton(first, at_first, tail(rises)), start)
    low = jnp.where(before, -jnp.inf, first)
    high = jnp.where(after, jnp.inf, last)
    eps = jnp.finfo(v.dtype).eps

    def unfinished(carry: tuple[Array, ...]) -> Array:
        *_, done, step = carry
        # The bracket or the step halves each time: this many reach the spacing of floats.
        return jnp.any(~done) & (step < 400)

    def narrow(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        t, low, high, balance, excess, size, slope, last, done, step = carry
        low, high = jnp.where(excess > 0, t, low), jnp.where(excess < 0, t, high)
        new = newton(t, excess, slope)
        inside = (new > low) & (new < high)
        middle = low + (high - low) / 2
        # Newton's steps have to shrink, else half of the bracket is taken.
        trusted = inside & ((jnp.abs(new - t) <= last / 2) | ~jnp.isfinite(middle))
        target = jnp.where(trusted | ~jnp.isfinite(middle), new, middle)
        stuck = (jnp.abs(excess) <= 4 * eps * size) | (~trusted & ((middle <= low) | (middle >= high)))
        keep = done | stuck | (target == t)
        target = jnp.where(keep, t, target)
        new_balance, *rest = look(target)
        # Newton's step is exact where no entry changes side.
        exact = trusted & (new_balance == balance)
        return target, low, high, new_balance, *rest, jnp.abs(target - t), keep | exact, step + 1

    hopeless = jnp.isnan(start) | (peak == 0)
    carry = (start, low, high, *look(start), high - low, hopeless, jnp.asarray(0))
    t, *_ = while_loop(unfinished, narrow, carry)
    # One more step takes off what rounding left, with sums that round less than those of one pass.
    free = v - t * a
    inner = (free > lower) & (free < upper) & moves
    excess = total(jnp.where(moves, a * jnp.clip(free, lower, upper), 0)) - b
    t = newton(t, excess, total(jnp.where(inner, a * a, 0)))
    return jnp.clip(v - t * a, lower, upper), t / unit


@box_hyperplane_rows.defjvp
def _(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    v, lower, upper, normal, offset = primals
    dv, dlower, dupper, dnormal, doffset = tangents
    p, t = box_hyperplane_rows(v, lower, upper, normal, offset)
    free = v - t * normal
    at_lower, at_upper = free <= lower, free >= upper
    inner = ~at_lower & ~at_upper
    fixed = jnp.where(at_lower, dlower, jnp.where(at_upper, dupper, dv - t * dnormal))
    peak = jnp.max(jnp.abs(normal), -1, keepdims=True)
    unit = jnp.where(peak > 0, peak, 1)
    a = normal / unit
    square = jnp.sum(jnp.where(inner, a * a, 0), -1, keepdims=True)
    # A coordinate that the normal leaves alone may sit at infinity.
    finite = jnp.where(jnp.isfinite(p), p, 0)
    defect = jnp.sum(a * fixed + dnormal / unit * finite, -1, keepdims=True) - doffset[..., None] / unit
    shift = jnp.where(square > 0, defect / jnp.where(square > 0, square, 1), 0)
    return (p, t), (fixed - jnp.where(inner, a, 0) * shift, shift / unit)
