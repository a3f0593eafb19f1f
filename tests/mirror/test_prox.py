"""Mirror maps together with penalties: the composite step, in closed form."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth import mirror, penalties


RNG = np.random.default_rng(1)
ORTHANTS, LINES = jnp.asarray(RNG.uniform(0.2, 2.0, size=(10, 6))), jnp.asarray(RNG.normal(size=(10, 6)))
SIMPLICES = jnp.asarray(RNG.dirichlet(np.ones(5), 37))
SIMPLEX, ORTHANT, LINE = SIMPLICES[0], ORTHANTS[0], LINES[0]
OTHERS = {5: SIMPLICES[1:], 6: LINES[1:], -6: ORTHANTS[1:]}
WEIGHTS = jnp.asarray(RNG.uniform(0.1, 1.0, 6))
PROXES = [
    (mirror.NegativeEntropy(), penalties.NegativeEntropy(0.7), SIMPLEX),
    (mirror.NegativeEntropy(), penalties.L1(WEIGHTS[:5]), SIMPLEX),
    (mirror.NegativeEntropy(), penalties.Simplex(axis=-1), SIMPLEX),
    (mirror.SimplexBurgEntropy(), penalties.L1(WEIGHTS[:5]), SIMPLEX),
    (mirror.UnnormalizedEntropy(), 2.0 * penalties.L1(WEIGHTS), ORTHANT),
    (mirror.UnnormalizedEntropy(), penalties.NegativeEntropy(0.7), ORTHANT),
    (mirror.UnnormalizedEntropy(), penalties.L2Squared(WEIGHTS), ORTHANT),
    (mirror.UnnormalizedEntropy(), penalties.Box(-1.0, 0.8), ORTHANT),
    (mirror.BurgEntropy(), penalties.L1(WEIGHTS), ORTHANT),
    (mirror.BurgEntropy(), penalties.L2Squared(WEIGHTS), ORTHANT),
    (mirror.BurgEntropy(), penalties.NonNegative(), ORTHANT),
    (mirror.FermiDirac(-1.0, 3.0), penalties.L1(0.4), LINE / 3),
    (mirror.Hypentropy(0.3), penalties.L1(2.0), LINE),
    (mirror.Hypentropy(0.3), penalties.NonNegative(), LINE),
    (mirror.Power(1.5), penalties.L1(0.5), LINE),
    (mirror.PNorm(1.3), penalties.L1(0.3), LINE),
    (mirror.Quartic(), penalties.L1(0.5), LINE),
    (mirror.HellingerBall(), penalties.L2Ball(0.4), LINE / 6),
    (mirror.Mahalanobis(WEIGHTS, diagonal=True), penalties.L1(0.5), LINE),
    (mirror.Euclidean(), penalties.FusedLasso(0.1, 0.2), LINE),
]


@pytest.mark.parametrize(
    ("geometry", "penalty", "x"), PROXES, ids=lambda part: None if eqx.is_array(part) else type(part).__name__
)
def test_composite_step_minimizes(geometry, penalty, x):
    moved = OTHERS[-6 if isinstance(geometry, mirror.BurgEntropy | mirror.UnnormalizedEntropy) else x.size]
    # Toward points of the domain, near and far.
    shares = jnp.asarray(10.0 ** RNG.uniform(-4, 0, (len(moved), 1)))

    @jax.jit
    def model(x, others, shares):
        step = 0.8
        dual = geometry.to_dual(x) + jnp.linspace(-0.3, 0.1, x.size)
        z = geometry.prox(dual, penalty, step)
        if penalty.is_indicator:
            others = jax.vmap(lambda p: penalty.prox(p, 1.0))(others)
        if isinstance(geometry, mirror.FermiDirac | mirror.HellingerBall):
            others = others / 8
        others = z[None] + 0.99 * shares * (others - z[None])
        value = lambda p: step * penalty.value(p) + geometry.potential(p) - jnp.vdot(dual, p)
        return jax.vmap(value)(jnp.concatenate([z[None], others]))

    least, *values = np.asarray(model(x, moved, shares))
    assert np.isfinite(least)
    assert np.sum(np.isfinite(values)) > 4
    assert np.all(values >= least - 1e-13)


def test_simplex_penalty_makes_the_orthant_a_simplex():
    penalty = penalties.Simplex(jnp.array([1.0, 2.0]), axis=-1)
    dual = LINES[:2]
    z = jax.jit(lambda t: mirror.UnnormalizedEntropy().prox(t, penalty, 1.0))(dual)
    np.testing.assert_allclose(z, jnp.array([[1.0], [2.0]]) * jax.nn.softmax(dual, -1), rtol=1e-12)


def test_density_matrices_and_their_penalties():
    root = jnp.asarray(RNG.normal(size=(4, 7)))
    dual = root @ root.T / 4
    states = penalties.SpectralFunction(penalties.Simplex(), symmetric=True)
    cone = penalties.SpectralFunction(penalties.NonNegative(), symmetric=True)
    density = mirror.VonNeumannEntropy(unit_trace=True)
    orthant = mirror.VonNeumannEntropy()
    x, y = jax.jit(lambda t: (density.prox(t, states, 1.0), orthant.prox(t, states, 1.0)))(dual)
    np.testing.assert_allclose(y, x, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(jnp.trace(x), 1.0, rtol=1e-14)
    assert density.prox_dual(dual, cone, 1.0) is dual
    assert mirror.LogDet().prox_dual(dual, cone, 1.0) is dual


def test_product_takes_penalties_block_by_block():
    maps = mirror.Product({"p": mirror.NegativeEntropy(), "v": mirror.Hypentropy(0.5)})
    dual = {"p": LINE[:5], "v": LINE}
    apart = penalties.SeparableSum({"p": penalties.Zero(), "v": penalties.L1(0.3)})
    z = maps.prox(dual, apart, 0.5)
    np.testing.assert_array_equal(z["p"], mirror.NegativeEntropy().from_dual(LINE[:5]))
    np.testing.assert_array_equal(z["v"], mirror.Hypentropy(0.5).prox(LINE, penalties.L1(0.3), 0.5))
    shared = maps.prox(dual, penalties.L1(0.3), 0.5)
    np.testing.assert_allclose(shared["p"], z["p"], rtol=1e-12)
    np.testing.assert_array_equal(shared["v"], z["v"])
    settings = {"a": jnp.array(0.1), "b": jnp.array(0.4)}
    by_leaf = mirror.Hypentropy(1.0).prox({"a": LINE, "b": LINE}, penalties.L1(settings), 1.0)
    for name, strength in settings.items():
        expected = mirror.Hypentropy(1.0).prox(LINE, penalties.L1(strength), 1.0)
        np.testing.assert_allclose(by_leaf[name], expected, rtol=1e-12)


def test_unknown_prox_says_what_to_do():
    for geometry in (mirror.NegativeEntropy(), mirror.BurgEntropy(), mirror.PNorm(1.5), mirror.Mahalanobis(jnp.eye(6))):
        with pytest.raises(NotImplementedError, match=r"no closed-form prox of FusedLasso; take mirror.Euclidean\(\)"):
            geometry.prox(LINE, penalties.FusedLasso(1.0, 1.0), 1.0)
    traced = jax.jit(lambda r: mirror.NegativeEntropy().prox(SIMPLEX, penalties.Simplex(r), 1.0))
    assert jnp.all(jnp.isnan(traced(2.0)))
    np.testing.assert_allclose(traced(1.0), jax.nn.softmax(SIMPLEX), rtol=1e-12)
