from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._result import RESULTS
from .._types import IntScalar, Scalar
from .._validate import require_nonnegative, require_positive
from ..implicit import AbstractAdjoint
from ..mirror import Euclidean, NegativeEntropy, Product
from ..problems import MatrixGame
from ..stopping import DualityGap
from ._base import AbstractSolver
from ._mirror_prox import MirrorProx
from ._optimistic_mirror_descent import OptimisticMirrorDescent
from ._solve import solve


Method = Literal["restarted", "mirror_prox", "optimistic", "multiplicative_weights"]
_METHODS = ("restarted", "mirror_prox", "optimistic", "multiplicative_weights")


class MatrixGameSolution(eqx.Module):
    """Both strategies of a matrix game, with their certificate; under `vmap` every field gains the batch axis.

    Attributes:
        row: strategy of the row player, who pays, of shape (m,).
        column: strategy of the column player, of shape (n,).
        value: what the row player pays on average; within `gap` of the value of the game.
        gap: `max_j (A'row)_j - min_i (A column)_i`, at least zero: no player gains more than that by leaving.
        last: the pair of strategies of the last iterate, where `row` and `column` are averages; else the same pair.
        last_gap: the gap of these.
        logits: log-probabilities of the last iterate up to a constant, exact where it rounds to zero; of the method
            "restarted" the pair itself, since it works without logarithms.
        num_steps: number of steps taken.
        result: a member of `RESULTS`.
    """

    row: Float[Array, " m"]
    column: Float[Array, " n"]
    value: Scalar
    gap: Scalar
    last: tuple[Float[Array, " m"], Float[Array, " n"]]
    last_gap: Scalar
    logits: tuple[Float[Array, " m"], Float[Array, " n"]]
    num_steps: IntScalar
    result: RESULTS


def matrix_game(
    matrix: ArrayLike,
    method: Method = "restarted",
    *,
    step_size: ArrayLike | None = None,
    tol: ArrayLike | None = None,
    max_steps: int = 100_000,
    adjoint: AbstractAdjoint | None = None,
    every: int = 10,
) -> MatrixGameSolution:
    """Solve `min_x max_y x'A y` over strategies, with the gap that certifies how well.

    - "restarted": Euclidean extragradient steps, searched, restarted from their average; linearly convergent.
    - "mirror_prox": entropic mirror prox, averaged; with steps `1 / L`, L the largest `|A_ij|`, the gap after T steps
      is at most `L (log m + log n) / T`.
    - "optimistic": optimistic multiplicative weights, averaged; half the products a step, steps `1 / (2 L)`.
    - "multiplicative_weights": averages of plain multiplicative weights, at the rate `1 / sqrt T`; the step size is
      tuned to `max_steps`.

    Strategies have implicit derivatives in the matrix, which are right where the equilibrium is unique and no pure
    strategy out of use is as good as those in use.

    Args:
        matrix: what the row player pays the column player, of shape (m, n); use `jax.vmap` for many games.
        method: one of the above.
        step_size: None takes that of the method.
        tol: tolerance on the gap, relative to the largest `|A_ij|`; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of steps.
        adjoint: how derivatives flow; `implicit.Implicit()` by default.
        every: steps between two evaluations of the gap.

    Raises:
        ValueError: if the matrix has no two axes, or the method or a setting is out of range.

    Nemirovski, "Prox-method with rate of convergence O(1/t)...", 2004; Applegate, Hinder, Lu and Lubin, "Faster
    first-order primal-dual methods for linear programming using restarts and sharpness", 2023.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> scissors = jnp.array([[0.0, -1.0, 2.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
        >>> game = jt.solvers.matrix_game(scissors)
        >>> print(game.row.round(2), game.column.round(2), bool(game.gap < 1e-3))
        [0.25 0.42 0.33] [0.33 0.42 0.25] True
    """
    if method not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(_METHODS)}, got {method!r}.")
    if step_size is not None:
        require_positive(step_size, "step_size")
    if tol is not None:
        require_nonnegative(tol, "tol")
    problem = MatrixGame(matrix)
    A = jax.lax.stop_gradient(problem.matrix)
    m, n = A.shape
    scale = jnp.max(jnp.abs(A))
    # Steps for the zero game may have any size.
    scale = jnp.where(scale > 0, scale, 1)
    solver = _solver(method, step_size, scale, (m, n), max_steps)
    start = (jnp.full((m,), 1 / m, A.dtype), jnp.full((n,), 1 / n, A.dtype))
    relative = jnp.asarray(_tree.default_tolerance(A.dtype) if tol is None else tol).astype(A.dtype)
    stop = DualityGap(relative * scale, relative=False, every=every)
    solution = solve(problem, solver, start, stop=stop, adjoint=adjoint)
    row, column = solution.params
    last = solution.params if method == "restarted" else solution.state.last
    return MatrixGameSolution(
        row=row,
        column=column,
        value=problem.value(solution.params),
        gap=problem.duality_gap(solution.params),
        last=last,
        last_gap=problem.duality_gap(last),
        logits=solution.state.dual,
        num_steps=solution.num_steps,
        result=solution.result,
    )


def _solver(
    method: Method, step_size: ArrayLike | None, scale: Scalar, shape: tuple[int, int], max_steps: int
) -> AbstractSolver:
    if method == "restarted":
        return MirrorProx(Euclidean(), step_size, restart=True, max_steps=max_steps)
    entropies = Product((NegativeEntropy(), NegativeEntropy()))
    if method == "mirror_prox":
        return MirrorProx(entropies, 1 / scale if step_size is None else step_size, average=True, max_steps=max_steps)
    if method == "optimistic":
        step_size = 1 / (2 * scale) if step_size is None else step_size
        return OptimisticMirrorDescent(entropies, step_size, average=True, max_steps=max_steps)
    if step_size is None:
        # Least of the bound (log m + log n) / (s T) + s L^2.
        span = jnp.log(jnp.asarray(shape[0] * shape[1], scale.dtype)) / max(max_steps, 1)
        step_size = jnp.sqrt(jnp.maximum(span, jnp.finfo(scale.dtype).tiny)) / scale
    return OptimisticMirrorDescent(entropies, step_size, optimism=0.0, average=True, max_steps=max_steps)
