"""One compiled fit for all estimators: of one column of coefficients, of all columns together, or of each at once."""

from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .. import erm
from .._result import RESULTS
from ..erm._solvers import resolve
from ..losses import AbstractLoss
from ..operators import AbstractOperator, DenseOperator
from ..solvers import AbstractSolver, Catalyst, QNing
from ._design import as_design, as_parts, pad, padded_shape
from ._terms import keeps_padding, penalty_of


class Settings(NamedTuple):
    """What a program is compiled for, besides shapes and dtypes."""

    penalty: str
    solver: str
    max_iter: int
    gap_every: int
    fit_intercept: bool
    num_classes: int | None
    memory: int
    restart: int
    # Whether each column of the targets is a problem of its own.
    apart: bool


class Outcome(NamedTuple):
    """What a fit hands to an estimator, as arrays of the host; one row of the last five a problem."""

    coef: np.ndarray
    intercept: np.ndarray
    gap: np.ndarray
    num_steps: np.ndarray
    converged: np.ndarray
    finite: np.ndarray
    history: np.ndarray


def precision(dtype: Any) -> AbstractContextManager:
    """Double precision where the data have it, for as long as the fit takes: the setting of JAX stays as it is."""
    return jax.enable_x64(np.dtype(dtype) == np.float64 or bool(jax.config.read("jax_enable_x64")))


def run(
    X: Any,
    targets: np.ndarray,
    weights: np.ndarray | None,
    start: tuple[np.ndarray, np.ndarray] | None,
    loss: AbstractLoss,
    penalty: Any,
    strengths: tuple[float, float, float],
    solver: str | AbstractSolver,
    tol: float,
    seed: int,
    settings: Settings,
) -> Outcome:
    """Fit in the dtype of the design."""
    n, p = X.shape
    dtype = np.dtype(X.dtype)
    shape = padded_shape(X, keeps_padding(penalty))
    if shape[0] > n:
        weights = pad(np.ones(n) if weights is None else weights, shape[0])
    with precision(dtype):
        real = lambda array: None if array is None else np.asarray(array, dtype)
        # The rows of the padding weigh nothing, and their targets have to be such as the loss takes.
        targets = pad(targets if settings.num_classes is not None else real(targets), shape[0], mode="edge")
        if start is not None:
            start = (real(pad(start[0], shape[1])), real(start[1]))  # type: ignore[assignment]
        named = isinstance(penalty, str)
        numbers = (real(np.asarray(strengths)), real(tol))
        parts = as_parts(X, shape)
        if not isinstance(parts, AbstractOperator):
            parts = jax.tree.map(jnp.asarray, parts)
        given = (parts, jnp.asarray(targets), None if weights is None else jnp.asarray(real(weights)))
        begin = None if start is None else tuple(map(jnp.asarray, start))
        own = (loss, None if named else penalty, None if isinstance(solver, str) else solver)
        key = jax.random.key(seed)
        fitted = _fit(given, begin, own, tuple(map(jnp.asarray, numbers)), key, settings)
        coef, *rest = jax.tree.map(np.asarray, fitted)
    return Outcome(coef[:p], *rest)


@eqx.filter_jit
def _fit(given: Any, start: Any, own: Any, numbers: Any, key: Array, settings: Settings) -> tuple[Array, ...]:
    parts, targets, weights = given
    loss, penalty, solver = own
    strengths, tol = numbers
    design, means = as_design(parts), None
    if settings.fit_intercept and isinstance(design, DenseOperator):
        # The same problem with another intercept, of better condition.
        weighed = jnp.ones(len(design.matrix), design.dtype) if weights is None else weights
        means = design.rmatvec(weighed / jnp.sum(weighed))
        design = DenseOperator(design.matrix - means[None, :])
    whole = targets.ndim == 2 or settings.num_classes is not None
    if penalty is None:
        penalty = penalty_of(settings.penalty, tuple(strengths), design.shape[1], whole and not settings.apart)

    def one(targets: Array, start: Any) -> tuple[Array, ...]:
        problem = erm.Problem(
            loss,
            penalty,
            design,
            targets,
            weights=weights,
            fit_intercept=settings.fit_intercept,
            num_classes=settings.num_classes,
        )
        if start is not None and means is not None:
            start = (start[0], start[1] + _dot(means, start[0]))
        method, steps, every = _method(solver, problem.composite, key, tol, settings)
        fit = erm.fit(problem, method, start=start, tol=tol, max_steps=steps, gap_every=every, history=True)
        intercept = fit.intercept if means is None else fit.intercept - _dot(means, fit.coef)
        flags = fit.result == RESULTS.converged, fit.result != RESULTS.nonfinite
        assert fit.history is not None
        return fit.coef, intercept, fit.gap, fit.num_steps, *flags, fit.history

    if settings.apart:
        of_coef = None if start is None else (1, 0)
        return jax.vmap(one, (1, of_coef), (1, *[0] * 6))(targets, start)
    coef, intercept, *rest = one(targets, start)
    return coef, intercept, *(jnp.asarray(value)[None] for value in rest)


def _dot(means: Array, coef: Array) -> Array:
    return jnp.matmul(means, coef, precision=jax.lax.Precision.HIGHEST)


def _method(solver: Any, problem: Any, key: Array, tol: Array, settings: Settings) -> tuple[AbstractSolver, int, int]:
    steps, every = settings.max_iter, settings.gap_every
    if solver is not None:
        return solver, steps, every
    method, steps, every = resolve(settings.solver, problem, steps, every, key, tol)
    if isinstance(method, Catalyst):
        method = Catalyst(method.inner, restart_every=settings.restart, max_steps=steps)
    if isinstance(method, QNing):
        method = QNing(method.inner, memory=settings.memory, max_steps=steps)
    return method, steps, every
