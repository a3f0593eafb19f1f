"""The nearest matrix of a given rank."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth import projections


low_rank = jax.jit(projections.low_rank, static_argnames="rank")
jacobian = jax.jit(jax.jacfwd(projections.low_rank), static_argnums=1)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3)])
def test_nearest_matrix_of_its_rank(rng, shape):
    x = rng.normal(size=shape)
    z = np.asarray(low_rank(jnp.asarray(x), 2))
    assert np.linalg.matrix_rank(z) == 2
    np.testing.assert_allclose(np.linalg.norm(x - z), np.linalg.svd(x)[1][2], rtol=1e-12)
    for _ in range(200):
        other = z + rng.choice([1e-3, 0.1, 1]) * rng.normal(size=shape)
        u, s, vt = np.linalg.svd(other, full_matrices=False)
        assert np.linalg.norm(x - (u[:, :2] * s[:2]) @ vt[:2]) >= np.linalg.norm(x - z) - 1e-12
    step = rng.normal(size=shape)
    central = (low_rank(jnp.asarray(x + 1e-6 * step), 2) - low_rank(jnp.asarray(x - 1e-6 * step), 2)) / 2e-6
    slopes = jacobian(jnp.asarray(x), 2)
    np.testing.assert_allclose(jnp.tensordot(slopes, step, 2), central, atol=1e-7)
    reverse = jax.jit(jax.jacrev(projections.low_rank), static_argnums=1)(jnp.asarray(x), 2)
    np.testing.assert_allclose(slopes, reverse, atol=1e-12)


def test_derivatives_at_ties_and_the_extreme_ranks(rng):
    for x in (jnp.zeros((3, 5)), jnp.eye(3, 5), jnp.ones((3, 5))):
        assert jnp.isfinite(jacobian(x, 2)).all()
        np.testing.assert_allclose(jnp.linalg.matrix_rank(low_rank(x, 2)), min(2, jnp.linalg.matrix_rank(x)))
    # Values that repeat within the kept ones are no tie.
    x = jnp.diag(jnp.asarray([2.0, 2.0, 1.0]))
    central = (low_rank(x.at[0, 1].add(1e-6), 2) - low_rank(x.at[0, 1].add(-1e-6), 2)) / 2e-6
    np.testing.assert_allclose(jacobian(x, 2)[:, :, 0, 1], central, atol=1e-7)
    y = jnp.asarray(rng.normal(size=(2, 3)))
    np.testing.assert_array_equal(low_rank(y, 0), jnp.zeros((2, 3)))
    np.testing.assert_array_equal(low_rank(y, 2), y)
    batch = jnp.stack([y, 2 * y])
    np.testing.assert_allclose(jax.vmap(lambda a: projections.low_rank(a, 1))(batch)[1], 2 * low_rank(y, 1), atol=1e-14)
    assert low_rank(y.astype(jnp.float32), 1).dtype == jnp.float32


def test_bad_input_names_the_mend():
    with pytest.raises(ValueError, match="rank must be nonnegative"):
        projections.low_rank(jnp.eye(2), -1)
    with pytest.raises(ValueError, match="x must be a matrix"):
        projections.low_rank(jnp.ones(2), 1)
