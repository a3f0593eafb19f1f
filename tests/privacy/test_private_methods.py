import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import chex
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

from jaxopt_thoth import gradients, mirror, privacy


KEY = jax.random.key(0)
DELTA = 1e-5
NUMBER = 40
X = jax.random.normal(jax.random.key(1), (NUMBER, 3))
Y = X @ jnp.array([1.0, -2.0, 0.5]) + 0.1
DATA = (X, Y)
START = {"w": jnp.zeros(3), "b": jnp.array(0.2)}
SMALL = {"num_examples": NUMBER, "steps": 4, "clipping": gradients.GlobalClip(1.0)}
run = eqx.filter_jit(lambda method, params, data, key: method.run(params, data, key))


def loss(params: dict, example: tuple[Array, Array]) -> Array:
    x, y = example
    return (jnp.dot(x, params["w"]) + params["b"] - y) ** 2 / 2


@partial(jax.jit, static_argnums=1)
def by_hand(keep: Array, steps: int) -> dict:
    """Descent on clipped gradients without noise."""
    params = START
    for _ in range(steps):
        grads = jax.vmap(jax.grad(loss), in_axes=(None, 0))(params, DATA)
        clipped = jax.vmap(lambda g: gradients.clip(g, 1.0))(grads)
        params = jax.tree.map(lambda p, g: p - 0.5 * jnp.tensordot(keep, g, axes=1) / NUMBER, params, clipped)
    return params


# --------------------------------------------------------------------------------------------------- clipped descent


@pytest.mark.parametrize("engine", ["vmap", "microbatch", "ghost"])
def test_without_noise_it_is_descent_on_clipped_gradients(engine: str) -> None:
    method = privacy.DPGD(loss, privacy.Plan(0.0, **SMALL), optax.sgd(0.5), engine=engine)
    params, state = run(method, START, DATA, KEY)
    chex.assert_trees_all_close(params, by_hand(jnp.ones(NUMBER), 4), rtol=1e-10)
    assert (int(state.count), int(state.nonfinite)) == (4, 0)


def test_steps_by_hand_are_the_run() -> None:
    method = privacy.DPSGD(loss, privacy.Plan(1.0, sampling_rate=0.3, **SMALL), optax.sgd(0.1, momentum=0.9))
    params, state = START, method.init(START, KEY)
    update = eqx.filter_jit(method.update)
    for _ in range(4):
        params, state = update(params, state, DATA)
    whole, final = run(method, START, DATA, KEY)
    chex.assert_trees_all_close(params, whole, rtol=1e-10)
    assert final.count == state.count == 4
    assert method.plan.epsilon(DELTA, state) == method.plan.epsilon(DELTA, final)


def test_noise_is_added_once_to_the_sum_and_divided_by_the_expected_number() -> None:
    # No gradient, so that a step is its noise.
    clipping = gradients.GlobalClip(0.5)
    for rate, relation in ((1.0, "replace_one"), (0.25, "add_or_remove_one")):
        kind = gradients.NeighboringRelation(relation)
        plan = privacy.Plan(
            3.0, num_examples=NUMBER, steps=2, clipping=clipping, sampling_rate=rate, relation=kind, capacity=NUMBER
        )
        method = privacy.DPSGD(lambda w, x: 0 * jnp.sum(w * x[1]), plan, optax.sgd(0.1))
        params, _ = run(method, jnp.zeros(20_000), DATA, KEY)
        deviation = 0.1 * 3.0 * 0.5 * (2 if relation == "replace_one" else 1) / (rate * NUMBER) * 2**0.5
        np.testing.assert_allclose(params.std(), deviation, rtol=4 / 40_000**0.5)


def test_an_example_that_is_not_finite_contributes_nothing_and_is_counted() -> None:
    bad = (X.at[7].set(jnp.nan).at[9, 1].set(jnp.inf), Y)
    keep = jnp.ones(NUMBER).at[jnp.array([7, 9])].set(0.0)
    method = privacy.DPGD(loss, privacy.Plan(0.0, **SMALL), optax.sgd(0.5))
    params, state = run(method, START, bad, KEY)
    chex.assert_trees_all_close(params, by_hand(keep, 4), rtol=1e-10)
    assert int(state.nonfinite) == 8
    assert jnp.isinf(method.plan.epsilon(DELTA, state))


def test_an_empty_batch_is_a_step_of_noise() -> None:
    plan = privacy.Plan(0.0, sampling_rate=1e-6, **SMALL)
    params, _ = run(privacy.DPSGD(loss, plan, optax.sgd(0.5)), START, DATA, KEY)
    chex.assert_trees_all_equal(params, START)
    noisy, _ = run(
        privacy.DPSGD(loss, privacy.Plan(1.0, sampling_rate=1e-6, **SMALL), optax.sgd(1e-4)), START, DATA, KEY
    )
    assert all(jnp.all(jnp.isfinite(leaf) & (leaf != START[name])) for name, leaf in noisy.items())


def test_poisson_gradients_are_unbiased() -> None:
    plan = privacy.Plan(0.0, sampling_rate=0.3, capacity=NUMBER, **(SMALL | {"steps": 1}))
    method = privacy.DPSGD(loss, plan, optax.sgd(0.5))
    many = jax.jit(jax.vmap(lambda key: method.run(START, DATA, key)[0]))(jax.random.split(KEY, 4000))
    mean = jax.tree.map(lambda a: a.mean(axis=0), many)
    error = jax.tree.map(lambda a: 4 * a.std(axis=0) / 4000**0.5, many)
    goal = by_hand(jnp.ones(NUMBER), 1)
    assert all(jnp.all(jnp.abs(mean[name] - goal[name]) < error[name]) for name in goal)


def test_models_are_pytrees_and_keep_their_dtypes() -> None:
    model = eqx.nn.MLP(3, 1, 4, 1, key=KEY, dtype=jnp.float32)
    fit = lambda model, example: jnp.sum((model(example[0]) - example[1]) ** 2)
    data = jax.tree.map(lambda a: a.astype(jnp.float32), DATA)
    plan = privacy.Plan(1.0, sampling_rate=0.5, capacity=NUMBER, **SMALL)
    new, _ = run(privacy.DPSGD(fit, plan, optax.sgd(1e-2, momentum=0.9), engine="ghost"), model, data, KEY)
    assert new(X[0].astype(jnp.float32)).dtype == jnp.float32
    assert jax.tree.structure(new) == jax.tree.structure(model)
    assert all(
        a.dtype == b.dtype for a, b in zip(*(jax.tree.leaves(m) for m in (model, new)), strict=True) if eqx.is_array(a)
    )


def test_noise_levels_can_be_batched_and_differentiated() -> None:
    final = lambda noise: privacy.DPGD(loss, privacy.Plan(noise, **SMALL), optax.sgd(0.5)).run(START, DATA, KEY)[0]["w"]
    levels = jnp.array([0.5 - 1e-6, 0.5, 0.5 + 1e-6])
    below, _, above = jax.jit(jax.vmap(final))(levels)
    np.testing.assert_allclose(jax.jit(jax.jacfwd(final))(0.5), (above - below) / 2e-6, rtol=1e-4)


# --------------------------------------------------------------------------------------------------- correlated noise


def test_independent_noise_in_a_matrix_plan_is_private_descent() -> None:
    settings = {"num_examples": NUMBER, "steps": 1, "clipping": gradients.GlobalClip(1.0)}
    special = gradients.NeighboringRelation.replace_special
    plain = privacy.DPGD(loss, privacy.Plan(2.0, relation=special, **settings), optax.sgd(0.1))
    plan = privacy.MatrixPlan(2.0, mechanism=privacy.Identity(), batch_size=NUMBER, **settings)
    correlated = privacy.DPFTRL(loss, plan, optax.sgd(0.1))
    chex.assert_trees_all_close(run(plain, START, DATA, KEY)[0], run(correlated, START, DATA, KEY)[0], rtol=1e-10)
    np.testing.assert_allclose(plain.plan.epsilon(DELTA), plan.epsilon(DELTA))


@pytest.mark.parametrize("mechanism", [privacy.Banded(3), privacy.BinaryTree()], ids=["banded", "tree"])
def test_parameters_carry_the_noise_of_the_running_sum(mechanism: privacy.AbstractMatrixMechanism) -> None:
    clipping = gradients.GlobalClip(1.0)
    plan = privacy.MatrixPlan(2.0, mechanism=mechanism, num_examples=NUMBER, batch_size=8, steps=8, clipping=clipping)
    params, _ = run(
        privacy.DPFTRL(lambda w, x: 0 * jnp.sum(w * x[1]), plan, optax.sgd(0.1)), jnp.zeros(20_000), DATA, KEY
    )
    # The last row of A C^-1.
    row = np.linalg.solve(np.asarray(mechanism.strategy(8)).T, np.ones(8))
    deviation = 0.1 * 2.0 * float(mechanism.sensitivity(8, 2, 5)) * np.linalg.norm(row) / 8
    np.testing.assert_allclose(params.std(), deviation, rtol=4 / 40_000**0.5)


# ------------------------------------------------------------------------------------------------------ mirror descent


def test_the_euclidean_map_is_private_gradient_descent() -> None:
    plan = privacy.Plan(1.0, sampling_rate=0.5, capacity=NUMBER, **SMALL)
    fit = lambda w, example: loss({"w": w, "b": jnp.zeros(())}, example)
    mirrored = privacy.PrivateMirrorDescent(fit, plan, mirror.Euclidean(), lambda count: 0.2)
    plain = privacy.DPSGD(fit, plan, optax.sgd(0.2))
    a, b = (run(method, jnp.zeros(3), DATA, KEY)[0] for method in (mirrored, plain))
    np.testing.assert_allclose(a, b, rtol=1e-10)


def test_noise_cannot_leave_the_simplex() -> None:
    plan = privacy.Plan(500.0, **SMALL)
    fit = lambda w, example: loss({"w": w, "b": jnp.zeros(())}, example)
    method = privacy.PrivateMirrorDescent(fit, plan, mirror.NegativeEntropy(), 1.0)
    params, state = run(method, jnp.ones(3) / 3, DATA, KEY)
    np.testing.assert_allclose(params.sum(), 1, rtol=1e-12)
    assert jnp.all(params >= 0)
    assert plan.epsilon(DELTA, state) == plan.epsilon(DELTA)


# --------------------------------------------------------------------------------------------------- relative Gaussian


def squares(w: Array, example: tuple[Array, Array]) -> Array:
    return (jnp.dot(example[0], w) - example[1]) ** 2 / 2


def interpolated(number: int, residual: float) -> tuple[tuple[Array, Array], dict]:
    """Least squares with rows of norm 1 and residuals of one size at the solution, and its constants."""
    rows = np.random.default_rng(3).normal(size=(number // 2, 4))
    rows = np.repeat(rows / np.linalg.norm(rows, axis=1, keepdims=True), 2, axis=0)
    # In pairs that cancel, so that the residuals do not move the solution.
    signs = np.tile([1.0, -1.0], number // 2)
    data = jnp.asarray(rows), jnp.asarray(rows @ np.arange(1.0, 5) + residual * signs)
    least = np.linalg.eigvalsh(rows.T @ rows / number)[0]
    constants = {"smoothness": 1.0, "strong_convexity": least, "gradient_bound": residual, "num_examples": number}
    return data, constants | {"dimension": 4}


def test_constants_bound_what_one_example_moves() -> None:
    data, constants = interpolated(60, 0.3)
    rng = np.random.default_rng(0)
    # Within what the constants allow, every data set here being at most as badly conditioned and as far off.
    constants |= {"strong_convexity": constants["strong_convexity"] * 0.8, "gradient_bound": 1.2}
    method = privacy.RelativeGaussianGD(squares, 1.0, steps=1, **constants)
    slope, offset = float(method.slope), float(method.offset)
    gradient = jax.jit(lambda w, data: jax.grad(lambda w: jnp.mean(jax.vmap(squares, (None, 0))(w, data)))(w))
    worst = 0.0
    for _ in range(40):
        row = rng.normal(size=4)
        other = (
            data[0].at[0].set(row / np.linalg.norm(row)),
            data[1].at[0].set(jnp.dot(row / np.linalg.norm(row), jnp.arange(1.0, 5)) + rng.uniform(-1, 1)),
        )
        for scale in (0.01, 1.0, 100.0):
            w = jnp.asarray(np.arange(1.0, 5) + scale * rng.normal(size=4))
            one, two = gradient(w, data), gradient(w, other)
            size = min(np.linalg.norm(one), np.linalg.norm(two))
            worst = max(worst, float(np.linalg.norm(one - two) / (slope * size + offset)))
    assert 0.05 < worst <= 1


@pytest.mark.parametrize("residual", [0.0, 0.3])
def test_relative_noise_has_the_floor_of_the_theory_and_none_without_offset(residual: float) -> None:
    data, constants = interpolated(400, residual)
    method = privacy.RelativeGaussianGD(squares, 8.0, steps=120, **constants)
    value = lambda w: jnp.mean(jax.vmap(squares, (None, 0))(w, data)) - residual**2 / 2
    final = jax.jit(jax.vmap(lambda key: value(method.run(jnp.zeros(4), data, key)[0])))
    excess, start = final(jax.random.split(KEY, 200)).mean(), value(jnp.zeros(4))
    contraction = (1 - method.step_size * method.strong_convexity) ** 120
    assert excess <= contraction * start + method.floor
    if residual:
        assert excess > 1e-3 * method.floor
    else:
        assert method.floor == 0 and excess < 1e-6 * start


def test_a_budget_is_met_or_refused() -> None:
    _, constants = interpolated(3000, 0.1)
    method = privacy.RelativeGaussianGD.for_budget(squares, 1.0, DELTA, steps=20, **constants)
    assert 0.9999 < method.epsilon(DELTA) <= 1
    same = privacy.relative_gaussian_epsilon(method.slope, method.noise_multiplier, 4, 20, DELTA)
    assert method.epsilon(DELTA) == same
    with pytest.raises(ValueError, match="infinite noise"):
        privacy.RelativeGaussianGD.for_budget(squares, 0.01, DELTA, steps=2000, **constants)
    with pytest.raises(ValueError, match="below num_examples=3000"):
        privacy.RelativeGaussianGD(squares, 1.0, steps=1, **(constants | {"strong_convexity": 1 / 3000}))
    assert privacy.RelativeGaussianGD(squares, 1.0, steps=1, step_size=2.0, **constants).floor == jnp.inf


def test_relative_runs_that_broke_their_assumptions_have_no_bound() -> None:
    data, constants = interpolated(60, 0.1)
    method = privacy.RelativeGaussianGD(squares, 50.0, steps=2, **constants)
    params, state = run(method, jnp.zeros(4), data, KEY)
    assert method.epsilon(DELTA, state) == method.epsilon(DELTA)
    with pytest.raises(privacy.PrivacyError, match="same key"):
        method.epsilon(DELTA, state, state)
    with pytest.raises(privacy.PrivacyError, match="took 3 steps"):
        method.epsilon(DELTA, method.update(params, state, data)[1])
    bad = (data[0].at[3, 1].set(jnp.nan), data[1])
    with pytest.raises(privacy.PrivacyError, match="not finite"):
        method.epsilon(DELTA, run(method, jnp.zeros(4), bad, KEY)[1])
    with pytest.raises(privacy.PrivacyError, match="other settings"):
        privacy.RelativeGaussianGD(squares, 51.0, steps=2, **constants).epsilon(DELTA, state)
    with pytest.raises(ValueError, match="dimension=3"):
        method.init(jnp.zeros(3), KEY)
    with pytest.raises(ValueError, match="60 examples"):
        method.update(jnp.zeros(4), state, (X, Y))


# ------------------------------------------------------------------------------------------------------------- devices


def test_shards_on_eight_devices_take_the_steps_of_one() -> None:
    env = os.environ | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"}
    done = subprocess.run([sys.executable, "-c", _SHARDED], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["8", "same", "same"]


_SHARDED = """
import equinox as eqx, jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import PartitionSpec as P
from jaxopt_thoth import gradients, privacy

jax.config.update("jax_enable_x64", True)
mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
print(len(jax.devices()))
data = jax.random.normal(jax.random.key(1), (48, 3))
loss = lambda w, x: (x @ w - 1) ** 2 / 2
settings = dict(num_examples=48, steps=3, clipping=gradients.GlobalClip(1.0))
cases = [
    (privacy.DPSGD, privacy.Plan(1.0, sampling_rate=0.4, **settings), "microbatch"),
    (privacy.DPFTRL, privacy.MatrixPlan(1.0, mechanism=privacy.Banded(2), batch_size=12, **settings), "ghost"),
]
for method, plan, engine in cases:
    one = method(loss, plan, optax.sgd(0.1), engine=engine)
    many = method(loss, plan, optax.sgd(0.1), engine=engine, axis_name="data")
    alone, state = eqx.filter_jit(one.run)(jnp.zeros(3), data, jax.random.key(0))
    # Replicated outputs are checked by shard_map: the noise is the same everywhere, and added once.
    body = lambda data, key: (lambda w, s: (w, s.count, s.dropped, s.nonfinite))(*many.run(jnp.zeros(3), data, key))
    sharded = jax.jit(jax.shard_map(body, mesh=mesh, in_specs=(P("data"), P()), out_specs=P()))
    together, *counts = sharded(data, jax.random.key(0))
    np.testing.assert_allclose(together, alone, rtol=1e-10)
    np.testing.assert_array_equal(counts, (state.count, state.dropped, state.nonfinite))
    print("same")
"""


# ------------------------------------------------------------------------------------------------------------ refusals


PLAN = privacy.Plan(1.0, **SMALL)
SAMPLED = privacy.Plan(1.0, sampling_rate=0.5, **SMALL)
MATRIX = privacy.MatrixPlan(1.0, mechanism=privacy.Identity(), batch_size=8, **SMALL)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: privacy.DPGD(loss, SAMPLED, optax.sgd(0.1)), "DPSGD"),
        (lambda: privacy.DPGD(loss, PLAN, optax.sgd(0.1), engine="fast"), "engine"),
        (lambda: privacy.PrivateMirrorDescent(loss, PLAN, mirror.Euclidean(), 0.0), "step_size"),
        (lambda: run(privacy.DPGD(loss, PLAN, optax.sgd(0.1)), START, (X[:30], Y[:30]), KEY), "40 examples"),
        (lambda: privacy.DPGD(loss, PLAN, optax.sgd(0.1)).init(START, jnp.zeros(2)), "random key"),
        (
            lambda: privacy.PrivateMirrorDescent(loss, PLAN, mirror.NegativeEntropy(), 1.0).init(-jnp.ones(3), KEY),
            "domain",
        ),
    ],
)
def test_bad_settings_are_told(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: privacy.DPGD("loss", PLAN, optax.sgd(0.1)), "callable"),
        (lambda: privacy.DPGD(loss, "plan", optax.sgd(0.1)), "plan"),
        (lambda: privacy.DPGD(loss, PLAN, 0.1), "optimizer"),
        (lambda: privacy.DPSGD(loss, MATRIX, optax.sgd(0.1)), "DPFTRL"),
        (lambda: privacy.DPFTRL(loss, PLAN, optax.sgd(0.1)), "DPSGD"),
        (lambda: privacy.PrivateMirrorDescent(loss, PLAN, "simplex", 1.0), "mirror_map"),
        (lambda: privacy.RelativeGaussianGD(None, 1.0, steps=1, **interpolated(60, 0.1)[1]), "callable"),
    ],
)
def test_bad_kinds_are_told(call: Callable[[], object], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        call()
