import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from .. import _tree
from .._loop import while_loop
from .._validate import concrete
from ._affine import affine


def polyhedron(
    x: Float[ArrayLike, " n"],
    matrix: Float[ArrayLike, "m n"],
    offset: Float[ArrayLike, " m"],
    equal_matrix: Float[ArrayLike, "k n"] | None = None,
    equal_offset: Float[ArrayLike, " k"] | None = None,
) -> Float[Array, " n"]:
    """Euclidean projection onto the polyhedron `{matrix @ z <= offset, equal_matrix @ z = equal_offset}`.

    Rows may be dependent. Differentiable in every argument, forward and reverse, any number of times: the derivative is
    that of the projection onto the constraints that are active. Raises `ValueError` for shapes that do not fit and for
    a known polyhedron that is empty; of an empty one that is only met while traced, every entry returned is NaN.

    Goldfarb and Idnani, "A numerically stable dual method for solving strictly convex quadratic programs", 1983: from
    `x`, the most violated constraint enters and blocking ones leave, so finitely many steps end at the exact active
    set. A step costs the square of the number of constraints, and the last one a singular value decomposition.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> matrix, offset = jnp.array([[1.0, 1.0], [1.0, 0.0]]), jnp.array([1.0, 0.25])
        >>> projections.polyhedron(jnp.array([1.0, 1.0]), matrix, offset).round(6).tolist()
        [0.25, 0.75]
    """
    array = _tree.as_inexact(x)
    if (equal_matrix is None) != (equal_offset is None):
        raise ValueError("equal_matrix and equal_offset come together; pass both or neither.")
    pairs = [("matrix", "offset", matrix, offset)]
    if equal_matrix is not None and equal_offset is not None:
        pairs.append(("equal_matrix", "equal_offset", equal_matrix, equal_offset))
    for name, other, a, b in pairs:
        if array.ndim != 1 or np.ndim(b) != 1 or np.shape(a) != (*np.shape(b), *array.shape):
            raise ValueError(
                f"{name} must be (len({other}), len(x)), got {np.shape(a)} with {other} {np.shape(b)} and x "
                f"{array.shape}; flatten x, or vmap over its leading axes."
            )
    rows = jnp.concatenate([jnp.asarray(a).astype(array.dtype) for _, _, a, _ in pairs])
    levels = jnp.concatenate([jnp.asarray(b).astype(array.dtype) for _, _, _, b in pairs])
    equal = np.arange(levels.size) >= np.size(offset)
    if array.size == 0 or levels.size == 0:
        return array
    _require_nonempty(array, rows, levels, equal)
    active, solved = _active_set(*map(jax.lax.stop_gradient, (array, rows, levels)), equal)
    kept = active.astype(array.dtype)
    projected = affine(array, rows * kept[:, None], levels * kept)
    return jnp.where(solved, projected, jnp.nan)


def _require_nonempty(x: Array, rows: Array, levels: Array, equal: np.ndarray) -> None:
    if concrete(rows) is None or concrete(levels) is None:
        return
    # Whether the set is empty does not depend on the point.
    known = np.zeros(x.shape, x.dtype) if concrete(x) is None else x
    with jax.ensure_compile_time_eval():
        solved = bool(_active_set(jnp.asarray(known), rows, levels, equal)[1])
    if not solved:
        raise ValueError("matrix, offset and the equalities leave no point; loosen offset or drop a constraint.")


# Compiled on its own, or each call outside `jit` would compile the loop anew.
@jax.jit
def _active_set(
    x: Float[Array, " n"], rows: Float[Array, "m n"], levels: Float[Array, " m"], equal: Bool[ArrayLike, " m"]
) -> tuple[Bool[Array, " m"], Bool[Array, ""]]:
    """Which constraints hold the nearest point, and whether there is one."""
    eps = jnp.finfo(x.dtype).eps
    m, n = rows.shape
    multiply = lambda left, right: jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)
    peaks = jnp.max(jnp.abs(rows), 1)
    units = jnp.where(peaks > 0, peaks, 1)
    scaled = rows / units[:, None]
    lengths = jnp.sqrt(jnp.sum(scaled * scaled, 1))
    lengths = jnp.where(lengths > 0, lengths, 1)
    normals, offsets = scaled / lengths[:, None], levels / units / lengths
    gram = multiply(normals, normals.T)
    size = jnp.maximum(jnp.max(jnp.abs(x)), jnp.max(jnp.abs(offsets)))
    slack = 8 * eps * (n + m) * size
    empty = jnp.zeros(m, bool)

    def excess_of(z: Array) -> Array:
        excess = multiply(normals, z) - offsets
        return jnp.where(equal, jnp.abs(excess), excess)

    def pick(z: Array, active: Array) -> tuple[Array, Array, Array]:
        """The most violated constraint, the sign of its violation, and whether there is one."""
        excess = jnp.where(active, -jnp.inf, excess_of(z))
        worst = jnp.argmax(excess)
        sign = jnp.sign(multiply(normals[worst], z) - offsets[worst])
        return worst, sign, excess[worst] > slack

    def unfinished(carry: tuple[Array, ...]) -> Array:
        *_, running, _, step = carry
        return running & (step < 20 * (m + n) + 100)

    def advance(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        z, active, inverse, force, worst, sign, weight, _, _, step = carry
        # How the active forces and the point answer as the new constraint is pushed; refined once.
        push = jnp.where(active, sign * gram[worst], 0)
        answer = multiply(inverse, push)
        answer = answer + multiply(inverse, push - multiply(gram, answer))
        direction = sign * normals[worst] - multiply(answer, normals)
        curvature = jnp.sum(direction * direction)
        independent = curvature > (100 * eps * (m + n)) ** 2
        distance = sign * (multiply(normals[worst], z) - offsets[worst])
        full = jnp.where(independent, distance / jnp.where(independent, curvature, 1), jnp.inf)
        blocks = active & ~jnp.asarray(equal) & (answer > eps)
        limits = jnp.where(blocks, force / jnp.where(blocks, answer, 1), jnp.inf)
        first = jnp.argmin(limits)
        partial = jnp.maximum(limits[first], 0)
        length = jnp.minimum(full, partial)
        impossible = ~jnp.isfinite(length)
        length = jnp.where(impossible, 0, length)
        direction = jnp.where(independent, direction, 0)
        enters = full <= partial
        # The inverse of the Gram matrix of the active constraints grows or shrinks by one of rank one.
        entry = (jnp.arange(m) == worst).astype(x.dtype) - sign * answer
        grown = inverse + jnp.outer(entry, entry) / jnp.where(independent, curvature, 1)
        column, pivot = inverse[first], inverse[first, first]
        shrunk = jnp.where(
            (jnp.arange(m) == first)[:, None] | (jnp.arange(m) == first)[None, :],
            0,
            inverse - jnp.outer(column, column) / jnp.where(pivot > 0, pivot, 1),
        )
        inverse = jnp.where(impossible, inverse, jnp.where(enters, grown, shrunk))
        force = force - length * answer
        weight = weight + length
        chosen = jnp.arange(m) == jnp.where(enters, worst, first)
        active = jnp.where(impossible, active, (active & ~chosen) | (chosen & enters))
        force = jnp.where(enters & chosen, weight * jnp.where(equal, sign, 1), jnp.where(active, force, 0))
        moved = z - length * direction
        new_worst, new_sign, violated = pick(moved, active)
        worst, sign = jnp.where(enters, new_worst, worst), jnp.where(enters, new_sign, sign)
        weight = jnp.where(enters, 0, weight)
        running = ~impossible & (~enters | violated)
        solved = ~impossible & enters & ~violated
        return moved, active, inverse, force, worst, sign, weight, running, solved, step + 1

    worst, sign, violated = pick(x, empty)
    zero = jnp.zeros((), x.dtype)
    carry = (
        x,
        empty,
        jnp.zeros_like(gram),
        jnp.zeros(m, x.dtype),
        worst,
        sign,
        zero,
        violated,
        ~violated,
        jnp.asarray(0),
    )
    _, active, *_, solved, _ = while_loop(unfinished, advance, carry)
    return active, solved
