from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray

from .. import _tree
from .._loop import while_loop
from .._result import RESULTS
from .._types import IntScalar, Scalar
from .._validate import require_nonnegative, require_positive
from ._library_input import from_factors, LibraryInput
from ._unmixing import Unmixing


_product = partial(jnp.matmul, precision="highest")
# The change of the fractions of the atoms is judged once in so many steps, and over so many steps.
_LOOK_EVERY = 25


class Splitting(NamedTuple):
    """The settings of the splitting: weights of its three constraints, inner steps, and the end."""

    abundance_weight: Scalar
    weight_weight: Scalar
    endmember_weight: Scalar
    strength: Scalar
    tol: Scalar


class _Blocks(NamedTuple):
    abundances: Float[Array, "p N"]
    abundance_dual: Float[Array, "p N"]
    weights: Float[Array, "M p"]
    weight_dual: Float[Array, "M p"]
    endmembers: Float[Array, "L p"]
    endmember_dual: Float[Array, "L p"]


class _State(NamedTuple):
    blocks: _Blocks
    change: Scalar
    num_steps: IntScalar


def unmix_by_splitting(
    task: LibraryInput,
    key: PRNGKeyArray,
    *,
    abundance_weight: ArrayLike,
    weight_weight: ArrayLike,
    endmember_weight: ArrayLike,
    strength: ArrayLike,
    tol: ArrayLike,
    num_endmembers: int,
    inner_steps: int,
    max_steps: int,
    convex_weights: bool,
) -> Unmixing:
    """Check the settings, split, and gather what was found; raises `ValueError` for a setting out of range."""
    require_positive(abundance_weight, "abundance_weight")
    require_positive(weight_weight, "weight_weight")
    require_positive(endmember_weight, "endmember_weight")
    require_nonnegative(strength, "strength")
    require_nonnegative(tol, "tol")
    if inner_steps < 1 or max_steps < 1:
        raise ValueError(f"inner_steps and max_steps must be at least 1, got {inner_steps} and {max_steps}.")
    settings = Splitting(*map(_tree.setting, (abundance_weight, weight_weight, endmember_weight, strength, tol)))
    weights, abundances, num_steps, done = split_factors(
        task.pixels,
        task.mask,
        task.library,
        key,
        settings,
        num_endmembers=num_endmembers,
        inner_steps=inner_steps,
        max_steps=max_steps,
        convex_weights=convex_weights,
    )
    result = RESULTS.where(done, RESULTS.converged, RESULTS.max_steps_reached)
    return from_factors(task, weights, abundances, result, {"num_steps": num_steps})


@partial(jax.jit, static_argnames=("num_endmembers", "inner_steps", "max_steps", "convex_weights"))
def split_factors(
    pixels: Float[Array, "L N"],
    mask: Bool[Array, " N"],
    library: Float[Array, "L M"],
    key: PRNGKeyArray,
    settings: Splitting,
    *,
    num_endmembers: int,
    inner_steps: int,
    max_steps: int,
    convex_weights: bool,
) -> tuple[Float[Array, "M p"], Float[Array, "p N"], IntScalar, Array]:
    """The splitting of `|Y - D B A|^2 / 2` in A, B and D B, each with a copy and a scaled multiplier.

    `convex_weights` asks the columns of B to be in the simplex (FaSUn); else B is in [0, 1] under an l1 norm (SUnS).
    One inverse of `D' D` serves all steps, and an inner step costs two products of the size of B. The published start
    has all endmembers alike, which the iteration keeps but for rounding: here the key breaks the tie.
    """
    dtype, atoms, count = pixels.dtype, library.shape[1], pixels.shape[1]
    mu1, mu2, mu3, strength, tol = (value.astype(dtype) for value in settings)
    gram = _product(library.T, library)
    spectrum, basis = jnp.linalg.eigh(gram)
    inverse = _product(basis / (mu3 * jnp.maximum(spectrum, 0) + mu2)[None, :], basis.T)
    ones = jnp.sum(inverse, axis=1, keepdims=True)
    offset = ones / jnp.sum(ones) if convex_weights else jnp.zeros_like(ones)
    reduced = inverse - _product(offset, ones.T)
    pull, stay = mu3 * _product(reduced, library.T), mu2 * reduced

    def abundance_steps(blocks: _Blocks) -> _Blocks:
        spectra = blocks.endmembers
        system = _product(spectra.T, spectra) + mu1 * jnp.eye(num_endmembers, dtype=dtype)
        inverse = jnp.linalg.inv(system)
        ones = jnp.sum(inverse, axis=1, keepdims=True)
        offset = ones / jnp.sum(ones)
        reduced = inverse - _product(offset, ones.T)
        fixed = _product(_product(reduced, spectra.T), pixels) + offset

        def inner(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
            copy, dual = carry
            free = fixed + mu1 * _product(reduced, copy - dual)
            copy = jnp.maximum(free + dual, 0)
            return (copy, dual + free - copy), None

        start = (blocks.abundances, blocks.abundance_dual)
        copy, dual = jax.lax.scan(inner, start, None, length=inner_steps)[0]
        return blocks._replace(abundances=copy, abundance_dual=dual)

    def weight_steps(blocks: _Blocks) -> _Blocks:
        fractions = jnp.where(mask[None, :], blocks.abundances, 0)
        system = _product(fractions, fractions.T) + mu3 * jnp.eye(num_endmembers, dtype=dtype)
        inverse = jnp.linalg.inv(system)
        target = _product(pixels, fractions.T)

        def inner(blocks: _Blocks, _: None) -> tuple[_Blocks, None]:
            free = _product(pull, blocks.endmembers - blocks.endmember_dual)
            free = free + _product(stay, blocks.weights - blocks.weight_dual) + offset
            moved = free + blocks.weight_dual
            # Else soft thresholding, then the box.
            copy = jnp.maximum(moved, 0) if convex_weights else jnp.clip(moved - strength / mu2, 0, 1)
            images = _product(library, free)
            spectra = _product(target + mu3 * (images + blocks.endmember_dual), inverse)
            return (
                blocks._replace(
                    weights=copy,
                    weight_dual=blocks.weight_dual + free - copy,
                    endmembers=spectra,
                    endmember_dual=blocks.endmember_dual + images - spectra,
                ),
                None,
            )

        return jax.lax.scan(inner, blocks, None, length=inner_steps)[0]

    def once(blocks: _Blocks, _: None) -> tuple[_Blocks, None]:
        return weight_steps(abundance_steps(blocks)), None

    def block(state: _State) -> _State:
        new = jax.lax.scan(once, state.blocks, None, length=min(_LOOK_EVERY, max_steps))[0]
        size = jnp.maximum(_tree.norm(new.abundances), 1)
        change = _tree.norm(new.abundances - state.blocks.abundances) / size
        moved = _tree.norm(new.endmembers - state.blocks.endmembers)
        change = jnp.maximum(change, moved / jnp.maximum(_tree.norm(new.endmembers), jnp.finfo(dtype).tiny))
        return _State(new, change, state.num_steps + min(_LOOK_EVERY, max_steps))

    def unfinished(state: _State) -> Array:
        return (state.change > tol) & (state.num_steps < max_steps)

    # Endmembers that are not alike: the published start, 1 / M or 0 for all, is a tie that only rounding breaks.
    weights = jax.random.dirichlet(key, jnp.ones(atoms, dtype), (num_endmembers,), dtype).T
    blocks = _Blocks(
        jnp.full((num_endmembers, count), 1 / num_endmembers, dtype),
        jnp.zeros((num_endmembers, count), dtype),
        weights,
        jnp.zeros((atoms, num_endmembers), dtype),
        _product(library, weights),
        jnp.zeros((library.shape[0], num_endmembers), dtype),
    )
    end = while_loop(unfinished, block, _State(blocks, jnp.asarray(jnp.inf, dtype), jnp.asarray(0, jnp.int32)))
    # The copies are nonnegative, and sum to one only at convergence: made exact.
    fractions, weights = _to_simplex(end.blocks.abundances), end.blocks.weights
    return (
        _to_simplex(weights) if convex_weights else weights,
        fractions,
        end.num_steps,
        end.change <= tol,
    )


def _to_simplex(columns: Array) -> Array:
    sums = jnp.sum(columns, axis=0, keepdims=True)
    return jnp.where(sums > 0, columns / jnp.where(sums > 0, sums, 1), 1 / columns.shape[0])
