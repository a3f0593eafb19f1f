"""Laws that hold for every penalty of the zoo (see `conftest.py`).

Compilation dominates, so each penalty is observed by one compiled program; the laws then compare its arrays.
"""

import functools

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest


N = 6
STEP = 0.6
SETTING = 0.7
# Some points end inside the thresholds and sets, some far outside.
POINTS = jnp.asarray(np.random.default_rng(7).normal(size=(6, N)) * np.array([0.1, 0.5, 1, 1, 2, 5])[:, None])
GRADIENTS = jnp.asarray(np.random.default_rng(11).normal(size=POINTS.shape))
TIES = jnp.stack([jnp.zeros(N), jnp.ones(N), -jnp.ones(N), jnp.full(N, 0.42), jnp.eye(N)[1], 0.7 * jnp.arange(-3.0, 3)])
UNSCALABLE = {"Tilted L1", "Tilted Simplex", "Conjugate of L1", "Conjugate of GroupLasso", "Conjugate of Box"}
UNSCALABLE |= {"LogBarrier", "LogDet", "Max", "SumLargest"}


def implements(penalty, name, *arguments):
    try:
        jax.eval_shape(getattr(penalty, name), *arguments)
    except NotImplementedError:
        return False
    return True


def proximal_gap(value, p, x, z):
    """`h(z) - h(p) - |z - p|^2 / (2 step)` of h = g + |. - x|^2 / (2 step), nonnegative for all z iff p is the prox."""
    h = lambda v: value(v) + jnp.sum((v - x) ** 2) / (2 * STEP)
    return h(z) - h(p) - jnp.sum((z - p) ** 2) / (2 * STEP)


def around(points, p):
    """Candidates from far to very near `p`, in the domain because it is convex."""
    return jnp.concatenate([p[None] + scale * (points - p[None]) for scale in (1.0, 0.1, 1e-3)])


def law_of_moreau(penalty, x):
    envelope_slope = jax.grad(penalty.envelope)(x, STEP) - (x - penalty.prox(x, STEP)) / STEP
    decomposition = x - STEP * penalty.prox(x / STEP, 1 / STEP) - penalty.conjugate_prox(x, STEP)
    return envelope_slope, decomposition


def law_of_prox(penalty, x, samples):
    p = penalty.prox(x, STEP)
    return penalty.value(p), jax.vmap(lambda z: proximal_gap(penalty.value, p, x, z))(around(samples, p))


def law_of_conjugate_prox(penalty, x, duals):
    p = penalty.conjugate_prox(x, STEP)
    candidates = jax.vmap(lambda u: u * penalty.dual_scale(u))(around(duals, p))
    return penalty.conjugate(p), jax.vmap(lambda z: proximal_gap(penalty.conjugate, p, x, z))(candidates)


def law_of_fenchel_young(penalty, x, samples):
    p = penalty.prox(x, STEP)
    u = (x - p) / STEP
    gap = lambda a: penalty.value(a) + penalty.conjugate(u) - jnp.vdot(a, u)
    return gap(p), jax.vmap(gap)(samples)


def law_of_scaling(penalty, u):
    scale = penalty.dual_scale(u)
    return scale, penalty.conjugate(scale * u), penalty.conjugate(1.001 * scale * u)


def law_of_subgradient(penalty, x, gradient, is_smooth, tiny=1e-7):
    p = penalty.prox(x, STEP)
    # The forward-backward residual of a vanishing step tends to the element of least norm.
    limit = (p - penalty.prox(p - tiny * gradient, tiny)) / tiny
    if is_smooth:
        limit = gradient + jax.grad(penalty.value)(p)
    return penalty.subdifferential_distance(p, (p - x) / STEP), penalty.minimal_subgradient(p, gradient), limit


def derivatives(case, x, setting):
    prox = lambda x, step, s: case.penalty(s).prox(x, step)
    arguments = x, jnp.asarray(STEP), setting
    forward, reverse = (mode(prox, (0, 1, 2))(*arguments) for mode in (jax.jacfwd, jax.jacrev))
    cubes = lambda *a: jnp.sum(prox(*a) ** 3)
    second = jax.jvp(jax.grad(cubes, (0, 1, 2)), arguments, jax.tree.map(jnp.ones_like, arguments))
    value = jax.grad(lambda x, s: case.penalty(s).value(x), (0, 1))(prox(*arguments), setting)
    return forward, reverse, second, value


@functools.lru_cache(None)
def programs(case):
    """The laws of one penalty over six points, its derivatives over six points, and its prox: compiled once each."""

    @jax.jit
    def laws(points, samples, duals):
        penalty = case.penalty(SETTING)

        def at(x, gradient):
            seen = {
                "moreau": law_of_moreau(penalty, x),
                "prox": law_of_prox(penalty, x, samples),
            }
            if implements(penalty, "conjugate", x):
                seen["conjugate_prox"] = law_of_conjugate_prox(penalty, x, duals)
                seen["fenchel_young"] = law_of_fenchel_young(penalty, x, samples)
                seen["scaling"] = law_of_scaling(penalty, x)
            if implements(penalty, "support", x):
                seen["support"] = penalty.support(penalty.prox(x, STEP))
            if implements(penalty, "minimal_subgradient", x, x):
                seen["subgradient"] = law_of_subgradient(penalty, x, gradient, case.is_smooth)
            return seen

        return jax.vmap(at)(points, GRADIENTS)

    slopes = jax.jit(jax.vmap(lambda x, setting: derivatives(case, x, setting), (0, None)))
    prox = jax.jit(lambda x, step, setting: case.penalty(setting).prox(x, step))
    return laws, slopes, prox


@functools.lru_cache(None)
def observed(case):
    rng = np.random.default_rng(0)
    laws, slopes, _ = programs(case)
    if not case.penalty().is_convex:
        return {"derivatives": jax.tree.map(np.asarray, slopes(POINTS, jnp.asarray(SETTING)))}
    seen = laws(POINTS, case.points(rng, 100), jnp.asarray(rng.normal(size=(100, N))))
    return jax.tree.map(np.asarray, seen | {"derivatives": slopes(POINTS, jnp.asarray(SETTING))})


def test_prox_minimizes(case):
    value, gap = observed(case)["prox"]
    assert np.isfinite(value).all()
    assert np.isfinite(gap).mean() > 0.9
    assert gap.min() >= -1e-9


def test_conjugate_prox_minimizes_the_conjugate(case):
    if "conjugate_prox" not in observed(case):
        pytest.skip("no closed form")
    value, gap = observed(case)["conjugate_prox"]
    assert np.isfinite(value).all()
    assert gap.min() >= -1e-9


def test_fenchel_young(case):
    if "fenchel_young" not in observed(case):
        pytest.skip("no closed form")
    equality, inequality = observed(case)["fenchel_young"]
    np.testing.assert_allclose(equality, 0, atol=1e-9)
    assert inequality.min() >= -1e-9


def test_moreau(case):
    envelope_slope, decomposition = observed(case)["moreau"]
    np.testing.assert_allclose(envelope_slope, 0, atol=1e-10)
    np.testing.assert_allclose(decomposition, 0, atol=1e-12)


def test_dual_scale_is_the_largest(case):
    if "scaling" not in observed(case):
        pytest.skip("no closed form")
    if case.name in UNSCALABLE:
        pytest.skip("no scaling need reach the domain of the conjugate")
    scale, inside, outside = observed(case)["scaling"]
    assert ((scale >= 0) & (scale <= 1)).all()
    assert np.isfinite(inside).all()
    assert (outside[(scale > 0) & (scale < 1)] == np.inf).all()


def test_minimal_subgradient(case):
    if "subgradient" not in observed(case):
        pytest.skip("no closed form")
    distance, least, limit = observed(case)["subgradient"]
    np.testing.assert_allclose(distance, 0, atol=1e-10)
    np.testing.assert_allclose(least, limit, atol=3e-6)


def test_support_is_where_the_prox_moves(case):
    if "support" not in observed(case):
        pytest.skip("no support")
    support, jacobian = observed(case)["support"], observed(case)["derivatives"][0][0]
    moves = np.abs(jacobian).max(-1) > 1e-12
    # A face of one vertex does not move although its entry is not zero.
    assert not (moves & ~support).any()
    if case.penalty().is_separable:
        np.testing.assert_array_equal(support, moves)


def test_jacobian_is_symmetric_with_eigenvalues_between_zero_and_one(case):
    jacobian = observed(case)["derivatives"][0][0]
    np.testing.assert_allclose(jacobian, jacobian.transpose(0, 2, 1), atol=1e-11)
    eigenvalues = np.linalg.eigvalsh(jacobian)
    assert eigenvalues.min() >= -1e-11 and eigenvalues.max() <= 1 + 1e-11
    if case.penalty().is_separable:
        np.testing.assert_array_equal(jacobian * (1 - np.eye(N)), 0)


def test_derivatives_in_point_step_and_setting(any_case):
    forward, reverse, second, _ = observed(any_case)["derivatives"]
    for left, right in zip(forward, reverse):
        np.testing.assert_allclose(left, right, atol=1e-11)
    assert all(np.isfinite(part).all() for part in jax.tree.leaves(second))

    prox = programs(any_case)[2]
    direction = np.random.default_rng(5).normal(size=N)

    def central(x, dx, dstep, dsetting, h=1e-6):
        value = lambda t: np.asarray(prox(x + t * dx, STEP + t * dstep, SETTING + t * dsetting))
        return (value(h) - value(-h)) / (2 * h)

    for i, x in enumerate(np.asarray(POINTS)):
        np.testing.assert_allclose(forward[0][i] @ direction, central(x, direction, 0, 0), atol=1e-6)
        np.testing.assert_allclose(forward[1][i], central(x, np.zeros(N), 1, 0), atol=1e-6)
        np.testing.assert_allclose(forward[2][i], central(x, np.zeros(N), 0, 1), atol=1e-6)


def test_no_nan_at_zero_and_at_ties(any_case):
    for setting in (0.0, 0.42, SETTING):
        parts = programs(any_case)[1](TIES, jnp.asarray(setting))
        assert all(jnp.isfinite(part).all() for part in jax.tree.leaves(parts))


def test_firmly_nonexpansive_and_projections_idempotent(case):
    prox = lambda x, step: np.asarray(programs(case)[2](x, step, SETTING))
    vectors = hnp.arrays(float, N, elements=st.floats(-20, 20, allow_subnormal=False))

    @hypothesis.settings(deadline=None, max_examples=30)
    @hypothesis.given(vectors, vectors)
    def law(x, y):
        p, q = prox(x, STEP), prox(y, STEP)
        assert (p - q) @ (p - q) <= (p - q) @ (x - y) + 1e-9
        if case.penalty().is_indicator:
            np.testing.assert_allclose(prox(p, 2 * STEP), p, atol=1e-12)

    law()


def test_settings_compile_once_and_batch_as_a_loop(any_case):
    traces = []

    @jax.jit
    def prox(penalty, x):
        traces.append(1)
        return penalty.prox(x, STEP)

    settings = [0.3, 0.7, 1.5]
    loop = [prox(any_case.penalty(s), POINTS[3]) for s in settings]
    assert len(traces) == 1
    batch = jax.vmap(lambda s: programs(any_case)[2](POINTS[3], STEP, s))(jnp.asarray(settings))
    np.testing.assert_allclose(batch, np.stack(loop), atol=1e-13)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_extreme_scales_stay_finite_in_float32(any_case, scale):
    x = np.asarray(POINTS[3] * scale, np.float32)
    assert all(jnp.isfinite(part).all() for part in float32_program(any_case)(x)[:2])


@functools.lru_cache(None)
def float32_program(case):
    def all_parts(x):
        penalty = case.penalty(SETTING)
        p, pull = jax.vjp(lambda v: penalty.prox(v, STEP), x)
        return p, pull(jnp.ones_like(p))[0], penalty.value(p)

    return jax.jit(all_parts)


def test_projections_of_float32_are_inside(case):
    if case.penalty().is_indicator:
        for scale in (0.1, 1.0, 100.0):
            for x in np.asarray(scale * POINTS, np.float32):
                assert float32_program(case)(x)[2] == 0


def test_length_one(any_case):
    penalty = any_case.penalty(n=1)
    assert jax.eval_shape(lambda x: penalty.prox(x, STEP), jnp.ones(1)).shape == (1,)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_dtype_in_is_dtype_out(any_case, dtype):
    penalty = any_case.penalty()
    x = jax.ShapeDtypeStruct((N,), dtype)
    methods = {"value": 1, "conjugate": 1, "dual_scale": 1, "minimal_subgradient": 2, "critical_strength": 1}
    for name, count in methods.items():
        if implements(penalty, name, *[x] * count):
            assert jax.eval_shape(getattr(penalty, name), *[x] * count).dtype == dtype, name
    for step in (1, 0.5, jnp.asarray(0.5), np.float32(0.5)):
        for name in ("prox", "conjugate_prox", "envelope"):
            method = getattr(penalty, name)
            assert jax.eval_shape(lambda x, m=method, s=step: m(x, s), x).dtype == dtype, name


def test_critical_strength(case):
    if not case.shrinks_to_zero:
        pytest.skip("no strength")
    for gradient in POINTS[1:4]:
        critical = case.penalty().critical_strength(gradient)
        assert not programs(case)[2](-STEP * gradient, STEP, critical * (1 + 1e-9)).any()
        assert programs(case)[2](-STEP * gradient, STEP, critical * 0.999).any()


def test_prox_of_a_folded_penalty_beats_a_fine_grid(folded):
    """Steps from small to far beyond where the objective of the prox stops being convex."""
    grid = jnp.linspace(-12, 12, 4801)
    penalty = folded.penalty(SETTING)
    heights = np.asarray(jax.vmap(penalty.value)(grid[:, None]))
    values = jax.jit(jax.vmap(lambda z: penalty.value(z[None])))
    # Off the grid, so that no point is a tie.
    points = np.linspace(-11.9, 11.8, 238) + 1e-3
    for step in (0.6, 1.9, 2.1, 5.0, 40.0):
        found = np.asarray(programs(folded)[2](jnp.asarray(points), step, SETTING))
        cost = np.asarray(values(jnp.asarray(found))) + (found - points) ** 2 / (2 * step)
        least = (heights + (np.asarray(grid) - points[:, None]) ** 2 / (2 * step)).min(1)
        assert (cost <= least + 1e-12).all()


def test_folded_prox_is_stationary_and_its_support_moves(folded):
    p = programs(folded)[2](POINTS, STEP, SETTING)
    penalty = folded.penalty(SETTING)
    np.testing.assert_allclose(penalty.minimal_subgradient(p, (p - POINTS) / STEP), 0, atol=1e-10)
    diagonal = np.diagonal(observed(folded)["derivatives"][0][0], axis1=1, axis2=2)
    np.testing.assert_array_equal(penalty.support(p), diagonal != 0)
    assert (diagonal >= 0).all()


SYMMETRIC = {
    "L1",
    "L2Squared",
    "L2",
    "ElasticNet",
    "L1Ball",
    "L2Ball",
    "Huber",
    "LInf",
    "SquaredL1",
    "KSupport",
    "Slope",
}
SYMMETRIC |= {"Slope", "MCP", "SCAD", "LogSum", "L0", "LHalf", "LTwoThirds", "CappedL1"}
PERMUTABLE = SYMMETRIC | {"Simplex", "LogBarrier", "NegativeEntropy", "Hinge", "Pinball", "Max", "SumLargest"}


def test_equivariances(any_case):
    if any_case.name not in PERMUTABLE:
        pytest.skip("its entries are told apart")
    rng = np.random.default_rng(2)
    prox = lambda x: np.asarray(programs(any_case)[2](x, STEP, SETTING))
    for x in np.asarray(POINTS):
        order, signs = rng.permutation(N), rng.choice([-1, 1], N)
        np.testing.assert_allclose(prox(x[order]), prox(x)[order], atol=1e-14)
        if any_case.name in SYMMETRIC:
            np.testing.assert_allclose(prox(signs * x), signs * prox(x), atol=1e-14)


def test_steps_from_tiny_to_huge(any_case):
    prox = programs(any_case)[2]
    for x in POINTS:
        assert jnp.isfinite(prox(x, 1e12, SETTING)).all()
        near = prox(x, 1e-12, SETTING)
        if any_case.draw is None and any_case.penalty().is_convex:
            np.testing.assert_allclose(near, x, atol=1e-9)
        # Twice the same: a step of zero projects onto the domain, up to what a barrier leaves.
        np.testing.assert_allclose(prox(near, 1e-12, SETTING), near, atol=2e-5)


def test_infinite_entries_leave_the_others_alone(any_case):
    if not any_case.penalty().is_separable or any_case.name.startswith("Conjugate"):
        pytest.skip("entries belong together, or Moreau's difference")
    prox = programs(any_case)[2]
    x = POINTS[3]
    for infinite in (jnp.inf, -jnp.inf):
        p = prox(x.at[0].set(infinite), STEP, SETTING)
        assert not jnp.isnan(p).any()
        np.testing.assert_allclose(p[1:], prox(x, STEP, SETTING)[1:], atol=1e-14)


def test_empty_vectors(any_case):
    if any_case.name not in (SYMMETRIC | {"Simplex", "TotalVariation1D", "Hinge"}) - {"KSupport"}:
        pytest.skip("needs an entry")
    assert any_case.penalty(n=0).prox(jnp.zeros(0), STEP).shape == (0,)
