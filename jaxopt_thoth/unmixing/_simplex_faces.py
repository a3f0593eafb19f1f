"""Quadratic programs over the unit simplex by enumeration of its faces: few dimensions, many right-hand sides."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ._face_system import curvature, positive_on_simplex


MAX_FACES_DIMENSION = 6
_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


@jax.jit
def solve_by_faces(gram: Float[Array, "p p"], cross: Float[Array, "p N"]) -> Float[Array, "p N"]:
    """Minimizers (p, N) of `a' G a / 2 - f' a` over the simplex, for centered G and columns f.

    On each of the 2^p - 1 faces the solution of the equality-constrained problem is an affine map of f. The face
    kept is the one that violates the optimality conditions least: a first-order quantity, where the objective would
    be flat. Faces with dependent vertices are skipped: a smaller face attains the same value.
    """
    size, count = cross.shape
    faces = _faces(size)
    maps, offsets, proper = _face_solutions(gram, jnp.asarray(faces))
    scale = curvature(gram)

    def visit(best: tuple[Array, Array], face: tuple[Array, Array, Array, Array]) -> tuple[tuple[Array, Array], None]:
        inside, linear, offset, is_proper = face
        candidate = _matmul(linear, cross) + offset[:, None]
        gradient = (_matmul(gram, candidate) - cross) / scale
        members = inside[:, None].astype(cross.dtype)
        level = jnp.sum(gradient * members, axis=0) / jnp.sum(members)
        # Inside the face the weights must be nonnegative, outside of it the reduced gradients.
        slack = jnp.where(inside[:, None], candidate, gradient - level[None, :])
        violation = jnp.where(is_proper, jnp.maximum(-jnp.min(slack, axis=0), 0), jnp.inf)
        better = violation < best[1]
        return (jnp.where(better[None, :], candidate, best[0]), jnp.where(better, violation, best[1])), None

    start = (jnp.full((size, count), 1 / size, cross.dtype), jnp.full(count, jnp.inf, cross.dtype))
    (abundances, _), _ = jax.lax.scan(visit, start, (jnp.asarray(faces), maps, offsets, proper))
    abundances = jnp.maximum(abundances, 0)
    return abundances / jnp.sum(abundances, axis=0, keepdims=True)


def _faces(size: int) -> np.ndarray:
    """All nonempty subsets of the vertices as booleans (2^p - 1, p), the vertices first."""
    codes = np.arange(1, 2**size)
    subsets = (codes[:, None] >> np.arange(size)) & 1 == 1
    return subsets[np.argsort(subsets.sum(axis=1), kind="stable")]


def _face_solutions(gram: Float[Array, "p p"], faces: Bool[Array, "faces p"]) -> tuple[Array, Array, Array]:
    """Maps (faces, p, p) and offsets (faces, p) of the solutions `map f + offset`, and which faces are proper."""
    identity = jnp.eye(gram.shape[0], dtype=gram.dtype)
    shifted = positive_on_simplex(gram)

    def solution(inside: Bool[Array, " p"]) -> tuple[Array, Array, Array]:
        system = jnp.where(inside[:, None] & inside[None, :], shifted, identity)
        factor = jnp.linalg.cholesky(system)
        pivots = jnp.square(jnp.diagonal(factor)) / jnp.diagonal(system)
        tolerance = 10 * gram.shape[0] * jnp.finfo(gram.dtype).eps
        # A failed factorization holds NaN, for which the comparison is false.
        is_proper = jnp.min(pivots) > tolerance
        factor = jnp.where(is_proper, factor, identity)
        members = inside.astype(gram.dtype)
        inverse = jax.scipy.linalg.cho_solve((factor, True), jnp.diag(members))
        towards = _matmul(inverse, members)
        total = jnp.sum(towards)
        return inverse - towards[:, None] * towards[None, :] / total, towards / total, is_proper

    return jax.vmap(solution)(faces)
