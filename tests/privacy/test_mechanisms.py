from collections.abc import Callable
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

from jaxopt_thoth import privacy


KEY = jax.random.key(0)
STEPS = 13
MECHANISMS = {
    "identity": privacy.Identity(),
    "square_root": privacy.SquareRootToeplitz(),
    "banded": privacy.Banded(3),
    "tree": privacy.BinaryTree(),
}
mechanisms = pytest.mark.parametrize("mechanism", MECHANISMS.values(), ids=MECHANISMS)


def streamed(mechanism: privacy.AbstractMatrixMechanism, white: dict) -> dict:
    """The rows of C^-1 Z, one step after the other."""
    first = jax.tree.map(lambda a: a[0], white)

    def body(memory, step):
        count, z = step
        noise, memory = mechanism.correlate(memory, count, z)
        return memory, noise

    counts = jnp.arange(STEPS, dtype=jnp.int32)
    return jax.jit(lambda z: jax.lax.scan(body, mechanism.init(first, STEPS), (counts, z))[1])(white)


# ----------------------------------------------------------------------------------------------------- Gaussian noise


def test_noise_has_the_deviation_it_is_told() -> None:
    tree = {"a": jnp.ones((300, 100)), "b": jnp.full(20_000, -2.0)}
    mechanism = privacy.gaussian_noise(1.5, 0.4, KEY)
    noisy, state = mechanism.update(tree, mechanism.init(tree))
    for name, leaf in tree.items():
        noise = noisy[name] - leaf
        # Four standard errors.
        assert abs(noise.mean()) < 4 * 0.6 / noise.size**0.5
        assert abs(noise.std() - 0.6) < 4 * 0.6 / (2 * noise.size) ** 0.5
    again, _ = mechanism.update(tree, state)
    assert abs(np.corrcoef(noisy["b"], again["b"])[0, 1]) < 4 / 20_000**0.5
    assert abs(np.corrcoef(noisy["b"], noisy["a"].ravel()[:20_000])[0, 1]) < 4 / 20_000**0.5


def test_noise_is_added_before_rounding() -> None:
    # 256 is where neighbors are 2 apart in bfloat16, so that small noise would be lost if it came in that dtype.
    tree = jnp.full(2000, 256.0, jnp.bfloat16)
    mechanism = privacy.gaussian_noise(1.0, 3.0, KEY)
    noisy, _ = mechanism.update(tree, mechanism.init(tree))
    assert noisy.dtype == jnp.bfloat16
    exact, _ = mechanism.update(tree.astype(jnp.float32), mechanism.init(tree))
    np.testing.assert_array_equal(noisy, exact.astype(jnp.bfloat16))


def test_no_noise_is_no_change() -> None:
    tree = {"a": jnp.arange(3.0)}
    mechanism = privacy.gaussian_noise(0.0, 1.0, KEY)
    chex.assert_trees_all_equal(mechanism.update(tree, mechanism.init(tree))[0], tree)


# --------------------------------------------------------------------------------------------------- relative Gaussian


@pytest.mark.parametrize("squared", [False, True])
def test_relative_noise_follows_the_norm_of_the_whole_tree(squared: bool) -> None:
    tree = {"a": jnp.zeros(30_000).at[0].set(3.0), "b": jnp.array([[4.0]])}
    release = partial(privacy.relative_gaussian, KEY, tree, slope=0.2, offset=0.75, squared=squared)
    deviation = 2.0 * ((0.2 * 5.0) ** 2 + 0.75**2) ** 0.5 if squared else 2.0 * (0.2 * 5.0 + 0.75)
    noise = release(noise_multiplier=2.0)["a"] - tree["a"]
    assert abs(noise.std() - deviation) < 4 * deviation / 60_000**0.5


def test_relative_noise_of_slope_zero_is_gaussian_noise() -> None:
    tree = {"a": jnp.arange(4.0), "b": jnp.ones((2, 2))}
    relative = privacy.relative_gaussian_noise(0.0, 0.5, 3.0, KEY)
    plain = privacy.gaussian_noise(3.0, 0.5, KEY)
    a, state = relative.update(tree, relative.init(tree))
    b, _ = plain.update(tree, plain.init(tree))
    chex.assert_trees_all_close(a, b)
    assert int(state.count) == 1


def test_a_query_of_zero_keeps_its_offset_and_has_derivatives() -> None:
    release = lambda x: privacy.relative_gaussian(KEY, x, slope=1.0, offset=0.5, noise_multiplier=1.0)
    assert jnp.all(jax.jit(release)(jnp.zeros(5)) != 0)
    assert jnp.isfinite(jax.jit(jax.jacfwd(release))(jnp.zeros(5))).all()


def test_descent_without_offset_has_no_floor() -> None:
    # E|w|^2 contracts by (1 - eta)^2 + eta^2 d sigma^2 r^2 a step, whatever w is.
    dimension, slope, noise, steps = 4, 0.05, 3.0, 60
    eta = 1 / (1 + dimension * (noise * slope) ** 2)

    def final(offset: float, key: Array) -> Array:
        optimizer = optax.chain(
            privacy.relative_gaussian_noise(slope, offset, noise, key, squared=True), optax.sgd(eta)
        )

        def body(carry, _):
            w, state = carry
            update, state = optimizer.update(w, state)
            return (optax.apply_updates(w, update), state), None

        w = jnp.ones(dimension)
        (w, _), _ = jax.lax.scan(body, (w, optimizer.init(w)), None, length=steps)
        return jnp.sum(w**2) / 2

    keys = jax.random.split(KEY, 4000)
    without, with_offset = (jax.jit(jax.vmap(partial(final, offset)))(keys) for offset in (0.0, 0.01))
    assert without.max() < 1e-30
    level = eta**2 * dimension * (noise * 0.01) ** 2 / 2
    stationary = level / (1 - (1 - eta) ** 2 - eta**2 * dimension * (noise * slope) ** 2)
    np.testing.assert_allclose(with_offset.mean(), stationary, rtol=0.08)
    # The bound of the theory, of which this is the exact value for a quadratic.
    assert stationary <= eta * dimension * (noise * 0.01) ** 2 / 2


# --------------------------------------------------------------------------------------------------- matrix mechanisms


@mechanisms
def test_streamed_noise_solves_the_triangular_system(mechanism: privacy.AbstractMatrixMechanism) -> None:
    white = {"a": jax.random.normal(KEY, (STEPS, 2, 3)), "b": jax.random.normal(KEY, (STEPS,))}
    strategy = mechanism.strategy(STEPS)
    assert strategy.shape == (STEPS, STEPS)
    np.testing.assert_array_equal(strategy, jnp.tril(strategy))
    noise = streamed(mechanism, white)
    chex.assert_trees_all_close(jax.tree.map(lambda a: jnp.tensordot(strategy, a, axes=1), noise), white, atol=1e-12)


@mechanisms
@pytest.mark.parametrize(("participations", "separation"), [(1, None), (2, 6), (3, 4), (4, 2), (5, 1)])
def test_sensitivity_is_that_of_the_worst_example(
    mechanism: privacy.AbstractMatrixMechanism, participations: int, separation: int | None
) -> None:
    # No entry of C is negative, so that contributions that all point the same way are the worst.
    strategy = np.asarray(mechanism.strategy(STEPS))
    gap = separation or STEPS
    takes = [list(range(first, STEPS, gap))[:participations] for first in range(STEPS)]
    worst = max(np.sum(strategy[:, steps].sum(axis=1) ** 2) for steps in takes)
    np.testing.assert_allclose(mechanism.sensitivity(STEPS, participations, separation) ** 2, worst)


def test_sensitivities_of_the_literature() -> None:
    squared = [float(privacy.SquareRootToeplitz().sensitivity(steps) ** 2) for steps in (1, 2, 4, 8)]
    np.testing.assert_allclose(squared, [1, 1.25, 1.48828125, 1.71837926], rtol=1e-8)
    tree = [float(privacy.BinaryTree().sensitivity(2**power) ** 2) for power in range(6)]
    np.testing.assert_allclose(tree, np.arange(1, 7))
    strategy = privacy.SquareRootToeplitz().strategy(32)
    np.testing.assert_allclose(strategy @ strategy, np.tril(np.ones((32, 32))), atol=1e-12)
    # Participations a bandwidth apart move rows of their own.
    np.testing.assert_allclose(
        privacy.Banded(5).sensitivity(40, 4, 5), 2 * privacy.Banded(5).sensitivity(40), rtol=1e-12
    )


@mechanisms
def test_error_is_that_of_the_running_sums(mechanism: privacy.AbstractMatrixMechanism) -> None:
    white = {"a": jax.random.normal(KEY, (STEPS, 20_000))}
    sums = jnp.cumsum(streamed(mechanism, white)["a"], axis=0) * mechanism.sensitivity(STEPS)
    np.testing.assert_allclose(jnp.sqrt(jnp.mean(sums**2)), mechanism.error(STEPS), rtol=0.01)


def test_correlation_pays() -> None:
    errors = {name: float(mechanism.error(256)) for name, mechanism in MECHANISMS.items()}
    assert errors["square_root"] < errors["tree"] < errors["identity"]
    assert errors["square_root"] < errors["banded"] < errors["identity"]
    np.testing.assert_allclose(errors["identity"], np.sqrt(257 / 2))


def test_bandwidths_join_independent_noise_and_the_square_root() -> None:
    np.testing.assert_array_equal(privacy.Banded(1).strategy(6), np.eye(6))
    np.testing.assert_allclose(privacy.Banded(6).strategy(6), privacy.SquareRootToeplitz().strategy(6), rtol=1e-15)
    assert jax.tree.leaves(privacy.Banded(4).init(jnp.ones(7), 100))[0].shape == (3, 7)
    assert jax.tree.leaves(privacy.BinaryTree().init(jnp.ones(7), 100))[0].shape == (7, 7)


def test_coefficients_can_be_learned() -> None:
    error = lambda tail: privacy.Banded(jnp.concatenate([jnp.ones(1), tail])).error(24)
    value, gradient = jax.jit(jax.value_and_grad(error))(jnp.array([0.5, 0.375]))
    assert error(jnp.array([0.5, 0.375]) - 0.02 * gradient) < value


@pytest.mark.parametrize("mechanism", [privacy.Banded(3), privacy.BinaryTree()], ids=["banded", "tree"])
def test_the_transformation_adds_the_streamed_noise(mechanism: privacy.AbstractMatrixMechanism) -> None:
    tree = {"a": jnp.ones(3), "b": jnp.zeros((2, 2))}
    noise = privacy.correlated_noise(mechanism, 2.0, 0.5, KEY, steps=6, participations=2, separation=3)
    plain = privacy.gaussian_noise(2.0, 0.5 * mechanism.sensitivity(6, 2, 3), KEY)
    states, update = (noise.init(tree), plain.init(tree)), jax.jit(noise.update)
    rows: list[tuple] = []
    for _ in range(6):
        noisy, first = update(tree, states[0])
        white, second = plain.update(tree, states[1])
        rows.append((noisy["a"] - 1, white["a"] - 1))
        states = (first, second)
    correlated, white = (jnp.stack(part) for part in zip(*rows, strict=True))
    np.testing.assert_allclose(mechanism.strategy(6) @ correlated, white, atol=1e-12)


# ----------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: privacy.gaussian_noise(-1.0, 1.0, KEY), "noise_multiplier"),
        (lambda: privacy.gaussian_noise(1.0, -1.0, KEY), "sensitivity"),
        (lambda: privacy.gaussian_noise(1.0, 1.0, jnp.zeros(2)), "random key"),
        (lambda: privacy.relative_gaussian_noise(-0.1, 1.0, 1.0, KEY), "slope"),
        (lambda: privacy.relative_gaussian(KEY, 1.0, slope=0.1, offset=-1.0, noise_multiplier=1.0), "offset"),
        (lambda: privacy.Banded(0), "bandwidth"),
        (lambda: privacy.Banded(jnp.array([1.0, -0.5])), "coefficients"),
        (lambda: privacy.Banded(jnp.array([0.0, 0.5])), "first positive"),
        (lambda: privacy.Banded(jnp.ones((2, 2))), "shape"),
        (lambda: privacy.Identity().sensitivity(10, 2), "separation"),
        (lambda: privacy.BinaryTree().sensitivity(0), "steps"),
        (lambda: privacy.correlated_noise(privacy.Identity(), 1.0, 1.0, KEY, steps=4, participations=2), "separation"),
    ],
)
def test_bad_settings_are_told(call: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_a_mechanism_is_asked_for() -> None:
    with pytest.raises(TypeError, match="matrix mechanism"):
        privacy.correlated_noise("tree", 1.0, 1.0, KEY, steps=4)
