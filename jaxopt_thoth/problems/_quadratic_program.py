from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Float

from .. import _tree
from .._types import BoolScalar, Params, Scalar
from .._validate import concrete
from ._base import AbstractProblem
from ._saddle_solve import saddle_solve


class QuadraticPoint(NamedTuple):
    """A point of a `QuadraticProgram` with the multipliers of its rows; it unpacks to the two.

    Attributes:
        primal: the variable x, of shape (n,).
        dual: one multiplier y a row, of shape (m,): positive where the upper bound pushes, negative where the lower one
            does, so that `P x + q + A'y = 0` at a solution.
    """

    primal: Float[Array, " n"]
    dual: Float[Array, " m"]


class QuadraticProgram(AbstractProblem):
    """Minimize `x'P x / 2 + q'x` subject to `lower <= A x <= upper`, row by row.

    Rows with `lower == upper` are equations; bounds may be infinite, and P may be zero (a linear program). Solutions
    are pairs `QuadraticPoint(primal, dual)`; a solve may start from a primal array alone, with multipliers zero.

    Derivatives of a solution come from one dense linear system, that of the optimality conditions with the rows whose
    multiplier is not zero held at their bounds. Where such rows are dependent it is the least-squares derivative of
    least norm, and where a multiplier is zero on a bound it is one of the one-sided ones. Of P
    only the symmetric part counts.

    Amos and Kolter, "OptNet: differentiable optimization as a layer in neural networks", 2017.

    Args:
        P: positive semidefinite matrix of shape (n, n).
        q: vector of shape (n,).
        A: matrix of shape (m, n); `jnp.eye(n)` for a box.
        lower: lower bounds of shape (m,), or one number; minus infinity for none.
        upper: upper bounds of shape (m,), or one number; infinity for none.

    Raises:
        ValueError: if shapes do not fit, a lower bound is known to exceed the upper one or a bound is the wrong
            infinity; when solving, if P is known not to be positive semidefinite.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> problem = jt.QuadraticProgram(jnp.eye(2), jnp.zeros(2), jnp.ones((1, 2)), 1.0, jnp.inf)
        >>> solution = jt.solve(problem, jt.OSQP(), jnp.zeros(2))
        >>> print(solution.params.primal.round(3), solution.params.dual.round(3))
        [0.5 0.5] [-0.5]
    """

    P: Float[Array, "n n"]
    q: Float[Array, " n"]
    A: Float[Array, "m n"]
    lower: Float[Array, " m"]
    upper: Float[Array, " m"]

    def __init__(self, P: ArrayLike, q: ArrayLike, A: ArrayLike, lower: ArrayLike, upper: ArrayLike):
        P, q, A = (_tree.setting(value) for value in (P, q, A))
        dtype = jnp.promote_types(jnp.promote_types(P.dtype, q.dtype), A.dtype)
        if P.ndim != 2 or P.shape[0] != P.shape[1]:
            raise ValueError(f"P must be a square matrix, got shape {P.shape}; use vmap for a batch of programs.")
        n = P.shape[0]
        if q.shape != (n,):
            raise ValueError(f"q must have shape ({n},) as P has {n} columns, got {q.shape}.")
        if A.ndim != 2 or A.shape[1] != n:
            raise ValueError(f"A must have shape (m, {n}) as P has {n} columns, got {A.shape}.")
        self.P, self.q, self.A = P.astype(dtype), q.astype(dtype), A.astype(dtype)
        self.lower = _bound(lower, "lower", self.A)
        self.upper = _bound(upper, "upper", self.A)
        low, high = concrete(self.lower), concrete(self.upper)
        if low is not None and (np.isnan(low).any() or np.isposinf(low).any()):
            raise ValueError(f"lower must be below infinity, got {low}; use -inf for no bound.")
        if high is not None and (np.isnan(high).any() or np.isneginf(high).any()):
            raise ValueError(f"upper must be above minus infinity, got {high}; use inf for no bound.")
        if low is not None and high is not None and not np.all(low <= high):
            raise ValueError(f"lower must not exceed upper, got {low} and {high}; swap them or widen the bounds.")

    @property
    def hessian(self) -> Float[Array, "n n"]:
        """The symmetric part of P."""
        return (self.P + self.P.T) / 2

    @property
    def is_equation(self) -> Bool[Array, " m"]:
        """The rows whose two bounds agree."""
        return self.lower == self.upper

    def value(self, params: Params) -> Scalar:
        """Objective `x'P x / 2 + q'x`, whether the rows are kept or not."""
        x = params.primal
        return _dot(x, _times(self.hessian, x)) / 2 + _dot(self.q, x)

    def clip(self, rows: Float[Array, " m"]) -> Float[Array, " m"]:
        """The point between the bounds that is nearest to `rows`; for equations it moves with both bounds alike."""
        inside = jnp.where(rows < self.lower, self.lower, jnp.where(rows > self.upper, self.upper, rows))
        return jnp.where(self.is_equation, (self.lower + self.upper) / 2, inside)

    def active(self, params: QuadraticPoint) -> Bool[Array, " m"]:
        """Equations, and the rows that their multiplier holds at a bound."""
        shifted = _times(self.A, params.primal) + params.dual
        return (shifted < self.lower) | (shifted > self.upper) | self.is_equation

    def fixed_point(self, params: Params, step: ArrayLike) -> QuadraticPoint:
        """`x - step (P x + q + A'y)` and `A x + y - clip(A x + y)`."""
        x, y = params.primal, params.dual
        slope = _times(self.hessian, x) + self.q + _times(self.A.T, y)
        shifted = _times(self.A, x) + y
        return QuadraticPoint(x - jnp.asarray(step, x.dtype) * slope, shifted - self.clip(shifted))

    def implicit_tangent(self, params: Params, step: Scalar, rhs: Params) -> QuadraticPoint:
        active = self.active(lax.stop_gradient(params))
        bottom = jnp.where(active, -rhs.dual, rhs.dual)
        return QuadraticPoint(*saddle_solve(self.hessian, self.A, active, rhs.primal / step, bottom))

    def residuals(self, params: QuadraticPoint) -> tuple[Scalar, Scalar, Scalar, Scalar]:
        """Largest violations of `A x = clip(A x + y)` and of `P x + q + A'y = 0`, and the sizes of their terms."""
        x, y = params.primal, params.dual
        rows, curved, pulled = _times(self.A, x), _times(self.hessian, x), _times(self.A.T, y)
        held = self.clip(rows + y)
        primal_size = jnp.maximum(_peak(rows), _peak(held))
        dual_size = jnp.maximum(jnp.maximum(_peak(curved), _peak(pulled)), _peak(self.q))
        return _peak(rows - held), _peak(curved + self.q + pulled), primal_size, dual_size

    def is_feasible(self, params: Params) -> BoolScalar:
        """Whether no lower bound exceeds the upper one; a solver finds out about the rest."""
        return jnp.all(self.lower <= self.upper)

    def check(self, params: Any) -> QuadraticPoint:
        """`params`, or an array x, with multipliers zero, in the dtype of the problem."""
        m, n = self.A.shape
        pair = params if isinstance(params, tuple) else (jnp.asarray(params), jnp.zeros((m,), self.q.dtype))
        params = QuadraticPoint(*pair)
        for name, value, shape in (("primal", params.primal, (n,)), ("dual", params.dual, (m,))):
            if jnp.shape(value) != shape:
                raise ValueError(f"params.{name} must have shape {shape}, got {jnp.shape(value)}.")
        known = concrete(self.P)
        if known is not None and known.size and np.isfinite(known).all():
            least, most = np.linalg.eigvalsh((known + known.T) / 2)[[0, -1]]
            if least < -100 * n * np.finfo(known.dtype).eps * max(abs(most), abs(least)):
                raise ValueError(
                    f"P must be positive semidefinite, and has the eigenvalue {least}; add its absolute value to the "
                    "diagonal, or minimize another model of the objective."
                )
        return QuadraticPoint(*(jnp.asarray(a).astype(self.q.dtype) for a in (params.primal, params.dual)))


def _bound(value: ArrayLike, name: str, A: Array) -> Array:
    array = jnp.asarray(value).astype(A.dtype)
    if array.shape not in ((), A.shape[:1]):
        raise ValueError(f"{name} must be a number or have shape ({A.shape[0]},) as A has rows, got {array.shape}.")
    return jnp.broadcast_to(array, A.shape[:1])


def _times(matrix: Array, x: Array) -> Array:
    # Residuals are differences of large terms.
    return jnp.matmul(matrix, x, precision=lax.Precision.HIGHEST)


def _dot(x: Array, y: Array) -> Scalar:
    return jnp.vdot(x, y, precision=lax.Precision.HIGHEST)


def _peak(x: Array) -> Scalar:
    return jnp.max(jnp.abs(x), initial=0)
