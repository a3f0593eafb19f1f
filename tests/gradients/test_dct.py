import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.fft

from jaxopt_thoth import gradients


RNG = np.random.default_rng(0)
G = jnp.asarray(RNG.normal(size=(9, 7)) * np.logspace(0, -1, 7))
SEQUENCE = jnp.asarray(RNG.normal(size=(6, 9, 7)))


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_the_basis_is_orthonormal_cosines(size):
    j, k = np.arange(size)[:, None], np.arange(size)
    expected = np.sqrt(2 / size) * np.cos(np.pi * (j + 0.5) * k / size)
    expected[:, 0] = size**-0.5
    basis = np.asarray(gradients.dct_basis(size))
    np.testing.assert_allclose(basis, expected, atol=1e-14)
    np.testing.assert_allclose(basis.T @ basis, np.eye(size), atol=3e-15)


def test_coefficients_are_products_with_the_basis():
    found = gradients.dct_coefficients(G)
    np.testing.assert_allclose(found, G @ gradients.dct_basis(7), atol=1e-14)
    np.testing.assert_allclose(found, scipy.fft.dct(np.asarray(G), norm="ortho"), atol=1e-14)
    assert gradients.dct_coefficients(G.astype(jnp.bfloat16)).dtype == jnp.float32


@functools.cache
def low_rank(rank):
    """A gradient as seen through the columns kept: the identity inside of the wrapper."""
    optimizer = gradients.dct_low_rank(optax.identity(), rank)
    return jax.jit(lambda g: optimizer.update(g, optimizer.init(g)))(G)


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_what_is_left_out_is_the_norm_of_the_other_columns(rank):
    seen, state = low_rank(rank)
    sizes = np.sum(np.asarray(gradients.dct_coefficients(G)) ** 2, 0)
    kept = np.sort(np.argsort(-sizes)[:rank])
    np.testing.assert_array_equal(state.indices, kept)
    np.testing.assert_array_equal(gradients.dct_columns(gradients.dct_coefficients(G), rank), kept)
    error, total = np.sum((G - seen) ** 2), np.sum(G**2)
    np.testing.assert_allclose(error, total - sizes[kept].sum(), rtol=1e-12)
    assert error <= (1 - rank / 7) * total
    basis = np.asarray(gradients.dct_basis(7))[:, kept]
    np.testing.assert_allclose(seen, G @ basis @ basis.T, atol=1e-14)


def test_gradients_of_that_rank_in_the_basis_are_left_as_they_are():
    basis = gradients.dct_basis(7)
    gradient = jnp.asarray(RNG.normal(size=(9, 2))) @ basis[:, [1, 4]].T
    optimizer = gradients.dct_low_rank(optax.identity(), 2)
    seen, state = optimizer.update(gradient, optimizer.init(gradient))
    np.testing.assert_array_equal(state.indices, [1, 4])
    np.testing.assert_allclose(seen, gradient, atol=1e-14)


def test_wide_matrices_are_projected_along_their_shorter_side():
    seen, _ = low_rank(3)
    optimizer = gradients.dct_low_rank(optax.identity(), 3)
    turned, _ = optimizer.update(G.T, optimizer.init(G.T))
    np.testing.assert_allclose(turned, seen.T, atol=1e-14)
    adam = gradients.dct_low_rank(optax.adam(0.1), 3)
    for shape in ((9, 7), (7, 9), (7, 3, 3)):
        assert adam.init(jnp.zeros(shape)).inner[0].mu.shape == (9, 3)


def run(optimizer, sequence, params=None):
    params = jnp.zeros_like(sequence[0]) if params is None else params

    def step(state, gradient):
        updates, state = optimizer.update(gradient, state, params)
        return state, (updates, state)

    return jax.jit(lambda: jax.lax.scan(step, optimizer.init(params), sequence)[1])()


def test_adam_in_it_is_dct_adam_with_rotated_moments():
    rank, rate, b1, b2, eps = 2, 0.1, 0.9, 0.999, 1e-8
    with jax.numpy_dtype_promotion("standard"):
        updates, state = run(gradients.dct_low_rank(optax.adam(rate, b1, b2, eps), rank), SEQUENCE)
    basis = np.asarray(gradients.dct_basis(7))
    old, m, v = np.arange(rank), np.zeros((9, rank)), np.zeros((9, rank))
    for t, gradient in enumerate(np.asarray(SEQUENCE), 1):
        new = np.sort(np.argsort(-np.sum((gradient @ basis) ** 2, 0))[:rank])
        rotation = basis[:, old].T @ basis[:, new]
        low = gradient @ basis[:, new]
        m = b1 * m @ rotation + (1 - b1) * low
        v = b2 * np.abs(v @ rotation) + (1 - b2) * low**2
        step = -rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        np.testing.assert_array_equal(state.indices[t - 1], new)
        # Where both moments are zero but for the rounding of a rotation by products.
        np.testing.assert_allclose(updates[t - 1], step @ basis[:, new].T, atol=1e-6)
        old = new
    assert len({tuple(row) for row in np.asarray(state.indices)}) > 2


def test_columns_are_chosen_every_few_steps():
    _, state = run(gradients.dct_low_rank(optax.sgd(0.1), 2, every=3), SEQUENCE)
    rows = np.asarray(state.indices)
    np.testing.assert_array_equal(rows[0], rows[2])
    np.testing.assert_array_equal(rows[3], rows[5])
    for t in (0, 3):
        np.testing.assert_array_equal(rows[t], gradients.dct_columns(gradients.dct_coefficients(SEQUENCE[t]), 2))


def test_what_was_left_out_comes_back():
    updates, state = run(gradients.dct_low_rank(optax.sgd(1.0), 2, error_feedback=True), SEQUENCE)
    # Nothing is lost: what has been applied and what waits are all that was given.
    given = np.cumsum(SEQUENCE, 0)
    np.testing.assert_allclose(state.residual - np.cumsum(updates, 0), given, atol=1e-12)
    constant = jnp.broadcast_to(G, (60, 9, 7))
    _, state = run(gradients.dct_low_rank(optax.sgd(1.0), 2, error_feedback=True), constant)
    # The residual of a contraction stays bounded: by sqrt(1 - r/n) / (1 - sqrt(1 - r/n)) gradients.
    share = np.sqrt(1 - 2 / 7)
    assert np.linalg.norm(state.residual[-1]) <= share / (1 - share) * np.linalg.norm(G)


def test_other_leaves_go_through():
    params = {"w": G, "small": jnp.ones((9, 2)), "b": jnp.ones(7), "none": None}
    adam = optax.adam(0.1)
    optimizer = gradients.dct_low_rank(adam, 2)
    with jax.numpy_dtype_promotion("standard"):
        first = lambda method: jax.jit(lambda p: method.update(p, method.init(p), p))(params)
        (expected, _), (found, state) = first(adam), first(optimizer)
    for name in ("small", "b"):
        np.testing.assert_array_equal(found[name], expected[name])
    assert state.inner[0].mu["w"].shape == (9, 2)


def test_the_optimizer_sees_projected_weights():
    decay = gradients.dct_low_rank(optax.add_decayed_weights(0.1), 3)
    updates, state = decay.update(jnp.zeros_like(G).at[:, 0].set(1), decay.init(G), G)
    basis = gradients.dct_basis(7)[:, state.indices]
    gradient = jnp.zeros_like(G).at[:, 0].set(1)
    np.testing.assert_allclose(updates, (gradient + 0.1 * G) @ basis @ basis.T, atol=1e-14)


def test_a_quadratic_is_minimized_through_few_columns():
    target = jnp.asarray(RNG.normal(size=(9, 7)))
    optimizer = gradients.dct_low_rank(optax.sgd(1.0), 2)

    def step(carry, _):
        weights, state = carry
        updates, state = optimizer.update(weights - target, state, weights)
        return (optax.apply_updates(weights, updates), state), None

    start = jnp.zeros_like(target)
    (weights, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), None, length=4)
    # Each step settles two of the seven columns for good.
    np.testing.assert_allclose(weights, target, atol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_dtypes(dtype):
    gradient = G.astype(dtype)
    optimizer = gradients.dct_low_rank(optax.trace(0.9), 3, error_feedback=True)
    seen, state = optimizer.update(gradient, optimizer.init(gradient))
    assert seen.dtype == dtype and state.residual.dtype == jnp.float32
    assert state.inner.trace.dtype == dtype
    np.testing.assert_allclose(seen.astype(float), low_rank(3)[0], atol=0.02 if dtype == jnp.bfloat16 else 1e-6)


def test_batches_of_gradients():
    optimizer = gradients.dct_low_rank(optax.identity(), 3)
    found = jax.jit(jax.vmap(lambda g: optimizer.update(g, optimizer.init(g))[0]))(jnp.stack([SEQUENCE[0], G]))
    np.testing.assert_allclose(found[1], low_rank(3)[0], atol=1e-14)


def test_bad_input():
    for rank in (0, 2.5):
        with pytest.raises(ValueError, match="rank"):
            gradients.dct_low_rank(optax.identity(), rank)
    with pytest.raises(ValueError, match="every"):
        gradients.dct_low_rank(optax.identity(), 2, every=0)
    with pytest.raises(TypeError, match="GradientTransformation"):
        gradients.dct_low_rank(0.1, 2)
    with pytest.raises(ValueError, match="shape of its gradients"):
        gradients.dct_low_rank(optax.scale_by_factored_rms(min_dim_size_to_factor=2), 2).init(G)
    with pytest.raises(ValueError, match="size"):
        gradients.dct_basis(0)
    with pytest.raises(ValueError, match="rank"):
        gradients.dct_columns(G, 8)
