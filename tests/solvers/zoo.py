"""A zoo of small problems, each with a certificate: a number that bounds the excess of a point over the minimum, or
measures how far it is from optimal, computed from the data alone."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxopt_thoth as jt
from jaxopt_thoth import losses, penalties


class Case(NamedTuple):
    """A problem with a start; `certificate(params)` is zero at a solution only, in units of `scale`."""

    problem: Any
    start: Any
    certificate: Callable[[Any], jax.Array]
    scale: float = 1.0


N, P = 30, 8
GROUPS = np.repeat(np.arange(4), 2)


def _data(dtype: Any, seed: int = 0) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, P)) @ (np.eye(P) + 0.3)
    y = X @ np.where(np.arange(P) % 4 < 2, 1.0, -0.2) / 2 + 0.5 * rng.normal(size=N)
    return jnp.asarray(X, dtype), jnp.asarray(y, dtype)


def _with_gap(problem: jt.Composite, start: Any) -> Case:
    return Case(problem, start, problem.duality_gap, float(problem.value(start)))


def _frank_wolfe_gap(problem: jt.Composite, params: Any) -> jax.Array:
    """Bounds the excess of a feasible point; an infeasible one has none."""
    gradient = problem.smooth.gradient(params)
    gap = jnp.vdot(gradient, params - problem.penalty.linear_minimizer(gradient))
    return gap + problem.penalty.value(params)


def lasso(dtype: Any = jnp.float64) -> Case:
    X, y = _data(dtype)
    return _with_gap(jt.Composite(jt.LinearModel(losses.Squared(), X, y), penalties.L1(0.3)), jnp.zeros(P, dtype))


def elastic_net(dtype: Any = jnp.float64) -> Case:
    X, y = _data(dtype)
    problem = jt.Composite(jt.LinearModel(losses.Squared(), X, y), penalties.ElasticNet(0.3, 0.5))
    return _with_gap(problem, jnp.zeros(P, dtype))


def lasso_saddle(dtype: Any = jnp.float64) -> Case:
    """The lasso as `g(x) + h(X x)`."""
    X, y = _data(dtype)
    error = penalties.Translated(penalties.L2Squared(1 / N), y)
    problem = jt.SaddlePoint(None, penalties.L1(0.3), error, X)
    plain = lasso(dtype)
    return Case(problem, plain.start, lambda params: plain.certificate(params[0]), plain.scale)


def lasso_denoised(dtype: Any = jnp.float64) -> Case:
    """The lasso as a fit with a denoiser."""
    plain = lasso(dtype)
    step = 1 / plain.problem.smooth.lipschitz()
    penalty = plain.problem.penalty
    problem = jt.problems.Denoised(plain.problem.smooth, lambda w, step: penalty.prox(w, step), step, step)
    return Case(problem, plain.start, plain.certificate, plain.scale)


def logistic(dtype: Any = jnp.float64) -> Case:
    X, y = _data(dtype)
    labels = jnp.sign(y)
    return _with_gap(
        jt.Composite(jt.LinearModel(losses.Logistic(), X, labels), penalties.L1(0.05)), jnp.zeros(P, dtype)
    )


def group_lasso(dtype: Any = jnp.float64) -> Case:
    X, y = _data(dtype)
    return _with_gap(
        jt.Composite(jt.LinearModel(losses.Squared(), X, y), penalties.GroupLasso(0.5, GROUPS)), jnp.zeros(P, dtype)
    )


def simplex_least_squares(dtype: Any = jnp.float64) -> Case:
    X, y = _data(dtype)
    problem = jt.Composite(jt.LinearModel(losses.Squared(), X, y), penalties.Simplex())
    return Case(problem, jnp.full(P, 1 / P, dtype), partial(_frank_wolfe_gap, problem))


def interpolation(dtype: Any = jnp.float64) -> Case:
    """Consistent equations, as a mean over them: no noise is left at the solution."""
    X, _ = _data(dtype)
    truth = jnp.asarray(np.random.default_rng(2).dirichlet(np.full(P, 3.0)), dtype)
    fit = lambda w, example: (jnp.vdot(example[0], w) - example[1]) ** 2 / 2
    problem = jt.Composite(jt.smooth.FiniteSum(fit, (X, X @ truth)), penalties.Simplex())
    return Case(problem, jnp.full(P, 1 / P, dtype), partial(_frank_wolfe_gap, problem))


def nonnegative_least_squares(dtype: Any = jnp.float64) -> Case:
    X, y = _data(dtype)
    problem = jt.Composite(jt.LinearModel(losses.Squared(), X, y), penalties.NonNegative())

    def residual(w: jax.Array) -> jax.Array:
        return jnp.max(jnp.abs(jnp.minimum(w, problem.smooth.gradient(w))))

    start = jnp.ones(P, dtype)
    return Case(problem, start, residual, float(residual(start)))


def _box_data(dtype: Any) -> tuple[jax.Array, jax.Array]:
    X, y = _data(dtype)
    return X.T @ X / N, -X.T @ y / N


def box_program(dtype: Any = jnp.float64) -> Case:
    Q, q = _box_data(dtype)
    problem = jt.Composite(jt.Quadratic((Q + Q.T) / 2, q), penalties.Box(-0.1, 0.4))
    return Case(problem, jnp.zeros(P, dtype), partial(_frank_wolfe_gap, problem))


def box_rows(dtype: Any = jnp.float64) -> Case:
    """The same with its bounds as rows, which a point may miss by rounding."""
    Q, q = _box_data(dtype)
    problem = jt.QuadraticProgram(Q, q, jnp.eye(P, dtype=dtype), -0.1, 0.4)
    plain = box_program(dtype)

    def certificate(params: Any) -> jax.Array:
        inside = jnp.clip(params.primal, -0.1, 0.4)
        return plain.certificate(inside) + jnp.max(jnp.abs(params.primal - inside))

    return Case(problem, plain.start, certificate)


STEPS = 12
WEIGHT = 0.7


def _tv_gap(signal: jax.Array, x: jax.Array) -> jax.Array:
    """Gap of `|x - signal|^2 / 2 + WEIGHT TV(x)` at the dual point that x stands for."""
    dual = jnp.clip(jnp.cumsum(x - signal)[:-1], -WEIGHT, WEIGHT)
    pull = jnp.diff(dual, prepend=0.0, append=0.0)
    excess = jnp.sum((x - signal) ** 2) / 2 + WEIGHT * jnp.sum(jnp.abs(jnp.diff(x)))
    return excess + jnp.vdot(pull, signal) + jnp.vdot(pull, pull) / 2


def _tv_parts(dtype: Any) -> tuple[jax.Array, jt.Quadratic, Callable[[Any], jax.Array]]:
    rng = np.random.default_rng(3)
    signal = jnp.asarray(np.repeat([0.0, 2.0, 1.0], STEPS // 3) + 0.4 * rng.normal(size=STEPS), dtype)
    return signal, jt.Quadratic(jnp.eye(STEPS, dtype=dtype), -signal), partial(_tv_gap, signal)


def denoising(dtype: Any = jnp.float64) -> Case:
    _, near, gap = _tv_parts(dtype)
    return Case(jt.Composite(near, penalties.TotalVariation1D(WEIGHT)), jnp.zeros(STEPS, dtype), gap)


def denoising_saddle(dtype: Any = jnp.float64) -> Case:
    _, near, gap = _tv_parts(dtype)
    differences = jnp.diff(jnp.eye(STEPS, dtype=dtype), axis=0)
    problem = jt.SaddlePoint(near, None, penalties.L1(WEIGHT), differences)
    return Case(problem, jnp.zeros(STEPS, dtype), lambda params: gap(params[0]))


def _alternate(dtype: Any) -> tuple[penalties.AbstractPenalty, penalties.AbstractPenalty]:
    even = jnp.where(jnp.arange(STEPS - 1) % 2 == 0, WEIGHT, 0.0).astype(dtype)
    return penalties.TotalVariation1D(even), penalties.TotalVariation1D(WEIGHT - even)


def denoising_three(dtype: Any = jnp.float64) -> Case:
    """The even and the odd differences as two penalties."""
    _, near, gap = _tv_parts(dtype)
    return Case(jt.SaddlePoint(near, *_alternate(dtype)), jnp.zeros(STEPS, dtype), lambda params: gap(params[0]))


def denoising_two(dtype: Any = jnp.float64) -> Case:
    """The same with the distance to the signal inside of the first."""
    signal, _, gap = _tv_parts(dtype)
    even, odd = _alternate(dtype)
    problem = jt.SaddlePoint(None, penalties.Regularized(even, 1.0, signal), odd)
    return Case(problem, jnp.zeros(STEPS, dtype), lambda params: gap(params[0]))


def poisson_inverse(dtype: Any = jnp.float64) -> Case:
    """Divergence of counts from `A x`, plus a multiple of the sum of x, whose minimum is inside of the orthant."""
    rng = np.random.default_rng(4)
    weight, p = 0.05, 5
    A = rng.uniform(size=(12, p)) ** 3 + 0.5 * (np.arange(12)[:, None] % p == np.arange(p))
    A = jnp.asarray(A / A.sum(0), dtype)
    counts = A @ jnp.asarray(rng.uniform(1.0, 3.0, p), dtype) * jnp.asarray(rng.uniform(0.9, 1.1, 12), dtype)

    def value(x: jax.Array, A: jax.Array, counts: jax.Array) -> jax.Array:
        means = A @ x
        return jnp.sum(counts * jnp.log(counts / means) - counts + means) + weight * jnp.sum(x)

    def gap(x: jax.Array) -> jax.Array:
        dual = 1 - counts / (A @ x)
        # The largest part of the dual point that keeps `A'u + weight` nonnegative.
        dual = dual * jnp.minimum(1, weight / jnp.maximum(jnp.max(-A.T @ dual), 1e-30))
        return value(x, A, counts) - jnp.sum(counts * jnp.log1p(-dual))

    problem = jt.Composite(jt.FunctionTerm(value, A, counts), penalties.NonNegative())
    return Case(problem, jnp.ones(p, dtype), gap, float(value(jnp.ones(p, dtype), A, counts)))


def _design(rows: np.ndarray, dtype: Any) -> Case:
    def value(x: jax.Array, rows: jax.Array) -> jax.Array:
        return -jnp.linalg.slogdet((rows.T * x[None]) @ rows)[1]

    problem = jt.Composite(jt.FunctionTerm(value, jnp.asarray(rows, dtype)), penalties.Simplex())
    return Case(problem, jnp.full(len(rows), 1 / len(rows), dtype), partial(_frank_wolfe_gap, problem))


def design(dtype: Any = jnp.float64) -> Case:
    """D-optimal design with some points out of use."""
    return _design(np.random.default_rng(5).normal(size=(12, 3)), dtype)


def design_inside(dtype: Any = jnp.float64) -> Case:
    """The axes of an icosahedron, shaken: all six points are in use."""
    golden = (1 + 5**0.5) / 2
    axes = np.array([[0, 1, golden], [0, 1, -golden]])
    rows = np.concatenate([np.roll(axes, shift, axis=1) for shift in range(3)])
    return _design(rows + 0.05 * np.random.default_rng(6).normal(size=rows.shape), dtype)


def game(dtype: Any = jnp.float64) -> Case:
    matrix = jnp.asarray(np.random.default_rng(7).normal(size=(5, 4)), dtype)
    problem = jt.problems.MatrixGame(matrix)
    start = jnp.full(5, 0.2, dtype), jnp.full(4, 0.25, dtype)
    return Case(problem, start, problem.duality_gap)


def multiclass_svm(dtype: Any = jnp.float64) -> Case:
    """The dual of Crammer and Singer's machine, one point of a simplex for each of twelve examples."""
    rng = np.random.default_rng(8)
    n, k, strength = 12, 3, 1.0
    classes = np.arange(n) % k
    X = jnp.asarray(rng.normal(size=(n, 4)) + 2 * np.eye(k, 4)[classes], dtype)
    Y = jnp.asarray(np.eye(k)[classes], dtype)
    gram = X @ X.T / strength
    problem = jt.Composite(
        jt.Quadratic((gram + gram.T) / 2, -gram @ Y - (1 - Y), jnp.vdot(Y, gram @ Y) / 2), penalties.Simplex(axis=1)
    )

    def gap(B: jax.Array) -> jax.Array:
        W = X.T @ (Y - B) / strength
        scores = X @ W
        margins = jnp.max(scores + 1 - Y, axis=1) - jnp.sum(scores * Y, axis=1)
        return jnp.sum(margins) + strength * jnp.sum(W**2) / 2 + problem.value(B)

    return Case(problem, jnp.full((n, k), 1 / k, dtype), gap)


def matrix_completion(dtype: Any = jnp.float64) -> Case:
    rng = np.random.default_rng(9)
    shape, strength = (6, 5), 0.8
    low = rng.normal(size=(shape[0], 1)) * rng.normal(size=(1, shape[1])) * 2
    mask = jnp.asarray(rng.uniform(size=shape) < 0.7, dtype)
    seen = mask * jnp.asarray(low + 0.1 * rng.normal(size=shape), dtype)
    value = lambda x, mask, seen: jnp.sum((mask * x - seen) ** 2) / 2
    problem = jt.Composite(jt.FunctionTerm(value, mask, seen), penalties.NuclearNorm(strength))

    def gap(x: jax.Array) -> jax.Array:
        dual = mask * x - seen
        dual = dual * jnp.minimum(1, strength / jnp.linalg.norm(dual, 2))
        return problem.value(x) + jnp.sum(dual**2) / 2 + jnp.vdot(dual, seen)

    return Case(problem, jnp.zeros(shape, dtype), gap, float(jnp.sum(seen**2) / 2))


def exponential_fit(dtype: Any = jnp.float64) -> Case:
    """A decay that the model meets exactly."""
    x = jnp.linspace(0.0, 2.0, 12).astype(dtype)
    truth = jnp.asarray([2.0, -1.5], dtype)
    model = lambda w, x: w[0] * jnp.exp(w[1] * x)
    problem = jt.problems.LeastSquares(lambda w, x, y: model(w, x) - y, x, model(truth, x))
    return Case(problem, jnp.ones(2, dtype), lambda w: jnp.max(jnp.abs(w - truth)))


CASES: dict[str, Callable[..., Case]] = {
    "lasso": lasso,
    "elastic net": elastic_net,
    "lasso, saddle point": lasso_saddle,
    "lasso, denoiser": lasso_denoised,
    "l1 logistic": logistic,
    "group lasso": group_lasso,
    "simplex least squares": simplex_least_squares,
    "consistent least squares": interpolation,
    "nonnegative least squares": nonnegative_least_squares,
    "box program": box_program,
    "box program, rows": box_rows,
    "TV denoising": denoising,
    "TV denoising, saddle point": denoising_saddle,
    "TV denoising, three terms": denoising_three,
    "TV denoising, two terms": denoising_two,
    "Poisson inverse": poisson_inverse,
    "D-optimal design": design,
    "D-optimal design, inside": design_inside,
    "matrix game": game,
    "multiclass SVM": multiclass_svm,
    "matrix completion": matrix_completion,
    "exponential fit": exponential_fit,
}
