"""Rows in turn and rows in step are the same function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth.penalties._total_variation_1d import _solve_chain
from jaxopt_thoth.projections._isotonic import _pool_adjacent_violators


ROWS = jnp.asarray(np.random.default_rng(0).normal(size=(4, 9)))


@pytest.mark.parametrize("function, other", [(_solve_chain, jnp.full(8, 0.4)), (_pool_adjacent_violators, jnp.ones(9))])
def test_a_batch_in_turn_equals_the_batch_in_step(function, other):
    in_turn = jax.vmap(function, (0, None))(ROWS, other)
    np.testing.assert_allclose(jax.vmap(function.fun, (0, None))(ROWS, other), in_turn, atol=1e-15)
    np.testing.assert_array_equal(in_turn, jnp.stack([function(row, other) for row in ROWS]))


def test_axes_that_are_not_batched_are_shared():
    other = jnp.linspace(0.1, 2.0, 24).reshape(3, 8)
    batch = jax.vmap(_solve_chain, (None, 0))(ROWS[0], other)
    np.testing.assert_array_equal(batch, jnp.stack([_solve_chain(ROWS[0], o) for o in other]))
    outer = jax.vmap(jax.vmap(_solve_chain, (None, 0)), (0, None))(ROWS, other)
    np.testing.assert_array_equal(outer[2], jnp.stack([_solve_chain(ROWS[2], o) for o in other]))
