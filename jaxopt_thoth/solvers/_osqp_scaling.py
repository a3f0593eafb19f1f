import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from .._loop import match_carry
from .._types import Scalar
from ..problems import QuadraticPoint, QuadraticProgram


_ROUNDS = 10
_RANGE = (1e-4, 1e4)


class Equilibrated(eqx.Module):
    """Scales that balance a quadratic program: `x = columns * x_hat`, rows times `rows`, objective times `cost`.

    Attributes:
        columns: a scale for each variable.
        rows: a scale for each row.
        cost: the scale of the objective.
    """

    columns: Float[Array, " n"]
    rows: Float[Array, " m"]
    cost: Scalar

    def forward(self, problem: QuadraticProgram, x: Float[Array, " n"]) -> Float[Array, " m"]:
        """The balanced A times x."""
        return self.rows * (problem.A @ (self.columns * x))

    def transposed(self, problem: QuadraticProgram, y: Float[Array, " m"]) -> Float[Array, " n"]:
        """The transpose of the balanced A times y."""
        return self.columns * (problem.A.T @ (self.rows * y))

    def original(self, x: Float[Array, " n"], y: Float[Array, " m"]) -> QuadraticPoint:
        """A point of the balanced program in the units of the program itself."""
        return QuadraticPoint(self.columns * x, self.rows * y / self.cost)


def equilibrate(problem: QuadraticProgram) -> Equilibrated:
    """Ruiz equilibration of the matrix of the optimality conditions in the largest entries, and of the objective."""
    P, A = jnp.abs(problem.hessian), jnp.abs(problem.A)

    def balance(scales: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        columns, rows = scales
        balanced = rows[:, None] * A * columns[None, :]
        curved = columns[:, None] * P * columns[None, :]
        peaks = jnp.maximum(jnp.max(curved, axis=0, initial=0), jnp.max(balanced, axis=0, initial=0))
        row_peaks = jnp.max(balanced, axis=1, initial=0)
        return (columns / jnp.sqrt(_limited(peaks)), rows / jnp.sqrt(_limited(row_peaks))), None

    start = match_carry(lambda s: balance(s, None)[0], (jnp.ones_like(problem.q), jnp.ones_like(problem.lower)))
    columns, rows = lax.scan(balance, start, None, length=_ROUNDS)[0]
    column_peaks = jnp.max(columns[:, None] * P * columns[None, :], axis=0, initial=0)
    size = jnp.maximum(jnp.mean(column_peaks), jnp.max(jnp.abs(columns * problem.q), initial=0))
    return Equilibrated(columns, rows, 1 / _limited(size))


def _limited(size: Array) -> Array:
    return jnp.where(size < _RANGE[0], 1, jnp.minimum(size, _RANGE[1]))
