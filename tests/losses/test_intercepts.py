"""What an intercept asks of a loss: balanced duals and the best constant score; and the proxes of kinked losses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth import losses


N, K = 11, 3
RNG = np.random.default_rng(0)
SIGNS, FLOATS = np.sign(RNG.normal(size=(N, 2))), RNG.normal(size=(N, 2))
WEIGHTS = jnp.asarray(RNG.uniform(size=N) * (np.arange(N) != 3))
CASES = {
    "Squared": (losses.Squared(), FLOATS),
    "Logistic": (losses.Logistic(), SIGNS),
    "SafeLogistic": (losses.SafeLogistic(), SIGNS),
    "SquaredHinge": (losses.SquaredHinge(), SIGNS),
    "SmoothedHinge": (losses.SmoothedHinge(), SIGNS),
    "Hinge": (losses.Hinge(), SIGNS),
    "Huber": (losses.Huber(0.7), FLOATS),
    "Pinball": (losses.Pinball(0.3), FLOATS),
    "EpsilonInsensitive": (losses.EpsilonInsensitive(0.2), FLOATS),
    "Poisson": (losses.Poisson(), RNG.poisson(2.0, (N, 2)).astype(float)),
    "Gamma": (losses.Gamma(), np.exp(FLOATS)),
    "Multinomial": (losses.Multinomial(), RNG.integers(0, K, N)),
}
KINKED = ["Hinge", "Pinball", "EpsilonInsensitive"]


@pytest.mark.parametrize("name", CASES)
def test_balanced_duals_sum_to_zero_and_stay_in_the_domain(name):
    loss, targets = CASES[name]
    targets = jnp.asarray(targets)
    scores = jnp.asarray(np.random.default_rng(1).normal(size=(N, K if name == "Multinomial" else 2)))
    dual = loss.derivative(scores, targets)
    balanced = loss.balance_dual(dual, targets, WEIGHTS)
    np.testing.assert_allclose(WEIGHTS @ balanced, 0, atol=1e-14)
    assert jnp.isfinite(loss.conjugate(balanced, targets)).all()
    np.testing.assert_allclose(loss.balance_dual(balanced, targets, WEIGHTS), balanced, atol=1e-14)
    assert jnp.abs(balanced - dual).max() > 1e-3
    if name != "Multinomial":
        column = loss.balance_dual(dual[:, 1], targets[:, 1], WEIGHTS)
        np.testing.assert_allclose(column, balanced[:, 1], atol=1e-14)


@pytest.mark.parametrize("name", CASES)
def test_the_best_constant_is_best(name):
    loss, targets = CASES[name]
    targets = jnp.asarray(targets)
    many = K if name == "Multinomial" else None
    best = loss.best_constant(targets, WEIGHTS, many)
    assert best.shape == ((K,) if many else (2,))

    def mean(constant):
        rows = loss(jnp.broadcast_to(constant, (N, *constant.shape)), targets)
        return jnp.sum((WEIGHTS if rows.ndim == 1 else WEIGHTS[:, None]) * rows)

    assert all(mean(best) <= mean(best + d) + 1e-12 for d in 1e-3 * RNG.normal(size=(8, *best.shape)))
    if name not in KINKED:
        np.testing.assert_allclose(jax.grad(mean)(best), 0, atol=1e-12)


def test_the_best_constant_where_there_is_none():
    """One sign or an absent class would ask for infinity."""
    assert jnp.isfinite(losses.Logistic().best_constant(jnp.ones(3), jnp.ones(3)))
    assert jnp.isfinite(losses.Multinomial().best_constant(jnp.zeros(3, int), jnp.ones(3), 2)).all()
    with pytest.raises(ValueError, match="num_outputs"):
        losses.Multinomial().best_constant(jnp.zeros(3, int), jnp.ones(3))


@pytest.mark.parametrize("name", KINKED)
def test_prox_of_a_kinked_loss_minimizes(name):
    loss = CASES[name][0]
    scores = jnp.linspace(-3, 3, 41)
    grid = jnp.linspace(-5, 5, 4001)
    for target in (-1.0, 1.0):
        for step in (0.3, 2.0):
            height = lambda z, v, y=target, s=step: loss(z, jnp.full_like(z, y)) + (z - v) ** 2 / (2 * s)
            found = loss.prox(scores, jnp.asarray(step), jnp.full_like(scores, target))
            least = jax.vmap(lambda v, height=height: jnp.min(height(grid, v)))(scores)
            assert jnp.all(height(found, scores) <= least + 1e-12)


def test_a_smooth_loss_has_no_closed_prox():
    assert losses.Logistic().is_smooth
    with pytest.raises(NotImplementedError, match="Logistic has no closed-form prox"):
        losses.Logistic().prox(jnp.zeros(1), jnp.ones(()), jnp.ones(1))


@pytest.mark.parametrize("quantile", [0, 1.0])
def test_quantiles_lie_inside(quantile):
    with pytest.raises(ValueError, match="quantile must be between 0 and 1"):
        losses.Pinball(quantile)
