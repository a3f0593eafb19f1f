"""A composite problem seen block by block: rows of the parameters with their columns, curvature and penalty."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from .. import _tree
from .._types import Scalar
from ..operators import AbstractOperator, DenseOperator
from ..penalties import AbstractPenalty, ExceptLast, SparseGroupLasso
from ..penalties._groups import AbstractGroupNorm
from ..problems import Composite
from ..smooth import LinearModel, Quadratic


class CoordinateBlocks(eqx.Module):
    """Disjoint blocks of rows of the parameters, padded to one size.

    Attributes:
        indices: the rows of each block; any row where the mask is false.
        mask: which of them count.
        single: whether block i is row i.
        transposed: the transpose of a dense matrix whose columns are taken, where that has been formed.
    """

    indices: Int[Array, "blocks m"]
    mask: Bool[Array, "blocks m"]
    single: bool = eqx.field(static=True)
    transposed: Float[Array, "p n"] | None = None

    def take(self, x: Float[Array, "p *k"], block: Array) -> Float[Array, "m *k"]:
        if self.single:
            return x[self.indices[block]]
        mask = self.mask[block].reshape(-1, *[1] * (x.ndim - 1))
        return jnp.where(mask, x[self.indices[block]], 0)

    def put(self, x: Float[Array, "p *k"], block: Array, rows: Float[Array, "m *k"]) -> Float[Array, "p *k"]:
        places = jnp.where(self.mask[block], self.indices[block], x.shape[0])
        return x.at[places].set(rows, mode="drop")

    def assemble(self, rows: Float[Array, "blocks m *k"], count: int) -> Float[Array, "p *k"]:
        """The parameters, of `count` rows, from the rows of all blocks in their order."""
        flat = rows.reshape(-1, *rows.shape[2:])
        if self.single:
            return flat
        places = jnp.where(self.mask, self.indices, count).ravel()
        return flat[jnp.argsort(places)[:count]]

    def columns(self, operator: AbstractOperator, block: Array) -> Float[Array, "n m"]:
        if self.transposed is None:
            found = operator.columns(self.indices[block])
        else:
            found = self.transposed[self.indices[block]].T
        return found if self.single else jnp.where(self.mask[block][None, :], found, 0)


def with_columns(blocks: CoordinateBlocks, problem: Composite) -> CoordinateBlocks:
    """The blocks with the transpose of a dense design, whose columns then lie together in memory."""
    if not (isinstance(problem.smooth, LinearModel) and isinstance(problem.smooth.design, DenseOperator)):
        return blocks
    # Without the barrier XLA reads the transpose out of the design itself, column by column.
    transposed = lax.optimization_barrier(problem.smooth.design.matrix.T)
    return CoordinateBlocks(blocks.indices, blocks.mask, blocks.single, transposed)


def blocks_of(penalty: AbstractPenalty, params: Float[Array, "p *k"]) -> CoordinateBlocks:
    """Single rows for a sum over entries, the groups of a norm over groups; raises `ValueError` for other penalties."""
    groups = _group_norm(penalty)
    if groups is None:
        if not penalty.is_separable:
            raise ValueError(
                f"BlockCoordinateDescent needs a penalty that is a sum over entries or over disjoint groups, got "
                f"{type(penalty).__name__}; use ProximalGradient."
            )
        rows = jnp.arange(params.shape[0])[:, None]
        return CoordinateBlocks(rows, jnp.ones(rows.shape, bool), True)
    if groups.largest_group is None:
        raise ValueError("groups were traced, so that their sizes are unknown; build the penalty outside of jit.")
    if params.shape[:1] != groups.groups.shape:
        raise ValueError(f"params have {params.shape[0]} rows but groups {groups.groups.shape}; pass one id a row.")
    ids, count = groups.groups, groups.num_groups
    sizes = jax.ops.segment_sum(jnp.ones_like(ids), ids, count)
    steps = jnp.arange(max(groups.largest_group, 1), dtype=sizes.dtype)[None, :]
    places = jnp.minimum((jnp.cumsum(sizes) - sizes)[:, None] + steps, ids.size - 1)
    return CoordinateBlocks(jnp.argsort(ids, stable=True)[places], steps < sizes[:, None], False)


def penalty_of(penalty: AbstractPenalty, params: Array, blocks: CoordinateBlocks, block: Array) -> AbstractPenalty:
    """The part of the penalty that acts on one block of rows."""
    rows = blocks.indices[block]
    if isinstance(penalty, ExceptLast):
        # Its settings are those of the rows before the last, whatever a free row reads.
        return _Free(penalty_of(penalty.penalty, params[:-1], blocks, block), rows == params.shape[0] - 1)
    groups = _group_norm(penalty)
    if groups is None:
        # Settings of a sum over entries are scalars, or broadcast to the parameters.
        pick = lambda leaf: jnp.broadcast_to(leaf, params.shape)[rows] if jnp.ndim(leaf) else leaf
        return jax.tree.map(pick, penalty)
    single = np.zeros(rows.shape, int)
    weight = groups.weights[block] if groups.weights.ndim else groups.weights
    if isinstance(penalty, SparseGroupLasso):
        l1 = penalty.l1[rows] if penalty.l1.ndim else penalty.l1
        return SparseGroupLasso(l1, groups.strength, single, weight, num_groups=1)
    return type(groups)(groups.strength, single, weight, num_groups=1)


def curvatures(problem: Composite, blocks: CoordinateBlocks) -> Float[Array, " blocks"]:
    """Lipschitz constant of the gradient in each block; raises `ValueError` where there is none or it is not known."""
    smooth = problem.smooth
    if isinstance(smooth, Quadratic):

        def of_block(block: Array) -> Scalar:
            part = blocks.columns(smooth.matrix, block)[blocks.indices[block]]
            return _largest_eigenvalue(jnp.where(blocks.mask[block][:, None], part, 0))

    elif isinstance(smooth, LinearModel) and smooth.loss.has_bounded_curvature:
        scale = jnp.asarray(smooth.loss.curvature, smooth.design.dtype)
        scale = scale / smooth.num_rows if smooth.weights is None else scale
        weigh = lambda columns: columns if smooth.weights is None else smooth.share(columns)

        def of_block(block: Array) -> Scalar:
            columns = blocks.columns(smooth.design, block)
            return scale * _largest_eigenvalue(jnp.matmul(columns.T, weigh(columns), precision=lax.Precision.HIGHEST))

    else:
        name = type(smooth.loss if isinstance(smooth, LinearModel) else smooth).__name__
        raise ValueError(
            f"BlockCoordinateDescent needs a Quadratic, or a LinearModel whose loss has bounded curvature, got {name}; "
            "use ProximalGradient."
        )
    if blocks.single and isinstance(smooth, LinearModel) and isinstance(smooth.design, DenseOperator):
        found = scale * jnp.sum(weigh(smooth.design.matrix**2), 0)
    else:
        found = lax.map(of_block, jnp.arange(blocks.mask.shape[0]))
    # A column of zeros leaves its block to the penalty, at a long step.
    peak = jnp.max(found, initial=0)
    floor = jnp.where(peak > 0, float(jnp.finfo(found.dtype).eps) * peak, 1)
    return jnp.maximum(found, floor)


def gradient_of(
    problem: Composite, params: Array, image: Array, blocks: CoordinateBlocks, block: Array
) -> tuple[Float[Array, "m *k"], Float[Array, "n m"]]:
    """Gradient of the smooth term in one block, and the columns by which the block moves the image."""
    smooth = problem.smooth
    if isinstance(smooth, Quadratic):
        return blocks.take(image + smooth.vector, block), blocks.columns(smooth.matrix, block)
    assert isinstance(smooth, LinearModel)
    columns = blocks.columns(smooth.design, block)
    slope = smooth.share(smooth.loss.derivative(image, smooth.targets))
    if columns.shape[1] == 1 and slope.ndim == 1:
        return jnp.stack(_tree.inner_products((columns[:, 0], slope))), columns
    return jnp.matmul(columns.T, slope, precision=lax.Precision.HIGHEST), columns


class _Free(AbstractPenalty):
    """A penalty on the rows of a block that are not free."""

    penalty: AbstractPenalty
    free: Bool[Array, " m"]

    def prox(self, x: Float[Array, "m *k"], step: ArrayLike) -> Float[Array, "m *k"]:
        return jnp.where(self.free.reshape((-1,) + (1,) * (x.ndim - 1)), x, self.penalty.prox(x, step))


def _group_norm(penalty: AbstractPenalty) -> AbstractGroupNorm | None:
    if isinstance(penalty, SparseGroupLasso):
        return penalty.blocks
    return penalty if isinstance(penalty, AbstractGroupNorm) else None


def _largest_eigenvalue(matrix: Float[Array, "m m"]) -> Scalar:
    if matrix.shape[0] == 1:
        return matrix[0, 0]
    # Rounding of the eigenvalues must not shorten the bound.
    return jnp.linalg.eigvalsh(matrix)[-1] * (1 + 16 * float(jnp.finfo(matrix.dtype).eps) * matrix.shape[0])
