"""Scalar functions whose textbook forms cancel: the terms of Bregman divergences of near points.

Compiled on their own, or outside `jit` each of their many operations would be.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array


# Enough terms for the rounding of float64 where the series are used; more would only be more to compile.
_EXPREL = [1 / math.factorial(k + 2) for k in range(11)]
_ATANH = [1 / (2 * k + 3) for k in range(6)]
_LOG1P = [(-1) ** k / (k + 1) for k in range(6)]


def _horner(coefficients: list[float], x: Array) -> Array:
    value = jnp.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = coefficient + x * value
    return value


def exprel_less_one(z: Array) -> Array:
    """`(exp(z) - 1) / z - 1`, which is z / 2 to first order."""
    small = jnp.abs(z) < 0.25
    inner = jnp.where(small, z, 0)
    outer = jnp.where(small, 1, z)
    return jnp.where(small, inner * _horner(_EXPREL, inner), jnp.expm1(outer) / outer - 1)


def exprel(z: Array) -> Array:
    """`(exp(z) - 1) / z`, 1 at zero."""
    return 1 + exprel_less_one(z)


def log1prel(z: Array) -> Array:
    """`log(1 + z) / z`, 1 at zero; infinite from -1 downwards."""
    small = jnp.abs(z) < 1e-3
    alive = z > -1
    inner = jnp.where(small, z, 0)
    outer = jnp.where(small | ~alive, 1, z)
    return jnp.where(small, _horner(_LOG1P, inner), jnp.where(alive, jnp.log1p(outer) / outer, jnp.inf))


@jax.jit
def less_log1p(r: Array) -> Array:
    """`r - log(1 + r)`, nonnegative; infinite at -1."""
    s = r / (2 + jnp.where(r > -1, r, 0))
    small = jnp.abs(s) < 0.03
    inner = jnp.where(small, s, 0)
    # log(1 + r) = 2 atanh(s), and 2 s = r - r s.
    series = inner * (r - 2 * inner**2 * _horner(_ATANH, inner**2))
    alive = r > -1
    outer = jnp.where(small | ~alive, 0, r)
    return jnp.where(small, series, jnp.where(alive, outer - jnp.log1p(outer), jnp.inf))


def kl_term(r: Array) -> Array:
    """`(1 + r) log(1 + r) - r` for r >= -1: the divergence of entropy from 1 to 1 + r."""
    alive = r > -1
    inner = jnp.where(alive, r, 0)
    return jnp.where(alive, inner * jnp.log1p(inner) - less_log1p(inner), 1)


@jax.jit
def kl(x: Array, y: Array) -> Array:
    """`x log(x / y) - x + y` entry by entry, infinite where y alone is zero or either is negative."""
    inside = y > 0
    safe = jnp.where(inside, y, 1)
    value = jnp.where(inside, safe * kl_term((x - safe) / safe), jnp.where(x > 0, jnp.inf, 0))
    return jnp.where((x < 0) | (y < 0), jnp.inf, value)


@jax.jit
def kl_of_logs(log_x: Array, log_y: Array) -> Array:
    """`kl(exp(log_x), exp(log_y))`, where the exponentials may round to zero."""
    gone = jnp.isneginf(log_x) & jnp.isneginf(log_y)
    gap = jnp.where(gone, 0, log_x) - jnp.where(gone, 0, log_y)
    near = gap < 1
    x, y = jnp.exp(jnp.where(near, -jnp.inf, log_x)), jnp.exp(log_y)
    close = y * kl_term(jnp.expm1(jnp.where(near, gap, 0)))
    return jnp.where(gone, 0, jnp.where(near, close, x * (jnp.where(near, 0, gap) - 1) + y))


@jax.jit
def power_divergence(x: Array, y: Array, a: Array) -> Array:
    """Divergence of `x^a / (a (a - 1))` for nonnegative numbers: of entropy at a = 1, half the square at a = 2."""
    inside = (x > 0) & (y > 0)
    safe_x, safe_y = jnp.where(inside, x, 1), jnp.where(inside, y, 1)
    r = (safe_x - safe_y) / safe_y
    log = jnp.log1p(r)
    near = safe_y**a * (safe_x / safe_y * log * exprel_less_one((a - 1) * log) + kl_term(r)) / a
    lone_x = jnp.where(a > 1, jnp.where(x > 0, x, 0) ** a / (a * jnp.where(a > 1, a - 1, 1)), jnp.inf)
    lone_y = jnp.where(y > 0, y, 0) ** a / a
    return jnp.where(inside, near, jnp.where(x > 0, lone_x, jnp.where(y > 0, lone_y, 0)))


def signed_power_divergence(x: Array, y: Array, q: Array) -> Array:
    """Divergence of `|x|^q / q` for q > 1, entry by entry."""
    same = (q - 1) * power_divergence(jnp.abs(x), jnp.abs(y), q)
    apart = power(x, q) / q + (q - 1) / q * power(y, q) + jnp.abs(x) * power(y, q - 1)
    return jnp.where(x * y >= 0, same, apart)


def power(x: Array, exponent: Array) -> Array:
    """`|x|^exponent` with value and derivative zero at zero, whatever the exponent."""
    alive = x != 0
    return jnp.where(alive, jnp.abs(jnp.where(alive, x, 1)) ** exponent, 0)
