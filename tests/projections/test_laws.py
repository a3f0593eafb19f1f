"""Laws that hold for every projection: a new set is one row of the table."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxopt_thoth import projections


N = 5
NORMAL = np.array([1.0, -2.0, 0.5, 0.0, 1.5])
ROWS = np.array([[1.0, 2.0, 0.0, -1.0, 1.0], [0.0, 1.0, 1.0, 1.0, -2.0], [1.0, 3.0, 1.0, 0.0, -1.0]])
WEIGHTS = np.array([1.0, 0.5, 2.0, 1.0, 3.0])
PM = np.array([1.0, -1.0, 1.0, -1.0])


@dataclass(frozen=True)
class Case:
    """A projection with one scalar setting `s`, and its set as SciPy constraints (equal to zero, at least zero)."""

    project: Callable
    equal: Callable | None = None
    at_least: Callable | None = None
    bounds: Callable | None = None
    any_length: bool = True


def to_matrix(x):
    """A 4 x 4 block-diagonal matrix with the norm of `x`: a symmetric 2 x 2 block and two numbers."""
    corner = x[2] * jnp.asarray(0.5**0.5, x.dtype)
    return jnp.diag(x[jnp.array([0, 1, 3, 4])]).at[0, 1].set(corner).at[1, 0].set(corner)


def from_matrix(z):
    corner = (z[0, 1] + z[1, 0]) * jnp.asarray(0.5**0.5, z.dtype)
    return jnp.stack([z[0, 0], z[1, 1], corner, z[2, 2], z[3, 3]])


def as_vector(z, level):
    return jnp.concatenate([level[None], z])


CASES = {
    "simplex": Case(projections.simplex, equal=lambda z, s: z.sum() - s, bounds=lambda s: (0, None)),
    # |z|_1 <= s as its 2^n facets, which keeps the oracle smooth.
    "l1_ball": Case(
        projections.l1_ball,
        at_least=lambda z, s: s - np.array(np.meshgrid(*[[-1, 1]] * N)).reshape(N, -1).T @ z,
    ),
    "l2_ball": Case(projections.l2_ball, at_least=lambda z, s: s**2 - z @ z),
    "linf_ball": Case(projections.linf_ball, bounds=lambda s: (-s, s)),
    "box": Case(lambda x, s: projections.box(x, -0.3, s), bounds=lambda s: (-0.3, s)),
    "nonnegative": Case(lambda x, s: projections.nonnegative(x), bounds=lambda s: (0, None)),
    "halfspace": Case(
        lambda x, s: projections.halfspace(x, NORMAL, s), at_least=lambda z, s: s - NORMAL @ z, any_length=False
    ),
    "hyperplane": Case(
        lambda x, s: projections.hyperplane(x, NORMAL, s), equal=lambda z, s: NORMAL @ z - s, any_length=False
    ),
    "capped_simplex": Case(
        lambda x, s: projections.capped_simplex(x, s, 0.4 * s),
        equal=lambda z, s: z.sum() - s,
        bounds=lambda s: (0, 0.4 * s),
        any_length=False,
    ),
    "box_hyperplane": Case(
        lambda x, s: projections.box_hyperplane(x, -s, jnp.inf, NORMAL, s),
        equal=lambda z, s: NORMAL @ z - s,
        bounds=lambda s: (-s, None),
        any_length=False,
    ),
    # The third row is the sum of the others.
    "affine": Case(
        lambda x, s: projections.affine(
            x, ROWS, jnp.asarray([1.0, 2.0, 3.0], x.dtype) * jnp.asarray(s).astype(x.dtype)
        ),
        equal=lambda z, s: ROWS[:2] @ z - s * np.array([1.0, 2.0]),
        any_length=False,
    ),
    "second_order_cone": Case(
        lambda x, s: projections.second_order_cone(x),
        # Smooth off the origin, where the oracle starts.
        at_least=lambda z, s: z[0] - np.sqrt(1e-30 + z[1:] @ z[1:]),
    ),
    "exponential_cone": Case(
        lambda x, s: jnp.concatenate([projections.exponential_cone(x[:3]), x[3:]]),
        # s exp(r / s) <= t in the logarithm, which is concave.
        at_least=lambda z, s: np.r_[z[1] * np.log(max(z[2], 1e-30) / max(z[1], 1e-30)) - z[0], z[1:3]],
        any_length=False,
    ),
    "epigraph_l1": Case(
        lambda x, s: as_vector(*projections.epigraph_l1(x[1:], x[0])),
        at_least=lambda z, s: z[0] - np.array(np.meshgrid(*[[-1, 1]] * (N - 1))).reshape(N - 1, -1).T @ z[1:],
    ),
    "epigraph_l2": Case(
        lambda x, s: as_vector(*projections.epigraph_l2(x[1:], x[0])),
        at_least=lambda z, s: z[0] - np.sqrt(1e-30 + z[1:] @ z[1:]),
    ),
    "epigraph_linf": Case(
        lambda x, s: as_vector(*projections.epigraph_linf(x[1:], x[0])),
        at_least=lambda z, s: np.r_[z[0] - z[1:], z[0] + z[1:]],
    ),
    # Rows (0, 1), (2, 3) and (4, nothing): the largest magnitudes as facets.
    "l1_inf_ball": Case(
        lambda x, s: projections.l1_inf_ball(jnp.pad(x, (0, 1)).reshape(3, 2), s).reshape(-1)[:N],
        at_least=lambda z, s: (
            s - np.array([i + j + k for i in z[[0, 0, 1, 1]] * PM for j in z[[2, 2, 3, 3]] * PM for k in (z[4], -z[4])])
        ),
        any_length=False,
    ),
    # The third row is the sum of the others, and the last one repeats an equality.
    "polyhedron": Case(
        lambda x, s: projections.polyhedron(
            x,
            ROWS,
            jnp.asarray([0.5, 0.25, 0.5], x.dtype) * jnp.asarray(s).astype(x.dtype),
            np.stack([NORMAL, 2 * NORMAL]),
            jnp.asarray([1.0, 2.0], x.dtype) * jnp.asarray(s).astype(x.dtype),
        ),
        equal=lambda z, s: NORMAL @ z - s,
        at_least=lambda z, s: s * np.array([0.5, 0.25, 0.5]) - ROWS @ z,
        any_length=False,
    ),
    "psd": Case(
        lambda x, s: from_matrix(projections.psd(to_matrix(x))),
        at_least=lambda z, s: np.r_[z[:2], z[0] * z[1] - z[2] ** 2 / 2, z[3:]],
        any_length=False,
    ),
    "isotonic": Case(lambda x, s: projections.isotonic(x), at_least=lambda z, s: np.diff(z)),
    "decreasing": Case(lambda x, s: projections.isotonic(x, False), at_least=lambda z, s: -np.diff(z)),
    "monotone_nonnegative": Case(
        lambda x, s: projections.monotone_nonnegative(x), at_least=lambda z, s: np.diff(z), bounds=lambda s: (0, None)
    ),
}
case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
COUNT = 12
POINTS = np.random.default_rng(3).normal(size=(6, N)) * np.array([0.2, 0.5, 1, 1, 2, 4])[:, None]


TIES = np.stack([np.zeros(N), np.ones(N), np.r_[1.0, 1.0, 0, 0, 0], -np.ones(N), np.eye(N)[1], np.arange(N) - 2.0])


@functools.lru_cache(None)
def programs(case):
    """The projection of twelve points, its derivatives at six, and the projection of one, which counts its traces.

    Compiling takes most of the time of these tests, and what they run is small.
    """
    traces = []

    def single(x, s):
        traces.append(1)
        return case.project(x, s)

    def slopes(x, s):
        forward = jax.jacfwd(case.project, (0, 1))(x, s)
        return forward, *jax.jvp(jax.jacrev(case.project, (0, 1)), (x, s), (jnp.ones_like(x), jnp.ones_like(s)))

    return jax.jit(jax.vmap(case.project)), jax.jit(jax.vmap(slopes, (0, None))), jax.jit(single), traces


def project(case, x, setting=0.8):
    """Rows, filled up so that one program serves all of them; the setting may be one a row."""
    rows = np.concatenate([x, np.ones((COUNT - len(x), N))])
    setting = np.concatenate([np.broadcast_to(setting, len(x)), np.ones(COUNT - len(x))])
    return np.asarray(programs(case)[0](rows, setting))[: len(x)]


@case
def test_nearest_point_of_the_set(case):
    setting = 0.8
    kinds = (("eq", case.equal), ("ineq", case.at_least))
    constraints = [{"type": kind, "fun": fn, "args": (setting,)} for kind, fn in kinds if fn]
    for x, found in zip(POINTS, project(case, POINTS, setting)):
        oracle = scipy.optimize.minimize(
            lambda z, x: 0.5 * ((z - x) ** 2).sum(),
            np.full(N, setting / N),
            args=(x,),
            jac=lambda z, x: z - x,
            bounds=[case.bounds(setting)] * N if case.bounds else None,
            constraints=constraints,
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 300},
        )
        np.testing.assert_allclose(found, oracle.x, atol=2e-6)


@case
def test_idempotent_and_firmly_nonexpansive(case):
    pairs = hnp.arrays(float, (2, COUNT // 2, N), elements=st.floats(-20, 20, allow_subnormal=False))

    @hypothesis.settings(deadline=None, max_examples=20)
    @hypothesis.given(pairs)
    def law(pairs):
        both = project(case, np.concatenate(pairs))
        np.testing.assert_allclose(project(case, both), both, atol=1e-12)
        p, q = np.split(both, 2)
        assert (np.sum((p - q) ** 2, 1) <= np.sum((p - q) * (pairs[0] - pairs[1]), 1) + 1e-10).all()

    law()


@case
def test_derivatives(case):
    forward, reverse, second = jax.tree.map(np.asarray, programs(case)[1](POINTS, 0.8))
    direction = np.random.default_rng(5).normal(size=N)

    def central(along, by, h=1e-6):
        ends = np.concatenate([POINTS + h * along, POINTS - h * along])
        above, below = np.split(project(case, ends, np.repeat([0.8 + h * by, 0.8 - h * by], len(POINTS))), 2)
        return (above - below) / (2 * h)

    for left, right in zip(forward, reverse):
        np.testing.assert_allclose(left, right, atol=1e-12)
    np.testing.assert_allclose(forward[0], forward[0].transpose(0, 2, 1), atol=1e-12)
    eigenvalues = np.linalg.eigvalsh(forward[0])
    assert eigenvalues.min() >= -1e-12 and eigenvalues.max() <= 1 + 1e-12
    np.testing.assert_allclose(forward[0] @ direction, central(direction, 0), atol=1e-7)
    np.testing.assert_allclose(forward[1], central(np.zeros(N), 1), atol=1e-7)
    assert all(np.isfinite(part).all() for part in jax.tree.leaves(second))


@case
@pytest.mark.parametrize("setting", [0.0, 1.0])
def test_no_nan_at_zero_and_at_ties(case, setting):
    assert np.isfinite(project(case, TIES, setting)).all()
    _, reverse, _ = programs(case)[1](TIES, setting)
    assert all(jnp.isfinite(part).all() for part in reverse)


@pytest.mark.parametrize("name", ["simplex", "l1_ball", "l2_ball", "linf_ball"])
def test_radius_zero_leaves_only_zero(name):
    for points in (POINTS, TIES):
        np.testing.assert_array_equal(project(CASES[name], points, 0.0), 0)
        forward, _, _ = programs(CASES[name])[1](points, 0.0)
        np.testing.assert_array_equal(forward[0], 0)


@case
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_dtype_in_is_dtype_out(case, dtype):
    x = jax.ShapeDtypeStruct((N,), dtype)
    for setting in (1, 0.5, jnp.asarray(0.5, jnp.float32), np.float64(0.5)):
        assert jax.eval_shape(lambda x, s=setting: case.project(x, s), x).dtype == dtype


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.any_length])
def test_length_one_and_integer_points(name):
    case = CASES[name]
    assert case.project(jnp.asarray([3.0]), 0.5).shape == (1,)
    assert case.project(jnp.arange(4), 0.5).dtype == jnp.float64


@case
def test_vmap_is_a_loop_and_one_compilation_serves_all_settings(case):
    _, _, single, traces = programs(case)
    settings = [0.3, 0.8, 2.0]
    points = POINTS[3:].astype(np.float32)
    loop = [single(x, s) for x, s in zip(points, settings)]
    assert len(traces) == 1
    np.testing.assert_allclose(project(case, points, settings), np.stack(loop), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "case", [c for name, c in CASES.items() if name != "box"], ids=[name for name in CASES if name != "box"]
)
@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_extreme_scales_in_float32(case, scale):
    """Projection commutes with scaling the point and the set together, even where squares leave the float range."""
    single = programs(case)[2]
    for x in POINTS:
        small, large = single(x.astype(np.float32), 0.8), single((x * scale).astype(np.float32), 0.8 * scale)
        np.testing.assert_allclose(np.asarray(large, float) / scale, small, atol=3e-6)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: projections.simplex(jnp.ones(2), -1.0), "radius must be nonnegative, got -1.0; pass a value >= 0"),
        (lambda: projections.l1_ball(jnp.ones(2), -1.0), "radius must be nonnegative"),
        (lambda: projections.l2_ball(jnp.ones(2), -1.0), "radius must be nonnegative"),
        (lambda: projections.linf_ball(jnp.ones(2), -1.0), "radius must be nonnegative"),
        (lambda: projections.simplex(jnp.ones(2), jnp.nan), "radius must be nonnegative"),
        (lambda: projections.box(jnp.ones(2), 1.0, 0.0), "lower must not exceed upper.*swap them or widen"),
    ],
)
def test_impossible_sets_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
