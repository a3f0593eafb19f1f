from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from .. import _tree
from .._types import IntScalar, Scalar
from .._validate import concrete, require_nonnegative
from ..solvers import AbstractSolver
from ._family import PenaltyOf
from ._fit import _first
from ._folds import held_rows, is_partition
from ._moments import Centered, Moments, moments, Shift
from ._path import as_path, check_problem, check_strengths, Path, Plan, plan_of, walk
from ._problem import Problem
from ._walk import Steps, walk_gram, with_derivatives


Scoring = Callable[[Array, Array], Array]


class CrossValidation(eqx.Module):
    """The outcome of `cross_validate`.

    Attributes:
        strengths: (s,), from which to choose.
        losses: mean loss of each fold on the rows it held out, (k, s).
        mean: over the folds, (s,).
        standard_error: of that mean, (s,).
        best: place of the strength of least mean.
        best_one_standard_error: place of the largest strength whose mean is within one standard error of the least.
        folds: the `Path` of each fold; its fields have a leading axis k.
        coef, intercept: w and b of all rows at the chosen strength.
        strength: that strength.
    """

    strengths: Float[Array, " s"]
    losses: Float[Array, "k s"]
    mean: Float[Array, " s"]
    standard_error: Float[Array, " s"]
    best: IntScalar
    best_one_standard_error: IntScalar
    folds: Path
    coef: Float[Array, "p *c"]
    intercept: Float[Array, " *c"]
    strength: Scalar


def cross_validate(
    problem: Problem,
    folds: Float[ArrayLike, "k n"],
    strengths: Float[ArrayLike, " s"] | None = None,
    solver: str | AbstractSolver = "auto",
    *,
    scoring: Scoring | None = None,
    one_standard_error: bool = False,
    num: int = 100,
    ratio: float | None = None,
    penalty_of: PenaltyOf | None = None,
    tol: ArrayLike = 1e-4,
    max_steps: int | None = None,
    gap_every: int | None = None,
    key: PRNGKeyArray | None = None,
) -> CrossValidation:
    """Choose a strength by the loss on rows held out: all folds and strengths, and the last fit, in one compiled call.

    Each fold walks the path of `path` with its own weights of the rows, and is scored on those of weight zero. Where
    the path goes by the Gram matrix, those of all folds come from one pass over the data: each is the sum of all parts
    less the part held out.

    Args:
        problem, strengths, solver, num, ratio, penalty_of, tol, max_steps, gap_every, key: as in `path`. Weights of the
            problem multiply those of the folds, and weigh the losses.
        folds: weights of the rows for each fold, (k, n), as `erm.folds` makes them.
        scoring: a loss, or a function of scores and targets to a loss for each row; None is the loss of the problem.
        one_standard_error: refit at the largest strength within one standard error of the best, not at the best.

    Raises:
        TypeError: if an argument is of another kind.
        ValueError: if a setting is out of range, a fold leaves no row out or none in, or a shape does not fit.

    Breiman, Friedman, Olshen and Stone, "Classification and regression trees", 1984; Friedman, Hastie and Tibshirani,
    "Regularization paths for generalized linear models via coordinate descent", 2010.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt
        >>> from jaxopt_thoth import erm
        >>> design = jax.random.normal(jax.random.key(0), (60, 3))
        >>> problem = erm.Problem(jt.losses.Squared(), jt.penalties.L1(1.0), design, 2 * design[:, 0])
        >>> found = erm.cross_validate(problem, erm.folds(jax.random.key(1), 60, 5), num=10)
        >>> int(found.best), found.losses.shape
        (9, (5, 10))
    """
    check_problem(problem, penalty_of)
    require_nonnegative(tol, "tol")
    if scoring is not None and not callable(scoring):
        raise TypeError(f"scoring must be a loss or a function of scores and targets, got {type(scoring).__name__}.")
    weights = _checked(folds, problem)
    strengths = check_strengths(problem, strengths, num, ratio, penalty_of)
    tol = _tree.setting(tol)
    plan = plan_of(problem, solver, penalty_of, max_steps, gap_every, key, tol)
    held = held_rows(weights)
    rows = None if held is None else jnp.asarray(held, jnp.int32)
    return _cross_validate(
        problem,
        weights,
        rows,
        strengths,
        plan,
        _first(problem, None),
        problem.loss if scoring is None else scoring,
        penalty_of,
        tol,
        is_partition(weights),
        one_standard_error,
    )


def _checked(folds: Float[ArrayLike, "k n"], problem: Problem) -> Array:
    array = jnp.asarray(folds)
    n = problem.design.shape[0]
    if array.ndim != 2 or array.shape[1] != n or array.shape[0] < 2:
        raise ValueError(
            f"folds must have shape (k, {n}) with k at least 2, got {array.shape}; make them by erm.folds."
        )
    known = concrete(array)
    if known is not None and not ((known >= 0).all() and (known == 0).any(1).all() and (known > 0).any(1).all()):
        raise ValueError("folds must be nonnegative, and each must leave some rows out and some in.")
    return array.astype(problem.design.dtype)


@eqx.filter_jit
def _cross_validate(
    problem: Problem,
    folds: Float[Array, "k n"],
    rows: Int[Array, "k m"] | None,
    strengths: Float[Array, " s"],
    plan: Plan,
    start: Array,
    scoring: Any,
    penalty_of: PenaltyOf | None,
    tol: Scalar,
    partition: bool,
    one_standard_error: bool,
) -> CrossValidation:
    frozen, plan, start, tol = _tree.stop_gradient((problem, plan, start, tol))
    grid = _tree.stop_gradient(strengths)
    tol = tol.astype(start.dtype)
    own = jnp.ones(folds.shape[1], folds.dtype) if problem.weights is None else problem.weights
    of_fold = lambda problem, fold: _weighted(problem, fold * own)

    if plan.route == "gram":
        shift, all_rows, parts = _moments_of_folds(frozen, _tree.stop_gradient(own), folds, rows, partition)
        first = jnp.zeros(problem.coef_shape, start.dtype)

        def along(grid: Array, quadratic: Centered, coef: Array) -> Steps:
            return walk_gram(frozen, quadratic, shift, grid, coef, penalty_of, tol, plan.max_steps)

        steps = lax.map(lambda part: along(grid, part.centered(problem.fit_intercept), first), parts)
    else:
        steps = lax.map(lambda fold: walk(of_fold(frozen, fold), plan, grid, start, penalty_of, tol), folds)

    derive = lambda fold, steps: with_derivatives(of_fold(problem, fold), strengths, steps, penalty_of, tol)
    steps = jax.vmap(derive)(folds, steps)
    losses = _held_losses(problem, scoring, folds, own, rows, steps)
    mean = jnp.mean(losses, 0)
    error = jnp.std(losses, axis=0, ddof=1) / folds.shape[0] ** 0.5
    best = jnp.argmin(mean)
    near = jnp.where(mean <= mean[best] + error[best], strengths, -jnp.inf)
    sparse = jnp.argmax(near)
    chosen = sparse if one_standard_error else best

    # The mean of the folds is near the fit of all rows.
    near_coef, near_intercept = jnp.mean(steps.coef[:, chosen], 0), jnp.mean(steps.intercept[:, chosen], 0)
    near_coef, near_intercept = _tree.stop_gradient((near_coef, near_intercept))
    if plan.route == "gram":
        last = along(grid[chosen][None], all_rows.centered(problem.fit_intercept), near_coef)
    else:
        near_start = frozen.join(near_coef, near_intercept)
        last = walk(frozen, plan, grid[chosen][None], near_start, penalty_of, tol)
    last = with_derivatives(problem, strengths[chosen][None], last, penalty_of, tol)
    spread = jax.vmap(lambda one: as_path(strengths, one))(steps)
    return CrossValidation(
        strengths, losses, mean, error, best, sparse, spread, last.coef[0], last.intercept[0], strengths[chosen]
    )


def _weighted(problem: Problem, weights: Float[Array, " n"]) -> Problem:
    return eqx.tree_at(lambda p: p.weights, problem, weights, is_leaf=lambda node: node is None)


def _moments_of_folds(
    problem: Problem, own: Array, folds: Array, rows: Array | None, partition: bool
) -> tuple[Shift, Moments, Moments]:
    """The shift, the moments of all rows, and those of each fold."""
    shift = Shift.of(problem)
    if partition:
        held = lax.map(lambda some: moments(problem, own, shift, some), rows)
        everything = jax.tree.map(lambda leaf: jnp.sum(leaf, 0), held)
        return shift, everything, jax.vmap(everything.less)(held)
    parts = lax.map(lambda fold: moments(problem, fold * own, shift, None), folds)
    return shift, moments(problem, own, shift, None), parts


def _held_losses(
    problem: Problem, scoring: Scoring, folds: Array, own: Array, rows: Array | None, steps: Steps
) -> Float[Array, "k s"]:
    """Weighted mean loss of each fold over the rows that it holds out."""
    n, p = problem.design.shape
    rows = jnp.broadcast_to(jnp.arange(n, dtype=jnp.int32), folds.shape) if rows is None else rows

    def one(fold: Array, rows: Array, coef: Array, intercept: Array) -> Array:
        inside = jnp.where(rows < n, rows, 0)
        weights = jnp.where((rows < n) & (fold[inside] == 0), own[inside], 0)
        # All strengths side by side, so that one product has the scores of all.
        side = jnp.moveaxis(coef, 0, 1).reshape(p, -1)
        scores = problem.design.rows_matvec(inside, side).reshape(rows.size, *intercept.shape) + intercept[None]
        targets = problem.targets[inside]
        loss = jax.vmap(lambda score: scoring(score, targets), in_axes=1, out_axes=0)(scores)
        if loss.ndim == 3:
            loss = jnp.sum(loss, -1)
        total = jnp.sum(weights)
        return loss @ weights / jnp.where(total > 0, total, 1)

    return lax.map(lambda each: one(*each), (folds, rows, steps.coef, steps.intercept))
