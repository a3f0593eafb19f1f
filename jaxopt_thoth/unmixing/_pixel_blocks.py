"""Reductions over the pixels, block by block: temporaries far below the size of a scene, and sums that keep digits."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .. import _tree
from .._loop import match_carry
from ._pixel_groups import sum_groups


_Carry = TypeVar("_Carry")


def reduce_blocks(
    step: Callable[[_Carry, Float[Array, "L b"], Bool[Array, " b"]], _Carry],
    carry: _Carry,
    pixels: Float[Array, "L N"],
    valid: Bool[Array, " N"],
    *,
    size: int = 2048,
) -> _Carry:
    """Sum `step(carry, block, fresh)` over blocks of pixels, from a `carry` of zeros; `fresh` marks the valid ones not
    seen before."""

    def fold(pixels: Array, valid: Array) -> _Carry:
        bands, count = pixels.shape
        block_size = min(count, size)

        def body(k: Array, total: _Carry) -> _Carry:
            # The last block reaches back into the one before it, so that nothing has to be padded.
            start = jnp.minimum(k * block_size, count - block_size)
            block = jax.lax.dynamic_slice(pixels, (jnp.zeros_like(start), start), (bands, block_size))
            fresh = jax.lax.dynamic_slice(valid, (start,), (block_size,))
            return step(total, block, fresh & (start + jnp.arange(block_size) >= k * block_size))

        begin = match_carry(lambda c: body(jnp.asarray(0), c), carry)
        return jax.lax.fori_loop(0, -(-count // block_size), body, begin)

    total: _Carry = sum_groups(fold, pixels, valid)
    return total


def mean_pixel(pixels: Float[Array, "L N"], valid: Bool[Array, " N"]) -> Float[Array, " L"]:
    """Mean of the valid pixels."""

    def add(sums: Array, block: Array, fresh: Array) -> Array:
        return sums + jnp.sum(jnp.where(fresh[None, :], block, 0), axis=1)

    total = jnp.maximum(jnp.sum(valid), 1).astype(pixels.dtype)
    return reduce_blocks(add, jnp.zeros(pixels.shape[0], pixels.dtype), pixels, valid) / total


def covariance(pixels: Float[Array, "L N"], valid: Bool[Array, " N"], mean: Float[Array, " L"]) -> Float[Array, "L L"]:
    """Covariance of the valid pixels, from centered blocks: a difference of large products would cancel."""

    def add(sums: Array, block: Array, fresh: Array) -> Array:
        centered = jnp.where(fresh[None, :], block - mean[:, None], 0)
        return sums + jnp.matmul(centered, centered.T, precision=jax.lax.Precision.HIGHEST)

    bands = pixels.shape[0]
    total = jnp.maximum(jnp.sum(valid), 1).astype(pixels.dtype)
    return reduce_blocks(add, jnp.zeros((bands, bands), pixels.dtype), pixels, valid) / total


def triangular_factor(
    pixels: Float[Array, "L N"], valid: Bool[Array, " N"], offset: Float[Array, " L"], ridge: float
) -> tuple[Float[Array, "L L"], Float[Array, " L"]]:
    """Upper triangular T and scales s with `diag(s) T' T diag(s)` the sum of squares of the valid `pixels - offset`.

    By Cholesky factors of the pixels as the ones before left them, three times, the first with a shift: unlike a
    product of the pixels alone this does not square their condition number. The noise of a scene of 60 decibels is
    beneath the rounding of its correlation matrix in float32. Each band has unit mean square in `T / sqrt(N)`, and
    `ridge` is added to the squares of the bands in that unit.

    Source: T. Fukaya et al., "Shifted Cholesky QR for computing the QR factorization of ill-conditioned matrices",
    2020.
    """
    bands, dtype = pixels.shape[0], pixels.dtype
    total = jnp.maximum(jnp.sum(valid), 1).astype(dtype)

    def centered(block: Array, fresh: Array) -> Array:
        return jnp.where(fresh[None, :], block - offset[:, None], 0)

    def add(sums: Array, block: Array, fresh: Array) -> Array:
        return sums + jnp.sum(jnp.square(centered(block, fresh)), axis=1)

    squares = reduce_blocks(add, jnp.zeros(bands, dtype), pixels, valid) / total
    scales = _tree.safe_sqrt(jnp.where(squares > 0, squares, 1))

    identity = jnp.eye(bands, dtype=dtype)
    matmul = lambda x, y: jnp.matmul(x, y, precision=jax.lax.Precision.HIGHEST)

    def orthogonalize(_: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        factor, inverse = carry

        def add(sums: Array, block: Array, fresh: Array) -> Array:
            rows = matmul(inverse.T, centered(block, fresh) / scales[:, None])
            return sums + matmul(rows, rows.T)

        gram = reduce_blocks(add, 0 * identity, pixels, valid) / total + ridge * matmul(inverse.T, inverse)
        shift = 10 * jnp.finfo(dtype).eps * jnp.trace(gram)
        upper = jnp.linalg.cholesky(gram + shift * identity).T
        return matmul(upper, factor), matmul(inverse, jax.scipy.linalg.solve_triangular(upper, identity))

    factor, _ = jax.lax.fori_loop(0, 3, orthogonalize, (identity, identity))
    return factor * jnp.sqrt(total), scales
