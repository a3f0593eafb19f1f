"""Analytic values, traits, pytrees, bad input and the calculus: what the laws of the zoo do not say."""

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxopt_thoth import penalties as p


X = jnp.asarray([3.0, 0.0, -4.0, 0.0])
GROUPS = np.array([0, 1, 0, 1])
TREE = {"w": jnp.asarray([[3.0, -0.2], [0.1, -4.0]]), "b": jnp.asarray(0.5)}


@pytest.mark.parametrize(
    "penalty, value",
    [
        (p.Zero(), 0),
        (p.L1(2.0), 14),
        (p.L1(jnp.asarray([1.0, 9, 2, 9])), 11),
        (p.L2Squared(2.0), 25),
        (p.L2(2.0), 10),
        (p.ElasticNet(2.0, 1.0), 26.5),
        (p.GroupLasso(2.0, GROUPS), 10),
        (p.GroupLasso(2.0, GROUPS, [3.0, 1.0]), 30),
        (p.NonNegative(), np.inf),
        (p.Box(-4, 3), 0),
        (p.Box(-4, 2.9), np.inf),
        (p.Simplex(7), np.inf),
        (p.L1Ball(7), 0),
        (p.L1Ball(6.9), np.inf),
        (p.L2Ball(5), 0),
        (p.L2Ball(4.9), np.inf),
        (p.Tilted(p.Zero(), 2.0), -2),
        (p.Translated(p.L1(1.0), 1.0), 9),
        (p.Regularized(p.Zero(), 2.0, 1.0), 31),
        (p.Conjugate(p.L1(4.0)), 0),
        (p.Conjugate(p.L1(3.9)), np.inf),
        (p.Huber(2.0, 1.0), 12),
        (p.LogBarrier(1.0), np.inf),
        (p.NegativeEntropy(1.0), np.inf),
        (p.Translated(p.NegativeEntropy(2.0), jnp.asarray([-1.0, 0.0, -4.0, 0.0])), 16 * np.log(2)),
        (p.Translated(p.KullbackLeibler(2.0, 1.0), jnp.asarray([2.0, 0.0, -4.0, 0.0])), 6),
        (p.Translated(p.ReverseKullbackLeibler(2.0, 1.0), jnp.asarray([2.0, -1.0, -5.0, -1.0])), 8),
        (p.Hinge(2.0), 14),
        (p.Pinball(2.0, 0.25), 7.5),
        (p.MCP(2.0, 2.0), 7.75),
        (p.SCAD(1.0, 3.5), 4.45),
        (p.LogSum(2.0, 1.0), 2 * np.log(20)),
        (p.L0(2.0), 4),
        (p.LHalf(2.0), 2 * 3**0.5 + 4),
        (p.LTwoThirds(2.0), 2 * 9 ** (1 / 3) + 2 * 16 ** (1 / 3)),
        (p.CappedL1(2.0, 3.5), 13),
        (p.LInf(2.0), 8),
        (p.Max(2.0), 6),
        (p.SquaredL1(2.0), 49),
        (p.SparseGroupLasso(1.0, 2.0, GROUPS), 17),
        (p.TotalVariation1D(2.0), 22),
        (p.FusedLasso(2.0, 1.0, 2.0), 54),
        (p.Slope([3.0, 2.0, 1.0, 0.0]), 18),
    ],
)
def test_values(penalty, value):
    np.testing.assert_allclose(penalty.value(X), value, rtol=1e-15)


@pytest.mark.parametrize(
    "penalty, entrywise, is_set",
    [
        (p.Zero(), True, False),
        (p.L1(1), True, False),
        (p.L2Squared(1), True, False),
        (p.L2(1), False, False),
        (p.ElasticNet(1, 1), True, False),
        (p.GroupLasso(1, GROUPS), False, False),
        (p.NonNegative(), True, True),
        (p.Box(0, 1), True, True),
        (p.Simplex(), False, True),
        (p.L1Ball(1), False, True),
        (p.L2Ball(1), False, True),
        (2 * p.Simplex(), False, True),
        (p.Translated(p.Box(0, 1), 1), True, True),
        (p.Tilted(p.Box(0, 1), 1), True, False),
        (p.Regularized(p.Box(0, 1), 1), True, False),
        (p.Conjugate(p.Box(0, 1)), True, False),
        (p.SeparableSum([p.L1(1), p.Box(0, 1)]), True, False),
        (p.LogBarrier(1), True, False),
        (p.Pinball(1, 0.5), True, False),
        (p.NuclearNorm(1), False, False),
        (p.TotalVariation1D(1), False, False),
        (p.SeparableSum([p.Simplex(), p.Box(0, 1)]), False, True),
    ],
)
def test_traits(penalty, entrywise, is_set):
    assert (penalty.is_separable, penalty.is_convex, penalty.is_indicator) == (entrywise, True, is_set)
    assert penalty.is_feasible()


@pytest.mark.parametrize(
    "penalty",
    [
        p.Zero(),
        p.L1(0.7),
        p.L2Squared(0.7),
        p.L2(0.7),
        p.ElasticNet(0.7, 0.4),
        p.NonNegative(),
        p.Box(-0.3, 0.7),
        p.L2Ball(0.7),
        0.5 * p.L1(1),
        p.Translated(p.L2(0.7), {"w": 0.3, "b": 0.1}),
        p.Tilted(p.L1(1), 0.2),
        p.Regularized(p.L1(0.3), 0.5, {"w": 1.0, "b": 0.0}),
        p.Conjugate(p.L1(0.7)),
        p.Huber(0.7, 0.9),
        p.Hinge(0.7),
        p.Pinball(0.7, 0.3),
    ],
    ids=lambda penalty: type(penalty).__name__,
)
def test_pytrees_are_vectors_in_pieces(penalty):
    """What a penalty says of a pytree is what it says of the vector of its entries."""
    vector, unravel = jax.flatten_util.ravel_pytree(TREE)
    gradient = unravel(jnp.cos(jnp.arange(float(vector.size))))

    def flat_setting(part):
        spread = jax.tree.map(lambda s, a: jnp.broadcast_to(s, a.shape), jax.tree.broadcast(part, TREE), TREE)
        return jax.flatten_util.ravel_pytree(spread)[0]

    flattened = penalty
    for name in ("offset", "center", "direction"):
        if getattr(penalty, name, None) is not None:
            flattened = eqx.tree_at(lambda g, n=name: getattr(g, n), flattened, flat_setting(getattr(penalty, name)))

    ravel = lambda tree: jax.flatten_util.ravel_pytree(tree)[0]
    np.testing.assert_allclose(penalty.value(TREE), flattened.value(vector), rtol=1e-12)
    np.testing.assert_allclose(penalty.conjugate(TREE), flattened.conjugate(vector), rtol=1e-12)
    np.testing.assert_allclose(ravel(penalty.prox(TREE, 0.6)), flattened.prox(vector, 0.6), atol=1e-14)
    np.testing.assert_allclose(penalty.dual_scale(TREE), flattened.dual_scale(vector), rtol=1e-12)
    if not isinstance(penalty, p.Conjugate):
        least, support = penalty.minimal_subgradient(TREE, gradient), penalty.support(TREE)
        np.testing.assert_allclose(ravel(least), flattened.minimal_subgradient(vector, ravel(gradient)), atol=1e-14)
        np.testing.assert_array_equal(ravel(support), flattened.support(vector))


def test_separable_sum_is_blockwise():
    blocks = {"w": p.L1(0.7), "b": p.L2Squared(0.5)}
    total = p.SeparableSum(blocks)
    for method in ("value", "conjugate"):
        apart = [getattr(blocks[k], method)(TREE[k]) for k in TREE]
        np.testing.assert_allclose(getattr(total, method)(TREE), sum(apart))
    np.testing.assert_allclose(total.dual_scale(TREE), 0.7 / 4)
    for k in TREE:
        np.testing.assert_array_equal(total.prox(TREE, 0.6)[k], blocks[k].prox(TREE[k], 0.6))
        np.testing.assert_array_equal(total.support(TREE)[k], blocks[k].support(TREE[k]))
        least = total.minimal_subgradient(TREE, TREE)[k]
        np.testing.assert_array_equal(least, blocks[k].minimal_subgradient(TREE[k], TREE[k]))
    one_for_all = p.SeparableSum((p.L2(1.0),))
    np.testing.assert_allclose(one_for_all.value((TREE,)), p.L2(1.0).value(TREE))


@pytest.mark.parametrize("factor", [2, 2.0, np.float64(2), jnp.asarray(2.0), np.asarray(2.0)], ids=repr)
def test_products(factor):
    for scaled in (factor * p.L1(1.5), p.L1(1.5) * factor):
        assert isinstance(scaled, p.Scaled)
        np.testing.assert_allclose(scaled.prox(X, 0.5), p.L1(3.0).prox(X, 0.5))
        np.testing.assert_allclose(scaled.critical_strength(X), 2)


def test_zero_strengths_are_no_penalty():
    for penalty in (p.L1(0), p.L2(0), p.L2Squared(0), p.ElasticNet(0, 0), p.GroupLasso(0, GROUPS), 0 * p.L1(1)):
        np.testing.assert_array_equal(penalty.prox(X, 1.0), X)
        np.testing.assert_array_equal(penalty.minimal_subgradient(X, X), X)
        assert penalty.conjugate(X) == jnp.inf and penalty.conjugate(0 * X) == 0
        assert penalty.dual_scale(X) == 0 and penalty.dual_scale(0 * X) == 1


@pytest.mark.parametrize("penalty", [p.Simplex, p.L1Ball])
def test_axis_gives_each_slice_a_set_of_its_own(penalty, rng):
    x, gradient = (jnp.asarray(rng.normal(size=(3, 2)) * 2) for _ in range(2))
    radii = jnp.asarray([0.5, 1.5])
    columns = penalty(radii, axis=0)
    apart = [penalty(r) for r in radii]
    prox = columns.prox(x, 1.0)
    np.testing.assert_allclose(prox, jnp.stack([g.prox(v, 1.0) for g, v in zip(apart, x.T)], 1), atol=1e-14)
    np.testing.assert_allclose(columns.conjugate(x), sum(g.conjugate(v) for g, v in zip(apart, x.T)))
    assert columns.value(prox) == 0 and columns.value(x) == jnp.inf
    least = [g.minimal_subgradient(v, d) for g, v, d in zip(apart, prox.T, gradient.T)]
    np.testing.assert_allclose(columns.minimal_subgradient(prox, gradient), jnp.stack(least, 1), atol=1e-13)
    np.testing.assert_array_equal(columns.support(x), jnp.stack([g.support(v) for g, v in zip(apart, x.T)], 1))


def test_two_settings_batch_apart_and_together():
    l1, l2 = jnp.asarray([0.1, 0.5]), jnp.asarray([0.0, 2.0])
    prox = lambda a, b: p.ElasticNet(a, b).prox(X, 0.5)
    for axes in ((0, None), (None, 0), (0, 0)):
        arguments = [values if axis == 0 else values[1] for values, axis in zip((l1, l2), axes)]
        rows = [[v[i] if axis == 0 else v for v, axis in zip(arguments, axes)] for i in range(2)]
        loop = jnp.stack([prox(*row) for row in rows])
        np.testing.assert_allclose(jax.vmap(prox, axes)(*arguments), loop)


def test_feasibility_of_traced_sets():
    assert jax.vmap(lambda u: p.Box(0.0, u).is_feasible())(jnp.asarray([-1.0, 1.0])).tolist() == [False, True]
    for ball in (p.Simplex, p.L1Ball, p.L2Ball):
        assert jax.vmap(lambda r, ball=ball: ball(r).is_feasible())(jnp.asarray([-1.0, 1.0])).tolist() == [False, True]


def test_scalar_prox_against_scipy():
    """The prox of one number against a bounded scalar search: a check of signs and halves."""
    table = [
        (p.L1(0.7), (-3, 3)),
        (p.L2Squared(0.7), (-3, 3)),
        (p.ElasticNet(0.7, 0.4), (-3, 3)),
        (p.NonNegative(), (0, 3)),
        (p.Box(-0.3, 0.7), (-0.3, 0.7)),
    ]
    for penalty, bounds in table:
        for x in (-2.0, -0.2, 0.3, 1.9):
            objective = lambda z, g=penalty, x=x: float(g.value(jnp.asarray(z)) + (z - x) ** 2 / 1.2)
            brute = scipy.optimize.minimize_scalar(objective, bounds=bounds, method="bounded")
            np.testing.assert_allclose(penalty.prox(jnp.asarray(x), 0.6), brute.x, atol=1e-4)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: p.L1(-1.0), "strength must be nonnegative, got -1.0; pass a value >= 0"),
        (lambda: p.L2Squared(-1), "strength must be nonnegative"),
        (lambda: p.L2(jnp.nan), "strength must be nonnegative"),
        (lambda: p.ElasticNet(1, -1), "l2 must be nonnegative"),
        (lambda: p.ElasticNet(-1, 1), "l1 must be nonnegative"),
        (lambda: p.Box(1, 0), "lower must not exceed upper"),
        (lambda: p.Simplex(-1), "radius must be nonnegative"),
        (lambda: p.L1Ball(-1), "radius must be nonnegative"),
        (lambda: p.L2Ball(-1), "radius must be nonnegative"),
        (lambda: -1 * p.L1(1), "factor must be nonnegative"),
        (lambda: p.Regularized(p.Zero(), -1), "strength must be nonnegative"),
        (lambda: p.SeparableSum({"a": 1.0}), "use Zero"),
        (lambda: p.GroupLasso(1, [0.5, 1]), "groups must be a vector of integer ids"),
        (lambda: p.GroupLasso(1, [-1, 0]), "groups must be a vector of integer ids"),
        (lambda: p.GroupLasso(1, [0, 1], [1.0, 1, 1]), "weights must be a scalar or one a group"),
        (lambda: p.GroupLasso(1, [0, 1], -1), "weights must be nonnegative"),
        (lambda: p.GroupLasso(1, [0, 1]).value(X), "pass one group id a coordinate"),
        (lambda: jax.jit(lambda g: p.GroupLasso(1, g))(GROUPS), "pass num_groups"),
        (lambda: p.Huber(1, 0), "delta must be positive"),
        (lambda: p.LogBarrier(-1), "strength must be nonnegative"),
        (lambda: p.KullbackLeibler(1, 0), "reference must be positive"),
        (lambda: p.ReverseKullbackLeibler(1, {"a": -1}), "reference must be nonnegative"),
        (lambda: p.Pinball(1, 1.1), "quantile must lie in"),
        (lambda: p.MCP(1, 1), "gamma must exceed 1, got 1; pass a larger value"),
        (lambda: p.SCAD(1, 2), "gamma must exceed 2"),
        (lambda: p.LogSum(1, 0), "epsilon must be positive"),
        (lambda: p.L0(-1), "strength must be nonnegative"),
        (lambda: p.CappedL1(1, 0), "threshold must be positive"),
        (lambda: p.SparseGroupLasso(-1, 1, GROUPS), "l1 must be nonnegative"),
        (lambda: p.SparseGroupLasso(1, -1, GROUPS), "group must be nonnegative"),
        (lambda: p.FusedLasso(1, [1.0, 2.0]), "l1 must be a scalar"),
        (lambda: p.TotalVariation1D(1).prox(X[None], 1.0), "x must be a vector"),
        (lambda: p.Slope([1.0, 2.0]), "strengths must be a vector that does not increase"),
        (lambda: p.Slope([1.0, 0.5]).value(X), "pass one strength a rank"),
        (lambda: p.Conjugate(p.MCP(1, 3)), "penalty must be convex"),
    ],
)
def test_bad_input_names_the_mend(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_not_convex_has_no_conjugate():
    class Concave(p.AbstractPenalty):
        is_convex = False

    with pytest.raises(ValueError, match="penalty must be convex"):
        p.Conjugate(Concave())


@pytest.mark.parametrize("method, count", [("conjugate", 1), ("minimal_subgradient", 2), ("support", 1)])
def test_what_has_no_closed_form_says_so(method, count):
    with pytest.raises(NotImplementedError, match="AbstractPenalty has no"):
        getattr(p.AbstractPenalty(), method)(*[X] * count)


def test_one_group_is_the_norm_and_groups_of_one_are_l1(rng):
    x = jnp.asarray(rng.normal(size=4))
    np.testing.assert_allclose(p.GroupLasso(0.7, [0] * 4).prox(x, 0.5), p.L2(0.7).prox(x, 0.5), atol=1e-15)
    np.testing.assert_allclose(p.GroupLasso(0.7, [0, 1, 2, 3]).prox(x, 0.5), p.L1(0.7).prox(x, 0.5), atol=1e-15)
    assert p.GroupLasso(1.0, [0, 0, 1, 1], [1.0, 0.0]).critical_strength(x) == jnp.inf


def test_steep_penalties_near_the_edge_of_their_domain():
    x = jnp.asarray([-60.0, -1e-9, 0.0, 60.0])
    for penalty in (p.LogBarrier(0.5), p.NegativeEntropy(0.5), p.KullbackLeibler(0.5, 2.0)):
        z = penalty.prox(x, 1.0)
        assert (z > 0).all()
        # z solves its optimality condition to the last digits of z, not of x.
        np.testing.assert_allclose(penalty.minimal_subgradient(z, z - x), 0, atol=1e-11)
        free = eqx.tree_at(lambda g: g.strength, penalty, jnp.zeros(()))
        np.testing.assert_array_equal(free.prox(x, 1.0), [0, 0, 0, 60])
    np.testing.assert_allclose(p.KullbackLeibler(3.0, 2.0).prox(jnp.asarray(2.0), 1.0), 2, rtol=1e-15)
    np.testing.assert_array_equal(p.ReverseKullbackLeibler(1.0, 0.0).prox(x, 1.0), [0, 0, 0, 59])


def test_folded_penalties_tend_to_convex_ones(rng):
    x = jnp.asarray(rng.normal(size=6) * 2)
    l1 = p.L1(0.7).prox(x, 0.5)
    for penalty in (p.MCP(0.7, 1e12), p.SCAD(0.7, 1e12), p.CappedL1(0.7, 1e12), p.LogSum(0.7e9, 1e9)):
        np.testing.assert_allclose(penalty.prox(x, 0.5), l1, atol=1e-7)
    for penalty in (p.MCP(0, 2), p.SCAD(0, 3), p.CappedL1(0, 1), p.LogSum(0), p.L0(0), p.LHalf(0), p.LTwoThirds(0)):
        np.testing.assert_allclose(penalty.prox(x, 0.5), x, atol=1e-15)
        assert not penalty.is_convex and penalty.is_separable


def test_one_penalty_is_another_in_its_limits(rng):
    x = jnp.asarray(rng.normal(size=4) * 2)
    pairs = [
        (p.Pinball(1.4, 0.5), p.L1(0.7)),
        (p.Huber(0.7, 1e3), p.L2Squared(0.7)),
        (p.Slope(jnp.full(4, 0.7)), p.L1(0.7)),
        (p.Slope([0.7, 0.0, 0.0, 0.0]), p.LInf(0.7)),
        (p.SparseGroupLasso(0.7, 0.0, GROUPS), p.L1(0.7)),
        (p.SparseGroupLasso(0.0, 0.7, GROUPS), p.GroupLasso(0.7, GROUPS)),
        (p.FusedLasso(0.0, 0.7, 0.4), p.ElasticNet(0.7, 0.4)),
        (p.FusedLasso(0.7, 0.0), p.TotalVariation1D(0.7)),
    ]
    for left, right in pairs:
        np.testing.assert_allclose(left.prox(x, 0.5), right.prox(x, 0.5), atol=1e-14)
        np.testing.assert_allclose(left.value(x), right.value(x), rtol=1e-13)
    diagonal = jnp.diag(jnp.abs(x))
    for norm, of_values in ((p.NuclearNorm(0.7), p.L1(0.7)), (p.SpectralNorm(0.7), p.LInf(0.7))):
        np.testing.assert_allclose(norm.value(diagonal), of_values.value(x))
        np.testing.assert_allclose(jnp.diag(norm.prox(diagonal, 0.5)), of_values.prox(jnp.abs(x), 0.5), atol=1e-14)


@pytest.mark.parametrize("norm", [p.NuclearNorm, p.SpectralNorm])
def test_matrix_norms_do_not_see_rotations(norm, rng):
    x = jnp.asarray(rng.normal(size=(4, 3)))
    left, right = (jnp.linalg.qr(jnp.asarray(rng.normal(size=(n, n))))[0] for n in (4, 3))
    rotated = norm(0.7).prox(left @ x @ right, 0.5)
    np.testing.assert_allclose(rotated, left @ norm(0.7).prox(x, 0.5) @ right, atol=1e-13)
    # Repeated singular values: the derivative is that of the scalar function, whatever basis the SVD picks.
    slope = jax.jvp(lambda s: norm(0.7).prox(s * jnp.eye(3), 0.5), (2.0,), (1.0,))[1]
    np.testing.assert_allclose(slope, jnp.eye(3), atol=1e-13)


def test_total_variation_certificate(rng):
    """The residual, summed, stays in the tube of the strength and touches it at every jump."""
    prox = jax.jit(lambda v, t: p.TotalVariation1D(t).prox(v, 1.0))
    for i in range(60):
        v = np.cumsum(rng.normal(size=40)) if i % 2 else rng.integers(-3, 4, size=40) * 1.0
        for t in (0.0, 0.5, 3.0):
            z = np.asarray(prox(v, t))
            residual, jumps = np.cumsum(v - z), np.diff(z)
            np.testing.assert_allclose(residual[-1], 0, atol=1e-11)
            assert np.abs(residual).max() <= t + 1e-11
            touching = np.abs(jumps) > 1e-9
            np.testing.assert_allclose(residual[:-1][touching], -t * np.sign(jumps)[touching], atol=1e-11)
    np.testing.assert_allclose(prox(v, 0.0), v, atol=1e-15)
    np.testing.assert_allclose(prox(v, 1e3), v.mean(), atol=1e-13)
    np.testing.assert_array_equal(p.TotalVariation1D(1.0).prox(jnp.asarray([3.0]), 1.0), [3])


def test_slope_is_a_regression_of_sorted_magnitudes(rng):
    isotonic = pytest.importorskip("sklearn.isotonic").isotonic_regression
    prox = jax.jit(lambda v, strengths: p.Slope(strengths).prox(v, 1.0))
    for i in range(60):
        v = rng.normal(size=12) * 3 if i % 2 else rng.integers(-3, 4, size=12) * 1.0
        strengths = np.sort(rng.choice([0.0, 0.5, 1.0, 2.0], 12))[::-1].copy()
        order = np.argsort(-np.abs(v))
        expected = np.zeros(12)
        expected[order] = np.maximum(isotonic(np.abs(v)[order] - strengths, increasing=False), 0)
        np.testing.assert_allclose(prox(v, strengths), np.sign(v) * expected, atol=1e-13)
