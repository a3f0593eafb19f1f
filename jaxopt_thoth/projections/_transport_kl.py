import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._loop import while_loop
from .._validate import concrete
from ._transport import marginal_tangent, read_problem


def transport_kl(
    x: Float[ArrayLike, "n m"], sums: tuple[ArrayLike, ArrayLike], max_steps: int = 1000
) -> Float[Array, "n m"]:
    """Matrix nearest to `exp(x)` in Kullback-Leibler divergence with given sums, as `softmax` is on the simplex.

    The set is that of `transport`, `{Z >= 0, Z @ 1 = row_sums, Z.T @ 1 = column_sums}`, and `sums` is its pair; the
    result is `exp(x)` with rows and columns rescaled, so that `x = -cost / temperature` gives the entropic transport
    plan. Entries of minus infinity are forbidden and stay zero; where those that are left cannot carry the sums, or
    after `max_steps` steps, the column sums are not met, and `transport_residual` tells by how much. Row sums hold to
    rounding. Differentiable in `x` and both sums, forward and reverse, by the equations of the sums. Raises
    `ValueError` for known sums that are negative, whose totals differ, or that ask for a row or column all forbidden.

    Sinkhorn's iteration on logarithms (Cuturi, "Sinkhorn distances: lightspeed computation of optimal transport",
    2013), each step followed by one of Newton's method where that leaves less of the column sums open (Brauer, Clason,
    Lorenz and Wirth, "A Sinkhorn-Newton method for entropic optimal transport", 2017).

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> scores = jnp.log(jnp.array([[9.0, 1.0], [1.0, 1.0]]))
        >>> projections.transport_kl(scores, (0.5, 0.5)).round(6).tolist()
        [[0.375, 0.125], [0.125, 0.375]]
    """
    array, a, b = read_problem(x, sums)
    if array.size == 0:
        return array
    _require_open(array, (a, b))
    steps = jnp.asarray(max_steps)
    # The linear systems have the size of the second axis.
    return _scale(array, a, b, steps) if array.shape[0] >= array.shape[1] else _scale(array.T, b, a, steps).T


def _require_open(x: Array, sums: tuple[Array, Array]) -> None:
    entries = concrete(x)
    for axis, (values, name) in enumerate(zip(map(concrete, sums), ("row_sums", "column_sums"))):
        if entries is None or values is None:
            continue
        closed = np.isneginf(entries).all(1 - axis) & (values > 0)
        if closed.any():
            raise ValueError(f"{name} must be zero where x is all minus infinity, got {values[closed]}; open an entry.")


# Compiled on its own, or each call outside `jit` would compile the loop anew.
@jax.custom_jvp
@jax.jit
def _scale(x: Float[Array, "n m"], a: Float[Array, " n"], b: Float[Array, " m"], max_steps: Array) -> Array:
    eps = jnp.finfo(x.dtype).eps
    logarithm = lambda sums: jnp.log(jnp.where(sums > 0, sums, 1))
    log_a, log_b = logarithm(a), logarithm(b)
    # Shifts of rows change nothing, and then the largest exponent is zero.
    peaks = jnp.max(x, 1, keepdims=True)
    x = jnp.where((a > 0)[:, None] & (b > 0)[None, :], x - jnp.where(jnp.isfinite(peaks), peaks, 0), -jnp.inf)

    def look(g: Array) -> tuple[Array, Array, Array]:
        """The matrix with the row sums, the column sums' gap, and its size."""
        z = a[:, None] * jax.nn.softmax(jnp.where(jnp.isneginf(x), -jnp.inf, x + g[None, :]), 1)
        z = jnp.where(jnp.isneginf(x), 0, z)
        gap = jnp.sum(z, 0) - b
        return z, gap, jnp.sum(jnp.abs(gap))

    def by_columns(g: Array) -> Array:
        h = x + g[None, :]
        f = log_a - jax.scipy.special.logsumexp(h, 1)
        mass = jax.scipy.special.logsumexp(x + jnp.where(jnp.isfinite(f), f, 0)[:, None], 0)
        return jnp.where(jnp.isfinite(mass), log_b - jnp.where(jnp.isfinite(mass), mass, 0), 0)

    def unfinished(carry: tuple[Array, ...]) -> Array:
        *_, left, stalled, step = carry
        return (left > 2 * eps * jnp.sum(b)) & ~stalled & (step < max_steps)

    def improve(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        g, *_, before, _, step = carry
        sinkhorn = by_columns(g)
        sinkhorn = sinkhorn - jnp.mean(sinkhorn)
        z, gap, left = look(sinkhorn)
        # The Hessian of the dual in the column multipliers; the constant takes its null vector away.
        share = z / jnp.where(a > 0, a, 1)[:, None]
        hessian = jnp.diag(jnp.sum(z, 0)) - jnp.matmul(z.T, share, precision=jax.lax.Precision.HIGHEST)
        ridge = eps * jnp.max(b)
        hessian = hessian + jnp.outer(b, b) / jnp.sum(b) + jnp.diag(jnp.where(b > 0, ridge, 1))
        newton = sinkhorn - jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(hessian), gap)
        new_z, new_gap, new_left = look(newton)
        better = new_left < left
        g = jnp.where(better, newton, sinkhorn)
        z, gap, left = (jnp.where(better, new, old) for new, old in ((new_z, z), (new_gap, gap), (new_left, left)))
        # Neither step ever loses ground but by rounding.
        stalled = (left >= before) & (left < eps**0.5 * jnp.sum(b))
        return g, z, gap, left, stalled, step + 1

    start = jnp.zeros_like(b)
    return while_loop(unfinished, improve, (start, *look(start), jnp.asarray(False), jnp.asarray(0)))[1]


@_scale.defjvp
def _(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    x, a, b, max_steps = primals
    dx, da, db, _ = tangents
    z = _scale(x, a, b, max_steps)
    degree = jnp.where(a > 0, a, 1)
    return z, marginal_tangent(z, degree, z * dx, da, db)
