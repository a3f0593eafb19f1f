import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth.unmixing.networks import train


KEY = jax.random.key(0)


class Distance(eqx.Module):
    """Half the squared distance to a target; not a number from a step on."""

    target: jax.Array
    spoiled: float = 2.0

    def __call__(self, model, key, done):
        loss = jnp.sum((model - self.target) ** 2) / 2
        return jnp.where(done >= self.spoiled, jnp.nan, 1) * loss, model


def floor(model):
    return jnp.maximum(model, 0.5)


def test_plain_descent_has_its_closed_form():
    target = jnp.array([1.0, -2.0])
    found = train(jnp.zeros(2), Distance(target), key=KEY, steps=250, optimizer=optax.sgd(0.01))
    np.testing.assert_allclose(found.model, target * (1 - 0.99**250), rtol=1e-9)
    np.testing.assert_allclose(found.loss, 2.5 * 0.99 ** (2 * np.arange(250)), rtol=1e-9)
    assert int(found.num_steps) == 250 and found.result == jt.RESULTS.max_steps_reached


def test_adam_is_that_of_optax_and_takes_a_schedule_and_decay():
    target, rate = jnp.array([1.0, -2.0]), optax.exponential_decay(0.1, 10, 0.5)
    found = train(jnp.ones(2), Distance(target), key=KEY, steps=30, learning_rate=rate, weight_decay=0.3)
    whole = optax.chain(optax.add_decayed_weights(0.3), optax.adam(rate))
    again = train(jnp.ones(2), Distance(target), key=KEY, steps=30, optimizer=whole)
    np.testing.assert_allclose(found.model, again.model, rtol=1e-6)


def test_the_average_starts_at_the_first_output():
    found = train(
        jnp.zeros(1), Distance(jnp.ones(1)), key=KEY, steps=3, optimizer=optax.sgd(0.5), keep="average", smoothing=0.9
    )
    np.testing.assert_allclose(found.average, [0.9 * (0.9 * 0 + 0.1 * 0.5) + 0.1 * 0.75])
    np.testing.assert_allclose(found.model, [0.875])


def test_the_best_model_is_kept_and_constraints_hold():
    far = train(jnp.zeros(1), Distance(jnp.ones(1)), key=KEY, steps=7, optimizer=optax.sgd(2.5), keep="best")
    np.testing.assert_array_equal(far.model, [0.0])
    found = train(jnp.ones(1), Distance(-jnp.ones(1)), key=KEY, steps=50, optimizer=optax.sgd(0.1), constrain=floor)
    np.testing.assert_array_equal(found.model, [0.5])
    assert found.result == jt.RESULTS.converged


def test_a_loss_that_is_not_finite_ends_the_training_at_the_last_that_was():
    task = Distance(jnp.ones(1), spoiled=0.5)
    found = train(jnp.zeros(1), task, key=KEY, steps=10, optimizer=optax.sgd(0.5))
    assert found.result == jt.RESULTS.nonfinite and int(found.num_steps) == 5
    # The loss of what the fifth step made was the one that failed.
    np.testing.assert_allclose(found.model, [1 - 0.5**4])
    assert np.all(np.isfinite(found.loss[:5])) and np.all(np.isnan(found.loss[5:]))


def test_under_jit_vmap_and_grad_and_with_progress():
    seen = []

    def end(target):
        return train(jnp.zeros(1), Distance(target[None]), key=KEY, steps=5, optimizer=optax.sgd(0.1)).model[0]

    targets = jnp.array([1.0, 2.0])
    np.testing.assert_allclose(jax.jit(jax.vmap(end))(targets), targets * (1 - 0.9**5))
    np.testing.assert_allclose(jax.grad(end)(targets[0]), 1 - 0.9**5)
    train(jnp.zeros(1), Distance(jnp.ones(1)), key=KEY, steps=150, progress=lambda *done: seen.append(done))
    assert seen == [(100, 150), (150, 150)]


def test_errors():
    for name, value in (("steps", 0), ("keep", "first"), ("learning_rate", -1.0), ("weight_decay", -1.0)):
        with pytest.raises(ValueError, match=name):
            train(jnp.zeros(1), Distance(jnp.ones(1)), key=KEY, **{"steps": 1, name: value})
