import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth import _tree


TREE = {"a": jnp.array([3.0, 0.0]), "b": (jnp.array([[4.0]]),)}


def test_inner_product_and_norms_run_over_every_leaf():
    assert _tree.vdot(TREE, TREE) == _tree.squared_norm(TREE) == 25.0
    assert _tree.norm(TREE) == 5.0


def test_inner_product_asks_for_the_highest_precision():
    text = str(jax.make_jaxpr(_tree.vdot)(jnp.ones(3, jnp.float32), jnp.ones(3, jnp.float32)))
    assert "HIGHEST" in text


@pytest.mark.parametrize("norm", [_tree.norm, _tree.stable_norm])
def test_norms_have_derivative_zero_at_zero_and_unit_slope_elsewhere(norm):
    zero = jax.tree.map(jnp.zeros_like, TREE)
    assert norm(zero) == 0
    assert all(jnp.all(g == 0) for g in jax.tree.leaves(jax.grad(norm)(zero)))
    slope = jax.grad(norm)(TREE)
    np.testing.assert_allclose(slope["a"], [0.6, 0.0], rtol=1e-12)
    np.testing.assert_allclose(slope["b"][0], [[0.8]], rtol=1e-12)


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_stable_norm_keeps_what_float32_squares_lose(factor):
    x = jnp.array([3.0, 4.0], jnp.float32) * jnp.float32(factor)
    assert _tree.norm(x) in (0, jnp.inf)
    np.testing.assert_allclose(_tree.stable_norm(x), 5 * factor, rtol=1e-6)


def test_scalars_take_the_dtype_of_the_tree():
    x = jnp.ones(2, jnp.float32)
    assert _tree.add_scaled(x, jnp.float64(2.0), x).dtype == jnp.float32
    assert _tree.dtype_of({"n": 3, "x": x}) == jnp.float32
    assert _tree.dtype_of({"n": 3}) == jnp.float64
    assert _tree.as_inexact([1, jnp.ones(1, jnp.float32)])[1].dtype == jnp.float32
    assert _tree.as_inexact(jnp.array([1, 2])).dtype == jnp.float64


def test_settings_are_strongly_typed_leaves():
    for value in (1, 1.0, jnp.asarray(1.0)):
        setting = _tree.setting(value)
        assert setting.dtype == jnp.float64 and not setting.weak_type
    assert _tree.setting(np.float32(1)).dtype == jnp.float32


def test_all_finite_ignores_integers_and_sees_any_leaf():
    assert _tree.all_finite({"n": jnp.array([1, 2])}) and _tree.all_finite(TREE)
    assert not _tree.all_finite({**TREE, "c": jnp.array([1.0, jnp.inf])})
    assert not _tree.all_finite({**TREE, "c": jnp.array(jnp.nan)})


def test_expand_spreads_a_prefix():
    spread = _tree.expand({"a": 2.0, "b": 3.0}, TREE)
    np.testing.assert_array_equal(spread["a"], [2.0, 2.0])
    np.testing.assert_array_equal(spread["b"][0], [[3.0]])


def test_stop_gradient_leaves_integers_and_functions_alone():
    f = lambda x: sum(leaf.sum() for leaf in jax.tree.leaves(_tree.stop_gradient((x, jnp.arange(2), abs)))[:1])
    assert jax.grad(f)(jnp.ones(2)).sum() == 0


@pytest.mark.parametrize(("dtype", "tol"), [(jnp.float32, 1e-4), (jnp.float64, 1e-8)])
def test_default_tolerance_scales_with_the_dtype(dtype, tol):
    np.testing.assert_allclose(_tree.default_tolerance(dtype), tol)


@pytest.mark.parametrize("size", [1, 2, 7, 12, 5000])
def test_inner_products_of_several_pairs_are_those_of_each(size):
    x, y = jnp.cos(jnp.arange(size, dtype=float)), jnp.sin(jnp.arange(size, dtype=float))
    pairs = [({"a": x, "b": y}, {"a": y, "b": y}), (x, x), (x[:1], y[:1])]
    expected = [_tree.vdot(*pair) for pair in pairs]
    np.testing.assert_allclose(_tree.inner_products(*pairs), expected, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(_tree.inner_products((x, x))[0], jnp.sum(x**2), rtol=1e-13)
    assert jnp.isnan(_tree.inner_products((x.at[-1].set(jnp.inf), jnp.zeros(size)))[0])


def test_inner_products_are_differentiated_twice():
    x = jnp.arange(1.0, 6.0)
    f = lambda x: _tree.inner_products((x, x), (x, x**2))[1]
    np.testing.assert_allclose(jax.grad(f)(x), 3 * x**2)
    np.testing.assert_allclose(jax.hessian(f)(x), jnp.diag(6 * x))
    np.testing.assert_allclose(jax.vmap(f)(jnp.stack([x, 2 * x])), [jnp.sum(x**3), 8 * jnp.sum(x**3)])
