"""Steps in one factor of `Y = E A` with the other held, from products alone."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..penalties import NonNegative
from ..problems import Composite
from ..smooth import Quadratic
from ..solvers import BlockCoordinateDescent


def row_sweeps(
    gram: Float[Array, "p p"], cross: Float[Array, "p n"], rows: Float[Array, "p n"], sweeps: int
) -> Float[Array, "p n"]:
    """Minimizes `<X, G X> / 2 - <F, X>` over each nonnegative row of X in turn, exactly, `sweeps` times (HALS)."""
    problem = Composite(Quadratic((gram + gram.T) / 2, -cross), NonNegative())
    solver = BlockCoordinateDescent()
    state = solver.init(problem, rows)
    for _ in range(sweeps):
        rows, state = solver.step(problem, rows, state)
    return rows


def squared_distance(
    pixels: Float[Array, "L N"], endmembers: Float[Array, "L p"], abundances: Float[Array, "p N"]
) -> Float[Array, ""]:
    """`|Y - E A|^2 / 2`, from the residual, so that nothing cancels."""
    return jnp.sum((pixels - jnp.matmul(endmembers, abundances, precision="highest")) ** 2) / 2
