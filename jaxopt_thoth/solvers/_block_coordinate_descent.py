from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Key

from .. import _tree
from .._loop import match_carry
from .._types import IntScalar, Scalar
from .._validate import require_nonnegative
from ..problems import Composite
from ._base import AbstractSolver
from ._coordinate_blocks import blocks_of, CoordinateBlocks, curvatures, gradient_of, penalty_of, with_columns


Selection = Literal["cyclic", "random", "greedy"]

_SELECTIONS = ("cyclic", "random", "greedy")


class BlockCoordinateDescentState(eqx.Module):
    """State of `BlockCoordinateDescent`.

    Attributes:
        image: image of the current iterate under the linear map of the smooth term.
        curvatures: Lipschitz constant of the gradient in each block.
        gradient_norm: least norm of the gradient of f so far, to which the error is relative.
        error: relative norm of the residuals of all blocks.
        count: number of epochs.
    """

    image: Array
    curvatures: Float[Array, " blocks"]
    gradient_norm: Scalar
    error: Scalar
    count: IntScalar


class BlockCoordinateDescent(AbstractSolver):
    """Proximal block coordinate descent: one block of rows after the other, each with its own step size.

    The smooth term is a `LinearModel` of a loss with bounded curvature, or a `Quadratic`; the penalty is a sum over
    entries (its blocks are single rows of the parameters) or over disjoint groups: `GroupLasso`, `GroupLInf` or
    `SparseGroupLasso`. A block takes one prox-gradient step of length one over its Lipschitz constant, which minimizes
    exactly over a single coordinate of a quadratic, and updates the scores by its own columns alone. One step is an
    epoch, as many updates as there are blocks: about one product with the design and one with its transpose, and one
    of each for the error and against drift of the scores. A sparse design has no cheap columns: a block then costs a
    product.

    "cyclic" takes the blocks in their order, "random" in a new random order each epoch, and "greedy" (Gauss-Southwell)
    always the one of largest `L_b |step|^2`, twice a bound of what its step gains, which costs a whole gradient an
    update for a `LinearModel` and none for a `Quadratic` (see `LinearModel.as_quadratic`).

    The error is the norm of `L_b (w_b - prox_{1/L_b}(w_b - gradient_b / L_b))` over all blocks b after the epoch,
    relative to `max(1, g)`, g the least norm of the gradient of f so far.

    Tseng, "Convergence of a block coordinate descent method for nondifferentiable minimization", 2001; Wright,
    "Coordinate descent algorithms", 2015; Nutini, Schmidt, Laradji, Friedlander and Koepke, "Coordinate descent
    converges faster with the Gauss-Southwell rule than random selection", 2015.

    Args:
        selection: "cyclic", "random" or "greedy".
        key: random key of the order, for "random" alone.
        tol: tolerance on the error; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of epochs.

    Raises:
        ValueError: if a setting is out of range or a key is missing, or the problem has another form.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> model = jt.LinearModel(jt.losses.Squared(), jnp.eye(2), jnp.array([3.0, 0.5]))
        >>> lasso = jt.Composite(model, jt.penalties.L1(0.5))
        >>> print(jt.solve(lasso, jt.BlockCoordinateDescent(), jnp.zeros(2)).params.round(3))
        [2. 0.]
    """

    error_shows_nan: ClassVar[bool] = True
    key: Key[Array, ""] | None
    tol: Scalar | None
    selection: Selection = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        selection: Selection = "cyclic",
        *,
        key: Key[Array, ""] | None = None,
        tol: ArrayLike | None = None,
        max_steps: int = 1000,
    ):
        if selection not in _SELECTIONS:
            raise ValueError(f"selection must be one of {_SELECTIONS}, got {selection!r}.")
        if (key is None) == (selection == "random"):
            raise ValueError('key goes with selection="random", and only with it; pass key=jax.random.key(0).')
        if tol is not None:
            require_nonnegative(tol, "tol")
        if max_steps < 0:
            raise ValueError(f"max_steps must be nonnegative, got {max_steps}.")
        self.key = key
        self.tol = None if tol is None else _tree.setting(tol)
        self.selection = selection
        self.max_steps = max_steps

    def init(self, problem: Composite, params: Float[Array, "p *k"]) -> BlockCoordinateDescentState:
        infinite = jnp.asarray(jnp.inf, params.dtype)
        return BlockCoordinateDescentState(
            image=problem.smooth.image(params),
            curvatures=curvatures(problem, blocks_of(problem.penalty, params)),
            gradient_norm=infinite,
            error=infinite,
            count=jnp.zeros((), jnp.int32),
        )

    def step(
        self, problem: Composite, params: Float[Array, "p *k"], state: BlockCoordinateDescentState
    ) -> tuple[Float[Array, "p *k"], BlockCoordinateDescentState]:
        blocks = with_columns(blocks_of(problem.penalty, params), problem)
        order = jnp.arange(state.curvatures.size)
        if self.key is not None:
            order = jax.random.permutation(jax.random.fold_in(self.key, state.count), order)

        def update(params: Array, image: Array, block: Array) -> tuple[Array, Array]:
            slope, columns = gradient_of(problem, params, image, blocks, block)
            new, change = _move(problem, blocks, params, slope, state.curvatures[block], block)
            if columns.shape[1] == 1 and image.ndim == 1:
                return new, image + columns[:, 0] * change
            return new, image + jnp.matmul(columns, change, precision=lax.Precision.HIGHEST)

        def steepest(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
            params, image = carry
            gradient = problem.smooth.value_and_grad_at(params, image)[1]
            moves = _moves(problem, blocks, params, gradient, state.curvatures)
            # By strong convexity of the quadratic bound it falls by at least half of this.
            block = jnp.argmax(state.curvatures * _squares(moves))
            new, image = update(params, image, block)
            return (blocks.put(params, block, new), image), None

        def in_turn(image: Array, block: Array) -> tuple[Array, Array]:
            # Each block comes once, so that its rows are those before the epoch: only the image has to be carried.
            new, image = update(params, image, block)
            return image, new

        if self.selection == "greedy":
            start = match_carry(lambda carry: steepest(carry, None)[0], (params, state.image))
            new = lax.scan(steepest, start, length=state.curvatures.size)[0][0]
        else:
            start = match_carry(lambda image: in_turn(image, order[0])[0], state.image)
            found: Array = lax.scan(in_turn, start, order)[1]
            new = blocks.assemble(found if self.key is None else found[jnp.argsort(order)], params.shape[0])
        # Computed anew, or the rounding of many updates would add up.
        image = problem.smooth.image(new)
        _, gradient = problem.smooth.value_and_grad_at(new, image)
        moves = _moves(problem, blocks, new, gradient, state.curvatures)
        scaled = blocks.assemble(state.curvatures.reshape(-1, *[1] * (moves.ndim - 1)) * moves, new.shape[0])
        squared_gradient, squared_residual, zero_or_nan = _tree.inner_products(
            (gradient, gradient), (scaled, scaled), (new, jnp.zeros_like(new))
        )
        gradient_norm = jnp.minimum(state.gradient_norm, _tree.safe_sqrt(squared_gradient))
        residual = _tree.safe_sqrt(squared_residual + zero_or_nan)
        return new, BlockCoordinateDescentState(
            image=image,
            curvatures=state.curvatures,
            gradient_norm=gradient_norm,
            error=residual / jnp.maximum(1, gradient_norm),
            count=state.count + 1,
        )

    def error(self, problem: Composite, params: Any, state: BlockCoordinateDescentState) -> Scalar:
        return state.error

    def fixed_point_step(self, problem: Composite, params: Any, state: BlockCoordinateDescentState) -> Scalar:
        return 1 / jnp.max(state.curvatures)


def _move(
    problem: Composite, blocks: CoordinateBlocks, params: Array, slope: Array, curvature: Scalar, block: Array
) -> tuple[Array, Array]:
    """The rows of a block after its prox-gradient step, and their change."""
    rows = blocks.take(params, block)
    part = penalty_of(problem.penalty, params, blocks, block)
    new = part.prox(rows - slope / curvature, 1 / curvature)
    if blocks.single:
        return new, new - rows
    # Padding stays at zero, whatever the penalty does to it.
    new = jnp.where(blocks.mask[block].reshape(-1, *[1] * (rows.ndim - 1)), new, 0)
    return new, new - rows


def _squares(moves: Float[Array, "blocks m *k"]) -> Float[Array, " blocks"]:
    return jnp.sum(moves.reshape(moves.shape[0], -1) ** 2, -1)


def _moves(
    problem: Composite, blocks: CoordinateBlocks, params: Array, gradient: Array, curvatures: Array
) -> Float[Array, "blocks m *k"]:
    """The change of each block by its step."""

    def of_block(block: Array, curvature: Scalar) -> Array:
        return _move(problem, blocks, params, blocks.take(gradient, block), curvature, block)[1]

    return jax.vmap(of_block)(jnp.arange(curvatures.size), curvatures)
