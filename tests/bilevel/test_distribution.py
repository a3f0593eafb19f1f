"""Distributions of actions: divergences, densities and the estimators of gradients in their parameters."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.scipy.integrate import trapezoid

from jaxopt_thoth import bilevel
from jaxopt_thoth.bilevel import CategoricalPolicy, SmoothedUniform


LOGITS = jnp.array([[0.3, -1.2, 0.8], [0.0, 2.0, -0.5]])
ANCHOR = jnp.array([[1.0, 0.1, -0.4], [0.2, 0.2, 0.9]])


def test_the_gradient_of_the_divergence_has_its_closed_form():
    p, q = jax.nn.softmax(LOGITS), jax.nn.softmax(ANCHOR)
    ratio = jnp.log(p) - jnp.log(q)
    each = jnp.sum(p * ratio, -1, keepdims=True)
    value, gradient = jax.value_and_grad(bilevel.kl_categorical)(LOGITS, ANCHOR)
    np.testing.assert_allclose(value, jnp.sum(each), rtol=1e-13)
    np.testing.assert_allclose(gradient, p * (ratio - jnp.broadcast_to(each, p.shape)), atol=1e-14)
    assert CategoricalPolicy(LOGITS).kl(CategoricalPolicy(ANCHOR)) == value
    # Of equal distributions nothing is left, to second order.
    assert bilevel.kl_categorical(LOGITS, LOGITS + 3) < 1e-15


def test_the_proximal_step_is_the_minimizer_and_its_value_the_minimum(rng):
    costs, weight = jnp.asarray(rng.normal(size=(2, 3))), 0.3
    logits, value = bilevel.kl_proximal_categorical(costs, ANCHOR, weight)

    @jax.jit
    def objective(logits):
        return jnp.sum(jax.nn.softmax(logits) * costs) + weight * bilevel.kl_categorical(logits, ANCHOR)

    np.testing.assert_allclose(objective(logits), value, rtol=1e-13)
    np.testing.assert_allclose(jax.grad(objective)(logits), 0, atol=1e-14)
    others = logits[None] + jnp.asarray(rng.normal(size=(100, 2, 3)))
    assert jnp.all(jax.vmap(objective)(others) > value)


def test_natural_gradient_steps_are_mirror_steps(rng):
    costs, weight, eta = jnp.asarray(rng.normal(size=(2, 3))), 0.3, 0.7

    @jax.jit
    def step(logits, size):
        p = jax.nn.softmax(logits)
        gradient = p * (costs - jnp.broadcast_to(jnp.sum(p * costs, -1, keepdims=True), p.shape))
        gradient += weight * jax.grad(bilevel.kl_categorical)(logits, ANCHOR)
        optimizer = optax.chain(bilevel.categorical_natural_gradient(), optax.sgd(size))
        return jax.nn.log_softmax(logits + optimizer.update(gradient, optimizer.init(logits), logits)[0])

    # From wherever it starts, the step of size 1 / weight ends at the closed form.
    np.testing.assert_allclose(step(LOGITS, 1 / weight), bilevel.kl_proximal_categorical(costs, ANCHOR, weight)[0])

    @jax.jit
    def proximal(logits):
        p = jax.nn.softmax(logits)
        return (
            jnp.sum(p * costs)
            + weight * bilevel.kl_categorical(logits, ANCHOR)
            + bilevel.kl_categorical(logits, LOGITS) / eta
        )

    np.testing.assert_allclose(jax.grad(proximal)(step(LOGITS, eta / (1 + weight * eta))), 0, atol=1e-14)
    vanished = jnp.array([0.0, -2000.0])
    with pytest.raises(ValueError, match="params"):
        bilevel.categorical_natural_gradient().update(vanished, optax.EmptyState())
    moved, _ = bilevel.categorical_natural_gradient().update(jnp.zeros(2), optax.EmptyState(), vanished)
    assert jnp.all(moved == 0)


def log_prob(logits, action):
    return CategoricalPolicy(logits).log_prob(action)


def test_the_score_function_estimator_is_unbiased_and_its_baseline_lowers_the_variance():
    logits, costs = jnp.array([0.3, -1.2, 0.8]), jnp.array([1.0, 1.5, 2.5])
    # The expectation over all triples of draws, without sampling.
    triples = jnp.array(list(itertools.product(range(3), repeat=3)))

    @jax.jit
    def moments():
        p = jax.nn.softmax(logits)
        exact = bilevel.enumeration_gradient(log_prob, logits, jnp.arange(3), costs)
        chance = jnp.prod(p[triples], axis=1)

        def moments_of(baseline):
            estimate = jax.vmap(
                lambda draws: bilevel.score_function_gradient(log_prob, logits, draws, costs[draws], baseline=baseline)
            )(triples)
            return chance @ estimate, chance @ jnp.sum((estimate - exact[None]) ** 2, -1)

        single = p @ jnp.sum(((jnp.eye(3) - p[None]) * costs[:, None] - exact[None]) ** 2, -1)
        return p * (costs - jnp.sum(p * costs)), exact, moments_of(True), moments_of(False), single

    expected, exact, (mean, variance), (plain_mean, plain_variance), single = moments()
    np.testing.assert_allclose(exact, expected, atol=1e-15)
    np.testing.assert_allclose(mean, exact, atol=1e-15)
    np.testing.assert_allclose(plain_mean, exact, atol=1e-15)
    np.testing.assert_allclose(plain_variance, single / 3, rtol=1e-12)
    assert variance < 0.5 * plain_variance


def test_a_policy_draws_what_its_probabilities_say():
    policy = CategoricalPolicy(LOGITS)
    keys = jax.random.split(jax.random.key(0), 4000)

    @jax.jit
    def frequencies():
        hard = jax.vmap(lambda key: policy.sample_relaxed(key, hard=True))(keys)
        return jnp.mean(jax.nn.one_hot(jax.vmap(policy.sample)(keys), 3), 0), jnp.mean(hard, 0)

    for frequency in frequencies():
        np.testing.assert_allclose(frequency, policy.probabilities(), atol=0.03)
    soft = policy.sample_relaxed(keys[0], 0.5)
    np.testing.assert_allclose(jnp.sum(soft, -1), 1, rtol=1e-14)
    # Straight through: one outcome, the derivative of the relaxed weights.
    of = lambda hard: lambda logits: CategoricalPolicy(logits).sample_relaxed(keys[0], 0.5, hard=hard)
    hard, soft = jax.jit(lambda logits: (jax.jacrev(of(True))(logits), jax.jacrev(of(False))(logits)))(LOGITS)
    np.testing.assert_allclose(hard, soft, rtol=1e-14)
    np.testing.assert_allclose(policy.entropy(), -jnp.sum(policy.probabilities() * jnp.log(policy.probabilities())))
    everything = jnp.array(list(itertools.product(range(3), repeat=2)))
    chance = jax.jit(lambda: jnp.exp(jax.vmap(policy.log_prob)(everything)))()
    np.testing.assert_allclose(jnp.sum(chance), 1, rtol=1e-13)


def test_the_density_of_magnitudes_is_one_and_the_score_of_the_published_one_is_biased():
    x = jnp.linspace(-1.5, 2.5, 2001)

    @jax.jit
    def integrals(high):
        logs = lambda high, exact: jax.vmap(SmoothedUniform(high, exact=exact).log_prob)(x)
        density, score = jnp.exp(logs(high, True)), jax.jacfwd(logs)(high, True)
        published = jax.jacfwd(lambda high: logs(high, False))(high)
        moments = [jnp.ones_like(x), x, score, published, score * x**2]
        return jnp.stack([trapezoid(density * f, x) for f in moments])

    for high in (0.1, 0.6):
        mass, mean, bias, published_bias, derivative = integrals(jnp.asarray(high))
        np.testing.assert_allclose([mass, mean, bias, derivative], [1, high / 2, 0, 2 * high / 3], atol=1e-10)
        # What was dropped matters where the noise is as wide as the interval.
        assert abs(published_bias) > 0.1 if high == 0.1 else abs(published_bias) < 1e-4


def test_draws_of_magnitudes_have_pathwise_derivatives():
    keys = jax.random.split(jax.random.key(1), 4000)
    high = jnp.asarray(0.6)
    sample = lambda high, key: SmoothedUniform(high).sample(key)
    gradient = jax.jit(lambda: bilevel.pathwise_gradient(sample, high, keys, lambda magnitude: magnitude**2))()
    np.testing.assert_allclose(gradient, 2 * high / 3, rtol=0.05)


def test_far_tails_stay_finite():
    x = jnp.array([-3.0, -0.5, 0.0, 0.6, 3.0], jnp.float32)
    high = jnp.full(5, 0.6, jnp.float32)
    logs = jax.jit(lambda high, x: SmoothedUniform(high).log_prob(x))
    value, gradient = logs(high, x), jax.jit(jax.jacrev(logs))(high, x)
    assert value.dtype == jnp.float32 and jnp.all(jnp.isfinite(value)) and jnp.all(jnp.isfinite(gradient))
    # Symmetric about the middle.
    np.testing.assert_allclose(logs(high, 0.6 - x), value, rtol=1e-4)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="anchor"):
        bilevel.kl_categorical(LOGITS, ANCHOR[0])
    with pytest.raises(ValueError, match="weight must be positive"):
        bilevel.kl_proximal_categorical(LOGITS, ANCHOR, 0.0)
    with pytest.raises(ValueError, match="costs and anchor"):
        bilevel.kl_proximal_categorical(LOGITS, ANCHOR[0], 1.0)
    with pytest.raises(ValueError, match="axis of outcomes"):
        CategoricalPolicy(1.0)
    with pytest.raises(ValueError, match="actions must have shape"):
        CategoricalPolicy(LOGITS).log_prob(jnp.zeros(3, int))
    with pytest.raises(ValueError, match="temperature"):
        CategoricalPolicy(LOGITS).sample_relaxed(jax.random.key(0), 0.0)
    with pytest.raises(ValueError, match="high must be positive"):
        SmoothedUniform(0.0)
    with pytest.raises(ValueError, match="only one"):
        bilevel.score_function_gradient(log_prob, LOGITS[0], jnp.zeros(1, int), jnp.zeros(1))
