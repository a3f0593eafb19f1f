"""Learning a distribution of actions by stages, on a problem whose best distribution is known."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_thoth.bilevel import CategoricalPolicy, DistributionBilevel


# The first two actions move the data by nothing and by little, the other two harm.
SHIFTS = jnp.array([[0.0, 0.0], [0.1, -0.1], [2.0, 0.5], [-0.5, 1.5]])
TRAIN = jnp.array([[0.5, 0.0], [-0.5, 0.0], [0.0, 1.0], [0.0, -1.0]])
VALID = jnp.array([[0.1, 0.2], [-0.1, -0.2]])


def train_loss(weights, action, batch):
    # An action is a number, or weights of all of them where it is relaxed.
    shifts = SHIFTS.astype(weights.dtype)
    shift = shifts[action] if action.ndim == 0 else action @ shifts
    return 0.5 * jnp.mean(jnp.sum((weights[None] - batch - shift[None]) ** 2, -1))


def valid_loss(weights, batch):
    return 0.5 * jnp.mean(jnp.sum((weights[None] - batch) ** 2, -1))


def method(kl_weight=0.02, estimator="score", **settings):
    actions = {"actions": jnp.arange(4)} if estimator == "enumeration" else {}
    kind = {
        "sample": CategoricalPolicy.sample,
        "log_prob": CategoricalPolicy.log_prob,
        "kl": CategoricalPolicy.kl,
        "rounds": 4,
        "inner_steps": 40,
        "outer_steps": 40,
        "inner_optimizer": optax.sgd(0.5),
        "outer_optimizer": optax.sgd(1.0, momentum=0.9),
    }
    if estimator == "pathwise":
        kind["sample"] = CategoricalPolicy.sample_relaxed
    kind |= actions | settings
    return DistributionBilevel(
        train_loss=train_loss, valid_loss=valid_loss, kl_weight=kl_weight, estimator=estimator, **kind
    )


@functools.cache
def hypergradients():
    """Derivatives of the validation loss after one training step, in the policy: exact, by differences, estimated."""
    logits, anchor, weights = jnp.array([0.3, -0.5, 0.2, 0.1]), jnp.array([0.0, 0.3, 0.1, -0.3]), jnp.array([0.7, -0.4])

    @jax.jit
    def one_step(logits):
        policy = CategoricalPolicy(logits)
        expected = lambda w: policy.probabilities() @ jax.vmap(lambda a: train_loss(w, a, TRAIN))(jnp.arange(4))
        after = weights - 0.3 * jax.grad(expected)(weights)
        return valid_loss(after, VALID) + 0.1 * policy.kl(CategoricalPolicy(anchor))

    found = {}
    for name, kl in (("closed", CategoricalPolicy.kl), ("from draws", None)):
        solver = method(0.1, "enumeration", lookahead=True, step_size=0.3, kl=kl)
        gradient, value = jax.jit(
            lambda solver=solver: solver.hypergradient(
                CategoricalPolicy(logits), CategoricalPolicy(anchor), weights, TRAIN, VALID, key=jax.random.key(0)
            )
        )()
        found[name] = gradient.logits, value
    steps = 1e-5 * jnp.eye(4)
    values = jax.vmap(one_step)(jnp.concatenate([logits[None] + steps, logits[None] - steps]))
    return found, (values[:4] - values[4:]) / 2e-5


def test_enumeration_ahead_is_the_derivative_of_the_validation_loss_after_a_step():
    found, differences = hypergradients()
    np.testing.assert_allclose(found["closed"][0], differences, atol=1e-9)


def test_the_divergence_may_come_from_the_actions_themselves():
    found, _ = hypergradients()
    np.testing.assert_allclose(found["from draws"][0], found["closed"][0], atol=1e-15)


@functools.cache
def learnt():
    """Policies of three weights of the divergence after all rounds, from two initial weights each."""

    @jax.jit
    def run(kl_weights, starts):
        def one(kl_weight, start):
            solver = method(kl_weight, "enumeration")
            state = solver.init(CategoricalPolicy(jnp.zeros(4)), start, key=jax.random.key(0))
            return solver.run(state, TRAIN, VALID)

        return jax.vmap(lambda start: jax.vmap(one, (0, None))(kl_weights, start))(starts)

    return run(jnp.array([0.0, 0.02, 0.2]), jnp.array([[0.0, 0.0], [5.0, -3.0]]))


def test_harmful_actions_are_given_up():
    state, record = learnt()
    assert jnp.all(state.policy.probabilities()[:, :2, 2:] < 0.01)
    assert jnp.all(state.round == 4) and record.valid_loss.shape == (2, 3, 4, 40)
    np.testing.assert_array_equal(record.policy.logits[:, :, -1], state.policy.logits)


def test_more_weight_on_the_divergence_leaves_more_entropy():
    state, _ = learnt()
    entropy = jax.vmap(CategoricalPolicy.entropy)(jax.tree.map(lambda leaf: leaf[0], state.policy))
    assert entropy[0] < entropy[1] < entropy[2]


def test_what_is_learnt_from_cold_starts_does_not_depend_on_the_initial_weights():
    state, _ = learnt()
    np.testing.assert_allclose(state.policy.logits[0], state.policy.logits[1], atol=1e-9)


@pytest.mark.parametrize("estimator", ["score", "pathwise"])
def test_estimators_give_harmful_actions_up_too(estimator):
    settings = {"lookahead": True} if estimator == "pathwise" else {"kl": None}

    @jax.jit
    @jax.vmap
    def run(key):
        solver = method(0.02, estimator, clip=5.0, rounds=6, **settings)
        state = solver.init(CategoricalPolicy(jnp.zeros(4)), jnp.zeros(2), key=key)
        return solver.run(state, TRAIN, VALID, batch_size=2)[0].policy.probabilities()

    harm = run(jax.random.split(jax.random.key(3), 4))[:, 2:]
    assert jnp.all(harm < 0.01), harm


def test_updates_by_hand_are_the_run_and_cold_starts_forget_the_weights():
    small = {"rounds": 2, "inner_steps": 3, "outer_steps": 2, "step_size": optax.cosine_decay_schedule(1.0, 5)}
    solver = method(0.02, **small)
    policy, key = CategoricalPolicy(jnp.zeros(4)), jax.random.key(1)
    start = solver.init(policy, jnp.ones(2), key=key)
    moved = solver.init(policy, jnp.full(2, 9.0), key=key)
    # A cold start goes back to `start`, wherever the weights have come to.
    moved = dataclasses.replace(moved, start=start.start)
    run = jax.jit(lambda state: solver.run(state, TRAIN, VALID)[0])
    expected = run(start)
    update = jax.jit(lambda state: solver.update(state, TRAIN, VALID))
    by_hand = start
    for _ in range(10):
        by_hand = update(by_hand)
    for state in (by_hand, run(moved)):
        np.testing.assert_allclose(state.policy.logits, expected.policy.logits, rtol=1e-12)
        np.testing.assert_allclose(state.weights, expected.weights, rtol=1e-12)
    assert by_hand.round == 2 and by_hand.count == 0 and expected.round == 2
    warm = method(0.02, cold_start=False, **small)
    warm_run = jax.jit(lambda state: warm.run(state, TRAIN, VALID)[0])
    assert not jnp.allclose(warm_run(moved).weights, warm_run(start).weights)


def test_a_run_keeps_single_precision_and_its_projection():
    solver = method(projection=lambda policy: jax.tree.map(lambda logits: jnp.clip(logits, -0.1, 0.1), policy))
    single = lambda x: x.astype(jnp.float32)
    state = solver.init(CategoricalPolicy(single(jnp.zeros(4))), single(jnp.zeros(2)), key=jax.random.key(0))
    state = jax.jit(lambda state: solver.run(state, single(TRAIN), single(VALID))[0])(state)
    assert state.policy.logits.dtype == state.weights.dtype == state.valid_loss.dtype == jnp.float32
    assert jnp.all(jnp.abs(state.policy.logits) <= jnp.float32(0.1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"estimator": "guess"}, "estimator must be"),
        ({"log_prob": None}, "log_prob is missing"),
        ({"estimator": "pathwise", "kl": None}, "kl is missing"),
        ({"actions": jnp.arange(4)}, "actions go with"),
        ({"num_samples": 1}, "num_samples of at least 2"),
        ({"kl_weight": -1.0}, "kl_weight must be nonnegative"),
        ({"step_size": 0.0}, "step_size must be positive"),
        ({"clip": 0.0}, "clip must be positive"),
        ({"rounds": 0}, "rounds must be at least 1"),
        ({"inner_steps": 0, "outer_steps": 0}, "must be at least 1"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        method(**settings)


def test_too_small_data_are_named():
    solver = method()
    state = solver.init(CategoricalPolicy(jnp.zeros(4)), jnp.zeros(2), key=jax.random.key(0))
    with pytest.raises(ValueError, match="batch_size must be between"):
        solver.run(state, TRAIN, VALID, batch_size=3)
    with pytest.raises(ValueError, match="leading axis in common"):
        solver.run(state, (TRAIN, VALID), VALID, batch_size=2)
