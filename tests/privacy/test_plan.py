from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from jaxopt_thoth import gradients, privacy


KEY = jax.random.key(0)
DELTA = 1e-5
IDENTITY = privacy.Identity()
CLIP = gradients.GlobalClip(1.0)
ADD, REPLACE, SPECIAL = gradients.NeighboringRelation
SMALL = {"num_examples": 40, "steps": 3, "clipping": CLIP}
DATA = jnp.linspace(-1, 1, 40)


def make(noise: float = 2.0, **settings: Any) -> privacy.Plan:
    return privacy.Plan(noise, **(SMALL | settings))


def matrix(noise: float = 2.0, mechanism: Any = IDENTITY, **settings: Any) -> privacy.MatrixPlan:
    return privacy.MatrixPlan(noise, mechanism=mechanism, **({"batch_size": 8} | SMALL | settings))


def descent(plan: privacy.AbstractPlan) -> privacy.DPSGD | privacy.DPFTRL:
    method = privacy.DPSGD if isinstance(plan, privacy.Plan) else privacy.DPFTRL
    return method(lambda w, x: (w - x) ** 2 / 2, plan, optax.sgd(0.1))


@eqx.filter_jit
def run(method: Any, key: jax.Array) -> privacy.PrivateState:
    return method.run(jnp.array(0.0), DATA, key)[1]


# ---------------------------------------------------------------------------------------------------------- accounting


@pytest.mark.parametrize("rate", [1.0, 0.1])
@pytest.mark.parametrize("relation", [ADD, SPECIAL])
def test_epsilon_is_that_of_the_accountant(rate: float, relation: gradients.NeighboringRelation) -> None:
    plan = make(1.3, sampling_rate=rate, relation=relation, steps=50)
    assert plan.epsilon(DELTA) == privacy.epsilon(rate, 1.3, 50, DELTA)
    # What is told to others composes to the same.
    import dp_accounting

    accountant = dp_accounting.rdp.RdpAccountant()
    accountant.compose(plan.dp_event())
    np.testing.assert_allclose(plan.epsilon(DELTA), accountant.get_epsilon(DELTA), rtol=2e-3)


def test_rows_of_the_literature() -> None:
    plan = partial(privacy.Plan, clipping=CLIP)
    values = [
        plan(10.0, num_examples=100, steps=100).epsilon(DELTA),
        plan(1.1, num_examples=60_000, steps=14_062, sampling_rate=256 / 60_000).epsilon(DELTA),
        matrix(4.0, steps=1000).epsilon(DELTA),
    ]
    np.testing.assert_allclose(values, [4.728507, 2.596556, 1.012551], rtol=1e-3)
    tight = plan(10.0, num_examples=100, steps=100).epsilon(DELTA, accountant="pld")
    np.testing.assert_allclose(tight, 4.377178, rtol=1e-3)


def test_full_batches_compose_to_one_release() -> None:
    many, one = make(6.0, steps=36), make(1.0, steps=1)
    np.testing.assert_allclose(many.epsilon(DELTA), one.epsilon(DELTA), rtol=1e-6)


def test_epsilon_is_differentiable_in_the_noise() -> None:
    # That the derivative is right is tested with the accountant; this traces it.
    epsilon = lambda noise: make(noise, sampling_rate=0.2).epsilon(DELTA)
    assert jax.eval_shape(jax.grad(epsilon), 1.2).shape == ()


@pytest.mark.parametrize("rate", [1.0, 0.05])
def test_a_budget_is_met_and_not_exceeded(rate: float) -> None:
    plan = privacy.Plan.for_budget(1.5, DELTA, sampling_rate=rate, **SMALL)
    assert 1.4999 < plan.epsilon(DELTA) <= 1.5
    assert plan.noise_scale == plan.noise_multiplier
    other = privacy.MatrixPlan.for_budget(1.5, DELTA, mechanism=privacy.BinaryTree(), batch_size=4, **SMALL)
    assert 1.4999 < other.epsilon(DELTA) <= 1.5


def test_without_noise_epsilon_is_infinite() -> None:
    assert make(0.0).epsilon(DELTA) == jnp.inf
    assert make(0.0, sampling_rate=0.1).epsilon(DELTA) == jnp.inf
    assert matrix(0.0).epsilon(DELTA) == jnp.inf


@pytest.mark.parametrize(
    ("clipping", "sum_of_one"),
    [
        (gradients.GlobalClip(0.7), 0.7),
        (gradients.NormalizedClip(0.7), 1.0),
        (gradients.CoordinateClip(0.5, size=16), 2.0),
    ],
)
def test_noise_is_scaled_to_rule_and_relation(clipping: gradients.AbstractClipping, sum_of_one: float) -> None:
    for relation, factor in ((ADD, 1), (REPLACE, 2), (SPECIAL, 1)):
        scale = make(3.0, clipping=clipping, relation=relation).noise_scale
        np.testing.assert_allclose(scale, 3 * factor * sum_of_one)


def test_passes_cost_the_sensitivity_of_the_mechanism() -> None:
    # 40 examples in 5 batches: 12 steps are three passes, the last one short.
    for mechanism in (privacy.Identity(), privacy.Banded(4), privacy.BinaryTree(), privacy.SquareRootToeplitz()):
        plan = matrix(2.0, mechanism, steps=12, relation=REPLACE)
        assert (plan.batches, plan.participations, plan.expected_batch) == (5, 3, 8.0)
        np.testing.assert_allclose(plan.noise_scale, 2 * 2 * mechanism.sensitivity(12, 3, 5))


# ------------------------------------------------------------------------------------------------------------- batches


def test_poisson_batches_have_independent_members() -> None:
    plan = make(sampling_rate=0.3, capacity=40)

    def members(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        index, mask, dropped = plan.draw(key, jnp.array(0, jnp.int32), 40, jnp.array(0, jnp.int32))
        return jnp.zeros(40, jnp.int32).at[index].add(mask.astype(jnp.int32)), dropped

    taken, dropped = jax.jit(jax.vmap(members))(jax.random.split(KEY, 4000))
    assert taken.max() == 1 and dropped.max() == 0
    np.testing.assert_allclose(taken.mean(axis=0), 0.3, atol=4.5 * (0.21 / 4000) ** 0.5)
    # The number of members is binomial, not fixed.
    np.testing.assert_allclose(taken.sum(axis=1).var(), 40 * 0.21, rtol=0.1)
    assert abs(np.corrcoef(np.asarray(taken).T) - np.eye(40)).max() < 5 / 4000**0.5


def test_default_capacity_hardly_ever_overflows() -> None:
    plan = make(num_examples=50_000, sampling_rate=0.01, steps=1000)
    capacity = plan.capacity_of(50_000)
    assert 1000 * scipy.stats.binom.sf(capacity, 50_000, 0.01) <= 1e-9
    assert capacity < 700
    assert make().capacity_of(40) == 40


def test_overflow_is_counted() -> None:
    plan = make(sampling_rate=0.9, capacity=10)
    index, mask, dropped = plan.draw(KEY, jnp.array(0, jnp.int32), 40, jnp.array(0, jnp.int32))
    assert index.shape == (10,) and mask.all() and 15 < dropped <= 30


def test_fixed_order_takes_each_example_once_a_pass() -> None:
    plan = matrix(num_examples=41, batch_size=8, steps=12)

    def members(step: int, rows: int, shard: int) -> list[int]:
        where = jnp.array(step, jnp.int32), rows, jnp.array(shard, jnp.int32)
        index, mask, _ = plan.draw(KEY, *where)
        return [shard * rows + int(i) for i, inside in zip(index, mask, strict=True) if inside]

    passes = [members(step, 41, 0) for step in range(12)]
    assert sorted(chain.from_iterable(passes[:6])) == list(range(41))
    assert passes[:6] == passes[6:]
    assert max(map(len, passes)) <= 8
    # Shards hold the same batches.
    even = matrix(num_examples=40, batch_size=7, steps=12)
    for step in range(6):
        index, mask, _ = even.draw(KEY, jnp.array(step, jnp.int32), 40, jnp.array(0, jnp.int32))
        whole = sorted(int(i) for i, inside in zip(index, mask, strict=True) if inside)
        parts = []
        for shard in range(4):
            index, mask, _ = even.draw(KEY, jnp.array(step, jnp.int32), 10, jnp.array(shard, jnp.int32))
            parts += [10 * shard + int(i) for i, inside in zip(index, mask, strict=True) if inside]
        assert sorted(parts) == whole


# ---------------------------------------------------------------------------------------------------- broken promises


def test_a_run_that_kept_to_its_plan_has_its_bound() -> None:
    plan = make(sampling_rate=0.2)
    state = run(descent(plan), KEY)
    assert plan.epsilon(DELTA, state) == plan.epsilon(DELTA)
    assert (int(state.count), int(state.dropped)) == (3, 0)


def test_runs_add_up() -> None:
    plan = make(3.0)
    first, second = (run(descent(plan), key) for key in jax.random.split(KEY))
    together = plan.epsilon(DELTA, first, second)
    np.testing.assert_allclose(together, privacy.epsilon(1.0, 3.0, 6, DELTA))
    batch = jax.vmap(lambda key: descent(plan).run(jnp.array(0.0), DATA, key)[1])(jax.random.split(KEY, 2))
    assert plan.epsilon(DELTA, batch) == together
    # Another plan of another run: the sum of both is for `composed_epsilon`.
    with pytest.raises(privacy.PrivacyError, match="other settings"):
        make(3.1).epsilon(DELTA, first)
    with pytest.raises(privacy.PrivacyError, match="other settings"):
        make(3.0, relation=SPECIAL).epsilon(DELTA, first)


def test_more_steps_than_planned_have_no_bound() -> None:
    plan = make()
    method = descent(plan)
    params, state = eqx.filter_jit(method.run)(jnp.array(0.0), DATA, KEY)
    _, state = method.update(params, state, DATA)
    with pytest.raises(privacy.PrivacyError, match="took 4 steps, and 3 were planned"):
        plan.epsilon(DELTA, state)


def test_an_overflow_has_no_bound() -> None:
    plan = make(sampling_rate=0.9, capacity=10)
    with pytest.raises(privacy.PrivacyError, match="larger capacity"):
        plan.epsilon(DELTA, run(descent(plan), KEY))


def test_a_key_serves_once() -> None:
    plan = make()
    state = run(descent(plan), KEY)
    with pytest.raises(privacy.PrivacyError, match="same key"):
        plan.epsilon(DELTA, state, state)
    same = jax.vmap(lambda w: descent(plan).run(w, DATA, KEY)[1])(jnp.arange(2.0))
    with pytest.raises(privacy.PrivacyError, match="same key"):
        plan.epsilon(DELTA, same)


def test_inside_of_jit_nothing_is_promised() -> None:
    plan = make()
    with pytest.raises(privacy.PrivacyError, match="outside"):
        jax.jit(lambda key: plan.epsilon(DELTA, descent(plan).run(jnp.array(0.0), DATA, key)[1]))(KEY)


# ----------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: make(-1.0), "noise_multiplier"),
        (lambda: make(num_examples=0), "num_examples"),
        (lambda: make(steps=0), "steps"),
        (lambda: make(sampling_rate=0.0), "sampling_rate"),
        (lambda: make(sampling_rate=1.1), "sampling_rate"),
        (lambda: make(sampling_rate=float("nan")), "sampling_rate"),
        (lambda: make(capacity=0), "capacity"),
        (lambda: make(clipping=gradients.GlobalClip(jnp.inf)), "finite level"),
        (lambda: make(clipping=gradients.GlobalClip(1.0, nan_safe=False)), "nan_safe"),
        (lambda: make().epsilon(0.0), "delta"),
        (lambda: make().epsilon(1.0), "delta"),
        (lambda: make(sampling_rate=0.5, relation=REPLACE).epsilon(DELTA), "replace_one"),
        (lambda: make().epsilon(DELTA, accountant="gdp"), "accountant"),
        (lambda: privacy.Plan.for_budget(1.0, 2.0, **SMALL), "delta"),
        (lambda: privacy.Plan.for_budget(-1.0, DELTA, **SMALL), "epsilon"),
        (lambda: privacy.Plan.for_budget(1.0, DELTA, sampling_rate=-0.1, **SMALL), "sampling_rate"),
        (lambda: matrix(relation=ADD), "add_or_remove_one"),
        (lambda: matrix(batch_size=0), "batch_size"),
    ],
)
def test_bad_settings_are_told(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: make(clipping=1.0), "clipping"),
        (lambda: make(relation="replace_one"), "relation"),
        (lambda: matrix(mechanism="tree"), "mechanism"),
    ],
)
def test_bad_kinds_are_told(call: Callable[[], object], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        call()
