from collections.abc import Callable
from typing import Any, cast, ClassVar

import equinox as eqx
import jax
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Key

from .. import _tree
from .._loop import match_carry
from .._types import Scalar
from ..operators import AbstractOperator, SparseOperator
from ..problems import Composite
from ..smooth import LinearModel
from ._base import AbstractSolver
from ._relative_error import relative_error
from ._row_sampling import Draws, Purpose, row_sampling, RowSampling, Sampling
from ._settings import count_setting, tolerance_setting


_SAMPLINGS = ("uniform", "importance")
# By measurement: smaller batches spend their time on the overhead of a step, larger ones on too few steps.
_BATCH_SIZE = 32
_LEAST_BATCHES = 50


class AbstractRowSolver(AbstractSolver):
    """A method that draws batches of rows of a `LinearModel` and keeps their variance down; a step is an epoch."""

    is_incremental: ClassVar[bool] = True
    purpose: ClassVar[Purpose] = "gradient"
    key: Key[Array, ""]
    tol: Scalar | None
    batch_size: int | None = eqx.field(static=True)
    sampling: Sampling = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        *,
        key: Key[Array, ""],
        batch_size: int | None = None,
        sampling: Sampling = "uniform",
        tol: ArrayLike | None = None,
        max_steps: int = 1000,
    ):
        if sampling not in _SAMPLINGS:
            raise ValueError(f"sampling must be one of {_SAMPLINGS}, got {sampling!r}.")
        self.key = key
        self.batch_size = None if batch_size is None else count_setting(batch_size, "batch_size", 1)
        self.sampling = sampling
        self.tol = tolerance_setting(tol)
        self.max_steps = count_setting(max_steps, "max_steps")

    def check(self, problem: Composite, params: Array) -> None:
        model = problem.smooth
        name = type(self).__name__
        if not isinstance(model, LinearModel):
            raise ValueError(
                f"{name} draws rows of a LinearModel, got a {type(model).__name__}; take ProximalGradient instead."
            )
        if not model.loss.has_bounded_curvature:
            raise ValueError(
                f"{name} takes its step size from the curvature of the loss, which is unbounded for "
                f"{type(model.loss).__name__}; take ProximalGradient instead, which searches for one."
            )
        if self.batch_size is not None and self.batch_size > model.num_rows:
            raise ValueError(f"batch_size must be at most the {model.num_rows} rows of design, got {self.batch_size}.")

    def plan(self, problem: Composite, params: Array) -> RowSampling:
        """How rows are drawn from the model."""
        model = model_of(problem)
        size = default_batch_size(model) if self.batch_size is None else self.batch_size
        return row_sampling(model, size, self.sampling, self.purpose)

    def draws(self, model: LinearModel, state: Any) -> Draws:
        """The rows of the epoch that comes next."""
        return state.sampling.draw(model, jax.random.fold_in(self.key, state.count))

    def error(self, problem: Composite, params: Array, state: Any) -> Scalar:
        return state.error

    def fixed_point_step(self, problem: Composite, params: Array, state: Any) -> Scalar:
        return state.sampling.step_size

    def relocated(self, problem: Composite, params: Array, state: Any) -> Any:
        # What is known of the rows is kept: it costs passes over all of them.
        fresh = self.start(problem, params, state.sampling)
        kept = lambda s: (s.gradient_norm, s.error, s.count)
        return eqx.tree_at(kept, fresh, kept(state))

    def init(self, problem: Composite, params: Array) -> Any:
        return self.start(problem, params, self.plan(problem, params))

    def start(self, problem: Composite, params: Array, sampling: RowSampling) -> Any:
        """State before the first step, by the plan for drawing rows."""
        raise NotImplementedError


def model_of(problem: Composite) -> LinearModel:
    """The smooth term, which `check` has seen to be a `LinearModel`."""
    return cast(LinearModel, problem.smooth)


def default_batch_size(model: LinearModel) -> int:
    """Rows of a batch: enough to outweigh what a step costs apart from them, and few enough for many steps."""
    n, p = model.design.shape
    size = _BATCH_SIZE
    inner = model.design
    while isinstance(getattr(inner, "design", None), AbstractOperator):
        inner = inner.design  # type: ignore[attr-defined]
    if isinstance(inner, SparseOperator):
        # A step also passes over all the parameters: the batch has to hold about as many entries.
        size = max(size, n * p // max(inner.values.shape[0], 1))
    return max(1, min(size, n // _LEAST_BATCHES))


def slopes_at(model: LinearModel, params: Float[Array, "p *k"]) -> Float[Array, "n *k"]:
    """The derivatives of the losses of all rows."""
    return model.loss.derivative(model.image(params), model.targets)


def row_slopes(model: LinearModel, indices: Array, params: Float[Array, "p *k"]) -> Float[Array, "m *k"]:
    """The derivatives of the losses of some rows."""
    return model.loss.derivative(model.design.rows_matvec(indices, params), model.targets[indices])


def scale_rows(factors: Float[Array, " m"], rows: Float[Array, "m *k"]) -> Float[Array, "m *k"]:
    """Each row times its factor."""
    return rows * _tree.along_rows(factors, rows)


def once(batch: Draws, rows: Float[Array, "m *k"]) -> Float[Array, "m *k"]:
    """The values at the rows of a batch, and zero where a row comes again."""
    return rows if batch.first is None else scale_rows(batch.first.astype(rows.dtype), rows)


def residual_error(
    problem: Composite, params: Array, gradient: Array, step_size: Scalar, least: Scalar
) -> tuple[Scalar, Scalar]:
    """Relative norm of the residual of a prox-gradient step, and the least norm of a gradient."""
    moved = problem.penalty.prox(_tree.add_scaled(params, -step_size, gradient), step_size)
    return relative_error((params - moved) / step_size, gradient, least)


def scan_batches(update: Callable[[Any, Any], Any], carry: Any, draws: Any) -> Any:
    """The carry after the update by one batch of an epoch after the other."""
    first = jax.tree.map(lambda leaf: leaf[0], draws)
    return lax.scan(lambda c, batch: (update(c, batch), None), match_carry(lambda c: update(c, first), carry), draws)[0]
