"""Long signals against the certificate of optimality, strengths of each difference, and batches of several levels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth import penalties


N = 3000
SIGNALS = {
    "noise": np.random.default_rng(0).normal(size=N),
    "steps": np.repeat(np.random.default_rng(1).normal(size=N // 100) * 3, 100),
    "walk": np.random.default_rng(2).normal(size=N).cumsum(),
    "ramp": np.arange(N) / 10.0,
    "outlier": np.r_[np.zeros(N - 1), -(10.0**6)],
}


@jax.jit
def denoise(x, strength):
    return penalties.TotalVariation1D(strength).prox(x, 1.0)


def certificate(x, z, strength):
    """Violations of the tube, of its closed end, and of complementarity at the jumps, relative to the strength."""
    string = np.cumsum(x.astype(np.longdouble) - z)
    tube = np.broadcast_to(strength, x.size - 1)
    jumps = np.sign(np.diff(z))
    return (
        (np.abs(string[:-1]) - tube).max() / np.max(tube),
        abs(string[-1]) / np.max(tube),
        np.abs((string[:-1] + tube * jumps)[jumps != 0]).max(initial=0) / np.max(tube),
    )


@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-10), (np.float32, 2e-2)])
@pytest.mark.parametrize("signal", SIGNALS.values(), ids=SIGNALS)
def test_long_signals_meet_the_certificate(signal, dtype, tolerance):
    for strength in (0.3, 3.0, 300.0):
        x = signal.astype(dtype)
        z = np.asarray(denoise(jnp.asarray(x), jnp.asarray(strength, dtype)))
        # Sums of N entries round in proportion to the largest.
        allowed = tolerance * max(1, np.abs(x).max() / strength / 10)
        assert max(certificate(x, z, strength)) < allowed


def test_a_strength_for_each_difference():
    rng = np.random.default_rng(3)
    x, strengths = SIGNALS["walk"], rng.exponential(size=N - 1)
    strengths[::50] = 0.0
    z = np.asarray(denoise(jnp.asarray(x), jnp.asarray(strengths)))
    assert max(certificate(x, z, strengths)) < 1e-10
    # No tie, no smoothing across.
    np.testing.assert_allclose(z[1:51], denoise(jnp.asarray(x[1:51]), jnp.asarray(strengths[1:50])), atol=1e-12)


def test_jacobian_in_the_point_and_in_each_strength():
    x, strengths = jnp.asarray(SIGNALS["noise"][:12]), jnp.linspace(0.1, 0.6, 11)
    forward, reverse = (jax.jit(mode(denoise, (0, 1)))(x, strengths) for mode in (jax.jacfwd, jax.jacrev))
    h = 1e-6
    for argument in (0, 1):
        np.testing.assert_allclose(reverse[argument], forward[argument], atol=1e-14)
        for j in range((x, strengths)[argument].size):
            bump = [jnp.zeros_like(x), jnp.zeros_like(strengths)]
            bump[argument] = bump[argument].at[j].set(h)
            difference = denoise(x + bump[0], strengths + bump[1]) - denoise(x - bump[0], strengths - bump[1])
            np.testing.assert_allclose(forward[argument][:, j], difference / (2 * h), atol=1e-8)


def test_strength_zero_is_the_identity_at_ties_too():
    x = jnp.ones(4)
    np.testing.assert_array_equal(denoise(x, jnp.asarray(0.0)), x)
    np.testing.assert_array_equal(jax.jacfwd(denoise)(x, jnp.asarray(0.0)), np.eye(4))


def test_batches_equal_loops():
    x = jnp.asarray(SIGNALS["noise"][:60].reshape(2, 3, 10))
    strengths = jnp.asarray([0.2, 2.0])
    nested = jax.vmap(jax.vmap(denoise, (0, None)), (0, 0))(x, strengths)
    loop = np.stack([[denoise(row, s) for row in rows] for rows, s in zip(x, strengths)])
    np.testing.assert_array_equal(nested, loop)


def test_a_strength_of_another_length_is_refused():
    with pytest.raises(ValueError, match="pass one number a difference"):
        penalties.TotalVariation1D(jnp.ones(4)).prox(jnp.ones(4), 1.0)
