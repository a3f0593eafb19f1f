"""A penalty seen row by row of the parameters: restricted to some rows, each of which can then be taken by itself."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from .. import _tree
from .._types import IntScalar, Scalar
from ..penalties import AbstractPenalty, ExceptLast, GroupLasso, SeparableSum
from ..penalties._parts import block_factor
from ..penalties._wrapper import AbstractWrapper


class RowNorms(AbstractPenalty):
    """`bound |x|_2` on one row."""

    bound: Scalar

    def value(self, x: Float[Array, "*k"]) -> Scalar:
        return self.bound.astype(x.dtype) * _tree.norm(x)

    def prox(self, x: Float[Array, "*k"], step: ArrayLike) -> Float[Array, "*k"]:
        return x * block_factor(_tree.norm(x), self.bound.astype(x.dtype) * jnp.asarray(step))


class MaybeFree(AbstractPenalty):
    """A penalty on one row, or none where the row is free."""

    penalty: AbstractPenalty
    free: Bool[Array, ""]

    def value(self, x: Float[Array, "*k"]) -> Scalar:
        return jnp.where(self.free, 0, self.penalty.value(x))

    def prox(self, x: Float[Array, "*k"], step: ArrayLike) -> Float[Array, "*k"]:
        return jnp.where(self.free, x, self.penalty.prox(x, step))


def rows_of(penalty: AbstractPenalty, rows: Int[Array, " m"], shape: tuple[int, ...]) -> AbstractPenalty:
    """The penalties on single rows of parameters of a `shape`: every leaf has a leading axis like `rows`.

    Raises:
        ValueError: if the penalty is no sum over rows.
    """

    def pick(leaf: Array) -> Array:
        leaf = jnp.asarray(leaf)
        return jnp.broadcast_to(leaf, rows.shape) if leaf.ndim == 0 else jnp.broadcast_to(leaf, shape)[rows]

    if isinstance(penalty, ExceptLast):
        last = shape[0] - 1
        inner = rows_of(penalty.penalty, jnp.minimum(rows, max(last - 1, 0)), (last, *shape[1:]))
        return MaybeFree(inner, rows == last)
    if isinstance(penalty, AbstractWrapper):
        inner = rows_of(penalty.penalty, rows, shape)
        rest = jax.tree.map(pick, eqx.tree_at(lambda g: g.penalty, penalty, None))
        return eqx.tree_at(lambda g: g.penalty, rest, inner, is_leaf=lambda node: node is None)
    if isinstance(penalty, GroupLasso) and penalty.largest_group == 1:
        bounds = jnp.broadcast_to(penalty.strength * penalty.weights, (penalty.num_groups,))
        return RowNorms(bounds[penalty.groups][rows])
    if penalty.is_separable and not isinstance(penalty, SeparableSum):
        return jax.tree.map(pick, penalty)
    raise ValueError(
        f"WorkingSetDescent needs a penalty that is a sum over entries, or a GroupLasso whose groups are single rows "
        f"of the parameters, got {type(penalty).__name__}; use BlockCoordinateDescent or ProximalGradient."
    )


def row(rows: AbstractPenalty, index: IntScalar) -> AbstractPenalty:
    """The penalty on one row."""
    take = lambda leaf: lax.dynamic_index_in_dim(leaf, index, 0, keepdims=False, allow_negative_indices=False)
    return jax.tree.map(take, rows)


def prox_rows(rows: AbstractPenalty, x: Float[Array, "m *k"], steps: Float[Array, " m"]) -> Float[Array, "m *k"]:
    """The prox of every row, each with its own step."""
    return jax.vmap(lambda penalty, a, step: penalty.prox(a, step))(rows, x, steps)


def row_values(rows: AbstractPenalty, x: Float[Array, "m *k"], mask: Bool[Array, " m"]) -> Scalar:
    """Sum of the penalties of the rows in the mask."""
    found = jax.vmap(lambda penalty, a: penalty.value(a))(rows, x)
    return jnp.sum(jnp.where(mask, found, 0))


def violations(
    rows: AbstractPenalty, x: Float[Array, "m *k"], gradient: Float[Array, "m *k"], curvatures: Float[Array, " m"]
) -> Float[Array, " m"]:
    """Norm of each row of the prox-gradient residual, in the units of the gradient."""
    lengths = _tree.along_rows(curvatures, x)
    residual = lengths * (x - prox_rows(rows, x - gradient / lengths, 1 / curvatures))
    return jnp.abs(residual) if x.ndim == 1 else _tree.safe_sqrt(jnp.sum(residual**2, -1))


def vanishing_rows(
    penalty: AbstractPenalty, correlation: Float[Array, "p *k"], radii: Float[Array, " p"]
) -> Bool[Array, " p"]:
    """Rows that are zero at every solution whose dual correlation is within `radii` of this one."""
    plain = penalty.penalty if isinstance(penalty, ExceptLast) else penalty
    rows = rows_of(penalty, jnp.arange(correlation.shape[0]), correlation.shape)
    # Zero minimizes g - <c, .> iff it is the prox of c, for all c of an interval if for its ends.
    vanishes = lambda c: prox_rows(rows, c, jnp.ones_like(radii)) == 0
    if isinstance(plain, GroupLasso) and correlation.ndim == 2:
        norms = jnp.linalg.norm(correlation, axis=1, keepdims=True)
        ray = jnp.where(norms > 0, correlation / jnp.where(norms > 0, norms, 1), 1.0)
        return jnp.all(vanishes(correlation + radii[:, None] * ray), 1)
    if not plain.is_separable and not isinstance(plain, GroupLasso):
        return jnp.zeros(radii.shape, bool)
    reach = _tree.along_rows(radii, correlation)
    found = vanishes(correlation + reach) & vanishes(correlation - reach)
    return found if correlation.ndim == 1 else jnp.all(found, 1)
