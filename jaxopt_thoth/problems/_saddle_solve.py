import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._loop import match_carry


_EQUILIBRATIONS = 4
_REFINEMENTS = 3


def saddle_solve(
    hessian: Float[Array, "n n"],
    rows: Float[Array, "m n"],
    active: Bool[Array, " m"],
    top: Float[Array, " n"],
    bottom: Float[Array, " m"],
) -> tuple[Float[Array, " n"], Float[Array, " m"]]:
    """Solve `H x + A'y = top` with `A x = bottom` on active rows and `y = bottom` on the others, transposably for JAX.

    Where active rows are dependent, or the Hessian is singular along all of them, it is the least-squares solution of
    least norm (of the equilibrated system).
    """
    n = hessian.shape[0]
    mask = active.astype(rows.dtype)
    # What the inactive rows add to the first equation is known, which leaves a symmetric matrix.
    top = top - rows.T @ ((1 - mask) * bottom)
    kept = mask[:, None] * rows
    matrix = jnp.block([[hessian, kept.T], [kept, jnp.diag(1 - mask)]])
    frozen = jax.lax.stop_gradient(matrix)
    factor, scales = _factor(frozen)

    def solve(_, b: Array) -> Array:
        def refine(x: Array, _: None) -> tuple[Array, None]:
            residual = (b - _product(frozen, x)) * scales
            move = jax.scipy.linalg.lu_solve(factor, residual.astype(factor[0].dtype)).real
            return x + scales * move, None

        start = match_carry(lambda x: refine(x, None)[0], jnp.zeros_like(b))
        return jax.lax.scan(refine, start, None, length=1 + _REFINEMENTS)[0]

    found = jax.lax.custom_linear_solve(
        lambda v: _product(matrix, v), jnp.concatenate([top, bottom]), solve, symmetric=True
    )
    return found[:n], found[n:]


def _product(matrix: Array, x: Array) -> Array:
    return jnp.matmul(matrix, x, precision=jax.lax.Precision.HIGHEST)


def _factor(matrix: Array) -> tuple[tuple[Array, Array], Array]:
    """LU factors of the equilibrated matrix plus an imaginary multiple of the identity, and the scales.

    The real part of the inverse is `K / (K^2 + shift^2)`: an inverse where eigenvalues are well above the shift, and
    zero on the null space, where a real shift would blow up.
    """
    scales = jnp.ones_like(matrix[0])
    for _ in range(_EQUILIBRATIONS):
        peaks = jnp.max(jnp.abs(matrix * scales[:, None] * scales[None, :]), axis=0)
        scales = scales / jnp.where(peaks > 0, jnp.sqrt(jnp.where(peaks > 0, peaks, 1)), 1)
    balanced = matrix * scales[:, None] * scales[None, :]
    shift = float(jnp.finfo(matrix.dtype).eps) ** 0.5
    shifted = jax.lax.complex(balanced, shift * jnp.eye(matrix.shape[0], dtype=matrix.dtype))
    return jax.scipy.linalg.lu_factor(shifted), scales
