"""Laws that hold for every projection: a new set is one row of the table."""

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
POINTS = np.random.default_rng(3).normal(size=(6, N)) * np.array([0.2, 0.5, 1, 1, 2, 4])[:, None]


@case
def test_nearest_point_of_the_set(case):
    setting = 0.8
    kinds = (("eq", case.equal), ("ineq", case.at_least))
    constraints = [{"type": kind, "fun": fn, "args": (setting,)} for kind, fn in kinds if fn]
    project = jax.jit(case.project)
    for x in POINTS:
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
        np.testing.assert_allclose(project(jnp.asarray(x), setting), oracle.x, atol=2e-6)


@case
def test_idempotent_and_firmly_nonexpansive(case):
    @jax.jit
    def parts(x, y):
        p, q = case.project(x, 0.8), case.project(y, 0.8)
        return p, case.project(p, 0.8), jnp.vdot(p - q, p - q), jnp.vdot(p - q, x - y)

    vectors = hnp.arrays(float, N, elements=st.floats(-20, 20, allow_subnormal=False))

    @hypothesis.settings(deadline=None, max_examples=30)
    @hypothesis.given(vectors, vectors)
    def law(x, y):
        p, again, squared, inner = parts(jnp.asarray(x), jnp.asarray(y))
        np.testing.assert_allclose(again, p, atol=1e-12)
        assert squared <= inner + 1e-10

    law()


@case
def test_derivatives(case):
    project = lambda x, s: case.project(x, s)

    @jax.jit
    def everything(x, s):
        forward, reverse = (mode(project, (0, 1))(x, s) for mode in (jax.jacfwd, jax.jacrev))
        second = jax.jacfwd(jax.jacrev(lambda x, s: jnp.sum(project(x, s) ** 3), (0, 1)), (0, 1))(x, s)
        return project(x, s), forward, reverse, second

    direction = jnp.asarray(np.random.default_rng(5).normal(size=N))

    def central(x, along, by, h=1e-6):
        value = lambda t: everything(x + t * along, jnp.asarray(0.8 + t * by))[0]
        return (value(h) - value(-h)) / (2 * h)

    for x in map(jnp.asarray, POINTS):
        _, (dx, ds), (rx, rs), second = everything(x, jnp.asarray(0.8))
        np.testing.assert_allclose(rx, dx, atol=1e-12)
        np.testing.assert_allclose(rs, ds, atol=1e-12)
        np.testing.assert_allclose(dx, dx.T, atol=1e-12)
        eigenvalues = np.linalg.eigvalsh(dx)
        assert eigenvalues.min() >= -1e-12 and eigenvalues.max() <= 1 + 1e-12
        np.testing.assert_allclose(dx @ direction, central(x, direction, 0), atol=1e-7)
        np.testing.assert_allclose(ds, central(x, jnp.zeros(N), 1), atol=1e-7)
        assert all(jnp.isfinite(part).all() for part in jax.tree.leaves(second))


@case
@pytest.mark.parametrize("x", [np.zeros(N), np.ones(N), np.r_[1.0, 1.0, 0, 0, 0], -np.ones(N)], ids=str)
@pytest.mark.parametrize("setting", [0.0, 1.0])
def test_no_nan_at_zero_and_at_ties(case, x, setting):
    both = jax.jit(lambda x, s: (case.project(x, s), jax.jacrev(case.project, (0, 1))(x, s)))
    assert all(jnp.isfinite(part).all() for part in jax.tree.leaves(both(jnp.asarray(x), jnp.asarray(setting))))


@pytest.mark.parametrize("name", ["simplex", "l1_ball", "l2_ball", "linf_ball"])
def test_radius_zero_leaves_only_zero(name):
    project = getattr(projections, name)
    for x in (*POINTS, np.zeros(N), np.ones(N)):
        np.testing.assert_array_equal(project(jnp.asarray(x), 0.0), np.zeros(N))
        np.testing.assert_array_equal(jax.jit(jax.jacfwd(project))(jnp.asarray(x), 0.0), np.zeros((N, N)))


@case
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_dtype_in_is_dtype_out(case, dtype):
    x = jax.ShapeDtypeStruct((N,), dtype)
    for setting in (1, 0.5, jnp.asarray(0.5, jnp.float32), np.float64(0.5)):
        assert jax.eval_shape(lambda x, s=setting: case.project(x, s), x).dtype == dtype


@case
def test_length_one_and_integer_points(case):
    if not case.any_length:
        return
    assert case.project(jnp.asarray([3.0]), 0.5).shape == (1,)
    assert case.project(jnp.arange(4), 0.5).dtype == jnp.float64


@case
def test_vmap_is_a_loop_and_one_compilation_serves_all_settings(case):
    traces = []

    @jax.jit
    def project(x, s):
        traces.append(1)
        return case.project(x, s)

    settings = jnp.asarray([0.3, 0.8, 2.0])
    x = jnp.asarray(POINTS[3])
    loop = jnp.stack([project(x, s) for s in settings])
    assert len(traces) == 1
    np.testing.assert_allclose(jax.vmap(case.project, (None, 0))(x, settings), loop, atol=1e-14)


@case
@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_extreme_scales_in_float32(case, scale):
    """Projection commutes with scaling the point and the set together, even where squares leave the float range."""
    if case in (CASES["box"],):
        return
    for x in POINTS:
        small = case.project(jnp.asarray(x, jnp.float32), 0.8)
        large = case.project(jnp.asarray(x * scale, jnp.float32), 0.8 * scale)
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
