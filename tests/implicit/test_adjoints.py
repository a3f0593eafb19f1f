"""The adjoints against each other: what is exact, what is an approximation, and how good a one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth.implicit import attach, Implicit, Neumann, OneStep, StopGradient, strict_complementarity_gap, Unrolled


P = 8
STRENGTH = 0.05
SOLVER = jt.ProximalGradient(tol=1e-13, max_steps=50_000)
# The fixed-point map of a fixed step, so that its contraction factor is known.
FIXED = jt.ProximalGradient(line_search=False, tol=1e-13, max_steps=50_000)


@pytest.fixture(scope="module")
def solution_by(problems):
    def solution_by(adjoint, solver=SOLVER, name="l1", **settings):
        def solution(strength):
            field = {"l1": lambda p: p.penalty.strength, "elastic net": lambda p: p.penalty.l1}[name]
            p = eqx.tree_at(field, problems[name], strength)
            return jt.solve(p, solver, jnp.zeros(P), adjoint=adjoint, **settings).params

        return solution

    return solution_by


@pytest.fixture(scope="module")
def exact(problems):
    """Solution, derivative in the strength, and derivative of the fixed-point map of `FIXED`."""
    p = problems["l1"]
    x = np.asarray(p.smooth.design.matrix)
    w = np.asarray(jt.solve(p, SOLVER, jnp.zeros(P)).params)
    support = w != 0
    slope = np.zeros(P)
    hessian = x.T @ x / len(x)
    slope[support] = -np.linalg.solve(hessian[np.ix_(support, support)], np.sign(w[support]))
    step = 1 / (1.01 * np.linalg.eigvalsh(hessian)[-1])
    return w, slope, step, np.diag(support.astype(float)) @ (np.eye(P) - step * hessian)


@pytest.mark.parametrize(
    "adjoint",
    [
        Implicit(tol=1e-13),
        Implicit(lx.LU()),
        Implicit(lx.GMRES(rtol=1e-12, atol=1e-12)),
        Implicit(max_support=5),
        Implicit(max_support=1),
        Implicit(max_support=100, polish=True),
    ],
    ids=["cg", "lu", "gmres", "enough", "too small", "polished"],
)
def test_every_linear_solver_gives_the_exact_derivative(adjoint, solution_by, exact):
    solution = solution_by(adjoint)
    both = jax.jit(lambda strength: (jax.jacfwd(solution)(strength), jax.jacrev(solution)(strength)))
    for slope in both(STRENGTH):
        np.testing.assert_allclose(slope, exact[1], rtol=1e-8, atol=1e-9)


def test_gathered_support_of_the_elastic_net_and_of_batches(solution_by):
    strengths = jnp.array([0.02, 0.05, 0.2])
    jacobians = [
        jax.jit(jax.vmap(jax.jacfwd(solution_by(adjoint, name="elastic net"))))(strengths)
        for adjoint in (Implicit(tol=1e-13), Implicit(max_support=6))
    ]
    np.testing.assert_allclose(*jacobians, rtol=1e-8, atol=1e-10)


def test_gathered_support_of_a_rank_deficient_support_stays_finite(problems):
    twice = jnp.concatenate([problems["l1"].smooth.design.matrix] * 2, axis=1)
    model = jt.LinearModel(jt.losses.Squared(), twice, problems["l1"].smooth.targets)
    loss = lambda s: jnp.sum(twice @ jt.solve(
        jt.Composite(model, jt.penalties.L1(s)), SOLVER, jnp.zeros(2 * P), adjoint=Implicit(max_support=2 * P)
    ).params)  # fmt: skip
    reference = lambda s: jnp.sum(twice[:, :P] @ jt.solve(
        jt.Composite(problems["l1"].smooth, jt.penalties.L1(s)), SOLVER, jnp.zeros(P)
    ).params)  # fmt: skip
    # The coefficients are not unique, the fit is; and so is its derivative.
    gathered, plain = jax.jit(lambda s: (jax.grad(loss)(s), jax.grad(reference)(s)))(STRENGTH)
    np.testing.assert_allclose(gathered, plain, rtol=1e-6)


def test_polish_reaches_rounding_from_a_loose_tolerance(solution_by, exact):
    loose = jt.ProximalGradient(tol=1e-4)
    rough = solution_by(Implicit(), loose)(STRENGTH)
    fit = solution_by(Implicit(polish=True), loose)
    polished, slope = jax.jit(lambda strength: (fit(strength), jax.jacfwd(fit)(strength)))(STRENGTH)
    assert np.abs(rough - exact[0]).max() > 1e-6
    np.testing.assert_allclose(polished, exact[0], atol=1e-12)
    np.testing.assert_allclose(slope, exact[1], rtol=1e-10, atol=1e-10)


def test_polish_never_makes_a_solution_worse(problems):
    # Far from the solution the support is wrong, and so is Newton's step.
    cut = jt.ProximalGradient(max_steps=1)
    p = problems["simplex"]
    fits = [jt.solve(p, cut, jnp.full(P, 0.1), adjoint=Implicit(polish=polish)) for polish in (False, True)]
    residuals = [jnp.linalg.norm(p.optimality(fit.params, fit.state.step_size)) for fit in fits]
    assert residuals[1] <= residuals[0] * (1 + 1e-12)


def test_one_step_is_the_derivative_of_the_last_map(solution_by, exact):
    w, _, step, _ = exact
    slope = jax.jit(jax.jacrev(solution_by(OneStep(), FIXED)))(STRENGTH)
    np.testing.assert_allclose(slope, -step * np.sign(w), rtol=1e-6)


@pytest.mark.parametrize("num_terms", [0, 7])
def test_neumann_is_the_partial_sum_of_the_series(num_terms, solution_by, exact):
    w, slope, step, jacobian = exact
    terms = sum(np.linalg.matrix_power(jacobian, k) for k in range(num_terms + 1)) @ (-step * np.sign(w))
    computed = jax.jit(jax.jacfwd(solution_by(Neumann(num_terms), FIXED)))(STRENGTH)
    np.testing.assert_allclose(computed, terms, rtol=1e-6)
    # The error is J^(K + 1) applied to the limit.
    remainder = np.linalg.matrix_power(jacobian, num_terms + 1) @ slope
    np.testing.assert_allclose(slope - computed, remainder, atol=1e-6 * np.abs(slope).max())


def test_stop_gradient_is_a_constant(solution_by):
    assert jnp.all(jax.jacrev(solution_by(StopGradient()))(STRENGTH) == 0)


@pytest.mark.parametrize(
    ("settings", "checkpoints", "jacobian"),
    [({}, 5, jax.jacrev), ({"mode": "scan"}, None, jax.jacfwd)],
    ids=["checkpointed", "scan"],
)
def test_unrolled_steps_converge_to_the_derivative(settings, checkpoints, jacobian, solution_by, exact):
    solver = jt.ProximalGradient(tol=1e-12, max_steps=1000)
    slope = jax.jit(jacobian(solution_by(Unrolled(checkpoints), solver, **settings)))(STRENGTH)
    np.testing.assert_allclose(slope, exact[1], rtol=1e-5, atol=1e-5)


def test_unrolled_steps_differentiate_the_start(problems):
    solver = jt.ProximalGradient(step_size=0.1, accelerated=False, max_steps=3, tol=0.0)
    run = lambda w: jt.solve(problems["l2 ball"], solver, w, adjoint=Unrolled()).params

    def by_hand(w):
        for _ in range(3):
            w = problems["l2 ball"].forward_backward(w, 0.1)
        return w

    start = jnp.linspace(-1, 1, P)
    np.testing.assert_allclose(jax.jit(jax.jacrev(run))(start), jax.jit(jax.jacfwd(by_hand))(start), atol=1e-12)


def test_attach_gives_any_solution_its_derivative(problems, exact):
    def solution(strength):
        p = eqx.tree_at(lambda p: p.penalty.strength, problems["l1"], strength)
        return attach(Implicit(tol=1e-13), p, jnp.asarray(exact[0]), jnp.asarray(exact[2]), jnp.asarray(1e-13))

    np.testing.assert_array_equal(solution(STRENGTH), exact[0])
    np.testing.assert_allclose(jax.jacrev(solution)(STRENGTH), exact[1], rtol=1e-8, atol=1e-9)


def test_complementarity_gap_is_the_distance_to_the_kink(problems, exact):
    p = problems["l1"]
    w, _, step, _ = exact
    moved = np.asarray(w - step * p.smooth.gradient(jnp.asarray(w)))
    expected = np.min(np.abs(np.abs(moved) - step * STRENGTH))
    gap = strict_complementarity_gap(p, jnp.asarray(w), step)
    assert 0.99 * expected <= gap <= 1.4 * expected
    kink = jt.Composite(jt.Quadratic(jnp.eye(2), jnp.array([-3.0, -1.0])), jt.penalties.L1(1.0))
    assert strict_complementarity_gap(kink, jnp.array([2.0, 0.0])) <= 1e-10
    smooth = jt.Composite(kink.smooth)
    assert strict_complementarity_gap(smooth, jnp.array([3.0, 1.0])) == jnp.inf
    with pytest.raises(ValueError, match="Simplex is not"):
        strict_complementarity_gap(problems["simplex"], jnp.asarray(w))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Implicit(max_support=0), "max_support must be at least 1"),
        (lambda: Implicit(max_steps=0), "max_steps must be at least 1"),
        (lambda: Implicit(lx.LU(), max_support=3), "linear_solver=None"),
        (lambda: Implicit(tol=0.0), "tol must be positive"),
        (lambda: Neumann(-1), "num_terms must be nonnegative"),
        (lambda: Unrolled(0), "checkpoints must be at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_max_support_needs_a_separable_penalty(problems):
    fit = lambda radius: jt.solve(
        eqx.tree_at(lambda p: p.penalty.radius, problems["simplex"], radius),
        SOLVER, jnp.zeros(P), adjoint=Implicit(max_support=3),
    ).params  # fmt: skip
    with pytest.raises(ValueError, match="separable"):
        jax.jacfwd(fit)(1.5)
