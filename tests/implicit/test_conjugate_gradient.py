import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth.implicit import conjugate_gradient


RNG = np.random.default_rng(0)
FACTOR = RNG.normal(size=(6, 4))
SINGULAR = jnp.asarray(FACTOR @ FACTOR.T)
RHS = SINGULAR @ jnp.asarray(RNG.normal(size=6))


def solve(rhs, matrix=SINGULAR, **settings):
    return conjugate_gradient(lambda v: matrix @ v, rhs, **{"rtol": 1e-13, "max_steps": 50, **settings})


def test_singular_consistent_systems_get_their_least_norm_solution():
    np.testing.assert_allclose(solve(RHS), np.linalg.pinv(SINGULAR) @ RHS, rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_single_precision_of_any_scale(scale):
    rhs = (RHS * scale / jnp.abs(RHS).max()).astype(jnp.float32)
    x = solve(rhs, SINGULAR.astype(jnp.float32), rtol=1e-5)
    np.testing.assert_allclose(np.float64(x) / scale, np.linalg.pinv(SINGULAR) @ RHS / abs(RHS).max(), rtol=1e-3)


def test_zero_right_hand_side_and_zero_operator():
    assert jnp.all(solve(jnp.zeros(6)) == 0)
    assert jnp.all(solve(RHS, jnp.zeros((6, 6))) == 0)
    assert solve(jnp.zeros(0), jnp.zeros((0, 0))).shape == (0,)


def test_starts_help_or_are_dropped():
    exact = jnp.asarray(np.linalg.pinv(SINGULAR) @ RHS)
    np.testing.assert_allclose(solve(RHS, start=exact, max_steps=1), exact, rtol=1e-9)
    for bad in (jnp.full(6, jnp.nan), 1e6 * exact):
        np.testing.assert_allclose(solve(RHS, start=bad), exact, rtol=1e-9)


def test_pytrees_and_batches():
    blocks = conjugate_gradient(
        lambda t: {"a": 2 * t["a"], "b": 4 * t["b"]}, {"a": jnp.ones(2), "b": jnp.ones(())}, rtol=1e-12, max_steps=9
    )
    np.testing.assert_allclose(blocks["a"], 0.5)
    np.testing.assert_allclose(blocks["b"], 0.25)
    batch = jax.vmap(solve)(jnp.stack([RHS, jnp.zeros(6), 1e-9 * RHS]))
    np.testing.assert_allclose(batch[2] * 1e9, batch[0], rtol=1e-9)
    assert jnp.all(batch[1] == 0)
