"""MAID against the closed form of a quadratic problem: every certificate it gives must hold."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth.bilevel import Bilevel, ErrorBound, HeuristicErrorBound, MAID


N, P, EXPAND = 1000, 10, 10 / 9
ACCURACIES = jnp.array([10.0, 1e-1, 1e-3, 1e-5])


class Quadratic:
    """|A1 w - b1|^2 / 2 over w minimizing |A2 w + A3 h - b2|^2 / 2: random designs, all known in closed form."""

    def __init__(self):
        rng = np.random.default_rng(29)
        a1, a2, a3 = (rng.uniform(size=(N, P)) for _ in range(3))
        x1, x2, hyper = (rng.uniform(size=P) for _ in range(3))
        noise1, noise2 = (rng.standard_normal(N) for _ in range(2))
        b1, b2 = a1 @ x1 + 0.01 * noise1, a2 @ x2 + a3 @ hyper + 0.01 * noise2
        inverse = np.linalg.inv(a2.T @ a2)
        self.offset, self.slope = inverse @ a2.T @ b2, -inverse @ a2.T @ a3
        self.mu, self.lipschitz = np.linalg.eigvalsh(a2.T @ a2)[[0, -1]]
        self.outer_lipschitz = np.linalg.eigvalsh(a1.T @ a1)[-1]
        self.cross_norm = np.linalg.norm(a2.T @ a3, 2)
        # In ten rows: the same sums of squares.
        self.outer_data = self.in_few_rows(b1, a1)
        self.inner_data = self.in_few_rows(b2, a2, a3)
        self.problem = Bilevel(self.outer, self.inner, outer_data=self.outer_data, inner_data=self.inner_data)

    @staticmethod
    def in_few_rows(b, *designs):
        q, r = np.linalg.qr(np.column_stack(designs))
        rest = b @ b - np.sum((q.T @ b) ** 2)
        return tuple(map(jnp.asarray, (*np.split(r, len(designs), axis=1), q.T @ b, rest)))

    @staticmethod
    def outer(w, h, a, b, rest):
        return (jnp.sum((a @ w - b) ** 2) + rest) / 2

    @staticmethod
    def inner(w, h, a, c, b, rest):
        return (jnp.sum((a @ w + c @ h - b) ** 2) + rest) / 2

    def value(self, h):
        return self.outer(self.offset + self.slope @ h, h, *self.outer_data)

    def gradient(self, h):
        a, b, _ = self.outer_data
        return self.slope.T @ (a.T @ (a @ (self.offset + self.slope @ h) - b))


QUADRATIC = Quadratic()
START = (jnp.ones(P), jnp.zeros(P))
BOUNDS = {
    "interval": ErrorBound(QUADRATIC.mu, QUADRATIC.outer_lipschitz, cross_norm=QUADRATIC.cross_norm),
    "corrected": ErrorBound(QUADRATIC.mu, QUADRATIC.outer_lipschitz, form="operator"),
}


def solver(value="corrected", **settings):
    return MAID(BOUNDS[value], value=value, **({"convex": True, "relax": 1.25} | settings))


@pytest.fixture(scope="module")
def runs():
    """Two hundred outer steps by hand, from four first accuracies at once, with both line searches."""

    def run(value, eps):
        maid = solver(value, eps=eps, delta=eps)
        point = QUADRATIC.problem.check(START)

        def step(carry, _):
            carry = maid.step(QUADRATIC.problem, *carry)
            return carry, carry

        return jax.lax.scan(step, (point, maid.init(QUADRATIC.problem, point)), length=200)[1]

    return {value: jax.jit(jax.vmap(lambda eps, v=value: run(v, eps)))(ACCURACIES) for value in BOUNDS}


def test_problem_is_that_of_the_reference_values():
    found = (QUADRATIC.mu, QUADRATIC.lipschitz, QUADRATIC.outer_lipschitz, QUADRATIC.value(jnp.ones(P)))
    np.testing.assert_allclose(found, (69.56929907, 2520.60510501, 2568.61153719, 4440.093198), rtol=1e-9)


@pytest.mark.parametrize("value", BOUNDS)
def test_bounds_hold_at_every_step(runs, value):
    point, state = runs[value]
    exact = jax.vmap(jax.vmap(QUADRATIC.gradient))(point.hyper)
    error = jnp.linalg.norm(state.gradient - exact, axis=-1)
    assert jnp.all(error <= state.bound) and jnp.all(state.certified) and not jnp.any(state.stalled)
    values = jax.vmap(jax.vmap(QUADRATIC.value))(point.hyper)
    assert jnp.all((state.lower <= values) & (values <= state.upper))
    # The accuracies that were asked for are kept.
    distance = jnp.linalg.norm(point.params - (np.asarray(point.hyper) @ QUADRATIC.slope.T + QUADRATIC.offset), axis=-1)
    assert jnp.all(distance <= state.eps)


@pytest.mark.parametrize("value", BOUNDS)
def test_every_step_descends_as_promised(runs, value):
    point, state = runs[value]
    hyper = jnp.concatenate([jnp.ones((4, 1, P)), point.hyper], axis=1)
    values = jax.vmap(jax.vmap(QUADRATIC.value))(hyper)
    # The default shares are a half each.
    promised = jnp.sum(jnp.diff(hyper, axis=1) ** 2, axis=-1) * EXPAND / state.step_size / 4
    assert jnp.all(promised > 0) and jnp.all(jnp.diff(values, axis=1) <= -promised)
    np.testing.assert_allclose(values[:, -1] - 0.05070717, 55.0, rtol=0.02)


@pytest.mark.parametrize("value", BOUNDS)
def test_accuracies_tune_themselves(runs, value):
    _, state = runs[value]
    # Over the last steps: a single one is somewhere between a shrinkage and the next.
    final = jnp.exp(jnp.mean(jnp.log(state.eps[:, -50:]), axis=1))
    assert jnp.max(final) <= 2 * jnp.min(final)
    assert not jnp.any(state.eps[:, 0] == state.eps[:, -1])


def test_corrected_values_spare_inner_gradients(runs):
    published, corrected = (np.asarray(runs[value][1].num_inner[:, -1]) for value in ("interval", "corrected"))
    assert np.all(published >= 2.5 * corrected)


@pytest.fixture(scope="module")
def logistic(references):
    """Logistic regression with one logarithmic strength; its constants vary with the strength."""
    row, problem, _ = references("logistic_scalar")
    data = sys.modules[type(row).__module__]
    design, validation = data.Z, data.Z_VAL
    outer_lipschitz = np.linalg.norm(validation, 2) ** 2 / 4 / len(validation)
    # The third derivative of log(1 + exp(z)) is at most 1 / (6 sqrt(3)).
    norms = np.linalg.norm(design, axis=1)
    hessian_lipschitz = np.linalg.norm(design * norms[:, None] ** 0.5, 2) ** 2 / len(design) / 6 / 3**0.5

    def bound(h):
        return ErrorBound(jnp.exp(h), outer_lipschitz, hessian_lipschitz, jnp.exp(h))

    @jax.jit
    def gradient(h):
        newton = lambda w: w - jnp.linalg.solve(jax.hessian(row.inner)(w, h), jax.grad(row.inner)(w, h))
        w = jax.lax.fori_loop(0, 20, lambda _, w: newton(w), jnp.zeros(30))
        adjoint = jnp.linalg.solve(jax.hessian(row.inner)(w, h), jax.grad(row.outer)(w, h))
        return -jnp.exp(h) * jnp.vdot(w, adjoint), row.outer(w, h), jnp.linalg.norm(jax.grad(row.inner)(w, h))

    return problem, bound, gradient


def test_tolerance_certifies_the_true_gradient_and_a_batch_is_its_rows(logistic):
    problem, bound, exact = logistic
    solver = MAID(bound, step_size=1.0, convex=True, tol=1e-4, max_steps=100)
    run = lambda h: jt.solve(problem, solver, (h, jnp.zeros(30)))
    starts = jnp.array([-5.0, -4.0, -2.0])
    batch = jax.jit(jax.vmap(run))(starts)
    assert jnp.all(batch.result == jt.RESULTS.converged) and jnp.all(batch.state.certified)
    for h, lower, upper in zip(batch.params.hyper, batch.state.lower, batch.state.upper, strict=True):
        gradient, value, residual = exact(h)
        assert residual < 1e-13 and abs(gradient) <= 1e-4 and lower <= value <= upper
    np.testing.assert_allclose(batch.params.hyper, -3.3601397576, atol=0.01)
    rows = jax.jit(lambda h: jax.lax.map(run, h))(starts)
    np.testing.assert_array_equal(batch.num_steps, rows.num_steps)
    np.testing.assert_array_equal(batch.state.num_inner, rows.state.num_inner)
    np.testing.assert_allclose(batch.params.hyper, rows.params.hyper, rtol=1e-9)


@functools.cache
def single_precision():
    """w* = h, F = |h - target|^2 / 2 over the box h <= 1."""
    outer = lambda w, h, target: jnp.sum((w - target) ** 2) / 2
    inner = lambda w, h: jnp.sum(jnp.array([1, 3], w.dtype) * (w - h["a"]) ** 2) / 2
    project = lambda h: {"a": jnp.minimum(h["a"], 1)}
    problem = lambda target: Bilevel(outer, inner, outer_data=(target,), projection=project)
    solver = MAID(ErrorBound(1.0, 1.0), step_size=0.3, max_steps=60, tol=0.0)
    run = jax.jit(lambda h, target: jt.solve(problem(target), solver, (h, jnp.zeros(2, h["a"].dtype))))
    return run({"a": jnp.zeros(2, jnp.float32)}, jnp.array([2, -1], jnp.float32))


def test_single_precision_ends_where_rounding_begins():
    solution = single_precision()
    assert {leaf.dtype for leaf in jax.tree.leaves((solution.params, solution.state.bound))} == {jnp.dtype("float32")}
    assert solution.state.stalled and solution.result == jt.RESULTS.max_steps_reached
    assert solution.state.eps < 1e-3


def test_projection_is_kept():
    solution = single_precision()
    np.testing.assert_allclose(solution.params.hyper["a"], [1, -1], atol=1e-3)
    assert solution.params.hyper["a"][0] <= 1 and solution.error < 1e-2


def test_steps_that_leave_the_domain_are_shortened_and_nan_ends_the_run():
    # w* = y log(h): not finite for h < 0, where the first steps lead.
    inner = lambda w, h, y: (w - y * jnp.log(h)) ** 2 / 2
    problem = lambda y: Bilevel(lambda w, h: (w - 1) ** 2 / 2, inner, inner_data=(y,))
    solver = MAID(ErrorBound(1.0, 1.0), step_size=1e4, tol=1e-6)
    run = lambda y: jt.solve(problem(y), solver, (jnp.array(10.0), jnp.array(0.0)))
    solution = jax.jit(jax.vmap(run))(jnp.array([1.0, jnp.nan]))
    assert (solution.result == jt.RESULTS.converged).tolist() == [True, False]
    assert (solution.result == jt.RESULTS.nonfinite).tolist() == [False, True]
    np.testing.assert_allclose(solution.params.hyper, [np.e, 10.0], rtol=1e-4)


def test_heuristic_bound_descends_but_certifies_nothing():
    inner = lambda w, h: jnp.sum((w - h) ** 2) / 2 + jnp.sum(jnp.log(jnp.cosh(w)))
    problem = Bilevel(lambda w, h: jnp.sum((w - 1) ** 2) / 2, inner)
    solver = MAID(
        HeuristicErrorBound(),
        strong_convexity=1.0,
        outer_lipschitz=1.0,
        inner_lipschitz=lambda h: 2.0 + 0 * jnp.sum(h),
        step_size=1.0,
        tol=1e-6,
    )
    start = problem.check((jnp.zeros(2), jnp.zeros(2)))
    solution = jax.jit(lambda p: jt.solve(problem, solver, p))(start)
    assert solution.result == jt.RESULTS.converged and not solution.state.certified
    np.testing.assert_allclose(solution.params.hyper, 1 + np.tanh(1.0), rtol=1e-5)

    # By hand.
    point, state, step = start, solver.init(problem, start), jax.jit(lambda p, s: solver.step(problem, p, s))
    for _ in range(int(solution.num_steps)):
        point, state = step(point, state)
    np.testing.assert_allclose(point.hyper, solution.params.hyper, rtol=1e-12)
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, solver.init(problem, start))


BOUND = ErrorBound(1.0, 1.0)


@pytest.mark.parametrize(
    ("build", "kind", "message"),
    [
        (lambda: MAID(3.0), TypeError, "bound must be an ErrorBound"),
        (lambda: MAID(BOUND, value="exact"), ValueError, "value must be"),
        (lambda: MAID(BOUND, eta=1.0), ValueError, "eta must be below 1"),
        (lambda: MAID(BOUND, expand=0.9), ValueError, "expand must be at least 1"),
        (lambda: MAID(BOUND, eps=0.0), ValueError, "eps must be positive"),
        (lambda: MAID(BOUND, inner_lipschitz=-1.0), ValueError, "inner_lipschitz must be positive"),
        (lambda: MAID(BOUND, strong_convexity=1.0), ValueError, "strong_convexity is that of the bound"),
        (lambda: MAID(HeuristicErrorBound()), ValueError, "strong_convexity must be given"),
        (lambda: MAID(BOUND, max_inner_steps=0), ValueError, "max_inner_steps must be at least 1"),
    ],
)
def test_bad_settings_are_refused(build, kind, message):
    with pytest.raises(kind, match=message):
        build()


def test_problems_that_do_not_fit_are_refused():
    composite = Bilevel(
        lambda w, h: jnp.sum(w),
        problem=lambda h: jt.Composite(jt.FunctionTerm(lambda w: jnp.sum(w**2)), jt.penalties.L1(jnp.exp(h))),
    )
    with pytest.raises(TypeError, match="MAID needs a smooth inner objective"):
        jt.solve(composite, MAID(BOUND), (0.0, jnp.zeros(2)))
    with pytest.raises(TypeError, match="bound must return an ErrorBound"):
        jt.solve(QUADRATIC.problem, MAID(lambda h: HeuristicErrorBound()), START)
