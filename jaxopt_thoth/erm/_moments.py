"""Second moments of a design and its targets: all that a quadratic loss asks of the data."""

import itertools
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from .. import _tree
from .._types import Scalar
from ..operators import DenseOperator
from ._problem import Problem


_HIGHEST = lax.Precision.HIGHEST
# Rows of a design that is not dense are taken by so many at a time.
_ROWS = 2048
# Gram matrices from so many columns are taken in so many strips.
_LARGE = 512
_TILES = 4


class Moments(eqx.Module):
    """Sums over weighted rows of the products of columns and targets, both less a shift.

    Attributes:
        total: of the weights.
        design, targets: sums.
        gram, cross, square: sums of products.
    """

    total: Scalar
    design: Float[Array, " p"]
    targets: Float[Array, " *k"]
    gram: Float[Array, "p p"]
    cross: Float[Array, "p *k"]
    square: Scalar

    def centered(self, fit_intercept: bool) -> "Centered":
        """Means of the products, of the deviations from their means where there is an intercept."""
        mean = lambda a: a / self.total
        gram, cross, square = mean(self.gram), mean(self.cross), mean(self.square)
        if not fit_intercept:
            return Centered(gram, cross, square, mean(self.design), mean(self.targets))
        design, targets = mean(self.design), mean(self.targets)
        gram = gram - design[:, None] * design[None, :]
        outer = design * targets if targets.ndim == 0 else design[:, None] * targets[None, :]
        return Centered(gram, cross - outer, square - jnp.sum(targets**2), design, targets)

    def less(self, part: Self) -> "Moments":
        return jax.tree.map(lambda a, b: a - b, self, part)


class Centered(eqx.Module):
    """The quadratic `w'G w / 2 - c'w + square / 2` of the loss at its best intercept, and the means of the data."""

    gram: Float[Array, "p p"]
    cross: Float[Array, "p *k"]
    square: Scalar
    design: Float[Array, " p"]
    targets: Float[Array, " *k"]


class Shift(eqx.Module):
    """What is taken off all columns and targets, so that large means do not drown what varies; None for nothing."""

    design: Float[Array, " p"] | None
    targets: Float[Array, " *k"] | None

    @classmethod
    def of(cls, problem: Problem) -> Self:
        if not problem.fit_intercept:
            return cls(None, None)
        shares = problem.model.row_weights
        return cls(problem.design.rmatvec(shares), jnp.tensordot(shares, problem.targets, 1))

    def intercept(self, means: Centered, coef: Float[Array, "p *k"]) -> Float[Array, " *k"]:
        """The best intercept for given coefficients."""
        if self.design is None or self.targets is None:
            return jnp.zeros_like(means.targets)
        inner = jnp.tensordot(self.design + means.design, coef, 1, precision=_HIGHEST)
        return self.targets + means.targets - inner


def moments(problem: Problem, weights: Float[Array, " n"], shift: Shift, rows: Int[Array, " m"] | None) -> Moments:
    """Those of some rows (places beyond the last are padding), or of all."""
    n = problem.design.shape[0]
    if rows is None and isinstance(problem.design, DenseOperator):
        return _of_rows(problem.design.matrix, problem.targets, weights, shift)
    rows = jnp.arange(n, dtype=jnp.int32) if rows is None else rows

    def part(rows: Array) -> Moments:
        inside = jnp.where(rows < n, rows, 0)
        shares = jnp.where(rows < n, weights[inside], 0)
        return _of_rows(problem.design.rows(inside), problem.targets[inside], shares, shift)

    if isinstance(problem.design, DenseOperator) or rows.size <= _ROWS:
        return part(rows)
    rows = jnp.concatenate([rows, jnp.full(-rows.size % _ROWS, n, rows.dtype)]).reshape(-1, _ROWS)
    add = lambda sums, some: (jax.tree.map(jnp.add, sums, part(some)), None)
    return lax.scan(add, part(rows[0]), rows[1:])[0]


def _of_rows(design: Array, targets: Array, weights: Array, shift: Shift) -> Moments:
    if shift.design is not None and shift.targets is not None:
        design, targets = design - shift.design[None, :], targets - shift.targets[None]
    weighted = weights[:, None] * design
    weighted_targets = _tree.along_rows(weights, targets) * targets
    return Moments(
        jnp.sum(weights),
        jnp.sum(weighted, 0),
        jnp.sum(weighted_targets, 0),
        _symmetric_product(weighted, design),
        jnp.matmul(design.T, weighted_targets, precision=_HIGHEST),
        jnp.sum(weighted_targets * targets),
    )


def _symmetric_product(weighted: Float[Array, "n p"], design: Float[Array, "n p"]) -> Float[Array, "p p"]:
    """`weighted' design`, which is symmetric: of a large one the tiles below the diagonal alone."""
    p = design.shape[1]
    if p < _LARGE:
        return jnp.matmul(weighted.T, design, precision=_HIGHEST)
    cuts = [p * i // _TILES for i in range(_TILES + 1)]
    gram = jnp.zeros((p, p), design.dtype)
    for low, high in itertools.pairwise(cuts):
        # Up to the diagonal tile and with it.
        found = jnp.matmul(weighted[:, low:high].T, design[:, :high], precision=_HIGHEST)
        gram = gram.at[low:high, :high].set(found).at[:high, low:high].set(found.T)
    return gram
