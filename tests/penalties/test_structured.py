"""Penalties on groups, trees and the largest entries, against general solvers of the same problem stated plainly."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxopt_thoth import penalties as p


N = 5
STEP = 0.6
X = jnp.asarray(np.random.default_rng(3).normal(size=(8, N)) * np.array([0.2, 0.5, 1, 1, 1.5, 2, 3, 5])[:, None])
TREE = [[0, 1, 2, 3], [3], [1, 2], [2, 1]]
WEIGHTS = np.array([0.5, 1.0, 0.3, 0.4])
GROUPS = [0, 1, 0, 2, 1]


def slsqp(objective, start, constraints):
    found = scipy.optimize.minimize(
        lambda z: objective(z)[0],
        start,
        jac=lambda z: objective(z)[1],
        constraints=constraints,
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    return found.x


def epigraph_prox(x, costs, rows):
    """The z of `min |z - x|^2 / 2 + <costs, w>` with `rows @ (z, w) >= 0`."""
    goal = lambda zw: (
        0.5 * np.sum((zw[: x.size] - x) ** 2) + costs @ zw[x.size :],
        np.concatenate([zw[: x.size] - x, costs]),
    )
    linear = {"type": "ineq", "fun": lambda zw: rows @ zw, "jac": lambda zw: rows}
    return slsqp(goal, np.concatenate([x, np.full(costs.size, np.abs(x).max())]), [linear])[: x.size]


def max_prox(x, groups, bounds):
    """Of `sum_g bounds_g |z_g|_inf`."""
    rows = []
    for g, group in enumerate(groups):
        for i, sign in itertools.product(group, (-1, 1)):
            row = np.zeros(x.size + len(groups))
            row[x.size + g], row[i] = 1, sign
            rows.append(row)
    return epigraph_prox(x, np.asarray(bounds), np.stack(rows))


def norm_prox(x, groups, bounds):
    """Of `sum_g bounds_g |z_g|_2`, from the dual: what a sum of vectors in balls of their groups leaves of x."""
    spread = np.concatenate([np.eye(x.size)[:, list(group)] for group in groups], 1)
    ends = np.cumsum([0] + [len(group) for group in groups])
    parts = [slice(a, b) for a, b in itertools.pairwise(ends)]

    def room(u):
        return np.array([b**2 - u[part] @ u[part] for b, part in zip(bounds, parts)])

    def slopes(u):
        rows = np.zeros((len(parts), u.size))
        for row, part in zip(rows, parts):
            row[part] = -2 * u[part]
        return rows

    goal = lambda u: (0.5 * np.sum((x - spread @ u) ** 2), -spread.T @ (x - spread @ u))
    u = slsqp(goal, np.full(spread.shape[1], 1e-3), [{"type": "ineq", "fun": room, "jac": slopes}])
    return x - spread @ u


def sum_largest_prox(x, k, bound):
    """The sum of the k largest is the least `k w_0 + sum w_i` with `w_i >= max(z_i - w_0, 0)`."""
    eye, zero = np.eye(x.size), np.zeros((x.size, x.size))
    rows = np.concatenate([np.hstack([-eye, np.ones((x.size, 1)), eye]), np.hstack([zero, zero[:, :1], eye])])
    return epigraph_prox(x, bound * np.append(k, np.ones(x.size)), rows)


def k_support_prox(x, k, t):
    """By Moreau's identity, with the conjugate `max |u_I|^2 / 2` over the sets I of k entries."""
    sets = itertools.combinations(range(x.size), k)
    masks = np.array([[i in members for i in range(x.size)] for members in sets], float)
    goal = lambda ur: (0.5 * np.sum((ur[:-1] - x / t) ** 2) + ur[-1] / t, np.append(ur[:-1] - x / t, 1 / t))
    room = lambda ur: ur[-1] - 0.5 * masks @ ur[:-1] ** 2
    slopes = lambda ur: np.hstack([-masks * ur[:-1], np.ones((len(masks), 1))])
    start = np.append(x / t, 0.5 * np.sum((x / t) ** 2))
    return x - t * slsqp(goal, start, [{"type": "ineq", "fun": room, "jac": slopes}])[:-1]


MEMBERS = [[0, 2], [1, 4], [3]]
PLAIN = [
    (p.SumLargest(0.7, 2), lambda x: sum_largest_prox(x, 2, 0.7 * STEP)),
    (p.SumLargest(0.7, N), lambda x: sum_largest_prox(x, N, 0.7 * STEP)),
    (p.GroupLInf(0.7, GROUPS, [0.5, 1, 2]), lambda x: max_prox(x, MEMBERS, 0.7 * STEP * np.array([0.5, 1, 2]))),
    (p.TreeGroupLasso(0.7, TREE, WEIGHTS, norm="linf"), lambda x: max_prox(x, TREE, 0.7 * STEP * WEIGHTS)),
    (p.TreeGroupLasso(0.7, TREE, WEIGHTS), lambda x: norm_prox(x, TREE, 0.7 * STEP * WEIGHTS)),
    (p.KSupport(0.7, 2), lambda x: k_support_prox(x, 2, 0.7 * STEP)),
    (p.KSupport(5.0, 3), lambda x: k_support_prox(x, 3, 5.0 * STEP)),
]


@pytest.mark.parametrize("penalty, plain", PLAIN, ids=lambda item: type(item).__name__)
def test_prox_against_a_general_solver(penalty, plain):
    found = jax.jit(jax.vmap(lambda x: penalty.prox(x, STEP)))(X)
    np.testing.assert_allclose(found, np.stack([plain(x) for x in np.asarray(X)]), atol=2e-6)


@pytest.mark.parametrize(
    "penalty, value",
    [
        (p.SumLargest(2.0, 2), 6),
        (p.GroupLInf(2.0, [0, 1, 0, 1], [1.0, 3.0]), 8),
        (p.TreeGroupLasso(2.0, [[0, 2], [2], [1]]), 18),
        (p.TreeGroupLasso(2.0, [[0, 2], [2], [1]], [1.0, 0.5, 9.0], norm="linf"), 12),
        (p.TreeGroupLasso(2.0, []), 0),
        (p.KSupport(2.0, 1), 49),
        (p.KSupport(2.0, 2), 25),
        (p.KSupport(2.0, 4), 25),
    ],
)
def test_values(penalty, value):
    np.testing.assert_allclose(
        jax.jit(lambda x: penalty.value(x))(jnp.asarray([3.0, 0.0, -4.0, 0.0])), value, rtol=1e-15
    )


def test_k_support_norm_is_dual_to_the_largest(rng):
    """The square is the largest `2 <u, x> - |u|_(k)^2`, here where `2 |u|_(k)^2` is the gradient of the square."""
    x = jnp.asarray(rng.normal(size=(20, N)))
    for k in (1, 2, 3, N):
        # A vector of k entries is its own decomposition.
        few = jnp.where(jnp.arange(N)[None] < k, x, 0)
        slopes = jax.jit(jax.vmap(jax.value_and_grad(lambda x, k=k: p.KSupport(1.0, k).value(x))))
        value, u = jax.tree.map(np.asarray, slopes(jnp.concatenate([x, few])))
        dual = np.sort(np.abs(u[:20]))[:, N - k :]
        np.testing.assert_allclose(np.sum(u[:20] * x, 1) - 0.5 * np.sum(dual**2, 1), value[:20], rtol=1e-13)
        np.testing.assert_allclose(value[20:], 0.5 * jnp.sum(few**2, 1), rtol=1e-13)


def test_one_penalty_is_another_in_its_limits(rng):
    x = jnp.asarray(rng.normal(size=4) * 2)
    pairs = [
        (p.SumLargest(0.7, 1), p.Max(0.7)),
        (p.SumLargest(0.7, 4), p.Tilted(p.Zero(), 0.7)),
        (p.GroupLInf(0.7, [0] * 4), p.LInf(0.7)),
        (p.GroupLInf(0.7, [0, 1, 2, 3]), p.L1(0.7)),
        (p.TreeGroupLasso(0.7, [[0, 3], [1, 2]], [1.0, 2.0]), p.GroupLasso(0.7, [0, 1, 1, 0], [1.0, 2.0])),
        (p.TreeGroupLasso(0.7, [[0, 3], [1, 2]], norm="linf"), p.GroupLInf(0.7, [0, 1, 1, 0])),
        (p.TreeGroupLasso(0.7, [[0], [0, 1], [1], [2, 3], [2], [3]]), p.SparseGroupLasso(0.7, 0.7, [0, 0, 1, 1])),
        (p.TreeGroupLasso(0.7, [[0, 1], [0, 1]]), p.GroupLasso(1.4, [0, 0, 1, 1], [1.0, 0.0])),
        (p.TreeGroupLasso(0.7, []), p.Zero()),
        (p.KSupport(0.7, 1), p.SquaredL1(0.7)),
        (p.KSupport(0.7, 4), p.L2Squared(0.7)),
    ]

    @jax.jit
    def observe():
        def of(penalty, with_dual):
            seen = {"prox": penalty.prox(x, 0.5), "value": penalty.value(x)}
            return seen | ({"scale": penalty.dual_scale(x), "conjugate": penalty.conjugate(x)} if with_dual else {})

        return [[of(penalty, 2 <= i < 8) for penalty in pair] for i, pair in enumerate(pairs)]

    for left, right in observe():
        for name in left:
            np.testing.assert_allclose(left[name], right[name], rtol=1e-13, atol=1e-14, err_msg=name)


def test_zero_strengths_are_no_penalty():
    x = jnp.asarray([3.0, 0.0, -4.0, 3.0])
    penalties = (
        p.SumLargest(0, 2),
        p.GroupLInf(0, [0, 0, 1, 1]),
        p.GroupLInf(1, [0, 0, 1, 1], 0),
        p.TreeGroupLasso(0, TREE),
        p.TreeGroupLasso(1, TREE, 0, norm="linf"),
        p.KSupport(0, 2),
    )

    @jax.jit
    def observe():
        return [(q.prox(x, 1.0), q.minimal_subgradient(x, x), q.conjugate(x), q.conjugate(0 * x)) for q in penalties]

    for prox, least, conjugate, conjugate_at_zero in observe():
        np.testing.assert_array_equal(prox, x)
        np.testing.assert_array_equal(least, x)
        assert conjugate == jnp.inf and conjugate_at_zero == 0


def test_rows_go_with_their_coordinate(rng):
    x, gradient = (jnp.asarray(rng.normal(size=(4, 3))) for _ in range(2))
    of_row = jax.vmap(lambda row: p.LInf(0.7).prox(row, 0.5))
    by_rows, one_by_one = jax.jit(lambda: (p.GroupLInf(0.7, np.arange(4)).prox(x, 0.5), of_row(x)))()
    np.testing.assert_allclose(by_rows, one_by_one, atol=1e-15)
    tree, ids = [[0, 1, 2], [1]], [0, 1, 0, 1]
    spread = lambda rows: [3 * i + j for i in rows for j in range(3)]
    pairs = [
        (p.GroupLInf(0.7, ids), p.GroupLInf(0.7, np.repeat(ids, 3))),
        (p.GroupLasso(0.7, ids), p.GroupLasso(0.7, np.repeat(ids, 3))),
        (p.SparseGroupLasso(0.1, 0.7, ids), p.SparseGroupLasso(0.1, 0.7, np.repeat(ids, 3))),
        (p.TreeGroupLasso(0.7, tree), p.TreeGroupLasso(0.7, [spread(g) for g in tree])),
        (p.TreeGroupLasso(0.7, tree, norm="linf"), p.TreeGroupLasso(0.7, [spread(g) for g in tree], norm="linf")),
    ]

    @jax.jit
    def observe():
        def of(penalty, flat):
            cut = (lambda part: part.reshape(-1)) if flat else lambda part: part
            z = penalty.prox(cut(x), 0.5)
            seen = {"prox": z.reshape(-1), "least": penalty.minimal_subgradient(z, cut(gradient)).reshape(-1)}
            return seen | {n: getattr(penalty, n)(cut(x)) for n in ("value", "dual_scale", "critical_strength")}

        return [(of(on_rows, False), of(on_entries, True)) for on_rows, on_entries in pairs]

    for on_rows, on_entries in observe():
        for name in on_rows:
            np.testing.assert_allclose(on_rows[name], on_entries[name], rtol=1e-13, atol=1e-15, err_msg=name)


@pytest.mark.parametrize("dtype, atol", [(jnp.float32, 2e-4), (jnp.float64, 1e-12)])
def test_large_prox_is_stationary(dtype, atol, rng):
    """Also where entries tie, and where their sizes differ by many orders."""
    n = 3000
    smooth = rng.normal(size=n)
    points = np.stack([smooth, np.round(2 * smooth), smooth * np.exp(-10 * rng.uniform(size=n))])
    tree = [np.arange(n), *np.array_split(np.arange(n), 30), *np.array_split(np.arange(n), 300)]
    strengths = np.sort(rng.uniform(size=n))[::-1].astype(dtype)
    penalties = (
        p.SumLargest(dtype(0.3), 100),
        p.GroupLInf(dtype(3.0), rng.integers(0, 100, n)),
        p.TreeGroupLasso(dtype(0.8), tree),
        p.TreeGroupLasso(dtype(0.8), tree, norm="linf"),
        p.KSupport(dtype(0.3), 100),
        p.Slope(strengths),
    )

    def residual(penalty, x):
        z = penalty.prox(x, 1.0)
        return jnp.max(jnp.abs(penalty.minimal_subgradient(z, z - x)))

    residuals = jax.jit(lambda x: [residual(penalty, x) for penalty in penalties])
    assert max(max(residuals(jnp.asarray(x, dtype))) for x in points) < atol


def test_slope_subgradient_at_ties(rng):
    """The forward-backward residual of a vanishing step tends to the element of least norm."""
    x = jnp.asarray([2.0, -2.0, 2.0, 0.0, 0.0, -1.0, 1.0, 0.0])
    penalty = p.Slope([2.0, 1.5, 1.0, 0.9, 0.5, 0.4, 0.1, 0.0])
    gradients = jnp.asarray(np.concatenate([rng.normal(size=(20, 8)), rng.integers(-2, 3, size=(20, 8))]))
    limit = lambda g: (x - penalty.prox(x - 1e-6 * g, 1e-6)) / 1e-6
    both = jax.jit(jax.vmap(lambda g: (penalty.minimal_subgradient(x, g), limit(g))))
    np.testing.assert_allclose(*both(gradients), atol=1e-8)


def test_critical_factor_of_slope(rng):
    strengths = np.array([1.0, 0.5, 0.25, 0.0])

    @jax.jit
    @jax.vmap
    def around_the_factor(gradient):
        factor = p.Slope(strengths).critical_strength(gradient)
        return [p.Slope(scale * factor * strengths).prox(-gradient, 1.0) for scale in (1 + 1e-12, 0.999)]

    at, below = around_the_factor(jnp.asarray(rng.normal(size=(5, 4))))
    assert not at.any() and below.any(1).all()
    assert p.Slope([0.0, 0.0]).critical_strength(jnp.ones(2)) == jnp.inf


def test_tree_is_infinitely_critical_where_it_has_no_weight():
    tree = p.TreeGroupLasso(1.0, [[0, 1], [2]], [1.0, 0.0])
    np.testing.assert_allclose(tree.critical_strength(jnp.asarray([1.0, 2.0, 0.0])), 5**0.5, rtol=1e-14)
    for pull in ([0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]):
        assert tree.critical_strength(jnp.asarray(pull)) == jnp.inf
        assert tree.dual_scale(jnp.asarray(pull)) == 0


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: p.SumLargest(-1, 1), "strength must be nonnegative"),
        (lambda: p.SumLargest(1, 0), "k must be a positive integer"),
        (lambda: p.SumLargest(1, 1.5), "k must be a positive integer"),
        (lambda: p.SumLargest(1, 3).prox(jnp.ones(2), 1.0), "at least k = 3 entries"),
        (lambda: p.KSupport(1, 2).prox(jnp.ones((2, 2)), 1.0), "x must be a vector"),
        (lambda: p.KSupport(-1, 2), "strength must be nonnegative"),
        (lambda: p.GroupLInf(1, [0, 1], [1.0, 1, 1]), "weights must be a scalar or one a group"),
        (lambda: p.GroupLInf(1, [0, 1]).value(jnp.ones(3)), "pass one group id a coordinate"),
        (lambda: p.TreeGroupLasso(1, [[0, 1], [1, 2]]), "group 0 overlaps group 1"),
        (lambda: p.TreeGroupLasso(1, [[1, 2], [0, 1, 3]]), "overlaps group 0"),
        (lambda: p.TreeGroupLasso(1, [[0, 0]]), "distinct coordinates"),
        (lambda: p.TreeGroupLasso(1, [[0.5]]), "distinct coordinates"),
        (lambda: p.TreeGroupLasso(1, [[-1]]), "distinct coordinates"),
        (lambda: p.TreeGroupLasso(1, [[0]], norm="l3"), "norm must be"),
        (lambda: p.TreeGroupLasso(1, [[0]], [1.0, 2.0]), "weights must be a scalar or one a group"),
        (lambda: p.TreeGroupLasso(1, [[0, 4]]).value(jnp.ones(3)), "reach 5 entries"),
    ],
)
def test_bad_input_names_the_mend(call, message):
    with pytest.raises(ValueError, match=message):
        call()
