import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative
from ._base import AbstractPenalty
from ._parts import fills
from ._quadratic import above_rounding, leaves, nonnegative_eigen
from ._spectral import product


class LeastSquares(AbstractPenalty):
    """Half the squared residual of a linear system times the strength, `strength/2 |A x - b|^2`, on vectors.

    No mean over the rows is taken. The eigenvectors of the smaller Gram matrix of `matrix` A (m, n) are computed once,
    at construction, in `O(m n min(m, n))`; the prox then costs two products with A and two with them, `O(m n)`, for any
    step. It is differentiable in the point, the step and all settings. Build a new penalty for a new matrix: one that
    is exchanged in place leaves its eigenvectors behind. `targets` b is a vector (m,). The conjugate is infinite off
    the range of A', where `dual_scale` is 0; it needs a positive strength. Raises `ValueError` for a known negative
    strength, where A is no matrix, and where `targets` or `x` does not fit it.

    Parikh and Boyd, "Proximal algorithms", 2014, section 6.1.1.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> g = penalties.LeastSquares(jnp.array([[1.0, 1.0]]), jnp.array([3.0]))
        >>> g.prox(jnp.zeros(2), step=1.0).round(4).tolist()
        [1.0, 1.0]
    """

    matrix: Float[Array, "m n"]
    targets: Float[Array, " m"]
    strength: Scalar
    eigenvalues: Float[Array, " r"]
    eigenvectors: Float[Array, "r r"]

    def __init__(self, matrix: Float[ArrayLike, "m n"], targets: Float[ArrayLike, " m"], strength: ArrayLike = 1.0):
        require_nonnegative(strength, "strength")
        array = _tree.setting(matrix)
        if array.ndim != 2:
            raise ValueError(f"matrix must have two axes (m, n), got shape {array.shape}.")
        self.matrix = array
        self.targets = _tree.setting(targets)
        if self.targets.shape != array.shape[:1]:
            raise ValueError(
                f"targets must have shape {array.shape[:1]}, one a row of matrix, got {self.targets.shape}."
            )
        self.strength = _tree.setting(strength)
        held = jax.lax.stop_gradient(array)
        self.eigenvalues, self.eigenvectors = nonnegative_eigen(
            product(held, held.T) if self._wide else product(held.T, held)
        )

    @property
    def _wide(self) -> bool:
        return self.matrix.shape[0] < self.matrix.shape[1]

    def _cast(self, x: Array) -> tuple[Array, Array, Array]:
        if x.shape != self.matrix.shape[1:]:
            raise ValueError(f"x must be a vector of shape {self.matrix.shape[1:]} like the columns, got {x.shape}.")
        return self.matrix.astype(x.dtype), self.targets.astype(x.dtype), self.strength.astype(x.dtype)

    def value(self, x: Float[Array, " n"]) -> Scalar:
        matrix, targets, strength = self._cast(x)
        return strength * _tree.squared_norm(product(matrix, x) - targets) / 2

    def prox(self, x: Float[Array, " n"], step: ArrayLike) -> Float[Array, " n"]:
        matrix, targets, strength = self._cast(x)
        factor = strength * _tree.match(step, x)
        residual = product(matrix, x) - targets
        # In terms of the residual nothing cancels near a solution of the system.
        if self._wide:
            return x - factor * product(matrix.T, self._resolve(matrix, factor, residual))
        return x - factor * self._resolve(matrix.T, factor, product(matrix.T, residual))

    def _resolve(self, rows: Array, factor: Array, right: Array) -> Array:
        """Solution z of `z + factor rows rows' z = right`, with the derivative of the equation."""
        values, vectors = self.eigenvalues.astype(rows.dtype), self.eigenvectors.astype(rows.dtype)

        def matvec(z: Array) -> Array:
            return z + factor * product(rows, product(rows.T, z))

        def solve(_, right: Array) -> Array:
            return product(vectors, product(vectors.T, right) / (1 + factor * values))

        return jax.lax.custom_linear_solve(matvec, right, solve, symmetric=True)

    def _best(self, dual: Array) -> tuple[Array, Array]:
        """The solution x of least norm of `A'A x = dual`, and whether there is none."""
        matrix = self._cast(dual)[0]
        values, vectors = self.eigenvalues.astype(dual.dtype), self.eigenvectors.astype(dual.dtype)
        positive = above_rounding(values)
        invert = lambda v: product(
            vectors, jnp.where(positive, product(vectors.T, v) / jnp.where(positive, values, 1), 0)
        )

        def solve(_, right: Array) -> Array:
            return product(matrix.T, invert(invert(product(matrix, right)))) if self._wide else invert(right)

        normal = lambda z: product(matrix.T, product(matrix, z))
        best = jax.lax.custom_linear_solve(normal, dual, solve, symmetric=True)
        if self._wide:
            inside = product(matrix.T, invert(product(matrix, dual)))
        else:
            inside = product(vectors, jnp.where(positive, product(vectors.T, dual), 0))
        return best, leaves(dual - inside, dual)

    def conjugate(self, dual: Float[Array, " n"]) -> Scalar:
        matrix, targets, strength = self._cast(dual)
        moved = dual / strength + product(matrix.T, targets)
        best, off = self._best(moved)
        value = _tree.vdot(moved, best) / 2 - _tree.squared_norm(targets) / 2
        return jnp.where(off, jnp.inf, strength * value)

    def dual_scale(self, dual: Float[Array, " n"]) -> Scalar:
        return jnp.where(self._best(dual)[1], 0, 1).astype(dual.dtype)

    def minimal_subgradient(self, x: Float[Array, " n"], gradient: Float[Array, " n"]) -> Float[Array, " n"]:
        matrix, targets, strength = self._cast(x)
        return gradient + strength * product(matrix.T, product(matrix, x) - targets)

    def support(self, x: Float[Array, " n"]) -> Array:
        return fills(x)
