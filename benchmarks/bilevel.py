"""Hypergradients beside jaxopt, optimistix and celer: lassos of three shapes, 64 levels at once, a thousand strengths.

The lasso: a Gaussian design, min(50, d / 10) coefficients that are not zero, a signal three times the noise, a tenth of
the critical strength; the derivative of the held-out mean square in the logarithm of the strength. The logistic
regression: a strength for each of 1000 coefficients, all of them at 1e-2. Errors are those against a Newton solve of
the optimality conditions in NumPy; where methods are compared, they all reach 1e-8. Everything runs on one core, data
are arguments, calls are interleaved and medians taken; ratios are of CPU time. Compilation takes half of the time, four
minutes in all; `--quick` leaves out the large shapes and most repeats. `python benchmarks/bilevel.py` needs the `bench`
extra, and knows celer where it is installed; sparse-ho is not on the package index.
"""

from _record import keep, pin_to_one_core, table


# Before anything starts a pool of threads: those of OpenBLAS wait busily for each other when cores are shared.
pin_to_one_core()

import itertools  # noqa: E402
import statistics  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import _bilevel_peers as peers  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import lineax as lx  # noqa: E402
import numpy as np  # noqa: E402

import jaxopt_thoth as jt  # noqa: E402
from jaxopt_thoth.implicit import Implicit  # noqa: E402


jax.config.update("jax_enable_x64", True)
QUICK = "--quick" in sys.argv
SHAPES = ((1000, 1000),) if QUICK else ((1000, 1000), (1000, 10_000), (10_000, 1000))
REPEATS, LONG = 3 if QUICK else 9, 1.0
TOL, MAX_STEPS = 1e-9, 20_000
NUM_LEVELS = 64
LEVELS = f"lasso 1000 x 1000, {NUM_LEVELS} levels"
ENOUGH = 1e-8
ADJOINTS = "which adjoint"
WARM = "the same, from solution and adjoint at a strength 1% off"
BEGIN, END = "<!-- begin: benchmarks/bilevel.py -->", "<!-- end: benchmarks/bilevel.py -->"
PAGE = Path(__file__).parents[1] / "docs" / "which_adjoint.md"


@dataclass
class Case:
    """A call to be timed: `call(*arguments)` returns what `error` judges."""

    task: str
    library: str
    method: str
    call: Callable
    arguments: tuple[Any, ...]
    error: Callable[[Any], float]
    jitted: bool = True


def measured(cases: list[Case]) -> list[dict[str, Any]]:
    """Compile each case apart, then time all of them in turns."""
    ready = []
    for case in cases:
        begin = time.perf_counter()
        call = jax.jit(case.call).lower(*case.arguments).compile() if case.jitted else case.call
        compile_s = time.perf_counter() - begin if case.jitted else None
        row = {"task": case.task, "library": case.library, "method": case.method, "compile_s": compile_s}
        row["error"] = case.error(jax.block_until_ready(call(*case.arguments)))
        print(f"{case.task}: {case.library}, {case.method}", flush=True)
        ready.append((row, call, case.arguments))
    times: list[list[tuple[float, float]]] = [[] for _ in ready]
    for _ in range(REPEATS):
        for (_, call, arguments), kept in zip(ready, times, strict=True):
            # Long calls need fewer.
            if len(kept) >= 3 and sum(wall for wall, _ in kept) > LONG:
                continue
            begin, begin_cpu = time.perf_counter(), time.process_time()
            jax.block_until_ready(call(*arguments))
            kept.append((time.perf_counter() - begin, time.process_time() - begin_cpu))
    for (row, _, _), kept in zip(ready, times, strict=True):
        row["wall_ms"], row["cpu_ms"] = (1e3 * statistics.median(column) for column in zip(*kept, strict=True))
        print({name: f"{value:.3g}" if isinstance(value, float) else value for name, value in row.items()}, flush=True)
    return [row for row, _, _ in ready]


def relative(reference: np.ndarray, pick: Callable[[Any], Any] = lambda found: found) -> Callable[[Any], float]:
    return lambda found: float(np.linalg.norm(np.asarray(pick(found)) - reference) / np.linalg.norm(reference))


def round_up(count: int, to: int = 8) -> int:
    return -(-count // to) * to


class Lasso:
    """The data, the solution, and the hypergradient of one shape."""

    def __init__(self, num_rows: int, num_features: int, seed: int = 0):
        rng = np.random.default_rng(seed)
        count = min(50, num_features // 10)
        design, validation = (rng.standard_normal((num_rows, num_features)) for _ in range(2))
        truth = np.zeros(num_features)
        truth[:count] = np.linspace(1, 2, count) * rng.choice([-1.0, 1.0], count)
        noise = np.linalg.norm(truth) / 3
        targets, held_out = (x @ truth + noise * rng.standard_normal(num_rows) for x in (design, validation))
        self.arrays = (design, targets, validation, held_out)
        self.data = tuple(map(jnp.asarray, self.arrays))
        self.log_strength = jnp.asarray(np.log(np.abs(design.T @ targets).max() / num_rows / 10))
        self.step = jnp.asarray(num_rows / np.linalg.norm(design, 2) ** 2)
        self.params, self.slope, self.support = self.reference(float(self.log_strength))
        residual = validation @ self.params - held_out
        self.cotangent = jnp.asarray(2 * validation.T @ residual / num_rows)

    def reference(self, log_strength: float) -> tuple[np.ndarray, float, int]:
        """Solution and hypergradient on the support, which the optimality conditions certify."""
        design, targets, validation, held_out = self.arrays
        strength, num_rows = np.exp(log_strength), design.shape[0]
        solver = jt.ProximalGradient(tol=1e-12, max_steps=100_000)
        rough = np.asarray(fit(solver, Implicit())(jnp.asarray(log_strength), *self.data[:2]))
        support, signs = np.flatnonzero(rough), np.sign(rough[rough != 0])
        columns = design[:, support]
        hessian = columns.T @ columns / num_rows
        params = np.zeros_like(rough)
        params[support] = np.linalg.solve(hessian, columns.T @ targets / num_rows - strength * signs)
        gradient = np.abs(design.T @ (design @ params - targets)) / num_rows
        assert np.all(gradient[params == 0] < strength) and np.array_equal(np.sign(params[support]), signs)
        residual = validation[:, support] @ params[support] - held_out
        cotangent = 2 * validation[:, support].T @ residual / num_rows
        return params, float(-strength * signs @ np.linalg.solve(hessian, cotangent)), len(support)


def lasso_problem(log_strength: jax.Array, design: jax.Array, targets: jax.Array) -> jt.Composite:
    return jt.Composite(jt.LinearModel(jt.losses.Squared(), design, targets), jt.penalties.L1(jnp.exp(log_strength)))


def fit(solver: Any, adjoint: Any) -> Callable:
    def solve(log_strength: jax.Array, design: jax.Array, targets: jax.Array) -> jax.Array:
        problem = lasso_problem(log_strength, design, targets)
        return jt.solve(problem, solver, jnp.zeros(design.shape[1]), adjoint=adjoint).params

    return solve


def held_out_loss(w: jax.Array, validation: jax.Array, held_out: jax.Array) -> jax.Array:
    return jnp.mean((validation @ w - held_out) ** 2)


def value_and_slope(solve: Callable) -> Callable:
    """Held-out loss and its derivative in the first argument; two more arguments are the validation data."""
    return jax.value_and_grad(lambda hyper, *rest: held_out_loss(solve(hyper, *rest[:-2]), *rest[-2:]))


def lasso_cases(lasso: Lasso, shape: str) -> list[Case]:
    support, task = round_up(lasso.support), f"lasso {shape}, value and slope"
    first = partial(Case, task, error=relative(np.asarray(lasso.slope), lambda found: found[1]))
    arguments = (lasso.log_strength, *lasso.data)
    solver, loose = jt.ProximalGradient(tol=TOL, max_steps=MAX_STEPS), jt.ProximalGradient(tol=1e-4)
    ours = {
        "FISTA, conjugate gradient": (solver, Implicit(tol=TOL)),
        f"FISTA, max_support={support}": (solver, Implicit(max_support=support)),
        f"FISTA to 1e-4, polish, max_support={support}": (loose, Implicit(polish=True, max_support=support)),
    }
    cases = [first("ours", name, value_and_slope(fit(*how)), arguments) for name, how in ours.items()]
    for name, solve in peers.jaxopt_solvers().items():
        method = value_and_slope(peers.jaxopt_lasso(TOL, solve, MAX_STEPS))
        cases.append(first("jaxopt", f"FISTA, {name}", method, arguments))
    with_step = (lasso.log_strength, lasso.step, *lasso.data)
    for name, solve in peers.optimistix_solvers(dense=lasso.params.size <= 1000).items():
        method = value_and_slope(peers.optimistix_lasso(TOL, solve, MAX_STEPS))
        cases.append(first("optimistix", f"FISTA as a fixed point, {name}", method, with_step))
    celer = peers.celer_lasso(*lasso.arrays)
    if celer is not None:
        once = (float(lasso.log_strength),)
        cases.append(first("celer", "celer, solve on the support in NumPy", celer, once, jitted=False))
    return cases


def our_backward(adjoint: Implicit, gram: bool = False) -> Callable:
    def backward(w, cotangent, step, log_strength, *data):
        def attached(log_strength: jax.Array) -> jax.Array:
            if gram:
                problem = jt.Composite(jt.Quadratic(*data), jt.penalties.L1(jnp.exp(log_strength)))
            else:
                problem = lasso_problem(log_strength, *data)
            return jt.implicit.attach(adjoint, problem, w, step, jnp.asarray(TOL))

        return jax.vjp(attached, log_strength)[1](cotangent)[0]

    return backward


def backward_cases(lasso: Lasso, shape: str) -> list[Case]:
    support, task = round_up(lasso.support), f"lasso {shape}, backward alone"
    first = partial(Case, task, error=relative(np.asarray(lasso.slope)))
    given = (jnp.asarray(lasso.params), lasso.cotangent, lasso.step, lasso.log_strength)
    arguments = (*given, *lasso.data[:2])
    cases = [
        first("ours", "conjugate gradient", our_backward(Implicit(tol=TOL)), arguments),
        first("ours", f"max_support={support}", our_backward(Implicit(max_support=support)), arguments),
    ]
    if lasso.params.size <= 1000:
        design, targets = lasso.data[:2]
        gram = (*given, design.T @ design / len(targets), -(targets @ design) / len(targets))
        factored = our_backward(Implicit(max_support=support), gram=True)
        cases.append(first("ours", f"Gram, max_support={support}", factored, gram))
    for name, solve in peers.jaxopt_solvers().items():
        cases.append(first("jaxopt", name, peers.jaxopt_lasso_backward(solve), arguments))
    for name, solve in peers.optimistix_solvers(dense=lasso.params.size <= 1000).items():
        cases.append(first("optimistix", name, peers.optimistix_lasso_backward(solve), arguments))
    return cases


def logistic_objective(w: jax.Array, log_strengths: jax.Array, design: jax.Array, labels: jax.Array) -> jax.Array:
    scores = design @ w
    return jnp.mean(jnp.logaddexp(0, scores) - labels * scores) + jnp.exp(log_strengths) @ w**2 / 2


def logistic_value_and_slopes(solve: Callable) -> Callable:
    def loss(log_strengths, design, labels, validation, held_out):
        scores = validation @ solve(log_strengths, design, labels)
        return jnp.mean(jnp.logaddexp(0, scores) - held_out * scores)

    return jax.value_and_grad(loss)


def logistic_cases(num_rows: int = 1000, num_features: int = 1000) -> list[Case]:
    rng = np.random.default_rng(1)
    design, validation = (rng.standard_normal((num_rows, num_features)) for _ in range(2))
    truth = np.zeros(num_features)
    truth[:50] = np.linspace(1, 2, 50) * rng.choice([-1.0, 1.0], 50)
    labels, held_out = ((x @ truth + rng.standard_normal(num_rows) > 0).astype(float) for x in (design, validation))
    strengths, w = np.full(num_features, 1e-2), np.zeros(num_features)
    sigmoid = lambda scores: 1 / (1 + np.exp(-scores))
    for _ in range(12):
        p = sigmoid(design @ w)
        hessian = design.T @ ((p * (1 - p))[:, None] * design) / num_rows + np.diag(strengths)
        w = w - np.linalg.solve(hessian, design.T @ (p - labels) / num_rows + strengths * w)
    cotangent = validation.T @ (sigmoid(validation @ w) - held_out) / num_rows
    slopes = -strengths * w * np.linalg.solve(hessian, cotangent)

    def ours(solver: Any, adjoint: Implicit) -> Callable:
        def solve(log_strengths: jax.Array, design: jax.Array, labels: jax.Array) -> jax.Array:
            problem = jt.Composite(jt.FunctionTerm(logistic_objective, log_strengths, design, labels))
            return jt.solve(problem, solver, jnp.zeros(design.shape[1]), adjoint=adjoint).params

        return logistic_value_and_slopes(solve)

    arguments = tuple(map(jnp.asarray, (np.log(strengths), design, labels, validation, held_out)))
    task = f"logistic, {num_features} strengths, value and slopes"
    first = partial(Case, task, arguments=arguments, error=relative(slopes, lambda found: found[1]))
    solve = peers.import_jaxopt().linear_solve
    own = {
        "L-BFGS, conjugate gradient": ours(jt.LBFGSB(tol=TOL), Implicit(tol=TOL)),
        "L-BFGS to 1e-5, polish": ours(jt.LBFGSB(tol=1e-5), Implicit(polish=True, tol=TOL)),
        "FISTA, conjugate gradient": ours(jt.ProximalGradient(tol=TOL), Implicit(tol=TOL)),
    }
    jaxopt = {
        "normal CG (its default)": partial(solve.solve_normal_cg, tol=TOL, maxiter=2000),
        "CG": partial(solve.solve_cg, tol=TOL, maxiter=2000),
    }
    cases = [first("ours", name, call) for name, call in own.items()]
    for name, chosen in jaxopt.items():
        call = logistic_value_and_slopes(peers.jaxopt_logistic(logistic_objective, TOL, chosen))
        cases.append(first("jaxopt", f"L-BFGS, {name}", call))
    call = logistic_value_and_slopes(peers.optimistix_logistic(logistic_objective, 1e-7))
    cases.append(first("optimistix", "L-BFGS, CG", call))
    return cases


def level_cases(lasso: Lasso) -> list[Case]:
    """64 levels from half to a twentieth of the critical strength: all at once, and one call after another."""
    critical = float(lasso.log_strength) + np.log(10)
    levels = critical + np.linspace(np.log(0.5), np.log(0.05), NUM_LEVELS)
    known = [lasso.reference(level) for level in levels]
    slopes, support = np.array([k[1] for k in known]), round_up(max(k[2] for k in known))
    loose, exact = jt.ProximalGradient(tol=1e-4), Implicit(polish=True, max_support=support)
    tight, iterative = jt.ProximalGradient(tol=TOL), Implicit(tol=TOL)
    one = value_and_slope(fit(loose, exact))
    single = jax.jit(one).lower(jnp.asarray(levels[0]), *lasso.data).compile()

    def in_turn(levels, *data):
        return [single(level, *data) for level in levels]

    def through_gram(solver: Any, adjoint: Implicit, chunk: int | None = None) -> Callable:
        def losses(levels, design, targets, validation, held_out):
            form = jt.LinearModel(jt.losses.Squared(), design, targets).as_quadratic()
            problem_of = lambda level: jt.Composite(form, jt.penalties.L1(jnp.exp(level)))
            start = jnp.zeros(design.shape[1])
            if chunk is None:
                params = jax.vmap(lambda s: jt.solve(problem_of(s), solver, start, adjoint=adjoint).params)(levels)
            else:
                params = jt.solve_path(problem_of, levels, solver, start, adjoint=adjoint, chunk=chunk).params
            values = jax.vmap(lambda w: held_out_loss(w, validation, held_out))(params)
            return jnp.sum(values), values

        return jax.value_and_grad(losses, has_aux=True)

    everything = relative(slopes, lambda found: found[1])
    first = partial(Case, LEVELS, "ours", arguments=(jnp.asarray(levels), *lasso.data), error=everything)
    each = relative(slopes, lambda found: [slope for _, slope in found])
    return [
        first(f"one call after another, polish, max_support={support}", in_turn, error=each, jitted=False),
        first("vmap of that call", jax.vmap(one, in_axes=(0, None, None, None, None))),
        first("vmap, conjugate gradient", jax.vmap(value_and_slope(fit(tight, iterative)), in_axes=(0, *4 * [None]))),
        first(f"vmap, Gram, polish, max_support={support}", through_gram(loose, exact)),
        first("vmap, Gram, conjugate gradient", through_gram(tight, iterative)),
        first("solve_path, chunk=8, Gram, conjugate gradient", through_gram(tight, iterative, 8)),
    ]


def adjoint_cases(lasso: Lasso) -> list[Case]:
    """Every adjoint on one lasso, behind the same solver: accuracy against cost."""
    support = round_up(lasso.support)
    krylov: dict[str, Any] = {"rtol": TOL, "atol": TOL, "max_steps": 2000}
    adjoints = {
        "Implicit()": Implicit(),
        f"Implicit(max_support={support})": Implicit(max_support=support),
        "Implicit(polish=True)": Implicit(polish=True),
        f"Implicit(polish=True, max_support={support})": Implicit(polish=True, max_support=support),
        "Implicit(lx.GMRES(...))": Implicit(lx.GMRES(**krylov, restart=50)),
        "Implicit(lx.BiCGStab(...))": Implicit(lx.BiCGStab(**krylov)),
        "Implicit(lx.LU())": Implicit(lx.LU()),
        "OneStep()": jt.implicit.OneStep(),
        "Neumann(10)": jt.implicit.Neumann(10),
        "Neumann(100)": jt.implicit.Neumann(100),
        "Unrolled()": jt.implicit.Unrolled(),
        "StopGradient()": jt.implicit.StopGradient(),
    }
    solver = jt.ProximalGradient(tol=1e-8, max_steps=100)
    error = relative(np.asarray(lasso.slope), lambda found: found[1])
    arguments = (lasso.log_strength, *lasso.data)
    cases = [
        Case(ADJOINTS, "ours", name, value_and_slope(fit(solver, adjoint)), arguments, error)
        for name, adjoint in adjoints.items()
    ]

    def objective(w: jax.Array, log_strength: jax.Array, design: jax.Array, targets: jax.Array) -> jax.Array:
        return peers.half_mean_square(w, (design, targets))

    @jt.implicit.custom_prox_fixed_point(
        objective, penalty=lambda log_strength, *data: jt.penalties.L1(jnp.exp(log_strength))
    )
    def decorated(start: jax.Array, log_strength: jax.Array, design: jax.Array, targets: jax.Array) -> jax.Array:
        return fit(solver, jt.implicit.StopGradient())(log_strength, design, targets)

    own = value_and_slope(lambda h, x, y: decorated(jnp.zeros(x.shape[1]), h, x, y))
    cases.append(Case(ADJOINTS, "ours", "custom_prox_fixed_point", own, arguments, error))

    def hypergradient(log_strength, params, adjoint, design, targets, validation, held_out):
        levels = jt.bilevel.Bilevel(
            lambda w, h, x, y: held_out_loss(w, x, y),
            problem=lasso_problem,
            inner_data=(design, targets),
            outer_data=(validation, held_out),
        )
        solution, found = jt.bilevel.value_and_hypergradient(
            levels, log_strength, params, solver=solver, adjoint=adjoint, rtol=TOL
        )
        return found.value, found.gradient, solution.params, found.adjoint

    zero = jnp.zeros_like(lasso.data[0][0])
    _, _, *last = jax.jit(hypergradient)(lasso.log_strength + jnp.log(1.01), zero, zero, *lasso.data)
    for name, start in (("value_and_hypergradient", (zero, zero)), (WARM, last)):
        cases.append(Case(ADJOINTS, "ours", name, hypergradient, (lasso.log_strength, *start, *lasso.data), error))
    return cases


def best(rows: list[dict[str, Any]], task: str, library: str, containing: str = "") -> float | None:
    """Least time of the methods of a library that are accurate enough."""
    times = [
        row["cpu_ms"]
        for row in rows
        if row["task"] == task and row["library"] == library and containing in row["method"] and row["error"] <= ENOUGH
    ]
    return min(times, default=None)


def summarize(rows: list[dict[str, Any]]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for task in dict.fromkeys(row["task"] for row in rows):
        ours = best(rows, task, "ours")
        for library, which in itertools.product(("jaxopt", "optimistix", "celer"), ("", "its default")):
            if ours is not None and (theirs := best(rows, task, library, which)) is not None:
                summary[f"{task}: {library}{', ' + which if which else ', its best'}, over ours"] = theirs / ours
    times = {row["method"]: row["cpu_ms"] for row in rows if row["task"] == LEVELS and row["error"] <= ENOUGH}
    one = min(time for name, time in times.items() if name.startswith("one call")) / NUM_LEVELS
    for kind in ("vmap", "solve_path"):
        fastest = min(time for name, time in times.items() if name.startswith(kind))
        summary[f"{LEVELS}: by {kind}, in single calls"] = fastest / one
    return summary


def fill_page(rows: list[dict[str, Any]]) -> None:
    """Put the rows about adjoints into the page of the documentation, times in units of the solve alone."""
    of = {row["method"]: row for row in rows if row["task"] == ADJOINTS}
    alone = of["StopGradient()"]["cpu_ms"]
    shown = [
        {
            "adjoint": name if name == WARM else f"`{name}`",
            "solve and derivative": f"{row['cpu_ms'] / alone:.1f}",
            "relative error": f"{row['error']:.0e}",
        }
        for name, row in of.items()
        if not name.startswith("StopGradient")
    ]
    text = PAGE.read_text()
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    PAGE.write_text(f"{text[:begin]}\n\n{table(shown, list(shown[0]))}\n\n{text[end:]}")


def main() -> None:
    rows: list[dict[str, Any]] = []
    for num_rows, num_features in SHAPES:
        lasso, shape = Lasso(num_rows, num_features), f"{num_rows} x {num_features}"
        print(f"{shape}: {lasso.support} coefficients are not zero", flush=True)
        rows += measured(lasso_cases(lasso, shape)) + measured(backward_cases(lasso, shape))
        if (num_rows, num_features) == SHAPES[0]:
            rows += measured(level_cases(lasso)) + measured(adjoint_cases(lasso))
        jax.clear_caches()
    rows += measured(logistic_cases())
    columns = ["task", "library", "method", "compile_s", "wall_ms", "cpu_ms", "error"]
    summary = {"errors that are compared, at most": ENOUGH, **summarize(rows)}
    if not any(row["library"] == "celer" for row in rows):
        summary["celer"] = "not installed"
    summary["sparse-ho"] = "not on the package index"
    keep("bilevel", "Hypergradients, one core", rows, columns, summary)
    if not QUICK:
        fill_page(rows)


if __name__ == "__main__":
    main()
