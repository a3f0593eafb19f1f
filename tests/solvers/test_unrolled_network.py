import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import losses, penalties
from jaxopt_thoth.solvers import UnrolledNetwork


N, P, STEPS = 20, 30, 6
RNG = np.random.default_rng(1)
A = jnp.asarray(RNG.normal(size=(N, P)) / np.sqrt(N))
LIPSCHITZ = float(np.linalg.norm(A, 2) ** 2) / N


def measured(y):
    return jt.LinearModel(losses.Squared(), A, y)


def signals(key, count=200):
    """Sparse signals and their noisy measurements."""
    keys = jax.random.split(key, 3)
    present = jax.random.bernoulli(keys[1], 0.1, (count, P))
    truth = jnp.where(present, jax.random.normal(keys[0], (count, P)), 0)
    return truth, truth @ A.T + 0.01 * jax.random.normal(keys[2], (count, N))


@eqx.filter_jit
def error_of(network, truth, y):
    """Mean squared error relative to that of zero."""
    found = jax.vmap(lambda y: network(measured(y), jnp.zeros(P)))(y)
    return jnp.sum((found - truth) ** 2) / jnp.sum(truth**2)


def test_learnt_steps_beat_ista_and_fista_of_equal_length():
    truth, y = signals(jax.random.key(0))
    held_out = signals(jax.random.key(1))
    build = lambda accelerated, strength: UnrolledNetwork(
        jt.ProximalGradient(1 / LIPSCHITZ, accelerated), penalties.L1(strength), num_steps=STEPS
    )
    network = build(False, 0.005)
    optimizer = optax.adam(0.1)

    @eqx.filter_jit
    def train(network):
        leaves, static = eqx.partition(network, eqx.is_inexact_array)

        def update(carry, _):
            leaves, state = carry
            loss, gradient = jax.value_and_grad(lambda p: error_of(eqx.combine(p, static), truth, y))(leaves)
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(leaves, updates), state), loss

        (leaves, _), loss = jax.lax.scan(update, (leaves, optimizer.init(leaves)), length=60)
        return eqx.combine(leaves, static), loss

    # Adam counts in integers.
    with jax.numpy_dtype_promotion("standard"):
        trained, loss = train(network)
    assert loss[-1] < 0.6 * loss[0]
    # Whatever the strength, untrained steps do worse, on signals never seen.
    after = error_of(trained, *held_out)
    for accelerated in (False, True):
        for strength in (0.0005, 0.002, 0.005, 0.02):
            assert after < 0.8 * error_of(build(accelerated, strength), *held_out)
    solver, penalty = trained.learnt()
    assert np.all(solver.step_size > 0) and np.all(penalty.strength > 0)
    assert len(np.unique(solver.step_size)) == STEPS == len(np.unique(penalty.strength))


SOLVERS = {
    "ista": lambda **settings: jt.ProximalGradient(0.5, False, **settings),
    "fista": lambda **settings: jt.ProximalGradient(0.5, **settings),
    "search": lambda **settings: jt.ProximalGradient(**settings),
    "mirror descent": lambda **settings: jt.MirrorDescent(jt.mirror.Hypentropy(1.0), 0.3, **settings),
    "admm": lambda **settings: jt.ADMM(0.7, **settings),
}


@pytest.mark.parametrize("name", list(SOLVERS))
def test_untrained_it_is_the_solver_stopped_after_its_steps(name):
    y = jnp.asarray(RNG.normal(size=N))
    solver = SOLVERS[name](tol=0.0, max_steps=STEPS)
    expected = jt.solve(jt.Composite(measured(y), penalties.L1(0.01)), solver, jnp.zeros(P)).params
    network = UnrolledNetwork(solver, penalties.L1(0.01), num_steps=STEPS)
    assert jnp.linalg.norm(expected) > 0
    iterates = eqx.filter_jit(network.iterates)(measured(y), jnp.zeros(P))
    assert iterates.shape == (STEPS, P)
    np.testing.assert_allclose(iterates[-1], expected, atol=1e-12)


def test_each_step_takes_its_own_settings_and_keeps_the_momentum():
    """Two steps of accelerated descent by hand, with a step size and a strength for each."""
    y = jnp.asarray(RNG.normal(size=N))
    smooth = measured(y)
    network = UnrolledNetwork(jt.ProximalGradient(0.5, restart=False), penalties.L1(0.01), num_steps=2)
    sizes, strengths = jnp.array([0.5, 0.8]), jnp.array([0.01, 0.05])
    leaves = lambda n: (n.settings[0].step_size, n.settings[1].strength)
    network = eqx.tree_at(leaves, network, (jnp.log(sizes), jnp.log(strengths)))
    forward = lambda w, k: penalties.L1(strengths[k]).prox(w - sizes[k] * smooth.gradient(w), sizes[k])
    first = forward(jnp.zeros(P), 0)
    # The first t is (1 + sqrt 5) / 2, for the sequence starts at 1 before the first step.
    t = (1 + 5**0.5) / 2
    second = forward(first + (t - 1) / ((1 + (1 + 4 * t**2) ** 0.5) / 2) * first, 1)
    np.testing.assert_allclose(network(smooth, jnp.zeros(P)), second, atol=1e-12)


def test_a_network_as_prox_is_learnt_end_to_end():
    """Learned primal-dual's cousin: each step has a network of its own as the denoiser."""
    truth, y = signals(jax.random.key(2), 4)
    residual = eqx.nn.Linear(P, P, key=jax.random.key(3), dtype=float)
    problem_of = lambda smooth, net: jt.problems.Denoised(smooth, lambda w: w - 0.1 * jnp.tanh(net(w)), 0.5)
    network = UnrolledNetwork(jt.solvers.PlugAndPlay(), residual, num_steps=3, problem_of=problem_of)

    @eqx.filter_jit
    @eqx.filter_grad
    def gradient(network):
        return error_of(network, truth, y)

    found = gradient(network)
    # Weights are no settings, and enter as they are.
    np.testing.assert_array_equal(network.learnt()[1].weight[2], residual.weight)
    slopes = np.abs(found.settings[1].weight).sum(axis=(1, 2))
    assert np.all(np.isfinite(slopes)) and np.all(slopes > 0)


def test_bad_input():
    with pytest.raises(TypeError, match="solver must be a solver"):
        UnrolledNetwork(penalties.L1(1.0), penalties.L1(1.0), num_steps=2)
    with pytest.raises(ValueError, match="num_steps must be at least 1"):
        UnrolledNetwork(jt.ProximalGradient(), penalties.L1(1.0), num_steps=0)
    with pytest.raises(ValueError, match="unrolled"):
        UnrolledNetwork(jt.LBFGSB(), penalties.Box(0.0, 1.0), num_steps=2)
