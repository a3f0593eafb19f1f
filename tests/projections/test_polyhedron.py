"""Polyhedra: multipliers by nonnegative least squares, dependent rows, derivatives, empty sets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxopt_thoth import projections


project = jax.jit(projections.polyhedron)


def problem(rng, n=8, m=12, k=2):
    """Inequalities and equalities, both with dependent rows, many of them tight at one point."""
    a, c = rng.normal(size=(m, n)), rng.normal(size=(k + 1, n))
    a[5], a[6], c[2] = a[4], -2 * a[7], c[0] + c[1]
    inner = rng.normal(size=n)
    b = a @ inner + np.maximum(rng.normal(size=m), 0)
    return rng.normal(size=n) * 5, a, b, c, c @ inner


def test_residual_is_a_nonnegative_combination_of_active_normals(rng):
    for _ in range(60):
        x, a, b, c, d = problem(rng)
        z = np.asarray(project(*map(jnp.asarray, (x, a, b, c, d))))
        assert (a @ z - b).max() <= 1e-10
        np.testing.assert_allclose(c @ z, d, atol=1e-10)
        active = a @ z - b > -1e-9
        _, distance = scipy.optimize.nnls(np.c_[a[active].T, c.T, -c.T], x - z)
        assert distance < 1e-10


def test_float32_and_batches(rng):
    problems = [np.stack(part) for part in zip(*(problem(rng) for _ in range(20)))]
    batched = jax.jit(jax.vmap(projections.polyhedron))
    exact = batched(*map(jnp.asarray, problems))
    for part, z in zip(zip(*problems), exact):
        np.testing.assert_allclose(project(*map(jnp.asarray, part)), z, atol=1e-12)
    low = batched(*(jnp.asarray(part, jnp.float32) for part in problems))
    # Rows that depend on each other differ by rounding in float32.
    np.testing.assert_allclose(low, exact, atol=2e-2)


def test_derivative_in_every_argument(rng):
    x, a, b = rng.normal(size=6) * 3, rng.normal(size=(9, 6)), rng.uniform(0, 1, 9)
    arguments = tuple(map(jnp.asarray, (x, a, b, rng.normal(size=(2, 6)), rng.normal(size=2) * 0.1)))
    slopes = tuple(jnp.asarray(rng.normal(size=part.shape)) for part in arguments)
    value = jax.jit(lambda t: projections.polyhedron(*(p + t * s for p, s in zip(arguments, slopes))))
    assert jnp.isfinite(value(0.0)).all()
    forward = jax.jvp(value, (0.0,), (1.0,))[1]
    np.testing.assert_allclose(forward, (value(1e-6) - value(-1e-6)) / 2e-6, atol=1e-7)
    np.testing.assert_allclose(jax.jacrev(value)(0.0), forward, atol=1e-11)


def test_empty_sets():
    matrix, offset = jnp.asarray([[1.0, 0], [-1, 0]]), jnp.asarray([-1.0, -1])
    with pytest.raises(ValueError, match="leave no point; loosen"):
        projections.polyhedron(jnp.ones(2), matrix, offset)
    # Known while the point is traced.
    with pytest.raises(ValueError, match="leave no point; loosen"):
        jax.jit(lambda x: projections.polyhedron(x, matrix, offset))(jnp.ones(2))
    assert jnp.isnan(project(jnp.ones(2), matrix, offset)).all()
    equal, contradicting = jnp.ones((2, 2)), jnp.asarray([1.0, 2.0])
    assert jnp.isnan(project(jnp.ones(2), matrix, -offset, equal, contradicting)).all()
    np.testing.assert_array_equal(projections.polyhedron(jnp.ones(2), jnp.zeros((0, 2)), jnp.zeros(0)), np.ones(2))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((jnp.ones(2), jnp.ones((1, 3)), jnp.ones(1)), "matrix must be"),
        ((jnp.ones(2), jnp.ones((1, 2)), jnp.ones(1), jnp.ones((1, 3)), jnp.ones(1)), "equal_matrix must be"),
        ((jnp.ones(2), jnp.ones((1, 2)), jnp.ones(1), jnp.ones((1, 2))), "pass both or neither"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        projections.polyhedron(*arguments)
