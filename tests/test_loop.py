"""The loop on maps whose iterates are known: `x -> x / 2`, stopped on `|x| <= tol`."""

import os
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth._loop import packed_while_loop, run_loop


MODES = ["while", "checkpointed", "scan"]
START = 8.0
SHARDED = """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
import jaxopt_thoth as jt
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

assert jax.device_count() == 2
rng = np.random.default_rng(0)
X, y = jnp.asarray(rng.normal(size=(12, 4))), jnp.asarray(rng.normal(size=12))
strengths = jnp.array([0.3, 0.1, 0.05, 0.01])
mesh = jax.make_mesh((2,), ("batch",), axis_types=(AxisType.Auto,))

def fit(X, strength):
    problem = jt.Composite(jt.LinearModel(jt.losses.Squared(), X, y), jt.penalties.L1(strength))
    return jt.solve(problem, jt.ProximalGradient(tol=1e-11), jnp.zeros(4)).params

loss = lambda strength: jnp.sum(fit(X, strength) ** 2)
rows = jax.vmap(lambda s: (fit(X, s), jax.grad(loss)(s)))
expected = jax.jit(rows)(strengths)
sharded = jax.jit(jax.shard_map(rows, mesh=mesh, in_specs=P("batch"), out_specs=P("batch")))(strengths)
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), sharded, expected)

def constrained(strength):  # what does not vary, at first, in every carry
    problem = jt.Composite(jt.LinearModel(jt.losses.Squared(), X * strength[0], y), jt.penalties.Box(-0.1, 0.1))
    solver = jt.ProximalGradient(tol=1e-11, max_steps=200)
    recorded = jt.solve(problem, solver, jnp.zeros(4), history=True, adjoint=jt.implicit.Neumann(3)).params
    return recorded - jt.solve(problem, solver, jnp.zeros(4), mode="scan").params

apart = jax.shard_map(constrained, mesh=mesh, in_specs=P("batch"), out_specs=P("batch"))
np.testing.assert_allclose(jax.jit(apart)(strengths), 0, atol=1e-9)

by_rows = jax.device_put(X, NamedSharding(mesh, P("batch")))
np.testing.assert_allclose(jax.jit(fit)(by_rows, 0.05), expected[0][2], atol=1e-9)
print("equal")
"""


def halve(params, state):
    return params / 2, state + 1


def size_at_most(tol):
    def measure(new, state, old, num_steps, last_error):
        error = jnp.max(jnp.abs(new))
        return error, error <= tol

    return measure


def run(params, *, step=halve, tol=0.3, **settings):
    return run_loop(step, size_at_most(tol), params, jnp.asarray(0, jnp.int32), **{"max_steps": 8, **settings})


@pytest.mark.parametrize("mode", MODES)
def test_modes_agree_on_a_run_that_converges(mode):
    loop, record = run(jnp.asarray(START), mode=mode)
    assert record is None
    assert loop.result == jt.RESULTS.converged
    assert (loop.num_steps, loop.state, loop.params, loop.error) == (5, 5, 0.25, 0.25)


@pytest.mark.parametrize("mode", MODES)
def test_modes_agree_on_a_run_that_is_cut_off(mode):
    loop, _ = run(jnp.asarray(START), mode=mode, max_steps=3)
    assert loop.result == jt.RESULTS.max_steps_reached
    assert (loop.num_steps, loop.params) == (3, 1.0)


@pytest.mark.parametrize("mode", MODES)
def test_no_steps_return_the_start(mode):
    loop, _ = run(jnp.asarray(START), mode=mode, max_steps=0)
    assert loop.result == jt.RESULTS.max_steps_reached
    assert (loop.num_steps, loop.params, loop.error) == (0, START, jnp.inf)


@pytest.mark.parametrize("mode", MODES)
def test_nonfinite_step_is_discarded(mode):
    bad = lambda params, state: (jnp.where(state == 2, jnp.nan, params / 2), state + 1)
    loop, _ = run(jnp.asarray(START), step=bad, mode=mode)
    assert loop.result == jt.RESULTS.nonfinite
    assert (loop.params, loop.state, loop.error) == (2.0, 2, 2.0)


def test_nonfinite_row_of_a_batch_leaves_the_others_alone():
    fragile = lambda params, state: (jnp.log(params), state + 1)
    loop, _ = jax.vmap(lambda x: run(x, step=fragile, tol=-1.0))(jnp.array([jnp.exp(2.0), 2.0]))
    assert list(loop.result == jt.RESULTS.nonfinite) == [True, True]
    loop, _ = jax.vmap(lambda x: run(x, step=lambda p, s: (p * jnp.where(p > 100, jnp.nan, 0.5), s + 1)))(
        jnp.array([8.0, 101.0, 4.0])
    )
    np.testing.assert_array_equal(loop.params, [0.25, 101.0, 0.25])
    np.testing.assert_array_equal(loop.num_steps, [5, 1, 4])
    np.testing.assert_array_equal(loop.result == jt.RESULTS.converged, [True, False, True])
    np.testing.assert_array_equal(loop.result == jt.RESULTS.nonfinite, [False, True, False])


@pytest.mark.parametrize("mode", MODES)
def test_growth_beyond_recovery_is_divergence(mode):
    grow = lambda params, state: (params * 1e10, state + 1)
    loop, _ = run(jnp.asarray(1.0), step=grow, mode=mode)
    assert loop.result == jt.RESULTS.diverged
    assert loop.num_steps == 3


def test_infeasible_start_takes_no_step():
    for mode in MODES:
        loop, _ = run(jnp.asarray(START), mode=mode, feasible=jnp.asarray(False))
        assert loop.result == jt.RESULTS.infeasible
        assert (loop.num_steps, loop.params) == (0, START)


@pytest.mark.parametrize("mode", ["while", "scan"])
def test_history_holds_every_step_and_nan_after_the_last(mode):
    loop, record = run(jnp.asarray(START), mode=mode, objective=lambda x: x**2)
    nan = np.nan
    np.testing.assert_array_equal(record.error, [4, 2, 1, 0.5, 0.25, nan, nan, nan])
    np.testing.assert_array_equal(record.value, [16, 4, 1, 0.25, 0.0625, nan, nan, nan])
    assert loop.num_steps == 5


def test_history_of_a_batch_is_that_of_its_rows():
    starts = jnp.array([8.0, 1.0])
    record = jax.vmap(lambda x: run(x, objective=lambda w: w))(starts)[1]
    for row, start in enumerate(starts):
        np.testing.assert_array_equal(record.value[row], run(start, objective=lambda w: w)[1].value)


@pytest.mark.parametrize("compile_it", [False, True])
def test_progress_is_called_between_blocks_of_steps(compile_it):
    calls = []
    report = lambda num_steps, error: calls.append((int(num_steps), float(error)))
    go = lambda x: run(x, tol=0.0, max_steps=25, progress=report)[0].params
    jax.block_until_ready((jax.jit(go) if compile_it else go)(jnp.asarray(1.0)))
    jax.effects_barrier()
    assert sorted(calls) == [(10, 2.0**-10), (20, 2.0**-20), (25, 2.0**-25)]


@pytest.mark.parametrize("mode", ["checkpointed", "scan"])
def test_reverse_mode_of_the_differentiable_loops(mode):
    assert jax.grad(lambda x: run(x, mode=mode)[0].params)(START) == 2.0**-5


def test_forward_mode_of_the_scan():
    assert jax.jvp(lambda x: run(x, mode="scan")[0].params, (START,), (1.0,))[1] == 2.0**-5


def test_weakly_typed_and_low_precision_carries_keep_their_dtype():
    loop, _ = run(jnp.asarray(START, jnp.bfloat16))
    assert loop.params.dtype == loop.error.dtype == jnp.bfloat16 and loop.result == jt.RESULTS.converged
    assert not run(1.0 * jnp.asarray(START))[0].params.weak_type


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "for"}, "mode must be"),
        ({"mode": "checkpointed", "objective": jnp.abs}, "history=True needs"),
        ({"mode": "scan", "progress": print}, "progress needs"),
        ({"mode": "checkpointed", "progress": print}, "progress needs"),
    ],
)
def test_what_a_mode_cannot_give_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        run(jnp.asarray(START), **settings)


def test_each_result_has_a_message():
    messages = [jt.RESULTS[getattr(jt.RESULTS, name)] for name in ("converged", "diverged", "infeasible", "nonfinite")]
    assert len(set(messages)) == 4


def test_a_solution_is_a_pytree():
    problem = jt.Composite(jt.Quadratic(jnp.eye(2), jnp.array([-3.0, -1.0])), jt.penalties.L1(1.0))
    solution = jt.solve(problem, jt.ProximalGradient(), jnp.zeros(2))
    copy = jax.tree.unflatten(jax.tree.structure(solution), jax.tree.leaves(solution))
    assert eqx.tree_equal(solution, copy)


def test_sharded_rows_and_sharded_data_give_the_same_solutions_and_gradients():
    # In a process of its own: the number of devices is fixed when JAX starts.
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [sys.executable, "-c", SHARDED],
        env=os.environ | {"XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "equal" in done.stdout


def test_scalars_that_travel_packed_keep_their_values_and_dtypes():
    carry = {
        "vector": jnp.zeros(3),
        "count": jnp.asarray(0, jnp.int32),
        "many": [jnp.asarray(float(i)) for i in range(20)],
        "single": jnp.asarray(1, jnp.float32),
        "flag": jnp.asarray(False),
        "key": jax.random.key(0),
    }

    def body(carry):
        many = [value + i for i, value in enumerate(carry["many"])]
        return {**carry, "count": carry["count"] + 1, "many": many, "flag": ~carry["flag"]}

    loop = jax.jit(lambda carry, limit: packed_while_loop(lambda c: c["count"] < limit, body, carry))
    found = loop(carry, jnp.asarray(3, jnp.int32))
    assert jax.tree.map(jnp.result_type, found) == jax.tree.map(jnp.result_type, carry)
    assert found["count"] == 3 and bool(found["flag"])
    np.testing.assert_array_equal(jnp.stack(found["many"]), 4.0 * np.arange(20))
    counts = jax.vmap(lambda limit: loop(carry, limit)["count"])(jnp.arange(4, dtype=jnp.int32))
    np.testing.assert_array_equal(counts, np.arange(4))
