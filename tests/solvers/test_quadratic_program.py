import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import jaxopt_thoth as jt
from jaxopt_thoth import implicit


N, M = 5, 7
RNG = np.random.default_rng(0)


def draw(n=N, m=M, rank=None):
    """Two equations, a row open below, one open above, and boxes; some tight, some loose."""
    root = RNG.normal(size=(rank or n, n))
    A = RNG.normal(size=(m, n))
    middle = A @ RNG.normal(size=n)
    lower, upper = middle - RNG.uniform(size=m), middle + RNG.uniform(size=m)
    lower[:2] = upper[:2] = middle[:2]
    lower[2], upper[3] = -np.inf, np.inf
    return root.T @ root, 3 * RNG.normal(size=n), A, lower, upper


PROGRAMS = [draw() for _ in range(100)]
BATCH = tuple(np.stack(parts) for parts in zip(*PROGRAMS))


@jax.jit
def fit(P, q, A, lower, upper):
    return jt.solve(jt.QuadraticProgram(P, q, A, lower, upper), jt.OSQP(), jnp.zeros(q.shape))


fit_batch = jax.jit(jax.vmap(fit))


@pytest.fixture(scope="module")
def batch():
    return fit_batch(*BATCH)


def conditions(data, x, y):
    """Stationarity, feasibility and complementarity, each at most what is returned."""
    P, q, A, lower, upper = data
    rows = A @ x
    room = np.maximum(0, np.maximum(lower - rows, rows - upper))
    slack = np.where(y > 0, upper - rows, np.where(y < 0, rows - lower, 0))
    return max(np.abs(P @ x + q + A.T @ y).max(), room.max(), np.abs(np.minimum(slack, np.abs(y))).max())


def test_a_hundred_programs_in_a_batch_meet_their_optimality_conditions(batch):
    assert np.all(batch.result == jt.RESULTS.converged)
    assert np.max(batch.num_steps) <= 50
    for data, x, y in zip(PROGRAMS, np.asarray(batch.params.primal), np.asarray(batch.params.dual)):
        assert conditions(data, x, y) < 1e-9


def sequential_least_squares(P, q, A, lower, upper):
    equal, low, high = lower == upper, np.isfinite(lower) & (lower < upper), np.isfinite(upper) & (lower < upper)
    G, h = np.vstack([A[low], -A[high]]), np.concatenate([lower[low], -upper[high]])
    constraints = [
        {"type": "eq", "fun": lambda x: A[equal] @ x - lower[equal], "jac": lambda x: A[equal]},
        {"type": "ineq", "fun": lambda x: G @ x - h, "jac": lambda x: G},
    ]
    return scipy.optimize.minimize(
        lambda x: x @ P @ x / 2 + q @ x,
        np.zeros(N),
        jac=lambda x: P @ x + q,
        method="SLSQP",
        constraints=constraints,
        options={"ftol": 1e-16, "maxiter": 1000},
    ).x


def test_programs_agree_with_sequential_least_squares(batch):
    for data, found in zip(PROGRAMS[:10], np.asarray(batch.params.primal)):
        np.testing.assert_allclose(found, sequential_least_squares(*data), atol=1e-8)


def test_linear_programs_agree_with_scipy():
    for _ in range(4):
        c, A = RNG.normal(size=N), RNG.normal(size=(2, N))
        b = A @ RNG.uniform(size=N)
        rows = np.vstack([A, np.eye(N)])
        lower, upper = np.concatenate([b, np.zeros(N)]), np.concatenate([b, np.ones(N)])
        solution = fit(np.zeros((N, N)), c, rows, lower, upper)
        peer = scipy.optimize.linprog(c, A_eq=A, b_eq=b, bounds=(0, 1))
        assert solution.result == jt.RESULTS.converged
        np.testing.assert_allclose(solution.params.primal, peer.x, atol=1e-8)


def test_equations_alone_are_one_direct_solve():
    P, q, A, *_ = PROGRAMS[0]
    b = RNG.normal(size=3)
    problem = jt.QuadraticProgram(P, q, A[:3], b, b)
    solution = jt.solve(problem, jt.OSQP(tol=1e-12), jnp.zeros(N))
    matrix = np.block([[P, A[:3].T], [A[:3], np.zeros((3, 3))]])
    expected = np.linalg.solve(matrix, np.concatenate([-q, b]))
    assert solution.result == jt.RESULTS.converged and solution.num_steps == 1
    np.testing.assert_allclose(jnp.concatenate([solution.params.primal, solution.params.dual]), expected, atol=1e-11)


def test_without_rows_it_is_a_linear_system():
    P, q, *_ = PROGRAMS[0]
    solution = jt.solve(jt.QuadraticProgram(P, q, jnp.zeros((0, N)), 0.0, 1.0), jt.OSQP(), jnp.zeros(N))
    np.testing.assert_allclose(solution.params.primal, np.linalg.solve(P, -q), rtol=1e-9)


def test_the_iterations_alone_reach_the_tolerance(batch):
    solver = jt.OSQP(polish=False, tol=1e-8, max_steps=4000)
    solution = jt.solve(jt.QuadraticProgram(*PROGRAMS[0]), solver, jnp.zeros(N))
    assert solution.result == jt.RESULTS.converged
    np.testing.assert_allclose(solution.params.primal, batch.params.primal[0], atol=1e-6)
    # From the solution there is nothing left to do.
    assert jt.solve(jt.QuadraticProgram(*PROGRAMS[0]), solver, solution.params).num_steps <= 2


def test_bad_scales_and_repeated_rows_are_borne():
    P, q, A, lower, upper = PROGRAMS[1]
    plain = fit(*PROGRAMS[1]).params.primal
    columns, rows = np.logspace(-3, 3, N), np.logspace(3, -3, M)
    scaled = fit(P * columns[:, None] * columns, q * columns, A * rows[:, None] * columns, lower * rows, upper * rows)
    assert scaled.result == jt.RESULTS.converged
    np.testing.assert_allclose(scaled.params.primal * columns, plain, rtol=1e-5, atol=1e-6)
    again = np.r_[0:4, 0:3]
    once = fit(P, q, A, np.where(np.arange(M) < 4, lower, -np.inf), np.where(np.arange(M) < 4, upper, np.inf))
    repeated = fit(P, q, A[again], lower[again], upper[again])
    assert repeated.result == jt.RESULTS.converged
    np.testing.assert_allclose(repeated.params.primal, once.params.primal, atol=1e-8)


def test_infeasible_and_unbounded_programs_are_certified():
    rows = np.vstack([np.eye(N), np.ones((2, N))])
    lower, upper = np.r_[np.zeros(N), -1, -1], np.r_[np.ones(N), -0.5, 9]
    solution = fit(np.eye(N), np.ones(N), rows, lower, upper)
    assert solution.result == jt.RESULTS.infeasible
    assert solution.state.primal_infeasible and not solution.state.dual_infeasible
    y = np.asarray(solution.state.certificate.dual)
    assert np.abs(rows.T @ y).max() <= 1e-5 * np.abs(y).max()
    assert upper @ np.maximum(y, 0) + lower @ np.minimum(y, 0) < 0

    P, q = np.diag(np.r_[np.ones(N - 1), 0]), np.ones(N)
    below = np.r_[-np.ones(N - 1), -np.inf, -np.inf, -np.inf]
    solution = fit(P, q, rows, below, upper)
    assert solution.result == jt.RESULTS.infeasible
    assert solution.state.dual_infeasible and not solution.state.primal_infeasible
    x = np.asarray(solution.state.certificate.primal)
    assert q @ x < 0 and np.abs(P @ x).max() <= 1e-5 * np.abs(x).max() and x[-1] < 0

    # Bounds in the wrong order that are traced, and so cannot raise.
    assert fit(P, q, rows, upper, lower).result == jt.RESULTS.infeasible


def smooth(params):
    return jnp.concatenate([jnp.sin(params.primal), jnp.cos(params.dual)])


def attached(params, *data):
    """A smooth function of a solution that is known, so that the derivative compiles without the solver."""
    one, tol = jnp.ones(()), jnp.asarray(1e-8)
    return smooth(implicit.attach(implicit.Implicit(), jt.QuadraticProgram(*data), params, one, tol))


def test_derivatives_agree_with_differences_forward_and_reverse(batch):
    # The first program that is held at a bound of either kind, equations apart.
    multipliers = np.asarray(batch.params.dual)[:, 2:]
    chosen = np.flatnonzero((multipliers > 0.1).any(1) & (multipliers < -0.1).any(1))[0]
    data = tuple(jnp.asarray(part) for part in PROGRAMS[chosen])
    params = fit(*data).params
    P, q, A, lower, upper = (jnp.asarray(RNG.normal(size=a.shape)) for a in data)
    # Equations stay equations, and infinite bounds infinite.
    equal, step = data[3] == data[4], 1e-6
    ends = jnp.where(equal, 0, jnp.where(jnp.isfinite(data[3]), lower, 0)), jnp.where(jnp.isfinite(data[4]), upper, 0)
    zero = tuple(jnp.zeros_like(a) for a in data)
    directions = {
        "P": (P, *zero[1:]),
        "q": (zero[0], q, *zero[2:]),
        "A": (*zero[:2], A, *zero[3:]),
        "lower": (*zero[:3], ends[0], zero[4]),
        "upper": (*zero[:4], jnp.where(equal, 0, ends[1])),
        "equations": (*zero[:3], jnp.where(equal, lower, 0), jnp.where(equal, lower, 0)),
    }
    push = jax.jit(lambda t: jax.jvp(lambda *data: attached(params, *data), data, t)[1])
    pulled = jax.jit(jax.jacrev(lambda data: attached(params, *data)))(data)
    for name, tangents in directions.items():
        ahead, behind = (fit(*(a + s * t for a, t in zip(data, tangents))).params for s in (step, -step))
        expected = (smooth(ahead) - smooth(behind)) / (2 * step)
        assert np.abs(expected).max() > 1e-3, name
        np.testing.assert_allclose(push(tangents), expected, atol=1e-6, rtol=1e-6, err_msg=name)
        total = sum(jnp.einsum("i...,...->i", jac, t) for jac, t in zip(pulled, tangents))
        np.testing.assert_allclose(total, expected, atol=1e-6, rtol=1e-6, err_msg=name)


def test_batched_and_second_derivatives_agree_with_differences(batch):
    P, q, *rest = (jnp.asarray(part) for part in BATCH)
    gradient = jax.jit(jax.vmap(jax.grad(lambda q, P, *rest: smooth(fit(P, q, *rest).params).sum())))
    step, direction = 1e-6, jnp.asarray(RNG.normal(size=q.shape))
    ahead, behind = (
        (fit_batch(P, q + s * direction, *rest), gradient(q + s * direction, P, *rest)) for s in (step, -step)
    )
    values = [jax.vmap(smooth)(solution.params).sum(1) for solution in (ahead[0], behind[0])]
    slopes = jnp.sum(gradient(q, P, *rest) * direction, axis=1)
    np.testing.assert_allclose(slopes, (values[0] - values[1]) / (2 * step), atol=1e-5, rtol=1e-5)

    def second(params, q, direction, P, *rest):
        return jax.jvp(jax.grad(lambda q: attached(params, P, q, *rest).sum()), (q,), (direction,))[1]

    found = jax.jit(jax.vmap(second))(batch.params, q, direction, P, *rest)
    np.testing.assert_allclose(found, (ahead[1] - behind[1]) / (2 * step), atol=1e-5, rtol=1e-5)


def test_dependent_rows_share_the_derivative():
    def projected(upper):
        rows = jnp.stack([jnp.ones(2), jnp.ones(2)])
        return jt.solve(jt.QuadraticProgram(jnp.eye(2), -jnp.ones(2), rows, -jnp.inf, upper), jt.OSQP(), jnp.zeros(2))

    upper = jnp.ones(2)
    jacobian = jax.jacobian(lambda u: projected(u).params.primal)(upper)
    np.testing.assert_allclose(jacobian, jnp.full((2, 2), 0.25), atol=1e-9)
    # Bounds that move together move the solution as one bound does; the multiplier is shared.
    moved = jax.jvp(lambda u: projected(u).params, (upper,), (jnp.ones(2),))[1]
    np.testing.assert_allclose(moved.primal, [0.5, 0.5], atol=1e-9)
    np.testing.assert_allclose(moved.dual, [-0.25, -0.25], atol=1e-8)


def test_the_general_linear_solver_agrees():
    lineax = pytest.importorskip("lineax")
    data = tuple(jnp.asarray(part) for part in PROGRAMS[2])

    params, (one, tol) = fit(*data).params, (jnp.ones(()), jnp.asarray(1e-8))

    def push(adjoint):
        run = lambda q: implicit.attach(adjoint, jt.QuadraticProgram(data[0], q, *data[2:]), params, one, tol)
        return jax.jit(lambda q: jax.jvp(run, (q,), (jnp.ones(N),))[1].primal)(data[1])

    np.testing.assert_allclose(push(implicit.Implicit()), push(implicit.Implicit(lineax.LU())), atol=1e-9)


@pytest.mark.slow
def test_modes_hands_and_float32_agree(batch):
    problem = jt.QuadraticProgram(*PROGRAMS[3])
    solver = jt.OSQP(max_steps=6)
    expected = batch.params.primal[3]
    scanned = jt.solve(problem, solver, jnp.zeros(N), mode="scan")
    np.testing.assert_allclose(scanned.params.primal, expected, atol=1e-9)
    params = problem.check(jnp.zeros(N))
    state = solver.init(problem, params)
    step = jax.jit(lambda *args: solver.step(*args))
    for _ in range(int(batch.num_steps[3])):
        params, state = step(problem, params, state)
    np.testing.assert_allclose(params.primal, expected, atol=1e-9)

    single = jt.QuadraticProgram(*(part.astype(np.float32) for part in PROGRAMS[3]))
    solution = jt.solve(single, jt.OSQP(), jnp.zeros(N, jnp.float32))
    assert solution.params.primal.dtype == jnp.float32 and solution.result == jt.RESULTS.converged
    np.testing.assert_allclose(solution.params.primal, expected, atol=1e-3)


def test_results_are_honest():
    problem = jt.QuadraticProgram(*PROGRAMS[0])
    short = jt.solve(problem, jt.OSQP(polish=False, block=1, max_steps=2), jnp.zeros(N))
    assert short.result == jt.RESULTS.max_steps_reached
    P, _, *rest = PROGRAMS[0]
    assert fit(P, np.full(N, np.nan), *rest).result == jt.RESULTS.nonfinite


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: jt.QuadraticProgram(np.ones((2, 3)), np.ones(2), np.ones((1, 2)), 0, 1), "P must be a square"),
        (lambda: jt.QuadraticProgram(np.eye(2), np.ones(3), np.ones((1, 2)), 0, 1), "q must have shape"),
        (lambda: jt.QuadraticProgram(np.eye(2), np.ones(2), np.ones((1, 3)), 0, 1), "A must have shape"),
        (lambda: jt.QuadraticProgram(np.eye(2), np.ones(2), np.ones((1, 2)), np.zeros(2), 1), "lower must be a number"),
        (lambda: jt.QuadraticProgram(np.eye(2), np.ones(2), np.ones((1, 2)), 2, 1), "lower must not exceed"),
        (lambda: jt.QuadraticProgram(np.eye(2), np.ones(2), np.ones((1, 2)), np.inf, np.inf), "lower must be below"),
        (lambda: jt.QuadraticProgram(np.eye(2), np.ones(2), np.ones((1, 2)), 0, -np.inf), "upper must be above"),
        (lambda: jt.QuadraticProgram(-np.eye(2), np.ones(2), np.eye(2), 0, 1).check(jnp.zeros(2)), "semidefinite"),
        (lambda: jt.QuadraticProgram(np.eye(2), np.ones(2), np.eye(2), 0, 1).check(jnp.zeros(3)), "params.primal"),
        (lambda: jt.OSQP(rho=0.0), "rho must be positive"),
        (lambda: jt.OSQP(relaxation=2.0), "2 - relaxation"),
        (lambda: jt.OSQP(block=0), "block must be at least 1"),
        (lambda: jt.OSQP(tol=-1.0), "tol must be nonnegative"),
    ],
)
def test_bad_input_raises_and_names_the_argument(build, message):
    with pytest.raises(ValueError, match=message):
        build()
