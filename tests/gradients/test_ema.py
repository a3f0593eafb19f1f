import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_thoth import gradients


STEPS = 12
WEIGHTS = jnp.asarray(np.random.default_rng(0).normal(size=(STEPS + 1, 3)))


def averages(decay, weights=WEIGHTS, **settings):
    """The average after each step of an optimizer that is told where to go."""
    optimizer = gradients.with_ema(optax.identity(), decay, **settings)

    def step(carry, target):
        params, state = carry
        updates, state = optimizer.update(target - params, state, params)
        return (optax.apply_updates(params, updates), state), gradients.ema_params(state)

    return jax.lax.scan(step, (weights[0], optimizer.init(weights[0])), weights[1:])[1]


@pytest.fixture(scope="module")
def vector():
    return jax.jit(averages)(jnp.array([0.0, 0.5, 0.9]))


def test_a_debiased_average_has_the_weights_of_its_definition(vector):
    for row, decay in zip(np.moveaxis(vector, 1, 0), (0.0, 0.5, 0.9)):
        for t in (1, 2, 7, STEPS):
            weights = (1 - decay) * decay ** np.arange(t - 1, -1.0, -1) / (1 - decay**t)
            np.testing.assert_allclose(gradients.ema_weights(decay, t), weights, rtol=1e-12)
            np.testing.assert_allclose(row[t - 1], weights @ WEIGHTS[1 : t + 1], rtol=1e-12)


def test_the_first_debiased_average_is_the_first_weights(vector):
    np.testing.assert_array_equal(vector[0], np.broadcast_to(WEIGHTS[1], (3, 3)))


def test_it_is_the_average_of_optax(vector):
    ema = optax.ema(0.9, debias=True)
    state = ema.init(WEIGHTS[0])
    for target, average in zip(WEIGHTS[1:], vector[:, 2]):
        with jax.numpy_dtype_promotion("standard"):
            expected, state = ema.update(target, state)
        np.testing.assert_allclose(average, expected, rtol=1e-12)


def test_without_debiasing_it_starts_from_the_initial_weights():
    expected = WEIGHTS[0]
    for average, target in zip(averages(0.8, debias=False), WEIGHTS[1:]):
        expected = 0.8 * expected + 0.2 * target
        np.testing.assert_allclose(average, expected, rtol=1e-12)


def test_constant_weights_are_reproduced_exactly():
    constant = jnp.full((STEPS + 1, 2), 0.1)
    for debias in (True, False):
        found = averages(jnp.array([0.3, 0.999]), constant, debias=debias)
        np.testing.assert_array_equal(found, jnp.full((STEPS, 2, 2), 0.1))


def test_averages_taken_every_few_steps():
    found = averages(0.7, every=3)
    np.testing.assert_array_equal(found[:2], np.broadcast_to(WEIGHTS[0], (2, 3)))
    expected = averages(0.7, WEIGHTS[::3])
    np.testing.assert_allclose(found[2::3], expected, rtol=1e-12)
    np.testing.assert_array_equal(found[3], found[2])


def test_batched_decays_are_vmapped_decays(vector):
    mapped = jax.vmap(averages, out_axes=1)(jnp.array([0.0, 0.5, 0.9]))
    np.testing.assert_allclose(mapped, vector, rtol=1e-12)


def test_power_averages_weigh_by_a_power():
    powers = jnp.array([0.0, 2.0, 6.94])
    found = averages(gradients.PowerDecay(powers))
    s = np.arange(1, STEPS + 1.0)
    for row, power in zip(found[-1], powers):
        weights = (s / STEPS) ** (power + 1) - ((s - 1) / STEPS) ** (power + 1)
        np.testing.assert_allclose(row, weights @ WEIGHTS[1:], rtol=1e-11)
    np.testing.assert_allclose(found[-1, 0], WEIGHTS[1:].mean(0), rtol=1e-12)


def test_a_late_start_averages_the_tail():
    found = averages(gradients.PowerDecay(0.0, start=5))
    np.testing.assert_allclose(found[4], WEIGHTS[5], rtol=1e-12)
    np.testing.assert_allclose(found[-1], WEIGHTS[6:].mean(0), rtol=1e-12)


def test_warm_up_is_the_smaller_of_two_decays():
    warm = gradients.WarmupDecay(0.9)
    for t in (1, 5, 50, 500):
        np.testing.assert_allclose(warm(t), min(0.9, (1 + t) / (10 + t)), rtol=1e-12)
    by_hand = averages(lambda t: jnp.minimum(0.9, (1 + t) / (10 + t)))
    # A quotient of integers is in float32.
    np.testing.assert_allclose(averages(warm), by_hand, rtol=1e-5)


def test_powers_and_widths():
    widths = jnp.array([0.05, 0.1, 0.15, 0.2])
    powers = gradients.power_from_width(widths)
    np.testing.assert_allclose(powers, [16.9722, 6.93720, 3.55787, 1.82621], rtol=3e-6)
    cubic = powers**3 + 7 * powers**2 + (16 - widths**-2) * powers + 12 - widths**-2
    np.testing.assert_allclose(cubic / powers**3, 0, atol=1e-12)
    np.testing.assert_allclose(gradients.width_from_power(powers), widths, rtol=1e-13)
    np.testing.assert_allclose(gradients.power_from_width(12**-0.5), 0, atol=1e-12)
    np.testing.assert_allclose(gradients.power_from_width(1e-3), 1000 - 2.999, atol=1e-2)
    slope, inverse = jax.grad(gradients.power_from_width)(0.1), jax.grad(gradients.width_from_power)(powers[1])
    np.testing.assert_allclose(slope * inverse, 1, rtol=1e-12)


def test_the_width_is_the_standard_deviation_of_the_weights():
    t = 20_000
    s = (np.arange(t) + 0.5) / t
    weights = np.diff(np.linspace(0, 1, t + 1) ** 7.5)
    mean = weights @ s
    np.testing.assert_allclose(mean, 7.5 / 8.5, rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(weights @ (s - mean) ** 2), gradients.width_from_power(6.5), rtol=1e-6)


def test_guidelines():
    np.testing.assert_allclose(gradients.ema_window(0.999), 1000, rtol=1e-9)
    np.testing.assert_allclose(0.97 ** gradients.ema_half_life(0.97), 0.5, rtol=1e-12)
    np.testing.assert_allclose(gradients.ema_decay_from_half_life(gradients.ema_half_life(0.97)), 0.97, rtol=1e-12)
    assert gradients.ema_half_life(0.0) == 0
    np.testing.assert_allclose(gradients.ema_decay_every(0.99, 16), 0.99**16, rtol=1e-12)
    weights = gradients.ema_weights(0.9, 2000)
    np.testing.assert_allclose(weights @ jnp.arange(1999, -1.0, -1), gradients.ema_lag(0.9), rtol=1e-9)


@pytest.mark.parametrize(
    ("rate", "decay", "ratio"), [(0.1, 0.9, 0.50139), (0.1, 0.99, 0.087179), (0.5, 0.99, 0.014876)]
)
def test_variance_on_a_quadratic(rate, decay, ratio):
    found = gradients.ema_variance_ratio(decay, 1 - rate)
    np.testing.assert_allclose(found, ratio, rtol=4e-5)
    # The stationary covariance of the weights and their average solves a Lyapunov equation.
    step = np.array([[1 - rate, 0], [(1 - decay) * (1 - rate), decay]])
    noise = np.outer([1, 1 - decay], [1, 1 - decay])
    covariance = np.linalg.solve(np.eye(4) - np.kron(step, step), noise.ravel()).reshape(2, 2)
    np.testing.assert_allclose(found, covariance[1, 1] / covariance[0, 0], rtol=1e-9)


def test_variance_seen_in_a_run():
    noise = jax.random.normal(jax.random.key(0), (3000, 400))
    # Gradients w + noise with the step size 0.5.
    _, weights = jax.lax.scan(lambda w, n: (w - 0.5 * (w + n),) * 2, jnp.zeros(400), noise)
    ratio = averages(0.9, weights)[500:].var() / weights[500:].var()
    np.testing.assert_allclose(ratio, gradients.ema_variance_ratio(0.9, 0.5), rtol=0.03)


def test_post_hoc_averages_are_those_that_were_not_taken():
    length, powers = 400, jnp.array([6.94, 16.97])
    walk = jnp.cumsum(jax.random.normal(jax.random.key(1), (length + 1, 2)), 0)
    taken = averages(gradients.PowerDecay(jnp.append(powers, 10.0)), walk)
    times = np.arange(20, length + 1, 20)
    steps, stored = np.repeat(times, 2), taken[times - 1, :2].reshape(-1, 2)
    coefficients, misfit = gradients.post_hoc_coefficients(steps, np.tile(powers, len(times)), step=length, power=10.0)
    np.testing.assert_allclose(coefficients.sum(), 1, rtol=1e-12)
    assert misfit < 0.01
    found = gradients.post_hoc_ema(stored, steps, np.tile(powers, len(times)), step=length, power=10.0)
    np.testing.assert_allclose(found, taken[-1, 2], atol=0.01 * np.abs(walk[-1] - taken[-1, 2]).max())
    # One that was taken is found again, and misfits are those of the weights given to each step.
    same, exact = gradients.post_hoc_coefficients([200, 400], [3.0, 3.0], step=400, power=3.0)
    np.testing.assert_allclose(same, [0, 1], atol=1e-12)
    assert exact < 1e-12
    given = lambda t, p: np.diff(np.minimum(np.arange(t + 1.0) / t, 1) ** (p + 1))
    pair, misfit = gradients.post_hoc_coefficients([300, 300], [2.0, 8.0], step=300, power=4.0)
    left_out = pair @ [given(300, 2.0), given(300, 8.0)] - given(300, 4.0)
    np.testing.assert_allclose(misfit, np.linalg.norm(left_out) / np.linalg.norm(given(300, 4.0)), rtol=1e-9)
    for shift in (-1e-3, 1e-3):
        worse = (pair + np.array([shift, -shift])) @ [given(300, 2.0), given(300, 8.0)] - given(300, 4.0)
        assert np.linalg.norm(worse) > np.linalg.norm(left_out)


def test_averages_of_half_precision_weights_are_in_single_precision():
    weights = jnp.ones((STEPS + 1, 2), jnp.bfloat16).at[0].set(0)
    found = averages(0.9999, weights, debias=False)
    assert found.dtype == jnp.float32
    # In bfloat16 an average would not have left zero's neighborhood by the right amount, nor 1 at all.
    np.testing.assert_allclose(found[:, 0], 1 - 0.9999 ** np.arange(1, STEPS + 1.0), rtol=1e-3)
    state = gradients.with_ema(optax.sgd(0.1)).init(weights[0])
    assert gradients.ema_params(state, like=weights[0]).dtype == jnp.bfloat16
    assert averages(0.9, WEIGHTS.astype(jnp.float32)).dtype == jnp.float32


def test_it_leaves_the_optimizer_alone_and_passes_arguments_on():
    params, updates = {"w": jnp.ones((2, 2)), "none": None}, {"w": jnp.full((2, 2), 0.5), "none": None}
    plain, wrapped = optax.sgd(0.1, momentum=0.9), gradients.with_ema(optax.sgd(0.1, momentum=0.9), 0.9)
    a, b = plain.init(params), wrapped.init(params)
    for _ in range(2):
        expected, a = plain.update(updates, a, params)
        found, b = wrapped.update(updates, b, params)
        np.testing.assert_array_equal(found["w"], expected["w"])
    counts = {"w": jnp.ones(2), "steps": jnp.zeros((), jnp.int32)}
    identity = gradients.with_ema(optax.identity(), jnp.array([0.9, 0.99]))
    _, state = identity.update(jax.tree.map(jnp.ones_like, counts), identity.init(counts), counts)
    np.testing.assert_array_equal(gradients.ema_params(state)["steps"], np.ones(2, np.int32))
    search = gradients.with_ema(optax.polyak_sgd())
    updates, _ = search.update(jnp.ones(2), search.init(jnp.ones(2)), jnp.ones(2), value=jnp.asarray(1.0))
    np.testing.assert_allclose(updates, -0.5)


def test_an_average_is_found_within_a_chain():
    optimizer = optax.chain(optax.clip(1.0), gradients.with_ema(optax.sgd(0.1), 0.9))
    np.testing.assert_array_equal(gradients.ema_params(optimizer.init(WEIGHTS[0])), WEIGHTS[0])
    with pytest.raises(ValueError, match="one average of weights, got 0"):
        gradients.ema_params(optax.sgd(0.1).init(WEIGHTS[0]))


def test_bad_input():
    optimizer = optax.sgd(0.1)
    for decay in (1.0, -0.1, jnp.nan, jnp.array([0.5, 1.5]), jnp.full((2, 2), 0.5)):
        with pytest.raises(ValueError, match="decay"):
            gradients.with_ema(optimizer, decay)
    with pytest.raises(ValueError, match="every"):
        gradients.with_ema(optimizer, every=0)
    with pytest.raises(TypeError, match="GradientTransformation"):
        gradients.with_ema(0.9)
    with pytest.raises(ValueError, match="pass them"):
        gradients.with_ema(optimizer).update(WEIGHTS[0], gradients.with_ema(optimizer).init(WEIGHTS[0]))
    with pytest.raises(ValueError, match="decay must return"):
        gradients.with_ema(optimizer, lambda t: jnp.full((2, 2), 0.5)).init(WEIGHTS[0])
    with pytest.raises(ValueError, match="power"):
        gradients.PowerDecay(-1.0)
    with pytest.raises(ValueError, match="start"):
        gradients.PowerDecay(start=-1)
    for width in (0.0, 0.3, jnp.nan):
        with pytest.raises(ValueError, match="width"):
            gradients.power_from_width(width)
    with pytest.raises(ValueError, match="contraction"):
        gradients.ema_variance_ratio(0.9, 1.0)
    with pytest.raises(ValueError, match="half_life"):
        gradients.ema_decay_from_half_life(0.0)
    with pytest.raises(ValueError, match="length"):
        gradients.ema_weights(0.9, 0)
    with pytest.raises(ValueError, match="two vectors"):
        gradients.post_hoc_coefficients([1, 2], [3.0], step=2, power=1.0)
    with pytest.raises(ValueError, match="earliest"):
        gradients.post_hoc_coefficients([10], [3.0], step=2, power=1.0)
    with pytest.raises(ValueError, match="apart"):
        gradients.post_hoc_coefficients([10, 10], [3.0, 3.0], step=10, power=1.0)
    with pytest.raises(ValueError, match="leading axis"):
        gradients.post_hoc_ema(jnp.ones((3, 2)), [5, 5], [3.0, 7.0], step=5, power=5.0)
