"""The laws of the clipping rules, each on all of them at once."""

import functools

import equinox as eqx
import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import gradients as g


SIZE = 5
LIKE = {"w": jnp.zeros((2, 2)), "b": jnp.zeros(())}
RULES = {
    "global": g.GlobalClip,
    "per_layer": lambda level: g.PerLayerClip.uniform(level, LIKE),
    "per_block": lambda level: g.PerLayerClip({"w": level, "b": 2 * level}),
    "one_block": g.PerLayerClip,
    "normalized": g.NormalizedClip,
    "auto_s": g.AutoS,
    "psac": g.PSAC,
    "smooth": g.SmoothClip,
    "coordinate": lambda level: g.CoordinateClip(level, SIZE),
}
BY_NORM = ("global", "one_block", "normalized", "auto_s", "psac", "smooth")
NEAR_IDENTITY = ("global", "one_block", "per_layer", "per_block", "smooth", "coordinate")
traces = []


def as_tree(x):
    return {"w": x[:4].reshape(2, 2), "b": x[4]}


def as_vector(tree):
    return jnp.append(tree["w"].ravel(), tree["b"])


@jax.jit
@functools.partial(jax.vmap, in_axes=(0, None))
def clip_all(x, level):
    traces.append(None)
    return {name: as_vector(make(level)(as_tree(x))) for name, make in RULES.items()}


@jax.jit
def bounds(level):
    return {name: make(level).bound for name, make in RULES.items()}


def clipped(x, level):
    return {name: np.asarray(out) for name, out in clip_all(np.asarray(x), np.asarray(level, float)).items()}


def norms(x):
    peak = np.maximum(np.max(np.abs(x), axis=-1), np.finfo(float).tiny)
    return peak * np.linalg.norm(x / peak[..., None], axis=-1)


ROWS = 6
moderate = st.floats(-1e6, 1e6, allow_subnormal=False)
levels = st.floats(1e-3, 1e3)
for_all = hypothesis.settings(deadline=None, max_examples=40)


@for_all
@hypothesis.given(
    hnp.arrays(float, (ROWS, SIZE), elements=st.floats(allow_subnormal=False)), st.just(0.0) | st.floats(1e-290, 1e300)
)
def test_no_gradient_whatever_it_is_exceeds_the_bound(x, level):
    known = bounds(level)
    for name, out in clipped(x, level).items():
        assert np.isfinite(out).all(), name
        assert (norms(out) <= known[name] * (1 + 1e-14)).all(), name
        assert (out[~np.isfinite(x).all(axis=1)] == 0).all(), name


@for_all
@hypothesis.given(hnp.arrays(float, (2, ROWS, SIZE), elements=moderate), levels)
def test_clipping_contracts_keeps_directions_and_leaves_short_gradients_alone(pair, level):
    x, y = pair
    out, other = clipped(x, level), clipped(y, level)
    for name in BY_NORM:
        along = norms(x)[:, None] * out[name] - norms(out[name])[:, None] * x
        assert (np.abs(along) <= 1e-12 * (norms(x) * norms(out[name]))[:, None]).all(), name
    for name in NEAR_IDENTITY:
        assert (norms(out[name] - other[name]) <= norms(x - y) * (1 + 1e-12) + 1e-12 * level).all(), name
    inside = norms(x) <= level
    np.testing.assert_array_equal(out["global"][inside], x[inside])
    np.testing.assert_array_equal(out["coordinate"], np.clip(x, -level, level))
    np.testing.assert_array_equal(out["global"], out["one_block"])
    np.testing.assert_allclose(out["normalized"] * level, out["global"], rtol=1e-13, atol=1e-300)


@for_all
@hypothesis.given(hnp.arrays(float, (2, ROWS, SIZE), elements=moderate), levels)
def test_a_sum_moves_by_the_sensitivity_at_most(pair, level):
    kept, drawn = pair
    first, second = clipped(kept, level), clipped(drawn, level)
    for name, make in RULES.items():
        rule = make(level)
        sums, other = first[name].sum(axis=0), second[name]
        one_more = norms(sums + other[0] - sums)
        replaced = norms(sums + other[0] - (sums + other[1]))
        slack = 1e-10 * ROWS * float(rule.bound)
        assert one_more <= rule.sensitivity(g.NeighboringRelation.add_or_remove_one) + slack
        assert one_more <= rule.sensitivity(g.NeighboringRelation.replace_special) + slack
        assert replaced <= rule.sensitivity(g.NeighboringRelation.replace_one) + slack


def test_the_sensitivities_are_those_of_long_gradients():
    level = 0.7
    expected = dict.fromkeys(RULES, level) | {
        "per_block": level * 5**0.5,
        "normalized": 1.0,
        "coordinate": level * SIZE**0.5,
    }
    there = clipped(np.full((1, SIZE), 1e8), level)
    back = clipped(np.full((1, SIZE), -1e8), level)
    for name, make in RULES.items():
        rule = make(level)
        np.testing.assert_allclose(rule.sensitivity(g.NeighboringRelation.add_or_remove_one), expected[name])
        np.testing.assert_allclose(rule.sensitivity(g.NeighboringRelation.replace_special), expected[name])
        np.testing.assert_allclose(rule.sensitivity(g.NeighboringRelation.replace_one), 2 * expected[name])
        np.testing.assert_allclose(norms(there[name]), expected[name], rtol=1e-6)
        np.testing.assert_allclose(norms(there[name] - back[name]), 2 * expected[name], rtol=1e-6)


def test_limits():
    x = np.array([[3.0, 0.0, 0.0, 0.0, 4.0], [1e-3, -2e-3, 0.0, 0.0, 0.0], [0.0] * SIZE])
    unit = x / np.maximum(norms(x), 1e-300)[:, None]
    never, always = clipped(x, np.inf), clipped(x, 0.0)
    for name in NEAR_IDENTITY:
        np.testing.assert_array_equal(never[name], x)
        np.testing.assert_array_equal(always[name], 0 * x)
    np.testing.assert_array_equal(never["normalized"], 0 * x)
    np.testing.assert_allclose(always["normalized"], unit, rtol=1e-14)
    np.testing.assert_allclose(jax.vmap(g.AutoS(2.0, stability=0.0))(x), 2 * unit, rtol=1e-14)
    np.testing.assert_array_equal(jax.vmap(g.AutoS(2.0))(x)[-1], 0)
    # The factor of PSAC is the level both for very short and, over the norm, for very long gradients.
    factor = g.PSAC(3.0, radius=0.5).factor
    np.testing.assert_allclose([factor(jnp.asarray(1e-12)), factor(jnp.asarray(1e12)) * 1e12], 3.0, rtol=1e-9)


def test_global_clipping_is_a_projection_and_the_gradient_of_the_huber_function(rng):
    x, level = rng.normal(size=(20, SIZE)), 2.0
    out = clipped(x, level)
    np.testing.assert_allclose(out["global"], jax.vmap(lambda x: jt.projections.l2_ball(x, level))(x), rtol=1e-12)

    @jax.jit
    @jax.vmap
    @jax.grad
    def huber(x):
        return jt.losses.Huber(level)(jnp.sqrt(jnp.sum(x * x)), jnp.zeros(()))

    pseudo = jax.vmap(jax.grad(lambda x: level**2 * jnp.sqrt(1 + jnp.sum(x * x) / level**2)))
    np.testing.assert_allclose(out["global"], huber(x), rtol=1e-12)
    np.testing.assert_allclose(out["smooth"], pseudo(x), rtol=1e-12)


def test_derivatives_in_the_gradient_and_in_the_level(rng):
    x, tangent = rng.normal(size=(2, 4, SIZE))
    x[-1] = 0
    level = 1.3
    _, slopes = jax.jvp(clip_all, (x, jnp.asarray(level)), (tangent, jnp.ones(())))
    h = 1e-6
    ahead, behind = clipped(x + h * tangent, level + h), clipped(x - h * tangent, level - h)
    for name in RULES:
        assert np.isfinite(slopes[name]).all(), name
        # Gradients of norm about h around zero are not yet in the linear range of those that normalize.
        np.testing.assert_allclose(slopes[name][:-1], ((ahead[name] - behind[name]) / (2 * h))[:-1], atol=1e-7)
    np.testing.assert_allclose(slopes["global"][-1], tangent[-1])
    np.testing.assert_allclose(slopes["auto_s"][-1], level / 0.01 * tangent[-1])


def test_one_compilation_serves_all_levels():
    clipped(np.ones((2, SIZE)), 1.0)
    before = len(traces)
    for level in (0.1, 2.0, 30.0):
        clipped(np.ones((2, SIZE)), level)
    assert len(traces) == before


def test_batches_of_levels_and_jit_of_a_rule():
    x = jnp.array([3.0, 4.0])
    batch = jax.vmap(lambda level: g.clip(x, level))(jnp.array([1.0, 5.0, 10.0]))
    np.testing.assert_allclose(batch, [[0.6, 0.8], [3.0, 4.0], [3.0, 4.0]])
    np.testing.assert_allclose(jax.jit(g.clip)(x, 2.5), [1.5, 2.0])
    rules = eqx.filter_vmap(g.GlobalClip)(jnp.array([1.0, 2.5]))
    np.testing.assert_allclose(eqx.filter_vmap(lambda rule: rule(x))(rules), [[0.6, 0.8], [1.5, 2.0]])


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64])
def test_half_precision_neither_overflows_nor_changes_its_dtype(dtype):
    # The squares are beyond the range of float16, and so is the norm.
    tree = {"w": jnp.full((100,), 3e4, dtype), "b": jnp.full((2,), 1.0, jnp.float32)}
    small = {"w": jnp.full((100,), 1e-3, dtype), "b": jnp.full((2,), 1e-3, jnp.float32)}
    out = g.clip(tree, 10.0)
    assert out["w"].dtype == dtype and out["b"].dtype == jnp.float32
    np.testing.assert_allclose(out["w"].astype(float), 1.0, rtol=2e-2 if dtype == jnp.bfloat16 else 2e-3)
    inside = g.clip(small, 10.0)
    np.testing.assert_array_equal(inside["w"], small["w"])
    np.testing.assert_array_equal(g.clip({"w": jnp.full((4,), 1e30, jnp.float32)}, 2.0)["w"], 1.0)


def test_gradients_that_are_not_finite():
    for bad in (np.nan, np.inf, -np.inf):
        x = np.array([1.0, 2.0, bad])
        np.testing.assert_array_equal(g.clip(x, 1.0), 0)
        assert not np.isfinite(g.clip(x, 1.0, nan_safe=False)).all()
    zeros = jax.grad(lambda level: jnp.sum(g.clip(jnp.array([1.0, jnp.nan]), level)))(1.0)
    assert zeros == 0


def test_pytrees_of_equinox_and_integers():
    model = eqx.nn.MLP(2, 2, 3, 1, key=jax.random.key(0))
    gradient = eqx.filter_grad(lambda model: jnp.sum(1e3 * model(jnp.ones(2)) ** 2))(model)
    rule = g.PerLayerClip.uniform(2.0, model)
    out = rule(gradient)
    assert jax.tree.structure(out) == jax.tree.structure(gradient)
    np.testing.assert_allclose(rule.bound, 2.0)
    for leaf in jax.tree.leaves(out):
        assert jnp.linalg.norm(leaf) <= 1 + 1e-12
    np.testing.assert_allclose(g.clip(jnp.array([3, 4]), 1.0), [0.6, 0.8])
    assert g.clip({}, 1.0) == {}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: g.clip(jnp.ones(2), -1.0), ValueError, "max_norm must be nonnegative"),
        (lambda: g.AutoS(1.0, -1.0), ValueError, "stability must be nonnegative"),
        (lambda: g.PSAC(1.0, 0.0), ValueError, "radius must be positive"),
        (lambda: g.PerLayerClip([1.0, -1.0]), ValueError, "levels must be nonnegative"),
        (lambda: g.PerLayerClip([1.0, 1.0])({"w": jnp.ones(2)}), ValueError, "levels must be a pytree prefix"),
        (lambda: g.PerLayerClip.uniform(1.0, [3]), ValueError, "tree must have a floating-point array"),
        (lambda: g.CoordinateClip(1.0, 0), ValueError, "size must be a positive integer"),
        (lambda: g.CoordinateClip(1.0, 3)(jnp.ones(2)), ValueError, "size must be the number of entries"),
        (lambda: g.GlobalClip(1.0).sensitivity("replace_one"), TypeError, "relation must be"),
        (lambda: g.clip_transform(1.0), TypeError, "rule must be a clipping rule"),
        (lambda: g.clip_with_error_feedback(g.clip), TypeError, "rule must be a clipping rule"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
