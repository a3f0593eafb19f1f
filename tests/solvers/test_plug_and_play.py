import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import losses, penalties
from jaxopt_thoth.problems import Denoised
from jaxopt_thoth.solvers import PlugAndPlay


N, P = 30, 6
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(N, P)))
Y = jnp.asarray(RNG.normal(size=N))
SQUARED = jt.LinearModel(losses.Squared(), X, Y)
HESSIAN = X.T @ X / N
STEP = 0.5
START = jnp.zeros(P)
METHODS = ("proximal_gradient", "admm")
# Not symmetric, and no prox of anything.
MIXING = jnp.asarray(0.8 * np.eye(P) + 0.1 * RNG.normal(size=(P, P)) / np.sqrt(P))


@eqx.filter_jit
def solved(problem, solver, start=START, adjoint=None):
    return jt.solve(problem, solver, start, adjoint=adjoint)


def shrink(strength):
    return Denoised(SQUARED, lambda w, s: penalties.L1(s).prox(w, STEP), STEP, strength)


def linear_solution(mixing, step):
    """`w = M (w - s (H w - b))` in closed form."""
    system = jnp.eye(P) - mixing @ (jnp.eye(P) - step * HESSIAN)
    return jnp.linalg.solve(system, mixing @ (step * X.T @ Y / N))


def test_the_prox_of_a_penalty_gives_the_composite_solution_and_its_derivative():
    composite = lambda s: jt.solve(jt.Composite(SQUARED, penalties.L1(s)), jt.ProximalGradient(tol=1e-12), START).params
    expected, slope = jax.jit(lambda s: jax.jvp(composite, (s,), (1.0,)))(0.1)
    for method in METHODS:
        solution = solved(shrink(0.1), PlugAndPlay(method, tol=1e-11))
        assert solution.result == jt.RESULTS.converged
        assert 0 < np.sum(np.abs(solution.params) > 0) < P
        np.testing.assert_allclose(solution.params, expected, atol=1e-10)
    solver = PlugAndPlay("admm", tol=1e-11)
    found = jax.jit(jax.jacrev(lambda s: jt.solve(shrink(s), solver, START).params))(0.1)
    np.testing.assert_allclose(found, slope, atol=1e-8)


def test_an_unsymmetric_denoiser_has_the_derivatives_of_its_closed_form():
    solver = PlugAndPlay(tol=1e-12)
    found = lambda mixing, step: jt.solve(Denoised(SQUARED, lambda w: mixing @ w, step), solver, START).params
    moved = jnp.asarray(RNG.normal(size=(P, P)))
    at = lambda fn: lambda t: jnp.sum(jnp.sin(fn(MIXING + t * moved, STEP + 0.3 * t)))
    loss, exact = at(found), at(linear_solution)
    value, second = jax.jit(jax.value_and_grad(jax.jacfwd(loss)))(0.0)
    np.testing.assert_allclose(value, jax.grad(exact)(0.0), rtol=1e-8)
    np.testing.assert_allclose(second, jax.grad(jax.grad(exact))(0.0), rtol=1e-8)


def test_steps_contract_as_the_theory_says():
    """Ryu et al. 2019, theorems 1 and 2: the factors for strongly convex f and denoisers within e of the identity."""
    spectrum = np.linspace(0.5, 2.0, P)
    low, high = spectrum[0], spectrum[-1]

    @jax.jit
    def ratios(turn, step, e):
        problem = Denoised(jt.Quadratic(jnp.diag(spectrum), jnp.ones(P)), lambda w: w + e * turn @ w, step)
        exact = jnp.linalg.solve(
            jnp.eye(P) - (jnp.eye(P) + e * turn) @ (jnp.eye(P) - step * jnp.diag(spectrum)),
            -step * (jnp.eye(P) + e * turn) @ jnp.ones(P),
        )
        gradient = PlugAndPlay()
        params, before = START, [jnp.linalg.norm(exact)]
        for _ in range(6):
            params, _ = gradient.step(problem, params, gradient.init(problem, params))
            before.append(jnp.linalg.norm(params - exact))
        before = jnp.stack(before)
        splitting = PlugAndPlay("admm", tol=1e-12)
        fixed = exact + step * (spectrum * exact + 1)
        params, state = START, splitting.init(problem, START)
        distances = []
        for _ in range(4):
            params, state = splitting.step(problem, params, state)
            distances.append(jnp.linalg.norm(state.point + state.multiplier - fixed))
        distances = jnp.stack(distances)
        return jnp.max(before[1:] / before[:-1]), jnp.max(distances[1:] / distances[:-1])

    turns = np.stack([np.linalg.qr(RNG.normal(size=(P, P)))[0] for _ in range(20)] + [np.eye(P), -np.eye(P)])
    for step, e in ((0.6, 0.1), (1.0, 0.3)):
        found = jax.vmap(ratios, in_axes=(0, None, None))(jnp.asarray(turns), step, e)
        gradient = max(abs(1 - step * low), abs(1 - step * high)) * (1 + e)
        splitting = (1 + e + e * step * low + 2 * e**2 * step * low) / (1 + step * low + 2 * e * step * low)
        assert jnp.max(found[0]) <= gradient and jnp.max(found[1]) <= splitting + 1e-9
        # The bounds say something: denoisers come near to them.
        assert jnp.max(found[0]) > 0.75 * gradient and jnp.max(found[1]) > 0.75 * splitting


def test_the_contraction_is_the_spectral_norm_of_the_map():
    problem = Denoised(SQUARED, lambda w: MIXING @ w, STEP)
    expected = np.linalg.norm(MIXING @ (np.eye(P) - STEP * HESSIAN), 2)
    np.testing.assert_allclose(problem.contraction(START), expected, rtol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_a_start_at_the_solution_stays(method):
    problem = Denoised(SQUARED, lambda w: MIXING @ w, STEP)
    exact = linear_solution(MIXING, STEP)
    solver = PlugAndPlay(method)
    params, state = solver.step(problem, exact, solver.init(problem, exact))
    np.testing.assert_allclose(params, exact, atol=1e-12)
    assert solver.error(problem, params, state) < 1e-9
    np.testing.assert_allclose(problem.value(exact), 0, atol=1e-13)


@pytest.mark.slow
def test_modes_batches_and_single_precision_agree():
    problem = Denoised(SQUARED, lambda w: jnp.tanh(MIXING @ w), STEP)
    expected = solved(problem, PlugAndPlay(tol=1e-10)).params
    # Reverse mode through the checkpointed loop is another test.
    scanned = jt.solve(problem, PlugAndPlay(tol=1e-10, max_steps=200), START, mode="scan")
    np.testing.assert_allclose(scanned.params, expected, atol=1e-13)
    starts = jnp.stack([START, expected, 3 * START + 1])
    mixing = MIXING.astype(jnp.float32)
    single = jax.tree.map(lambda a: a.astype(jnp.float32) if eqx.is_inexact_array(a) else a, SQUARED)
    for method in METHODS:
        solver = PlugAndPlay(method, max_steps=400)
        batch = jax.vmap(lambda w, solver=solver: jt.solve(problem, solver, w).params)(starts)
        np.testing.assert_allclose(batch, jnp.broadcast_to(expected, batch.shape), atol=1e-7)
        low = jt.solve(Denoised(single, lambda w: jnp.tanh(mixing @ w), STEP), solver, START.astype(jnp.float32))
        assert low.params.dtype == jnp.float32 and low.result == jt.RESULTS.converged
        np.testing.assert_allclose(low.params, expected, atol=1e-3)


@pytest.mark.slow
def test_unrolled_derivatives_approach_the_implicit_ones():
    solver = PlugAndPlay(tol=0.0, max_steps=150)
    loss = lambda scale, adjoint: jnp.sum(
        jt.solve(Denoised(SQUARED, lambda w: scale * jnp.tanh(MIXING @ w), STEP), solver, START, adjoint=adjoint).params
    )
    unrolled = jax.grad(loss)(0.9, jt.implicit.Unrolled())
    np.testing.assert_allclose(unrolled, jax.grad(loss)(0.9, jt.implicit.Implicit()), rtol=1e-8)


def test_more_unknowns_than_a_factorization_takes_have_right_derivatives():
    """Deblurring with a total variation denoiser, 18 x 18: GMRES against finite differences."""
    image = jnp.asarray(RNG.random((18, 18)))
    blur = lambda x: (x + jnp.roll(x, 1, 0) + jnp.roll(x, 1, 1)) / 3
    smoother = lambda x, s: x - s * (4 * x - sum(jnp.roll(jnp.tanh(x), d, a) for d in (1, -1) for a in (0, 1)))
    solver = PlugAndPlay(tol=1e-11)

    @jax.jit
    def loss(s):
        problem = Denoised(lambda x: jnp.sum((blur(x) - image) ** 2) / 2, smoother, 0.8, s)
        return jnp.sum(jt.solve(problem, solver, image).params ** 3)

    numeric = (loss(0.1 + 1e-5) - loss(0.1 - 1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(loss)(0.1), numeric, rtol=1e-6)


def test_results_are_reported_honestly():
    run = lambda denoiser, **settings: jt.solve(Denoised(SQUARED, denoiser, STEP), PlugAndPlay(**settings), START)
    assert run(lambda w: MIXING @ w, max_steps=3).result == jt.RESULTS.max_steps_reached
    assert run(lambda w: 1.0 + 4 * w).result == jt.RESULTS.diverged
    # The iterates grow until the logarithm meets what it cannot take.
    stopped = run(lambda w: jnp.log(1.5 - 4 * w))
    assert stopped.result == jt.RESULTS.nonfinite and np.all(np.isfinite(stopped.params))


def test_bad_input():
    with pytest.raises(TypeError, match="denoiser must be a callable"):
        Denoised(SQUARED, penalties.L1(1.0), STEP)
    with pytest.raises(TypeError, match="smooth must be"):
        Denoised(3.0, jnp.tanh, STEP)
    with pytest.raises(ValueError, match="step_size must be positive"):
        Denoised(SQUARED, jnp.tanh, 0.0)
    with pytest.raises(ValueError, match="denoiser must return"):
        jt.solve(Denoised(SQUARED, lambda w: w[:3], STEP), PlugAndPlay(), START)
    with pytest.raises(ValueError, match="method must be"):
        PlugAndPlay("newton")
    with pytest.raises(TypeError, match="solves a Denoised"):
        jt.solve(jt.Composite(SQUARED), PlugAndPlay(), START)
