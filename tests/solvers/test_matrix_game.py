import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import jaxopt_thoth as jt
from jaxopt_thoth.mirror import Euclidean, NegativeEntropy, Product
from jaxopt_thoth.problems import MatrixGame, VariationalInequality
from jaxopt_thoth.solvers import matrix_game


A = np.random.default_rng(0).uniform(-1, 1, (30, 20))
VALUE = 0.015608050957
SPAN = np.log(30) + np.log(20)
L = np.abs(A).max()
ENTROPIES = Product((NegativeEntropy(), NegativeEntropy()))
SCISSORS = jnp.array([[0.0, -1.0, 2.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])


def uniform(shape):
    return tuple(jnp.full(k, 1 / k) for k in shape)


def linear_program(matrix):
    """Strategy of the row player and the value, by scipy."""
    m, n = matrix.shape
    A_ub, A_eq = np.hstack([matrix.T, -np.ones((n, 1))]), np.r_[np.ones(m), 0][None]
    found = scipy.optimize.linprog(
        np.r_[np.zeros(m), 1], A_ub=A_ub, b_ub=np.zeros(n), A_eq=A_eq, b_eq=1, bounds=[(0, None)] * m + [(None, None)]
    )
    return found.x[:m], found.fun


@pytest.fixture(scope="module")
def gaps():
    """Gaps of averages and of last iterates after 1, ..., 1000 steps, method by method."""
    game = MatrixGame(A)
    settings = {
        "mirror_prox": jt.MirrorProx(ENTROPIES, 1 / L),
        "optimistic": jt.OptimisticMirrorDescent(ENTROPIES, 0.5 / L),
        "multiplicative_weights": jt.OptimisticMirrorDescent(ENTROPIES, np.sqrt(SPAN / 1000) / L, optimism=0.0),
    }

    def trace(solver):
        def body(carry, _):
            params, state = solver.step(game, *carry)
            return (params, state), (game.duality_gap(state.average), game.duality_gap(state.last))

        start = uniform(A.shape)
        return jax.lax.scan(body, (start, solver.init(game, start)), None, length=1000)[1]

    return {name: np.asarray(jax.jit(lambda s=solver: trace(s))()) for name, solver in settings.items()}


def test_gaps_of_the_averages_keep_their_bounds_and_last_iterates_tell_the_methods_apart(gaps):
    steps = np.arange(1, 1001)
    average, last = gaps["mirror_prox"]
    np.testing.assert_allclose(average[[9, 99, 999]], [3.10e-1, 2.70e-2, 2.79e-3], rtol=5e-3)
    assert np.all(average <= L * SPAN / steps) and np.all(average >= 0)
    assert last[-1] < 0.04
    average, last = gaps["optimistic"]
    np.testing.assert_allclose(average[[9, 99, 999]], [4.3e-1, 5.6e-2, 5.5e-3], rtol=1e-2)
    assert np.all(average <= 2 * L * SPAN / steps) and last[-1] < 0.06
    average, last = gaps["multiplicative_weights"]
    assert average[-1] <= 2 * L * np.sqrt(SPAN / 1000) and last[-1] > 0.3


def test_the_methods_of_matrix_game_are_these_solvers(gaps):
    for name, (average, last) in gaps.items():
        game = matrix_game(A, name, tol=0.0, max_steps=1000, every=500)
        np.testing.assert_allclose([game.gap, game.last_gap], [average[-1], last[-1]], rtol=1e-6)
        assert game.result == jt.RESULTS.max_steps_reached and game.num_steps == 1000
        assert abs(game.value - VALUE) <= game.gap
        for strategy, logits in zip(game.last, game.logits):
            assert strategy.shape == logits.shape and np.isclose(np.exp(logits).sum(), 1)


def test_restarts_reach_a_tiny_gap_and_the_value_of_the_linear_program():
    game = matrix_game(A, tol=1e-10)
    assert game.result == jt.RESULTS.converged and 0 <= game.gap <= 1e-10
    assert game.num_steps < 10_000
    assert abs(game.value - VALUE) < 1e-10
    row, value = linear_program(A)
    np.testing.assert_allclose(game.row, row, atol=1e-7)
    np.testing.assert_allclose(game.value, value, atol=1e-10)


def test_games_with_an_answer_known_in_advance():
    solve = jax.jit(lambda a: matrix_game(a, tol=1e-9))
    pure = solve(jnp.array([[3.0, 1.0, 0.0], [4.0, 2.0, 1.0], [5.0, 9.0, 2.0]]))
    np.testing.assert_allclose(pure.value, 3.0, atol=1e-7)
    np.testing.assert_allclose(pure.row, [1, 0, 0], atol=1e-7)
    idle = solve(jnp.zeros((3, 3)))
    assert idle.gap == 0 and idle.result == jt.RESULTS.converged
    single = matrix_game(jnp.array([[3.0, 1.0, 5.0]]))
    np.testing.assert_allclose(single.column, [0, 0, 1], atol=1e-7)


def test_a_batch_of_games_is_solved_row_by_row():
    games = np.random.default_rng(1).normal(size=(16, 6, 5))
    batch = jax.jit(jax.vmap(lambda a: matrix_game(a, tol=1e-9)))(games)
    assert np.all(batch.result == jt.RESULTS.converged)
    values = [linear_program(game)[1] for game in games]
    np.testing.assert_allclose(batch.value, values, atol=1e-8)
    assert np.all(batch.gap <= 1e-9 * np.abs(games).max((1, 2))) and np.all(batch.gap >= 0)


def test_derivatives_of_value_and_strategies():
    run = jax.jit(lambda a: (lambda g: (g.row, g.value))(matrix_game(a, tol=1e-12)))
    jacobian, slope = jax.jacrev(run)(SCISSORS)
    game = matrix_game(SCISSORS, tol=1e-12)
    # The envelope theorem.
    np.testing.assert_allclose(slope, jnp.outer(game.row, game.column), atol=1e-6)
    # Of a game with full support the row strategy is A^-T 1, normalized.
    inverse = lambda a: (lambda x: x / x.sum())(jnp.linalg.solve((a + 1).T, jnp.ones(3)))
    np.testing.assert_allclose(game.row, inverse(SCISSORS), atol=1e-9)
    np.testing.assert_allclose(jacobian, jax.jacobian(inverse)(SCISSORS), atol=1e-6)


def test_multiplicative_weights_are_softmaxes_of_summed_payoffs():
    game, eta = MatrixGame(SCISSORS), 0.3
    solver = jt.OptimisticMirrorDescent(ENTROPIES, eta, optimism=0.0, max_steps=5)
    last = jt.solve(game, solver, uniform((3, 3))).state.last
    paid, earned, x, y = jnp.zeros(3), jnp.zeros(3), *uniform((3, 3))
    for _ in range(5):
        x, y = jax.nn.softmax(-eta * paid), jax.nn.softmax(eta * earned)
        paid, earned = paid + SCISSORS @ y, earned + SCISSORS.T @ x
    np.testing.assert_allclose(last[0], x, atol=1e-14)
    np.testing.assert_allclose(last[1], y, atol=1e-14)


ROTATION = jnp.array([[0.2, 1.0], [-1.0, 0.1]])


def strongly_monotone(shift):
    return VariationalInequality(lambda z, b: ROTATION @ z + b, None, shift)


@pytest.mark.parametrize(
    "solver",
    [
        jt.MirrorProx(Euclidean(), tol=1e-10),
        jt.MirrorProx(Euclidean(), 0.5, tol=1e-10),
        jt.MirrorProx(Euclidean(), restart=True, tol=1e-10),
        jt.OptimisticMirrorDescent(Euclidean(), 0.3, tol=1e-10),
    ],
    ids=["searched", "fixed", "restarted", "optimistic"],
)
def test_a_rotating_field_has_its_zero_and_its_derivative(solver):
    shift = jnp.array([1.0, 2.0])
    solution = jt.solve(strongly_monotone(shift), solver, jnp.zeros(2))
    assert solution.result == jt.RESULTS.converged
    np.testing.assert_allclose(solution.params, jnp.linalg.solve(ROTATION, -shift), atol=1e-9)
    fit = lambda b: jt.solve(strongly_monotone(b), solver, jnp.zeros(2)).params
    np.testing.assert_allclose(jax.jacobian(fit)(shift), -jnp.linalg.inv(ROTATION), atol=1e-7)


def test_an_equilibrium_in_a_box_and_a_closed_over_field():
    fit = lambda b: (
        jt.solve(
            VariationalInequality(lambda z: ROTATION @ z + b, jt.penalties.Box(-0.5, 0.5)),
            jt.MirrorProx(Euclidean(), tol=1e-11),
            jnp.zeros(2),
        ).params
    )
    z = fit(jnp.array([1.0, 0.2]))
    np.testing.assert_allclose(z, [-0.5, -0.5], atol=1e-9)
    # The first coordinate sits on its bound, and the second solves its own equation.
    z = fit(jnp.array([1.0, -0.52]))
    np.testing.assert_allclose(z, [-0.5, 0.2], atol=1e-8)
    np.testing.assert_allclose(jax.jacobian(fit)(jnp.array([1.0, -0.52])), [[0, 0], [0, -10]], atol=1e-6)


@pytest.mark.slow
def test_modes_dtypes_and_unrolled_derivatives():
    game, start = MatrixGame(SCISSORS), uniform((3, 3))
    solver = jt.MirrorProx(ENTROPIES, 0.3, max_steps=30, tol=0.0)
    plain = jt.solve(game, solver, start)
    again = jt.solve(game, solver, start, mode="scan")
    np.testing.assert_allclose(again.params[0], plain.params[0], atol=1e-14)
    value = lambda a: MatrixGame(a).value(jt.solve(MatrixGame(a), solver, start, adjoint=jt.implicit.Unrolled()).params)
    both = jax.jit(jax.value_and_grad(value))
    value, slope = both(SCISSORS)
    np.testing.assert_allclose(value, game.value(plain.params), atol=1e-14)
    step = 1e-6 * jnp.eye(3)
    difference = (both(SCISSORS + step)[0] - both(SCISSORS - step)[0]) / 2e-6
    np.testing.assert_allclose(jnp.trace(slope), difference, atol=1e-7)
    single = matrix_game(SCISSORS.astype(jnp.float32))
    assert single.row.dtype == jnp.float32 and single.result == jt.RESULTS.converged
    np.testing.assert_allclose(single.row, [1 / 4, 5 / 12, 1 / 3], atol=1e-3)


def test_results_are_honest():
    field = VariationalInequality(lambda z: jnp.where(z > 0.5, jnp.nan, -1.0))
    solution = jt.solve(field, jt.MirrorProx(Euclidean(), 0.2), jnp.zeros(1))
    assert solution.result == jt.RESULTS.nonfinite and jnp.isfinite(solution.params[0])
    assert matrix_game(jnp.full((2, 2), jnp.nan)).result == jt.RESULTS.nonfinite


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: matrix_game(jnp.ones(3)), ValueError, "matrix must have shape"),
        (lambda: matrix_game(SCISSORS, "fictitious"), ValueError, "method must be one of"),
        (lambda: matrix_game(SCISSORS, step_size=0.0), ValueError, "step_size must be positive"),
        (lambda: matrix_game(SCISSORS, tol=-1.0), ValueError, "tol must be nonnegative"),
        (lambda: VariationalInequality(3), TypeError, "operator must be a callable"),
        (lambda: VariationalInequality(jnp.sin, 3), TypeError, "penalty must be one"),
        (lambda: VariationalInequality(jnp.sin, jt.penalties.L0(1.0)), ValueError, "penalty must be convex"),
        (lambda: VariationalInequality(jnp.sum).check(jnp.ones(2)), ValueError, "operator must return"),
        (lambda: jt.MirrorProx(jnp.sin), TypeError, "mirror_map must be"),
        (lambda: jt.MirrorProx(Euclidean(), average=True, restart=True), ValueError, "restart=True"),
        (lambda: jt.OptimisticMirrorDescent(Euclidean(), -1.0), ValueError, "step_size must be positive"),
        (
            lambda: jt.solve(MatrixGame(SCISSORS), jt.MirrorProx(ENTROPIES), (jnp.zeros(3), jnp.ones(3))),
            ValueError,
            "interior of the domain",
        ),
        (
            lambda: jt.solve(
                MatrixGame(SCISSORS), jt.MirrorProx(ENTROPIES), uniform((3, 3)), adjoint=jt.implicit.Unrolled()
            ),
            ValueError,
            "no unrolled derivative",
        ),
    ],
)
def test_bad_input_raises_and_names_the_argument(build, error, message):
    with pytest.raises(error, match=message):
        build()
