import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Params, Scalar
from ..problems import Composite


def strict_complementarity_gap(problem: Composite, params: Params, step: ArrayLike = 1.0) -> Scalar:
    """Distance of a solution to the nearest kink of its prox: where it is near zero, derivatives jump.

    For a separable penalty it is the least relative move of `w - step * grad f(w)`, entry by entry, that changes whether
    the prox holds the entry fixed, measured by probing the prox on a geometric grid of moves; zero means that the solution
    sits on the border of its support, and that `Implicit` returns one of several one-sided derivatives.

    Args:
        problem: a problem with a separable penalty.
        params: its solution.
        step: the step of the prox.

    Raises:
        ValueError: if the penalty is not separable.
    """
    if not problem.penalty.is_separable:
        raise ValueError(
            f"strict_complementarity_gap needs a separable penalty, and {type(problem.penalty).__name__} is not."
        )
    step = jnp.asarray(step, _tree.dtype_of(params))
    moved = _tree.add_scaled(params, -step, problem.smooth.gradient(params))
    scale = jnp.maximum(_tree.norm(moved), jnp.finfo(step.dtype).tiny)

    def active(z: Params) -> Params:
        jacobian = jax.jvp(lambda v: problem.penalty.prox(v, step), (z,), (jax.tree.map(jnp.ones_like, z),))[1]
        return jax.tree.map(lambda j: j > 0, jacobian)

    here = active(moved)

    def changes(move: Scalar) -> Scalar:
        flips = [
            jnp.any(a != b)
            for sign in (1.0, -1.0)
            for a, b in zip(
                jax.tree.leaves(here), jax.tree.leaves(active(jax.tree.map(lambda z: z + sign * move, moved))), strict=True
            )
        ]
        return jnp.stack(flips).any()

    moves = scale * jnp.logspace(-12, 0, 97, dtype=step.dtype)
    flipped = jax.lax.map(changes, moves)
    return jnp.where(flipped.any(), moves[jnp.argmax(flipped)], jnp.inf)
