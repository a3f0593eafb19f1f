import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt


RNG = np.random.default_rng(0)
X, Y = jnp.asarray(RNG.normal(size=(20, 8))), jnp.asarray(RNG.normal(size=20))
MODEL = jt.LinearModel(jt.losses.Squared(), X, Y)


def test_the_support_the_residual_and_the_flag_of_a_batch_of_lassos():
    def solve_and_diagnose(strength):
        problem = jt.Composite(MODEL, jt.penalties.L1(strength))
        params = jt.solve(problem, jt.ProximalGradient(tol=1e-12), jnp.zeros(8)).params
        return params, jt.implicit.diagnose(problem, params, 0.1, max_support=3)

    params, found = jax.jit(jax.vmap(solve_and_diagnose))(jnp.array([1e-3, 0.1, 10.0]))
    np.testing.assert_array_equal(found.support_size, jnp.sum(params != 0, axis=1))
    np.testing.assert_array_equal(found.support_exceeded, found.support_size > 3)
    assert found.support_exceeded[0] and not found.support_exceeded[2]
    assert jnp.all(found.residual < 1e-9)
    assert jnp.all(found.complementarity_gap > 0)


def test_the_residual_of_a_point_that_is_no_solution():
    problem = jt.Composite(MODEL, jt.penalties.L2Squared(1.0))
    params = jnp.ones(8)
    residual = jt.implicit.diagnose(problem, params, 1e-6).residual
    np.testing.assert_allclose(residual, jnp.linalg.norm(jax.grad(problem.value)(params)), rtol=1e-4)


def test_penalties_that_are_not_separable():
    problem = jt.Composite(MODEL, jt.penalties.Simplex())
    assert jt.implicit.diagnose(problem, jnp.full(8, 1 / 8)).support_size is None
    with pytest.raises(ValueError, match="max_support needs a separable penalty"):
        jt.implicit.diagnose(problem, jnp.full(8, 1 / 8), max_support=3)
