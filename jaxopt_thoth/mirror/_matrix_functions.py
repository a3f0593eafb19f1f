"""Functions of symmetric matrices, whose derivatives go by divided differences (Daleckii and Krein, 1951)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Scalar
from ..penalties._spectral import eigen, product
from ._stable import exprel, kl, kl_of_logs, log1prel


@jax.custom_jvp
def exp_symmetric(x: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Exponential of a symmetric matrix."""
    w, v = eigen(x)
    return product(v * jnp.exp(w)[None, :], v.T)


@exp_symmetric.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    w, v = eigen(x)
    top = jnp.maximum(w[:, None], w[None, :])
    # From the larger of the two nothing overflows that the exponential itself does not.
    differences = jnp.exp(top) * exprel(-jnp.abs(w[:, None] - w[None, :]))
    return exp_symmetric(x), product(v, differences * product(v.T, dx, v), v.T)


@jax.custom_jvp
def log_symmetric(x: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Logarithm of a positive definite matrix."""
    w, v = eigen(x)
    return product(v * jnp.log(w)[None, :], v.T)


@log_symmetric.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    w, v = eigen(x)
    low = jnp.minimum(w[:, None], w[None, :])
    differences = log1prel(jnp.abs(w[:, None] - w[None, :]) / low) / low
    return log_symmetric(x), product(v, differences * product(v.T, dx, v), v.T)


@jax.custom_jvp
def relative_entropy(x: Float[Array, "n n"], y: Float[Array, "n n"]) -> Scalar:
    """`tr(x (log x - log y) - x + y)` as a sum of nonnegative terms over pairs of eigenvectors."""
    (a, u), (b, v) = eigen(x), eigen(y)
    # Rounding may leave the zero eigenvalues of a semidefinite matrix slightly below zero.
    terms = kl(jnp.maximum(a, 0)[:, None], jnp.maximum(b, 0)[None, :])
    overlap = product(u.T, v) ** 2
    return jnp.sum(jnp.where(overlap > 0, overlap * terms, 0))


@relative_entropy.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (x, y), (dx, dy) = primals, tangents
    log_y, dlog_y = jax.jvp(log_symmetric, (y,), (dy,))
    return relative_entropy(x, y), jnp.sum((log_symmetric(x) - log_y) * dx) - jnp.sum(dlog_y * (x - y))


@jax.custom_jvp
def dual_relative_entropy(s: Float[Array, "n n"], t: Float[Array, "n n"]) -> Scalar:
    """`relative_entropy(exp(s), exp(t))`, where the exponentials may round to zero."""
    (a, u), (b, v) = eigen(s), eigen(t)
    return jnp.sum(product(u.T, v) ** 2 * kl_of_logs(a[:, None] + 0 * b[None, :], b[None, :] + 0 * a[:, None]))


@dual_relative_entropy.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (s, t), (ds, dt) = primals, tangents
    x, dx = jax.jvp(exp_symmetric, (s,), (ds,))
    return dual_relative_entropy(s, t), jnp.sum(dx * (s - t)) - jnp.sum((x - exp_symmetric(t)) * dt)
