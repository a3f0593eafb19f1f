"""Linear minimization oracles: the support function, the set, and references that enumerate or call SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxopt_thoth import penalties as p, projections


RNG = np.random.default_rng(0)
VECTOR = jnp.asarray(RNG.normal(size=6))
MATRIX = jnp.asarray(RNG.normal(size=(4, 4)))
SUPPORT = {
    "Simplex": (p.Simplex(2.0), VECTOR),
    "Simplex of columns": (p.Simplex(jnp.arange(1.0, 5.0), axis=0), MATRIX),
    "L1Ball": (p.L1Ball(2.0), VECTOR),
    "L1Ball of rows": (p.L1Ball(2.0, axis=1), MATRIX),
    "L2Ball": (p.L2Ball(2.0), {"a": VECTOR, "b": MATRIX}),
    "Box": (p.Box(-1.0, jnp.arange(1.0, 7.0)), VECTOR),
    "Box of a tree": (p.Box(-1.0, {"a": 2.0, "b": 3.0}), {"a": VECTOR, "b": MATRIX}),
    "blocks": (p.SeparableSum({"a": p.Simplex(), "b": p.L1Ball(3.0)}), {"a": VECTOR, "b": MATRIX}),
    "nuclear ball": (p.SpectralFunction(p.L1Ball(2.0)), MATRIX[:, :3]),
    "spectral ball": (p.SpectralFunction(p.Box(-2.0, 2.0)), MATRIX[:3]),
    "spectrahedron": (p.SpectralFunction(p.Simplex(2.0), symmetric=True), MATRIX + MATRIX.T),
    "Translated": (p.Translated(p.L1Ball(1.0), 3.0), VECTOR),
    "Scaled": (3.0 * p.Simplex(), VECTOR),
}


def dot(x, y):
    return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, x, y)))


@pytest.mark.parametrize("name", SUPPORT)
def test_reaches_the_support_function_from_inside_the_set(name):
    penalty, gradient = SUPPORT[name]
    found = penalty.linear_minimizer(gradient)
    support = penalty.conjugate(jax.tree.map(jnp.negative, gradient))
    np.testing.assert_allclose(dot(found, gradient), -support, rtol=1e-13)
    assert penalty.value(found) == 0
    single = jax.tree.map(lambda a: a.astype(jnp.float32), gradient)
    assert {leaf.dtype for leaf in jax.tree.leaves(penalty.linear_minimizer(single))} == {jnp.dtype(jnp.float32)}


def test_assignment_is_exact():
    costs = jnp.stack([MATRIX, MATRIX.T, jnp.round(MATRIX), jnp.zeros((4, 4))])
    birkhoff = p.Indicator(projections.birkhoff)
    for cost, plan in zip(costs, jax.jit(jax.vmap(birkhoff.linear_minimizer))(costs)):
        rows, columns = scipy.optimize.linear_sum_assignment(np.asarray(cost))
        np.testing.assert_allclose(jnp.vdot(cost, plan), cost[rows, columns].sum(), atol=1e-14)
        assert jnp.all(plan.sum(0) == 1) and jnp.all(plan.sum(1) == 1) and jnp.all((plan == 0) | (plan == 1))


def linear_program(cost, bounds, normal, offset):
    return scipy.optimize.linprog(cost, A_eq=np.asarray(normal)[None], b_eq=[offset], bounds=bounds).fun


def test_knapsacks_agree_with_a_linear_program():
    caps = np.linspace(0.1, 1.2, 6)
    capped = p.Indicator(projections.capped_simplex, 2.5, caps)
    found = capped.linear_minimizer(VECTOR)
    reference = linear_program(VECTOR, [(0, cap) for cap in caps], np.ones(6), 2.5)
    np.testing.assert_allclose(jnp.vdot(found, VECTOR), reference, rtol=1e-12)
    assert capped.value(found) == 0
    free = p.Indicator(projections.capped_simplex, 2.5, jnp.inf).linear_minimizer(VECTOR)
    np.testing.assert_array_equal(free, p.Simplex(2.5).linear_minimizer(VECTOR))
    normal = np.array([1.0, -1.0, 0.0, 2.0, -0.5, 1.0])
    dual = p.Indicator(projections.box_hyperplane, -1.0, caps, normal, 0.3)
    found = dual.linear_minimizer(VECTOR)
    np.testing.assert_allclose(
        jnp.vdot(found, VECTOR), linear_program(VECTOR, [(-1, cap) for cap in caps], normal, 0.3), rtol=1e-12
    )
    assert dual.value(found) == 0


def test_other_indicators_of_projections():
    for project, args, twin in (
        (projections.box, (-1.0, 2.0), p.Box(-1.0, 2.0)),
        (projections.linf_ball, (2.0,), p.Box(-2.0, 2.0)),
        (projections.l1_ball, (2.0,), p.L1Ball(2.0)),
        (projections.l2_ball, (2.0,), p.L2Ball(2.0)),
        (projections.simplex, (2.0,), p.Simplex(2.0)),
    ):
        found = p.Indicator(project, *args).linear_minimizer(VECTOR)
        np.testing.assert_array_equal(found, twin.linear_minimizer(VECTOR))
    rows = p.Indicator(projections.l1_inf_ball, 2.0)
    found = rows.linear_minimizer(MATRIX)
    # The dual norm of the sum of maxima is the maximum of sums.
    np.testing.assert_allclose(jnp.vdot(found, MATRIX), -2 * jnp.max(jnp.sum(jnp.abs(MATRIX), 1)))
    assert rows.value(found) == 0


def test_an_oracle_of_ones_own():
    halves = p.Indicator(lambda x, r: projections.l2_ball(x, r / 2), 4.0, oracle=lambda g, r: -r / 2 * g / jnp.abs(g))
    assert halves.linear_minimizer(jnp.array([3.0])) == -2


def test_without_an_oracle_there_is_a_message():
    cones = (p.NonNegative(), p.Cone(projections.psd), p.L1(1.0), 2.0 * p.L1(1.0), p.Indicator(projections.transport))
    for penalty in cones:
        with pytest.raises(NotImplementedError, match="has no linear minimization oracle"):
            penalty.linear_minimizer(VECTOR)
    # An unbounded box has one where the gradient allows.
    half = p.Box(0.0, jnp.inf)
    np.testing.assert_array_equal(half.linear_minimizer(jnp.array([1.0, 0.0])), jnp.zeros(2))
    assert jnp.isinf(half.linear_minimizer(jnp.array([-1.0]))[0])
    for bad in (VECTOR, MATRIX[None]):
        with pytest.raises(ValueError, match="gradient must be a matrix"):
            p.SpectralFunction(p.L1Ball(1.0)).linear_minimizer(bad)


def test_zero_gradients_stay_in_the_set():
    for name in ("Simplex", "L1Ball", "L2Ball", "Box", "nuclear ball"):
        penalty, gradient = SUPPORT[name]
        found = penalty.linear_minimizer(jax.tree.map(jnp.zeros_like, gradient))
        assert penalty.value(found) == 0
