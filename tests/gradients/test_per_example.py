import os
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth import gradients


RULE = gradients.GlobalClip(0.5)
SETTINGS = {"vmap": {}, "microbatch": {"microbatch_size": 3}, "ghost": {}}


def logistic(w, a, y):
    return jnp.logaddexp(0.0, -y * (a @ w))


def least_squares(w, a, y):
    return (a @ w - y) ** 2 / 2


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return rng.standard_normal(4), rng.standard_normal((7, 4)), rng.choice([-1.0, 1.0], 7)


def clipped_by_hand(grads, max_norm):
    norms = np.linalg.norm(grads, axis=1)
    return np.sum(grads * np.minimum(1, max_norm / norms)[:, None], axis=0), norms


@pytest.mark.parametrize(
    ("loss", "engine"), [(least_squares, "ghost"), (logistic, "vmap"), (logistic, "microbatch"), (logistic, "ghost")]
)
def test_generalized_linear_models_have_their_closed_form(loss, engine, rows):
    w, a, y = rows
    margins = a @ w
    slope = margins - y if loss is least_squares else -y / (1 + np.exp(y * margins))
    expected = slope[:, None] * a
    every = gradients.per_example(loss, engine, **SETTINGS[engine])
    np.testing.assert_allclose(jax.jit(every)(w, a, y), expected, atol=1e-12)
    total, norms = clipped_by_hand(expected, 0.5)
    np.testing.assert_allclose(jax.jit(every.norms)(w, a, y), np.abs(slope) * np.linalg.norm(a, axis=1), rtol=1e-12)
    result = eqx.filter_jit(gradients.per_example(loss, engine, clipping=RULE, **SETTINGS[engine]))(w, a, y)
    np.testing.assert_allclose(result.total, total, atol=1e-12)
    np.testing.assert_allclose(result.norms, norms, rtol=1e-12)
    np.testing.assert_allclose(result.values, [loss(w, *row) for row in zip(a, y, strict=True)], rtol=1e-12)
    counts = int(result.num_examples), int(result.num_clipped), int(result.num_nonfinite)
    assert counts == (7, np.sum(norms > 0.5), 0)


@pytest.mark.parametrize("engine", SETTINGS)
def test_padding_and_nonfinite_gradients_contribute_zero_and_are_counted(engine, rows):
    w, a, y = rows
    a = a.copy()
    a[1] = np.nan
    a[2, 0] = np.inf
    a[6] = np.nan
    mask = np.array([True, True, True, True, True, False, False])
    run = eqx.filter_jit(gradients.per_example(logistic, engine, clipping=RULE, **SETTINGS[engine]))
    result = run(w, a, y, mask=mask)
    good = [0, 3, 4]
    expected = run(w, a[good], y[good])
    np.testing.assert_allclose(result.total, expected.total, atol=1e-12)
    assert result.num_nonfinite == 2 and result.num_examples == 5 and result.num_clipped == expected.num_clipped
    assert np.all(result.norms[5:] == 0) and np.all(result.values[5:] == 0)
    masked = gradients.per_example(logistic, engine, **SETTINGS[engine])(w, a, y, mask=mask)
    assert np.all(masked[5:] == 0) and np.all(masked[0] != 0)


@pytest.mark.parametrize("engine", SETTINGS)
def test_empty_batches_sum_to_zero(engine, rows):
    w, a, y = rows
    run = gradients.per_example(least_squares, engine, clipping=RULE, **SETTINGS[engine])
    for result in (run(w, a[:0], y[:0]), run(w, a, y, mask=np.zeros(7, bool))):
        assert np.all(result.total == 0) and result.num_examples == 0 and result.num_nonfinite == 0


def test_a_microbatch_of_padding_is_not_computed(rows):
    w, a, y = rows
    calls = []

    def loss(w, a, y):
        jax.debug.callback(lambda _: calls.append(1), y)
        return least_squares(w, a, y)

    run = jax.jit(gradients.per_example(loss, "microbatch", clipping=RULE, microbatch_size=2))
    jax.block_until_ready(run(w, a, y, mask=np.arange(7) < 3))
    jax.effects_barrier()
    # Two chunks of two examples out of four.
    assert len(calls) == 4


def test_memory_of_microbatches_is_flat_in_the_batch():
    def temporary(number, engine, **settings):
        run = gradients.per_example(least_squares, engine, clipping=RULE, **settings)
        shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((4000,), (number, 4000), (number,))]
        return jax.jit(run).lower(*shapes).compile().memory_analysis().temp_size_in_bytes

    small, large = (temporary(n, "microbatch", microbatch_size=8) for n in (32, 256))
    assert large < small + 20 * 256
    assert temporary(256, "vmap") > 5 * large


@pytest.mark.parametrize("engine", SETTINGS)
def test_the_sum_is_differentiable_in_the_level(engine, rows):
    w, a, y = rows

    def total(level):
        rule = gradients.GlobalClip(level)
        return gradients.per_example(logistic, engine, clipping=rule, **SETTINGS[engine])(w, a, y).total

    forward, reverse = jax.jit(lambda c: (jax.jacfwd(total)(c), jax.jacrev(total)(c)))(0.5)
    grads = np.asarray(gradients.per_example(logistic)(w, a, y))
    norms = np.linalg.norm(grads, axis=1)
    expected = np.sum(np.where(norms > 0.5, 1 / norms, 0)[:, None] * grads, axis=0)
    np.testing.assert_allclose(forward, expected, atol=1e-12)
    np.testing.assert_allclose(reverse, expected, atol=1e-12)


RULES = {
    "normalized": gradients.NormalizedClip(0.5),
    "auto": gradients.AutoS(0.5),
    "smooth": gradients.SmoothClip(0.5),
    "layers": gradients.PerLayerClip({"b": 0.1, "w": 0.3}),
    "coordinates": gradients.CoordinateClip(0.1, size=15),
}


@pytest.mark.parametrize("name", RULES)
def test_every_rule_gives_the_sum_of_what_it_does_to_each_gradient(name, rows):
    rng = np.random.default_rng(1)
    params = {"w": jnp.asarray(rng.standard_normal((3, 4))), "b": jnp.zeros(3)}
    loss = lambda p, a, y: jnp.sum(jnp.tanh(p["w"] @ a + p["b"])) * y
    _, a, y = rows
    rule = RULES[name]
    each = gradients.per_example(loss)(params, a, y)
    expected = jax.tree.map(lambda g: g.sum(axis=0), jax.vmap(rule)(each))
    for engine in ("microbatch",) if name == "coordinates" else ("ghost",):
        result = jax.jit(gradients.per_example(loss, engine, clipping=rule, **SETTINGS[engine]))(params, a, y)
        jax.tree.map(lambda x, z: np.testing.assert_allclose(x, z, atol=1e-12), result.total, expected)


@pytest.mark.parametrize("engine", SETTINGS)
def test_half_precision_is_summed_in_float32(engine):
    # In float16 the sum would stop at 2048, where adding one changes nothing.
    number = 4000
    loss = lambda w, a: w @ a
    run = jax.jit(gradients.per_example(loss, engine, clipping=gradients.GlobalClip(10.0), **SETTINGS[engine]))
    result = run(jnp.ones(2, jnp.float16), jnp.ones((number, 2), jnp.float16))
    assert result.total.dtype == jnp.float32
    np.testing.assert_allclose(result.total, number)
    assert gradients.per_example(loss, engine)(jnp.ones(2, jnp.float16), jnp.ones((3, 2), jnp.float16)).dtype == "f2"


def test_the_cost_model_prefers_ghost_norms_where_they_save_and_prints_a_table():
    loss = lambda w, x: jnp.sum(jnp.tanh(w @ x))
    costs = gradients.engine_costs(loss, jnp.ones((30, 40)), jnp.ones((16, 40)), microbatch_size=4, compiled=True)
    assert costs.best() == "ghost" and costs.best(("vmap", "microbatch"), memory_limit=16 * 1200 * 8) == "microbatch"
    for name in ("vmap", "ghost"):
        assert 0.7 < costs.model[name].flops / costs.compiled[name].flops < 1.3
    assert [line.split()[0] for line in str(costs).splitlines()] == ["engine", "vmap", "microbatch", "ghost"]
    # Every gradient is formed in any case where a parameter enters a loop.
    scanned = lambda w, x: jnp.sum(jax.lax.scan(lambda h, _: (jnp.tanh(w @ h), None), x, length=2)[0])
    params, x = jnp.eye(4), jnp.ones((5, 4))
    assert gradients.engine_costs(scanned, params, x).best() != "ghost"
    auto = gradients.per_example(scanned, "auto", clipping=RULE)(params, x)
    np.testing.assert_allclose(auto.total, gradients.per_example(scanned, clipping=RULE)(params, x).total)


@pytest.mark.parametrize(
    ("kind", "message", "call"),
    [
        (ValueError, "engine must be", lambda: gradients.per_example(logistic, "ghosts")),
        (TypeError, "clipping must be", lambda: gradients.per_example(logistic, clipping=1.0)),
        (TypeError, "microbatch", lambda: gradients.per_example(logistic, "ghost", clipping=RULES["coordinates"])),
        (ValueError, "microbatch_size", lambda: gradients.per_example(logistic, "microbatch", microbatch_size=0)),
        (ValueError, "microbatch_size", lambda: gradients.per_example(logistic, "vmap", microbatch_size=2)),
        (
            ValueError,
            "leading axis",
            lambda: gradients.per_example(logistic)(jnp.ones(2), jnp.ones((3, 2)), jnp.ones(2)),
        ),
        (ValueError, "leading axis", lambda: gradients.per_example(logistic)(jnp.ones(2), jnp.ones((3, 2)), 1.0)),
        (ValueError, "batch must hold", lambda: gradients.per_example(jnp.sum)(jnp.ones(2))),
        (ValueError, "params must hold", lambda: gradients.per_example(jnp.dot)(jnp.arange(2), jnp.ones((3, 2)))),
        (TypeError, "real", lambda: gradients.per_example(jnp.dot)(jnp.ones(2, complex), jnp.ones((3, 2)))),
        (ValueError, "scalar", lambda: gradients.per_example(jnp.multiply)(jnp.ones(2), jnp.ones((3, 2)))),
        (ValueError, "scalar", lambda: gradients.per_example(jnp.multiply, "ghost")(jnp.ones(2), jnp.ones((3, 2)))),
        (TypeError, "mask", lambda: gradients.per_example(jnp.dot)(jnp.ones(2), jnp.ones((3, 2)), mask=jnp.ones(3))),
        (
            ValueError,
            "mask",
            lambda: gradients.per_example(jnp.dot)(jnp.ones(2), jnp.ones((3, 2)), mask=jnp.ones(2, bool)),
        ),
    ],
)
def test_wrong_arguments_are_named(kind, message, call):
    with pytest.raises(kind, match=message):
        call()


SHARDED = """
import jax, jax.numpy as jnp, numpy as np, equinox as eqx
from jax.sharding import AxisType, PartitionSpec as P
from jaxopt_thoth import gradients
mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
rng = np.random.default_rng(0)
params = {"w": jnp.asarray(rng.standard_normal((3, 5)), "f4"), "b": jnp.zeros(3, "f4")}
loss = lambda p, x: jnp.sum(jnp.tanh(p["w"] @ x + p["b"] * jnp.arange(1, 4, dtype="f4"))) - 0.1 * jnp.sum(p["w"] ** 2)
x = jnp.asarray(rng.standard_normal((16, 5)), "f4").at[3].set(jnp.nan)
mask = jnp.arange(16) != 5
for engine, size in (("microbatch", 1), ("ghost", None)):
    one = gradients.per_example(loss, engine, clipping=gradients.GlobalClip(1.0), microbatch_size=size)
    all_ = gradients.per_example(
        loss, engine, clipping=gradients.GlobalClip(1.0), microbatch_size=size, axis_name="data"
    )
    fields = lambda r: ((r.total, r.num_examples, r.num_clipped, r.num_nonfinite), (r.norms, r.values))
    run = lambda p, x, m: fields(all_(p, x, mask=m))
    sharded = jax.jit(jax.shard_map(run, mesh=mesh, in_specs=(P(), P("data"), P("data")), out_specs=(P(), P("data"))))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6),
        sharded(params, x, mask),
        jax.jit(lambda p, x, m: fields(one(p, x, mask=m)))(params, x, mask),
    )
print("equal")
"""


def test_the_sum_over_eight_devices_is_that_of_one():
    # In a process of its own: the number of devices is fixed when JAX starts.
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", SHARDED],
        env=os.environ | {"XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "equal" in done.stdout
