"""Clipping as optax transformations: descent, the adaptive quantile, error feedback."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

import jaxopt_thoth as jt
from jaxopt_thoth import gradients as g, interop


def descend(gradient, x, step_size, max_norm, num_steps):
    """The iterates before each step, and their gradients."""
    optimizer = g.clipped_descent(step_size, max_norm)

    def step(carry, _):
        x, state = carry
        slope = gradient(x)
        updates, state = optimizer.update(slope, state)
        return (x + updates, state), (x, slope)

    return jax.lax.scan(step, (x, optimizer.init(x)), length=num_steps)[1]


def test_the_transform_is_the_one_of_optax_and_skips_what_is_not_finite():
    tree = {"w": jnp.array([3.0, 0.0]), "b": jnp.array(4.0)}
    ours, theirs = g.clip_transform(g.GlobalClip(2.0)), optax.clip_by_global_norm(2.0)
    out, expected = ours.update(tree, ours.init(tree))[0], theirs.update(tree, theirs.init(tree))[0]
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-12), out, expected)
    assert ours.update({"w": jnp.array([jnp.nan, 0.0]), "b": jnp.array(4.0)}, ours.init(tree))[0]["b"] == 0


def test_far_away_the_iterate_moves_by_step_times_level():
    x, _ = descend(lambda x: x, jnp.array(10.0), 0.1, 0.5, 150)
    np.testing.assert_allclose(x, 10 - 0.1 * 0.5 * np.arange(150), rtol=1e-12)


@pytest.mark.parametrize("function", ["quadratic", "cosh"])
def test_the_deterministic_bound_holds(rng, function):
    draws, steps = 200, 60

    @jax.jit
    @jax.vmap
    def ratio(curvatures, x, level, share):
        if function == "quadratic":
            value, gradient = lambda x: jnp.sum(curvatures * x**2) / 2, lambda x: curvatures * x
            step_size = share / jnp.max(curvatures)
        else:
            # The Hessian is at most 1 + |gradient|.
            x, value, gradient = x[:1], lambda x: jnp.sum(jnp.cosh(x) - 1), jnp.sinh
            step_size = share / (1 + level)
        _, slopes = descend(gradient, x, step_size, level, steps)
        smallest = jax.lax.cummin(jnp.linalg.norm(slopes, axis=1))
        return smallest / g.clipped_descent_bound(value(x), step_size, level, 1 + jnp.arange(steps))

    curvatures, x = rng.uniform(0.01, 1, (draws, 4)), 5 * rng.normal(size=(draws, 4))
    ratios = ratio(curvatures, x, np.exp(rng.uniform(-4, 2, draws)), rng.uniform(0.2, 1, draws))
    assert jnp.max(ratios) <= 1
    # A bound that is never nearly met would be a bound on nothing.
    assert jnp.max(ratios) > 0.3


def test_clipped_descent_solves_as_a_solver():
    problem = jt.Composite(jt.Quadratic(jnp.diag(jnp.array([1.0, 2.0])), jnp.array([-100.0, 2.0])), jt.penalties.Zero())
    solution = jt.solve(problem, interop.from_optax(g.clipped_descent(0.5, 10.0)), jnp.zeros(2))
    assert solution.result == jt.RESULTS.converged
    np.testing.assert_allclose(solution.params, [100.0, -1.0], rtol=1e-6)


@functools.partial(jax.jit, static_argnums=2)
@functools.partial(jax.vmap, in_axes=(0, None, None))
def follow(key, quantile, num_steps):
    clip = g.QuantileClip(batch_size=200, quantile=quantile)
    start, key = jax.random.split(key)

    def step(state, key):
        state = clip.update(state, jnp.exp(jax.random.normal(key, (200,))))
        return state, state.max_norm

    return jax.lax.scan(step, clip.init(start), jax.random.split(key, num_steps))[1]


def test_the_level_goes_to_the_quantile():
    for quantile in (0.25, 0.5, 0.9):
        levels = follow(jax.random.split(jax.random.key(0), 8), quantile, 400)
        np.testing.assert_allclose(jnp.exp(jnp.log(levels[:, 200:]).mean()), stats.lognorm(1).ppf(quantile), rtol=0.05)


def test_a_step_of_the_quantile_and_its_mask():
    norms = jnp.array([0.5, 2.0, 3.0, jnp.nan, 0.1])
    mask = jnp.array([True, True, True, True, False])
    clip = g.QuantileClip(batch_size=4, quantile=0.5, rate=0.3, initial_norm=1.0, count_noise=0.0)
    state = clip.update(clip.init(jax.random.key(1)), norms, mask)
    # One below and two above; what is not a number counts as neither.
    np.testing.assert_allclose(state.max_norm, np.exp(-0.3 * (0.5 - 1.0) / 4))
    shared = g.QuantileClip(6, count_noise=2.0, axis_name="shards")
    alone = g.QuantileClip(6, count_noise=2.0)
    parts = jnp.array([[0.05, 1.0], [0.2, 0.01], [3.0, 4.0]])
    start = alone.init(jax.random.key(2))
    split = jax.vmap(lambda x: shared.update(start, x).max_norm, axis_name="shards")(parts)
    np.testing.assert_allclose(split, alone.update(start, parts.ravel()).max_norm, rtol=1e-12)
    # The noise is that of a count, of the given deviation and new at each step.
    empty = jax.vmap(lambda key: alone.update(alone.init(key), jnp.zeros(0)).max_norm)
    noise = -6 * jnp.log(empty(jax.random.split(jax.random.key(3), 2000)) / 0.1) / 0.2
    np.testing.assert_allclose([noise.mean(), noise.std()], [0, 2.0], atol=0.15)
    again = alone.update(start, jnp.zeros(0))
    assert alone.update(again, jnp.zeros(0)).max_norm / again.max_norm != again.max_norm / start.max_norm


def test_the_quantile_as_optax_clips_each_example():
    clip = g.QuantileClip(4, rate=1.0, initial_norm=1.0, count_noise=0.0)
    transformation = clip.as_optax(jax.random.key(0))
    batch = {"w": jnp.array([[3.0, 0.0], [0.3, 0.0], [jnp.nan, 1.0], [9.0, 9.0]]), "b": jnp.array([4.0, 0.4, 1.0, 9.0])}
    mask = jnp.array([True, True, True, False])
    out, state = transformation.update(batch, transformation.init(batch), mask=mask)
    np.testing.assert_allclose(out["w"], [[0.6, 0.0], [0.3, 0.0], [0.0, 0.0], [0.0, 0.0]], rtol=1e-12)
    np.testing.assert_allclose(out["b"], [0.8, 0.4, 0.0, 0.0], rtol=1e-12)
    norms = jnp.array([5.0, 0.5, jnp.nan, 20.0])
    np.testing.assert_allclose(state.max_norm, clip.update(clip.init(jax.random.key(0)), norms, mask).max_norm)


def test_the_budget_is_split_between_gradients_and_count():
    clip = g.QuantileClip(100, count_noise=5.0)
    z = np.array([0.0, 0.5, 1.1, 4.0])
    split = np.array([clip.gradient_multiplier(value) for value in z])
    # The count moves by one half: its multiplier is 10.
    np.testing.assert_allclose(split[1:] ** -2.0 + 10.0**-2, z[1:] ** -2.0, rtol=1e-12)
    assert split[0] == 0 and g.QuantileClip(100, count_noise=0.0).gradient_multiplier(0.0) == 0
    assert jnp.isfinite(jax.grad(clip.gradient_multiplier)(0.0))
    np.testing.assert_allclose(g.QuantileClip(100).count_noise, 5.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: g.QuantileClip(0), "batch_size must be positive"),
        (lambda: g.QuantileClip(10, quantile=1.5), "quantile must be between 0 and 1"),
        (lambda: g.QuantileClip(10, rate=-1.0), "rate must be nonnegative"),
        (lambda: g.QuantileClip(10, initial_norm=0.0), "initial_norm must be positive"),
        (lambda: g.QuantileClip(10, count_noise=-1.0), "count_noise must be nonnegative"),
        (lambda: g.QuantileClip(10, count_noise=0.5).gradient_multiplier(1.0), "count_noise must exceed"),
        (lambda: g.QuantileClip(10, count_noise=0.0).gradient_multiplier(1.0), "count_noise must exceed"),
        (lambda: g.QuantileClip(10).gradient_multiplier(-1.0), "noise_multiplier must be nonnegative"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_error_feedback_loses_nothing():
    feedback = g.clip_with_error_feedback(g.GlobalClip(1.0))
    slopes = 1.5 * jax.random.normal(jax.random.key(0), (50, 3))
    memory, updates = jax.lax.scan(lambda s, u: feedback.update(u, s)[::-1], feedback.init(slopes[0]), slopes)
    np.testing.assert_allclose(updates.sum(axis=0) + memory, slopes.sum(axis=0), rtol=1e-12)
    assert jnp.linalg.norm(updates, axis=1).max() <= 1 + 1e-12
    skipped, kept = feedback.update(jnp.full(3, jnp.nan), memory)
    np.testing.assert_allclose(skipped + kept, memory, rtol=1e-12)


@functools.partial(jax.jit, static_argnums=0)
@functools.partial(jax.vmap, in_axes=(None, None, 0))
@functools.partial(jax.vmap, in_axes=(None, 0, None))
def resting_gradient(feedback, step_size, key):
    """Mean gradient of x^2 / 2 under skewed noise of deviation 1 and a level of 1, over the last half of the steps."""
    clip = (g.clip_with_error_feedback if feedback else g.clip_transform)(g.GlobalClip(1.0))
    values, probabilities = g.clipping_extremal_law(1.0, 1.0)
    noise = jax.random.choice(key, values, (20_000,), p=probabilities)

    def step(carry, noise):
        x, state = carry
        update, state = clip.update(x + noise, state)
        return (x - step_size * update, state), x

    return jax.lax.scan(step, (jnp.zeros(()), clip.init(jnp.zeros(()))), noise)[1][10_000:].mean()


def test_clipped_sgd_rests_at_the_floor_whatever_the_step_and_not_with_error_feedback():
    keys, steps = jax.random.split(jax.random.key(0), 6), jnp.array([0.005, 0.02, 0.08])
    floor = g.clipping_floor(1.0, 1.0)
    np.testing.assert_allclose(resting_gradient(False, steps, keys).mean(axis=0), np.full(3, floor), rtol=0.1)
    np.testing.assert_allclose(resting_gradient(True, steps, keys).mean(axis=0), 0, atol=0.1 * floor)
