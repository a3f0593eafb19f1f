"""A penalty that is not convex: the symmetric system refuses it, a general linear solver differentiates it."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import jaxopt_thoth as jt


def fit(strength: jax.Array, adjoint: jt.implicit.AbstractAdjoint) -> jax.Array:
    rng = np.random.default_rng(0)
    design = jnp.asarray(rng.normal(size=(30, 6)))
    targets = design @ jnp.array([2.0, -1.5, 0.0, 0.0, 0.4, 0.0]) + 0.1 * jnp.asarray(rng.normal(size=30))
    problem = jt.Composite(jt.LinearModel(jt.losses.Squared(), design, targets), jt.penalties.MCP(strength, 3.0))
    return jt.solve(problem, jt.ProximalGradient(tol=1e-13), jnp.zeros(6), adjoint=adjoint).params


def test_the_symmetric_system_refuses_a_penalty_that_is_not_convex() -> None:
    assert bool(jnp.all(jnp.isfinite(fit(jnp.asarray(0.2), jt.implicit.Implicit()))))
    with pytest.raises(ValueError, match="MCP is not convex"):
        jax.jacfwd(lambda s: fit(s, jt.implicit.Implicit()))(0.2)


def test_a_general_linear_solver_gives_the_derivative() -> None:
    adjoint, step = jt.implicit.Implicit(lx.LU()), 1e-6
    found = jax.jacrev(lambda s: fit(s, adjoint))(0.2)
    difference = (fit(jnp.asarray(0.2 + step), adjoint) - fit(jnp.asarray(0.2 - step), adjoint)) / (2 * step)
    assert float(jnp.abs(difference).max()) > 0.1
    np.testing.assert_allclose(found, difference, atol=1e-6)
