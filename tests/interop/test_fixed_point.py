"""Problems handed to optimistix: the same solution, and the same derivative by its adjoint as by ours."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import interop


optx = pytest.importorskip("optimistix")


def test_optimistix_solves_and_differentiates_a_composite_problem() -> None:
    rng = np.random.default_rng(0)
    design, targets = jnp.asarray(rng.normal(size=(20, 8))), jnp.asarray(rng.normal(size=20))
    model = jt.LinearModel(jt.losses.Squared(), design, targets)
    step = 1 / model.lipschitz()

    def with_optimistix(strength: jax.Array) -> jax.Array:
        problem = jt.Composite(model, jt.penalties.L1(strength))
        solver = optx.FixedPointIteration(rtol=1e-12, atol=1e-12)
        fn = interop.as_fixed_point(step)
        return optx.fixed_point(fn, solver, jnp.zeros(8), args=problem, max_steps=5000).value

    def with_ours(strength: jax.Array) -> jax.Array:
        problem = jt.Composite(model, jt.penalties.L1(strength))
        return jt.solve(problem, jt.ProximalGradient(tol=1e-12), jnp.zeros(8)).params

    np.testing.assert_allclose(with_optimistix(0.1), with_ours(0.1), atol=1e-10)
    np.testing.assert_allclose(jax.jacrev(with_optimistix)(0.1), jax.jacrev(with_ours)(0.1), atol=1e-9)
