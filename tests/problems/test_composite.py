import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt


LASSO = jt.Composite(jt.Quadratic(jnp.eye(3), jnp.array([-3.0, 0.5, 2.0])), jt.penalties.L1(1.0))
SOLUTION = jnp.array([2.0, 0.0, -1.0])


def test_value_adds_the_terms():
    w = jnp.array([1.0, -1.0, 2.0])
    assert LASSO.value(w) == LASSO.smooth.value(w) + LASSO.penalty.value(w)


@pytest.mark.parametrize("step", [1e-3, 1.0, 7.0])
def test_the_solution_is_the_fixed_point_for_every_step(step):
    np.testing.assert_allclose(LASSO.forward_backward(SOLUTION, step), SOLUTION, atol=1e-14)
    np.testing.assert_allclose(LASSO.optimality(SOLUTION, step), 0, atol=1e-12)
    assert jnp.linalg.norm(LASSO.optimality(SOLUTION + 0.1, step)) > 1e-3


def test_optimality_without_a_penalty_is_the_gradient():
    smooth = jt.Composite(LASSO.smooth)
    w = jnp.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(smooth.optimality(w, 0.3), smooth.smooth.gradient(w), rtol=1e-13)


def test_a_plain_function_is_wrapped_over_any_pytree():
    problem = jt.Composite(lambda p: jnp.sum(p["a"] ** 2) + p["b"] ** 2, 0.5 * jt.penalties.L1(1.0))
    params = problem.check({"a": np.array([1, 2]), "b": 3})
    assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(params))
    np.testing.assert_allclose(problem.value(params), 1 + 4 + 9 + 3)
    moved = problem.forward_backward(params, 0.25)
    np.testing.assert_allclose(moved["b"], 3 - 0.25 * 6 - 0.125)


def test_a_problem_is_a_pytree_of_its_numbers():
    doubled = jax.tree.map(lambda leaf: 2 * leaf, LASSO)
    assert doubled.penalty.strength == 2.0
    slope = eqx.filter_grad(lambda problem: problem.value(SOLUTION))(LASSO)
    np.testing.assert_allclose(slope.penalty.strength, 3.0)
    np.testing.assert_allclose(slope.smooth.vector, SOLUTION)


def test_feasibility():
    assert LASSO.is_feasible(SOLUTION)
    crossed = jax.jit(lambda low: jt.Composite(LASSO.smooth, jt.penalties.Box(low, 0.0)).is_feasible(SOLUTION))
    assert crossed(-1.0) and not crossed(1.0)
    barrier = jt.Composite(lambda w: -jnp.sum(jnp.log(w)))
    assert barrier.is_feasible(jnp.ones(2)) and not barrier.is_feasible(jnp.zeros(2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3.0,), "smooth must be"),
        ((LASSO.smooth, 0.1), "penalty must be"),
        ((LASSO.smooth, "l1"), "penalty must be"),
        ((LASSO.penalty, LASSO.smooth), "smooth must be"),
    ],
)
def test_terms_of_another_kind_are_refused(arguments, message):
    with pytest.raises(TypeError, match=message):
        jt.Composite(*arguments)
