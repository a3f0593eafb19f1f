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
ROWS = 40


def implements(penalty, name, *arguments):
    try:
        jax.eval_shape(getattr(penalty, name), *arguments)
    except NotImplementedError:
        return False
    return True


def test_closed_forms_are_those_listed(closed_forms):
    cases, lists = closed_forms
    for name, without in lists.items():
        arguments = [POINTS[0]] * (2 if name == "minimal_subgradient" else 1)
        assert {case.name for case in cases if not implements(case.penalty(), name, *arguments)} == without, name


def around(points, p):
    """Candidates from far to very near `p`, in the domain because it is convex."""
    return jnp.concatenate([p[None] + scale * (points - p[None]) for scale in (1.0, 0.1, 1e-3)])


def proximal_gaps(p, x, candidates, values):
    """`h(z) - h(p) - |z - p|^2 / (2 step)` of h = g + |. - x|^2 / (2 step), nonnegative for all z iff p is the prox.

    `values` are those of g, at p and then at the candidates.
    """
    squares = jnp.sum((candidates - x[None]) ** 2 - (candidates - p[None]) ** 2, 1) - jnp.sum((p - x) ** 2)
    return values[1:] - values[0] + squares / (2 * STEP)


def laws(case, x, gradient, samples, duals, proxes):
    """What one penalty shows at a point, of its `proxes` p at x, at `x / STEP` and by a tiny step behind p."""
    penalty = case.penalty(SETTING)
    p, inverse, limit = proxes
    candidates = around(samples, p)
    values = jax.vmap(penalty.value)(jnp.concatenate([p[None], candidates]))
    q, u = penalty.conjugate_prox(x, STEP), (x - p) / STEP
    seen = {
        "moreau": (jax.grad(penalty.envelope)(x, STEP) - u, x - STEP * inverse - q),
        "prox": (values[0], proximal_gaps(p, x, candidates, values)),
    }
    if implements(penalty, "conjugate", x):
        points = jnp.concatenate([x[None], around(duals, q)])
        scales = jax.vmap(penalty.dual_scale)(points)
        scaled = scales[:, None] * points
        conjugates = jax.vmap(penalty.conjugate)(jnp.concatenate([jnp.stack([u, 1.001 * scaled[0], q]), scaled]))
        seen["scaling"] = scales[0], conjugates[3], conjugates[1]
        dual_values = jnp.concatenate([conjugates[2:3], conjugates[4:]])
        seen["conjugate_prox"] = conjugates[2], proximal_gaps(q, x, scaled[1:], dual_values)
        gaps = values + conjugates[0] - jnp.concatenate([p[None], candidates]) @ u
        seen["fenchel_young"] = gaps[0], gaps[1:]
    if implements(penalty, "support", x):
        seen["support"] = penalty.support(p)
    if implements(penalty, "minimal_subgradient", x, x):
        if case.is_smooth:
            limit = gradient + jax.grad(penalty.value)(p)
        least = penalty.minimal_subgradient(p, gradient)
        seen["subgradient"] = penalty.subdifferential_distance(p, -u), least, limit
    return seen


def derivatives(case, x, setting):
    prox = lambda x, step, s: case.penalty(s).prox(x, step)
    arguments = x, jnp.asarray(STEP), setting
    forward = jax.jacfwd(prox, (0, 1, 2))(*arguments)
    reverse, second = jax.jvp(jax.jacrev(prox, (0, 1, 2)), arguments, jax.tree.map(jnp.ones_like, arguments))
    value = jax.grad(lambda x, s: case.penalty(s).value(x), (0, 1))(prox(*arguments), setting)
    return forward, reverse, second, value


@functools.lru_cache(None)
def programs(case):
    """The laws of one penalty over six points, its derivatives over six points, and its prox over forty."""
    over_points = jax.vmap(functools.partial(laws, case), (0, 0, None, None, 0))
    slopes = jax.vmap(lambda x, setting: derivatives(case, x, setting), (0, None))
    prox = jax.vmap(lambda x, step, setting: case.penalty(setting).prox(x, step))
    return tuple(jax.jit(program) for program in (over_points, slopes, prox))


def prox_of(case, x, step=STEP, setting=SETTING):
    """The prox of rows, filled up so that one program serves all of them; step and setting may be one a row."""
    x = np.asarray(x)
    count = len(x)
    rows = np.concatenate([x, np.ones((ROWS - count, N))])
    step, setting = (
        np.concatenate([np.broadcast_to(part, count), np.ones(ROWS - count)]).astype(float) for part in (step, setting)
    )
    return np.asarray(programs(case)[2](rows, step, setting))[:count]


@functools.lru_cache(None)
def observed(case, tiny=1e-7):
    rng = np.random.default_rng(0)
    at, slopes, _ = programs(case)
    seen = {"derivatives": slopes(POINTS, jnp.asarray(SETTING))}
    if case.penalty().is_convex:
        p = prox_of(case, POINTS)
        inverse = prox_of(case, POINTS / STEP, 1 / STEP)
        # The forward-backward residual of a vanishing step tends to the subgradient of least norm.
        limit = (p - prox_of(case, p - tiny * GRADIENTS, tiny)) / tiny
        samples, duals = case.points(rng, 100), jnp.asarray(rng.normal(size=(100, N)))
        seen |= at(POINTS, GRADIENTS, samples, duals, (p, inverse, limit))
    return jax.tree.map(np.asarray, seen)


def test_prox_minimizes(case):
    value, gap = observed(case)["prox"]
    assert np.isfinite(value).all()
    assert np.isfinite(gap).mean() > 0.9
    assert gap.min() >= -1e-9


def test_conjugate_prox_minimizes_the_conjugate(with_conjugate):
    value, gap = observed(with_conjugate)["conjugate_prox"]
    assert np.isfinite(value).all()
    assert gap.min() >= -1e-9


def test_fenchel_young(with_conjugate):
    equality, inequality = observed(with_conjugate)["fenchel_young"]
    np.testing.assert_allclose(equality, 0, atol=1e-9)
    assert inequality.min() >= -1e-9


def test_moreau(case):
    envelope_slope, decomposition = observed(case)["moreau"]
    np.testing.assert_allclose(envelope_slope, 0, atol=1e-10)
    np.testing.assert_allclose(decomposition, 0, atol=1e-12)


def test_dual_scale_is_the_largest(scalable):
    scale, inside, outside = observed(scalable)["scaling"]
    assert ((scale >= 0) & (scale <= 1)).all()
    assert np.isfinite(inside).all()
    assert (outside[(scale > 0) & (scale < 1)] == np.inf).all()


def test_minimal_subgradient(with_subgradient):
    distance, least, limit = observed(with_subgradient)["subgradient"]
    np.testing.assert_allclose(distance, 0, atol=1e-10)
    np.testing.assert_allclose(least, limit, atol=3e-6)


def test_support_is_where_the_prox_moves(with_support):
    support, jacobian = observed(with_support)["support"], observed(with_support)["derivatives"][0][0]
    moves = np.abs(jacobian).max(-1) > 1e-12
    # A face of one vertex does not move although its entry is not zero.
    assert not (moves & ~support).any()
    if with_support.penalty().is_separable:
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

    direction = np.random.default_rng(5).normal(size=N)

    def central(dx, dstep, dsetting, h=1e-6):
        value = lambda t: prox_of(any_case, np.asarray(POINTS) + t * dx, STEP + t * dstep, SETTING + t * dsetting)
        return (value(h) - value(-h)) / (2 * h)

    np.testing.assert_allclose(forward[0] @ direction, central(direction, 0, 0), atol=1e-6)
    np.testing.assert_allclose(forward[1], central(np.zeros(N), 1, 0), atol=1e-6)
    np.testing.assert_allclose(forward[2], central(np.zeros(N), 0, 1), atol=1e-6)


def test_no_nan_at_zero_and_at_ties(any_case):
    for setting in (0.0, 0.42, SETTING):
        parts = programs(any_case)[1](TIES, jnp.asarray(setting))
        assert all(jnp.isfinite(part).all() for part in jax.tree.leaves(parts))


def test_firmly_nonexpansive_and_projections_idempotent(case):
    pairs = hnp.arrays(float, (2, ROWS // 2, N), elements=st.floats(-20, 20, allow_subnormal=False))

    @hypothesis.settings(deadline=None, max_examples=10)
    @hypothesis.given(pairs)
    def law(pairs):
        x, y = pairs
        both = prox_of(case, np.concatenate(pairs))
        p, q = np.split(both, 2)
        assert (np.sum((p - q) ** 2, 1) <= np.sum((p - q) * (x - y), 1) + 1e-9).all()
        if case.penalty().is_indicator:
            np.testing.assert_allclose(prox_of(case, both, 2 * STEP), both, atol=1e-12)

    law()


@functools.lru_cache(None)
def single_program(case):
    """The prox of one point in float32, what it hands back, its value there, and how often it was traced."""
    traces = []

    def all_parts(penalty, x):
        traces.append(1)
        p, pull = jax.vjp(lambda v: penalty.prox(v, STEP), x)
        return p, pull(jnp.ones_like(p))[0], penalty.value(p)

    return jax.jit(all_parts), traces


def test_settings_compile_once_and_batch_as_a_loop(any_case):
    single, traces = single_program(any_case)
    settings = [0.3, SETTING, 1.5]
    points = np.asarray(POINTS[3:], np.float32)
    loop = [single(any_case.penalty(s), x)[0] for s, x in zip(settings, points)]
    assert len(traces) == 1
    np.testing.assert_allclose(prox_of(any_case, points, STEP, settings), np.stack(loop), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_extreme_scales_stay_finite_in_float32(any_case, scale):
    x = np.asarray(POINTS[3] * scale, np.float32)
    assert all(jnp.isfinite(part).all() for part in single_program(any_case)[0](any_case.penalty(SETTING), x)[:2])


def test_projections_of_float32_are_inside(indicator):
    penalty = indicator.penalty(SETTING)
    for scale in (0.1, 1.0, 100.0):
        for x in np.asarray(scale * POINTS, np.float32):
            assert single_program(indicator)[0](penalty, x)[2] == 0


def test_length_one(any_case):
    penalty = any_case.penalty(n=1)
    assert jax.eval_shape(lambda x: penalty.prox(x, STEP), jnp.ones(1)).shape == (1,)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_dtype_in_is_dtype_out(any_case, dtype):
    penalty = any_case.penalty()
    x = jax.ShapeDtypeStruct((N,), dtype)
    counts = {"value": 1, "conjugate": 1, "dual_scale": 1, "minimal_subgradient": 2, "critical_strength": 1}
    seen = {
        n: jax.eval_shape(getattr(penalty, n), *[x] * c) for n, c in counts.items() if implements(penalty, n, *[x] * c)
    }
    for step in (1, 0.5, jnp.asarray(0.5), np.float32(0.5)):
        seen[f"prox {step!r}"] = jax.eval_shape(lambda x, step=step: penalty.prox(x, step), x)
    step = np.float32(0.5) if dtype == jnp.float64 else np.float64(0.5)
    for name in ("conjugate_prox", "envelope"):
        seen[name] = jax.eval_shape(lambda x, name=name: getattr(penalty, name)(x, jnp.asarray(step)), x)
    assert {name: part.dtype for name, part in seen.items()} == dict.fromkeys(seen, jnp.dtype(dtype))


def test_critical_strength(critical):
    strengths = np.asarray([critical.penalty().critical_strength(gradient) for gradient in POINTS[1:4]])
    assert not prox_of(critical, -STEP * POINTS[1:4], STEP, strengths * (1 + 1e-9)).any()
    assert prox_of(critical, -STEP * POINTS[1:4], STEP, strengths * 0.999).any(1).all()


def test_prox_of_a_folded_penalty_beats_a_fine_grid(folded):
    """Steps from small to far beyond where the objective of the prox stops being convex."""
    grid = jnp.linspace(-12, 12, 4801)
    penalty = folded.penalty(SETTING)
    heights = np.asarray(jax.vmap(penalty.value)(grid[:, None]))
    values = jax.jit(jax.vmap(lambda z: penalty.value(z[None])))
    # Off the grid, so that no point is a tie.
    points = np.linspace(-11.9, 11.8, ROWS * N) + 1e-3
    for step in (0.6, 1.9, 2.1, 5.0, 40.0):
        found = prox_of(folded, points.reshape(ROWS, N), step).reshape(-1)
        cost = np.asarray(values(jnp.asarray(found))) + (found - points) ** 2 / (2 * step)
        least = (heights + (np.asarray(grid) - points[:, None]) ** 2 / (2 * step)).min(1)
        assert (cost <= least + 1e-12).all()


def test_folded_prox_is_stationary_and_its_support_moves(folded):
    p = jnp.asarray(prox_of(folded, POINTS))
    penalty = folded.penalty(SETTING)
    np.testing.assert_allclose(penalty.minimal_subgradient(p, (p - POINTS) / STEP), 0, atol=1e-10)
    diagonal = np.diagonal(observed(folded)["derivatives"][0][0], axis1=1, axis2=2)
    np.testing.assert_array_equal(penalty.support(p), diagonal != 0)
    assert (diagonal >= 0).all()


def test_permuted_entries(permutable, rng):
    orders = rng.permuted(np.tile(np.arange(N), (len(POINTS), 1)), axis=1)
    permuted = lambda x: np.take_along_axis(np.asarray(x), orders, 1)
    np.testing.assert_allclose(prox_of(permutable, permuted(POINTS)), permuted(prox_of(permutable, POINTS)), atol=1e-14)


def test_entries_of_other_signs(symmetric, rng):
    signs = rng.choice([-1.0, 1.0], POINTS.shape)
    np.testing.assert_allclose(prox_of(symmetric, signs * POINTS), signs * prox_of(symmetric, POINTS), atol=1e-14)


def test_steps_from_tiny_to_huge(any_case):
    assert np.isfinite(prox_of(any_case, POINTS, 1e12)).all()
    near = prox_of(any_case, POINTS, 1e-12)
    if any_case.draw is None and any_case.penalty().is_convex:
        np.testing.assert_allclose(near, POINTS, atol=1e-9)
    # Twice the same: a step of zero projects onto the domain, up to what a barrier leaves.
    np.testing.assert_allclose(prox_of(any_case, near, 1e-12), near, atol=2e-5)


def test_infinite_entries_leave_the_others_alone(separable):
    x = POINTS[3]
    p = prox_of(separable, jnp.stack([x, x.at[0].set(jnp.inf), x.at[0].set(-jnp.inf)]))
    assert not np.isnan(p).any()
    np.testing.assert_allclose(p[1:, 1:], p[[0, 0], 1:], atol=1e-14)


def test_empty_vectors(takes_no_entries):
    assert takes_no_entries.penalty(n=0).prox(jnp.zeros(0), STEP).shape == (0,)
