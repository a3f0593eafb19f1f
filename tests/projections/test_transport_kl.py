"""Matrix scaling: the form of the result, its sums, derivatives, forbidden entries, and the residual."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth import projections


scale = jax.jit(projections.transport_kl)
N, M = 6, 4


@pytest.mark.parametrize("dtype, tol", [(jnp.float64, 1e-14), (jnp.float32, 1e-6)])
@pytest.mark.parametrize("size", [0.1, 1, 10, 50])
def test_scaled_rows_and_columns_with_the_sums(rng, size, dtype, tol):
    """Z = diag(u) exp(x) diag(v) with the right sums is the only minimizer (Sinkhorn)."""
    x, a, b = rng.normal(size=(N, M)) * size, rng.dirichlet(np.ones(N)), rng.dirichlet(np.ones(M))
    sums = (jnp.asarray(a, dtype), jnp.asarray(b, dtype))
    z = scale(jnp.asarray(x, dtype), sums)
    assert z.dtype == dtype and projections.transport_residual(z, sums) <= tol
    if size <= 10:
        ratio = np.log(np.asarray(z, float)) - np.asarray(jnp.asarray(x, dtype), float)
        doubly_centered = ratio - ratio.mean(0) - ratio.mean(1)[:, None] + ratio.mean()
        np.testing.assert_allclose(doubly_centered, 0, atol=1e3 * tol)


def test_closed_forms(rng):
    x, a, b = jnp.asarray(rng.normal(size=(N, M))), rng.dirichlet(np.ones(N)), rng.dirichlet(np.ones(M))
    np.testing.assert_allclose(scale(jnp.zeros((N, M)), (a, b)), np.outer(a, b), atol=1e-15)
    np.testing.assert_allclose(scale(x.T, (b, a)).T, scale(x, (a, b)), atol=1e-14)
    # For 2 x 2 the cross ratio determines the matrix.
    z = projections.birkhoff_kl(jnp.log(jnp.asarray([[9.0, 1.0], [1.0, 1.0]])))
    np.testing.assert_allclose(z, [[0.75, 0.25], [0.25, 0.75]], atol=1e-15)
    assert projections.transport_kl(jnp.zeros((0, 3)), (0.0, 0.0)).shape == (0, 3)


def test_forbidden_entries_and_zero_sums():
    x = jnp.asarray([[0.0, -jnp.inf, 0.0], [0.0, 0.0, -jnp.inf], [0.0, 0.0, 0.0]])
    a, b = jnp.asarray([0.5, 0.5, 0.0]), jnp.asarray([0.5, 0.25, 0.25])
    z = scale(x, (a, b))
    np.testing.assert_allclose(z, [[0.25, 0, 0.25], [0.25, 0.25, 0], [0, 0, 0]], atol=1e-15)
    slopes = jax.jit(jax.jacrev(lambda x, a, b: projections.transport_kl(x, (a, b)), (0, 1, 2)))(x, a, b)
    assert all(jnp.isfinite(part).all() for part in slopes)
    # Column three asks for what no entry may carry: visible, and finite.
    stuck = scale(x.at[0, 2].set(-jnp.inf), (a, b))
    assert jnp.isfinite(stuck).all() and projections.transport_residual(stuck, (a, b)) > 0.1


def test_derivatives(rng):
    x, a, b = rng.normal(size=(N, M)), rng.dirichlet(np.ones(N)), rng.dirichlet(np.ones(M))
    dx, da, db = rng.normal(size=(N, M)), rng.normal(size=N), rng.normal(size=M)
    da, db = da - da.mean(), db - db.mean()
    project = jax.jit(lambda x, a, b: projections.transport_kl(x, (a, b)))
    arguments, slopes = tuple(map(jnp.asarray, (x, a, b))), tuple(map(jnp.asarray, (dx, da, db)))
    along = lambda t: project(*(p + t * s for p, s in zip(arguments, slopes)))
    forward = jax.jvp(along, (0.0,), (1.0,))[1]
    np.testing.assert_allclose(forward, (along(1e-6) - along(-1e-6)) / 2e-6, atol=1e-9)
    weights = jnp.asarray(rng.normal(size=(N, M)))
    reverse = jax.grad(lambda t: jnp.vdot(weights, along(t)))
    np.testing.assert_allclose(reverse(0.0), jnp.vdot(weights, forward), rtol=1e-11)
    second = (reverse(1e-5) - reverse(-1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(reverse)(0.0), second, rtol=1e-6)


def test_residual_shows_the_cap_of_steps(rng):
    x, sums = jnp.asarray(rng.normal(size=(N, M)) * 5), (jnp.full(N, 1 / N), jnp.full(M, 1 / M))
    for project in (projections.transport, projections.transport_kl):
        first, last = project(x, sums, max_steps=0), project(x, sums)
        assert projections.transport_residual(first, sums) > 1e-2
        assert projections.transport_residual(last, sums) < 1e-13
    batch = jax.jit(jax.vmap(lambda x: projections.transport_kl(x, sums)))(jnp.stack([x, x / 10]))
    np.testing.assert_allclose(batch[0], scale(x, sums), atol=1e-14)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: projections.transport_kl(jnp.ones(3), (1.0, 1.0)), "x must be a matrix"),
        (lambda: projections.transport_kl(jnp.ones((2, 3)), (1.0, 1.0)), "must have one total"),
        (lambda: projections.transport_kl(jnp.ones((2, 2)), (-1.0, -1.0)), "row_sums must be nonnegative"),
        (
            lambda: projections.birkhoff_kl(jnp.asarray([[0.0, 0.0], [-jnp.inf, -jnp.inf]])),
            "row_sums must be zero where.*open an entry",
        ),
        (lambda: projections.birkhoff_kl(jnp.ones((2, 3))), "x must be a square matrix"),
        (lambda: projections.transport_residual(jnp.ones(3), (1.0, 1.0)), "z must be a matrix"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
