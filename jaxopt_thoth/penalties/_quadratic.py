import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Scalar
from .._validate import concrete
from ._base import AbstractPenalty
from ._parts import fills, slack
from ._spectral import product


class Quadratic(AbstractPenalty):
    """The quadratic `1/2 <x, Q x> + <q, x>` of a symmetric positive semidefinite matrix, on vectors.

    The signs are those of `smooth.Quadratic`. The eigenvectors of `matrix` (n, n) are computed once, at construction;
    the prox then costs two products with them for any step, and is differentiable in the point, the step, `matrix` and
    `vector` (n,), whether eigenvalues repeat or not. Build a new penalty for a new matrix: one that is exchanged
    in place leaves its eigenvectors behind. The conjugate is infinite off `range(Q) + q`; `dual_scale` is 0 there, and
    largest if `q` is in the range. Raises `ValueError` where the matrix is not square or known not to be symmetric
    positive semidefinite, or where `vector` or `x` does not fit it.

    Parikh and Boyd, "Proximal algorithms", 2014, section 6.1.1.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> g = penalties.Quadratic(jnp.diag(jnp.array([1.0, 3.0])), jnp.array([-1.0, 0.0]))
        >>> g.prox(jnp.array([1.0, 4.0]), step=1.0).tolist()
        [1.0, 1.0]
    """

    matrix: Float[Array, "n n"]
    vector: Float[Array, " n"]
    eigenvalues: Float[Array, " n"]
    eigenvectors: Float[Array, "n n"]

    def __init__(self, matrix: Float[ArrayLike, "n n"], vector: Float[ArrayLike, " n"] | None = None):
        array = _tree.setting(matrix)
        if array.ndim != 2 or array.shape[0] != array.shape[1]:
            raise ValueError(f"matrix must be square (n, n), got shape {array.shape}.")
        self.matrix = array
        self.vector = _tree.setting(jnp.zeros(array.shape[0], array.dtype) if vector is None else vector)
        if self.vector.shape != array.shape[:1]:
            need = array.shape[:1]
            raise ValueError(f"vector must have shape {need} like the rows of matrix, got shape {self.vector.shape}.")
        self.eigenvalues, self.eigenvectors = nonnegative_eigen(array)

    def _cast(self, x: Array) -> tuple[Array, Array, Array, Array]:
        if x.shape != self.vector.shape:
            raise ValueError(f"x must be a vector of shape {self.vector.shape} like matrix, got shape {x.shape}.")
        parts = self.matrix, self.vector, self.eigenvalues, self.eigenvectors
        return tuple(part.astype(x.dtype) for part in parts)  # type: ignore[return-value]

    def value(self, x: Float[Array, " n"]) -> Scalar:
        matrix, vector, _, _ = self._cast(x)
        return _tree.vdot(x, product(matrix, x)) / 2 + _tree.vdot(vector, x)

    def prox(self, x: Float[Array, " n"], step: ArrayLike) -> Float[Array, " n"]:
        matrix, vector, values, vectors = self._cast(x)
        step = _tree.match(step, x)

        def matvec(z: Array) -> Array:
            return z + step * product(matrix, z)

        def solve(_, right: Array) -> Array:
            return product(vectors, product(vectors.T, right) / (1 + step * values))

        # The derivative is that of the equation, not of the eigenvectors, which turn without limit where values repeat.
        return jax.lax.custom_linear_solve(matvec, x - step * vector, solve, symmetric=True)

    def conjugate(self, dual: Float[Array, " n"]) -> Scalar:
        matrix, vector, values, vectors = self._cast(dual)
        moved = dual - vector
        positive, off = self._range(moved)

        def solve(_, right: Array) -> Array:
            inner = jnp.where(positive, product(vectors.T, right) / jnp.where(positive, values, 1), 0)
            return product(vectors, inner)

        best = jax.lax.custom_linear_solve(lambda z: product(matrix, z), moved, solve, symmetric=True)
        return jnp.where(off, jnp.inf, _tree.vdot(moved, best) / 2)

    def _range(self, moved: Array) -> tuple[Array, Array]:
        """Which eigenvalues are above rounding, and whether a vector leaves the span of their vectors."""
        _, _, values, vectors = self._cast(moved)
        positive = above_rounding(values)
        outside = jnp.where(positive, 0, product(vectors.T, moved))
        return positive, leaves(outside, moved)

    def dual_scale(self, dual: Float[Array, " n"]) -> Scalar:
        return jnp.where(self._range(dual)[1], 0, 1).astype(dual.dtype)

    def minimal_subgradient(self, x: Float[Array, " n"], gradient: Float[Array, " n"]) -> Float[Array, " n"]:
        matrix, vector, _, _ = self._cast(x)
        return gradient + product(matrix, x) + vector

    def support(self, x: Float[Array, " n"]) -> Array:
        return fills(x)


def nonnegative_eigen(matrix: Float[Array, "n n"]) -> tuple[Array, Array]:
    """Eigenvalues and vectors, held constant; raises `ValueError` unless symmetric positive semidefinite, if known."""
    held = jax.lax.stop_gradient(matrix)
    known = concrete(held)
    unit = 100 * float(jnp.finfo(matrix.dtype).eps) * max(matrix.shape[0], 1)
    if known is not None and np.abs(known - known.T).max(initial=0) > unit * np.abs(known).max(initial=0):
        raise ValueError("matrix must be symmetric; pass (Q + Q.T) / 2, which has the same quadratic form.")
    values, vectors = jnp.linalg.eigh(held)
    spectrum = concrete(values)
    if spectrum is not None and spectrum.min(initial=0) < -unit * np.abs(spectrum).max(initial=0):
        least = spectrum.min(initial=0)
        raise ValueError(
            f"matrix must be positive semidefinite, got the eigenvalue {least}; the prox needs a convex one."
        )
    return jnp.maximum(values, 0), vectors


def above_rounding(values: Float[Array, " n"]) -> Array:
    """Which eigenvalues are not rounding next to the largest."""
    return values > 16 * float(jnp.finfo(values.dtype).eps) * values.size * jnp.max(values, initial=0)


def leaves(outside: Array, whole: Array) -> Array:
    """Whether the part of a vector outside a subspace is more than rounding."""
    return jnp.max(jnp.abs(outside), initial=0) > 16 * slack(whole, jnp.max(jnp.abs(whole), initial=0))
