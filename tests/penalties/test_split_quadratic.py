"""A penalty is its rest plus the quadratic that was taken out, and no quadratic is left to take."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth import penalties as p


CENTER = jnp.array([1.0, -2.0, 0.5])
NET = p.ElasticNet(0.3, 0.5)
CASES = {
    "ridge": (p.L2Squared(0.7), 0.7),
    "ridge by entry": (p.L2Squared(jnp.array([0.7, 0.2, 0.4])), 0.2),
    "elastic net": (NET, 0.5),
    "elastic net by entry": (p.ElasticNet(0.3, jnp.array([0.0, 0.2, 0.4])), 0.0),
    "regularized": (p.Regularized(NET, 0.25, CENTER), 0.75),
    "regularized twice": (p.Regularized(p.Regularized(p.L1(0.3), 0.25, CENTER), 0.5), 0.75),
    "scaled": (2.0 * p.Regularized(NET, 0.25, CENTER), 1.5),
    "scaled set": (2.0 * p.NonNegative(), 0.0),
    "translated": (p.Translated(p.Tilted(NET, CENTER), 2.0), 0.5),
    "l1": (p.L1(0.3), 0.0),
    "intercept": (p.ExceptLast(NET), 0.0),
    "regularized intercept": (p.Regularized(p.ExceptLast(NET), 0.25, CENTER), 0.25),
}


@pytest.mark.parametrize("name", CASES)
def test_the_parts_add_up(name, rng):
    penalty, expected = CASES[name]
    x = jnp.asarray(np.abs(rng.normal(size=(4, 3))))
    mu, rest, pull = p.split_quadratic(penalty, x[0])
    np.testing.assert_allclose(mu, expected, atol=1e-15)
    np.testing.assert_allclose(p.strong_convexity(penalty), expected, atol=1e-15)
    np.testing.assert_allclose(p.strong_convexity(rest), 0, atol=1e-15)
    split = jax.vmap(lambda x: rest.value(x) + mu / 2 * x @ x - pull @ x)(x)
    difference = jax.vmap(penalty.value)(x) - split
    np.testing.assert_allclose(difference, difference[0], atol=1e-12)


def test_blocks_share_the_least_strength(rng):
    penalty = p.SeparableSum({"a": p.L2Squared(0.7), "b": p.Regularized(p.L1(0.1), 0.4, 1.0)})
    x = {"a": jnp.asarray(rng.normal(size=(4, 2))), "b": jnp.asarray(rng.normal(size=(4, 3)))}
    first = jax.tree.map(lambda leaf: leaf[0], x)
    mu, rest, pull = p.split_quadratic(penalty, first)
    np.testing.assert_allclose(mu, 0.4)
    np.testing.assert_allclose(p.strong_convexity(penalty), 0.4)

    def split(x):
        parts = jax.tree.map(lambda a, b: mu / 2 * a @ a - b @ a, x, pull)
        return penalty.value(x) - rest.value(x) - parts["a"] - parts["b"]

    difference = jax.vmap(split)(x)
    np.testing.assert_allclose(difference, difference[0], atol=1e-12)


def test_single_precision_stays():
    mu, _, pull = p.split_quadratic(p.Regularized(NET, 0.25, CENTER), jnp.zeros(3, jnp.float32))
    assert mu.dtype == pull.dtype == jnp.float32
