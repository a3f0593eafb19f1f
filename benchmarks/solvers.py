"""Solvers beside their peers: jaxopt, SciPy, accbpg, scikit-learn, skglm and OSQP.

1. The same number of steps of ours and of jaxopt's counterpart, with and without line search: time to run, to compile,
   and what is left above the minimum. The tolerance is zero, so that nobody stops early.
2. 1000 lassos of 200 x 100 at the same tolerance, in `solve_batched`, jaxopt under `vmap`, and in a Python loop.
3. D-optimal design and a Poisson inverse problem: steps and seconds to an accuracy, beside accbpg. Ours are the
   seconds of a step times the steps.
4. What `jit(vmap(grad(solve)))` takes to compile, solver by solver.
5. A lasso and a quadratic program to a duality gap or residual, beside packages in C and numba.

A peer that is not installed is left out, and the script says so (`pip install accbpg skglm osqp`; the rest is the
`bench` extra). Run it alone on a quiet machine: `python benchmarks/solvers.py`, some minutes.
"""

import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from _record import keep, measure
from _solver_compile import compile_rows

import jaxopt_thoth as jt


jax.config.update("jax_enable_x64", True)
NUM_ROWS, NUM_FEATURES, STRENGTH, NUM_STEPS = 500, 200, 0.05, 100
COLUMNS = [
    "part",
    "method",
    "problem",
    "peer",
    "ours ms",
    "peer ms",
    "peer / ours",
    "ours steps",
    "peer steps",
    "ours excess",
    "peer excess",
    "trace s",
    "compile s",
    "peer compile s",
    "total s",
]


def optional(name: str) -> Any:
    """A module, or None with a message."""
    try:
        return import_module(name)
    except ImportError as error:
        print(f"{name} is left out: {error}")
        return None


def compiled(function: Callable, *args: Any) -> tuple[Callable[[], Any], float]:
    """A call of the compiled function that blocks, and the seconds that tracing and compiling took."""
    jax.clear_caches()
    arrays, rest = eqx.partition(args, eqx.is_array)
    begin = time.perf_counter()
    program = jax.jit(lambda arrays: function(*eqx.combine(arrays, rest))).lower(arrays).compile()
    spent = time.perf_counter() - begin
    return lambda: jax.block_until_ready(program(arrays)), spent


def milliseconds(call: Callable[[], Any], repeats: int = 5) -> float:
    return 1e3 * measure(call, repeats)["wall_s"]


# 1. Equal numbers of steps.


def regression() -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    design = rng.normal(size=(NUM_ROWS, NUM_FEATURES)) @ (np.eye(NUM_FEATURES) + 0.05)
    truth = np.where(np.arange(NUM_FEATURES) < 10, 1.0, 0.0) / 10
    return jnp.asarray(design), jnp.asarray(design @ truth + 0.1 * rng.normal(size=NUM_ROWS))


def equal_step_rows() -> list[dict]:
    jaxopt = optional("jaxopt")
    if jaxopt is None:
        return []
    data = regression()
    penalties, zeros = jt.penalties, jnp.zeros(NUM_FEATURES)
    even = jnp.full(NUM_FEATURES, 1 / NUM_FEATURES)
    least_squares, known = jaxopt.objective.least_squares, {"tol": 0.0, "maxiter": NUM_STEPS}
    model = lambda data: jt.LinearModel(jt.losses.Squared(), *data)
    step = float(1 / model(data).lipschitz())
    entropic_step = float(NUM_ROWS / jnp.max(jnp.abs(data[0].T @ data[0])))
    settings = {"tol": 0.0, "max_steps": NUM_STEPS}

    def ours(solver: Any, penalty: Any, start: jax.Array) -> Callable:
        return lambda data: jt.solve(jt.Composite(model(data), penalty), solver, start).params

    def softmax_step(x: jax.Array, gradient: jax.Array, size: Any, _: Any) -> jax.Array:
        return jax.nn.softmax(jnp.log(x) - size * gradient)

    def ista(w: jax.Array, data: Any) -> jax.Array:
        moved = w - step * jax.grad(least_squares.__call__)(w, data)
        return jaxopt.prox.prox_lasso(moved, STRENGTH, step)

    lasso, simplex, positive = penalties.L1(STRENGTH), penalties.Simplex(), penalties.NonNegative()
    project = jaxopt.projection.projection_simplex
    proximal = lambda size: (
        lambda data: (
            jaxopt.ProximalGradient(least_squares, jaxopt.prox.prox_lasso, stepsize=size, **known)
            .run(zeros, hyperparams_prox=STRENGTH, data=data)
            .params
        )
    )
    projected = lambda size: (
        lambda data: (
            jaxopt.ProjectedGradient(least_squares, project, stepsize=size, **known)
            .run(even, hyperparams_proj=1.0, data=data)
            .params
        )
    )
    mirror = lambda data: (
        jaxopt.MirrorDescent(least_squares, softmax_step, stepsize=entropic_step, **known)
        .run(even, None, data=data)
        .params
    )
    blocks = lambda data: (
        jaxopt.BlockCoordinateDescent(least_squares, jaxopt.prox.prox_lasso, **known)
        .run(zeros, hyperparams_prox=STRENGTH, data=data)
        .params
    )
    anderson = lambda data: jaxopt.AndersonAcceleration(ista, **known).run(zeros, data).params
    bounded = lambda data: (
        jaxopt.LBFGSB(least_squares, **known).run(zeros, bounds=(zeros, zeros + jnp.inf), data=data).params
    )
    plain = jt.ProximalGradient(step, accelerated=False, **settings)
    entropy = jt.mirror.NegativeEntropy()
    pairs = [
        ("ProximalGradient, line search", "lasso", jt.ProximalGradient(**settings), lasso, zeros, proximal(0.0)),
        ("ProximalGradient, fixed step", "lasso", jt.ProximalGradient(step, **settings), lasso, zeros, proximal(step)),
        (
            "ProjectedGradient, line search",
            "simplex least squares",
            jt.ProximalGradient(**settings),
            simplex,
            even,
            projected(0.0),
        ),
        (
            "ProjectedGradient, fixed step",
            "simplex least squares",
            jt.ProximalGradient(step, **settings),
            simplex,
            even,
            projected(step),
        ),
        (
            "MirrorDescent, fixed step",
            "simplex least squares",
            jt.MirrorDescent(entropy, entropic_step, **settings),
            simplex,
            even,
            mirror,
        ),
        (
            "MirrorDescent, line search against a fixed step",
            "simplex least squares",
            jt.MirrorDescent(entropy, **settings),
            simplex,
            even,
            mirror,
        ),
        ("BlockCoordinateDescent", "lasso", jt.BlockCoordinateDescent(**settings), lasso, zeros, blocks),
        ("AndersonAcceleration", "lasso", jt.AndersonAcceleration(plain), lasso, zeros, anderson),
        ("LBFGSB", "nonnegative least squares", jt.LBFGSB(**settings), positive, zeros, bounded),
    ]
    rows, best = [], {}
    for method, name, solver, penalty, start, theirs in pairs:
        problem = jt.Composite(model(data), penalty)
        if name not in best:
            best[name] = problem.value(jt.solve(problem, jt.ProximalGradient(tol=1e-13), start).params)
        mine, mine_s = compiled(ours(solver, penalty, start), data)
        other, other_s = compiled(theirs, data)
        mine_ms, other_ms = milliseconds(mine), milliseconds(other)
        excess = lambda call, problem=problem, name=name: float(problem.value(call()) - best[name])
        rows.append(
            {
                "part": "equal steps",
                "method": method,
                "problem": name,
                "peer": "jaxopt",
                "ours ms": mine_ms,
                "peer ms": other_ms,
                "peer / ours": other_ms / mine_ms,
                "ours steps": NUM_STEPS,
                "peer steps": NUM_STEPS,
                "ours excess": excess(mine),
                "peer excess": excess(other),
                "compile s": mine_s,
                "peer compile s": other_s,
            }
        )
    return [*rows, scipy_row(model(data), best["nonnegative least squares"])]


def scipy_row(model: jt.LinearModel, minimum: jax.Array) -> dict:
    """SciPy's L-BFGS-B to its tightest tolerance, and ours to what it reached."""
    start = jnp.zeros(NUM_FEATURES)
    problem = jt.Composite(model, jt.penalties.NonNegative())
    both = jax.jit(lambda w: model.value_and_grad(w))

    def objective(w: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = both(jnp.asarray(w))
        return float(value), np.asarray(gradient)

    bounds = [(0, None)] * NUM_FEATURES
    theirs = lambda: scipy.optimize.minimize(
        objective, np.zeros(NUM_FEATURES), jac=True, bounds=bounds, method="L-BFGS-B", options={"gtol": 1e-8, "ftol": 0}
    )
    ours, spent = compiled(partial(_solved, jt.LBFGSB(tol=1e-8)), problem, start)
    (params, num_steps), other = ours(), theirs()
    mine_ms, other_ms = milliseconds(ours), milliseconds(theirs)
    return {
        "part": "equal accuracy",
        "method": "LBFGSB",
        "problem": "nonnegative least squares",
        "peer": "scipy L-BFGS-B",
        "ours ms": mine_ms,
        "peer ms": other_ms,
        "peer / ours": other_ms / mine_ms,
        "ours steps": int(num_steps),
        "peer steps": other.nit,
        "ours excess": float(problem.value(params) - minimum),
        "peer excess": float(other.fun - minimum),
        "compile s": spent,
    }


# 2. A batch of lassos.


def batch_rows(count: int = 1000, n: int = 200, p: int = 100, tol: float = 1e-6) -> list[dict]:
    jaxopt = optional("jaxopt")
    rng = np.random.default_rng(1)
    designs = jnp.asarray(rng.normal(size=(count, n, p)))
    truth = np.where(np.arange(p) < 10, 1.0, 0.0)
    targets = designs @ truth + jnp.asarray(0.5 * rng.normal(size=(count, n)))
    critical = jnp.max(jnp.abs(jnp.einsum("bnp,bn->bp", designs, targets)), axis=1) / n
    strengths = critical * jnp.asarray(np.geomspace(0.5, 0.01, count)[rng.permutation(count)])
    zeros, batch = jnp.zeros(p), (designs, targets, strengths)

    def problem_of(row: Any) -> jt.Composite:
        design, target, strength = row
        return jt.Composite(jt.LinearModel(jt.losses.Squared(), design, target), jt.penalties.L1(strength))

    solver = jt.ProximalGradient(tol=tol)
    difficulty = -strengths / critical
    solve_all = lambda batch: jt.solve_batched(problem_of, batch, solver, zeros, difficulty=difficulty).params
    under_vmap = lambda batch: jax.vmap(lambda row: jt.solve(problem_of(row), solver, zeros).params)(batch)
    ours, spent = compiled(solve_all, batch)
    together, together_s = compiled(under_vmap, batch)
    ours_ms = milliseconds(ours, 3)
    gap = jax.jit(jax.vmap(lambda row, w: problem_of(row).duality_gap(w) / problem_of(row).value(zeros)))
    worst = lambda params: float(jnp.max(gap(batch, params)))
    common = {"part": "1000 lassos", "method": "solve_batched", "problem": f"{n} x {p}", "ours ms": ours_ms}
    common |= {"compile s": spent, "ours excess": worst(ours())}
    peers = [("ours under vmap", together, together_s)]
    if jaxopt is not None:
        prox, fun = jaxopt.prox.prox_lasso, jaxopt.objective.least_squares
        peer = jaxopt.ProximalGradient(fun, prox, tol=tol, maxiter=10_000)

        def single(row: Any) -> jax.Array:
            design, target, strength = row
            return peer.run(zeros, hyperparams_prox=strength, data=(design, target)).params

        rows_of = [tuple(part[i] for part in batch) for i in range(count)]
        vmapped, vmapped_s = compiled(jax.vmap(single), batch)
        _, loop_s = compiled(single, rows_of[0])
        one = jax.jit(single)
        loop = lambda: jax.block_until_ready(jnp.stack([one(row) for row in rows_of]))
        peers += [("jaxopt under vmap", vmapped, vmapped_s), ("jaxopt in a Python loop", loop, loop_s)]
    rows = []
    for name, call, compile_s in peers:
        params = call()
        peer_ms = milliseconds(call, 1)
        row = {"peer": name, "peer ms": peer_ms, "peer / ours": peer_ms / ours_ms, "peer compile s": compile_s}
        rows.append(common | row | {"peer excess": worst(params)})
    return rows


# 3. Relative smoothness.


def bregman_rows() -> list[dict]:
    accbpg = optional("accbpg")
    if accbpg is None:
        return []
    rng_state = np.random.get_state()
    f, h, smoothness, start = accbpg.D_opt_design(80, 200, randseed=10)
    rows = jnp.asarray(f.H)
    value = lambda x, rows: -jnp.linalg.slogdet((rows * x[None]) @ rows.T)[1]
    design = jt.Composite(jt.FunctionTerm(value, rows), jt.penalties.Simplex())
    found = bregman_case("D-optimal design, 80 x 200", accbpg, (f, h, smoothness, start), design, 0.1)
    f, h, smoothness, start = accbpg.Poisson_regrL1(200, 100, noise=0.001, lamda=0.001, randseed=1)
    A, counts = jnp.asarray(f.A), jnp.asarray(f.b)
    divergence = lambda x, A, b: jnp.sum(b * jnp.log(b / (A @ x)) - b + A @ x) + h.lamda * jnp.sum(x)
    poisson = jt.Composite(jt.FunctionTerm(divergence, A, counts), jt.penalties.NonNegative())
    found += bregman_case("Poisson inverse, 200 x 100", accbpg, (f, h, smoothness, start), poisson, 1.0)
    np.random.set_state(rng_state)
    return found


def bregman_case(name: str, accbpg: Any, instance: Any, problem: jt.Composite, gain: float) -> list[dict]:
    f, h, smoothness, x0 = instance
    start = jnp.asarray(x0)
    simplex = isinstance(problem.penalty, jt.penalties.Simplex)
    barrier = jt.mirror.SimplexBurgEntropy() if simplex else jt.mirror.BurgEntropy()
    reference = jt.solve(problem, jt.ProximalGradient(tol=1e-8, max_steps=3000), start)
    minimum = float(problem.value(reference.params))
    steps = 150

    def reached(values: Any, level: float) -> int | None:
        below = np.flatnonzero(np.asarray(values) - minimum <= level)
        return int(below[0]) if below.size else None

    accelerated = partial(jt.AcceleratedBregmanProximalGradient, barrier, smoothness, gain=gain, restart=True, tol=0.0)
    methods = {
        "MirrorDescent": (
            partial(jt.MirrorDescent, barrier, tol=0.0),
            lambda: accbpg.BPG(f, h, smoothness, x0, steps, verbose=False)[1::2],
        ),
        "AcceleratedBregmanProximalGradient": (
            accelerated,
            lambda: accbpg.ABPG_gain(f, h, smoothness, x0, 2, steps, G0=gain, restart=True, verbose=False)[1::4],
        ),
    }
    rows = []
    for method, (make, theirs) in methods.items():
        values = jt.solve(problem, make(max_steps=steps), start, history=True).history.value
        # Its record begins at the start, ours after the first step.
        values = np.concatenate([[float(problem.value(start))], np.asarray(values)])
        record, seconds = theirs()
        call, spent = compiled(partial(_params, make(max_steps=steps)), problem, start)
        step_ms = milliseconds(call, 3) / steps
        for level in (1e-1, 1e-2, 1e-3):
            mine, other = reached(values, level), reached(record, level)
            row: dict[str, Any] = {"part": f"to {level:g} above the minimum", "method": method, "problem": name}
            row |= {"peer": "accbpg", "ours steps": mine, "peer steps": other}
            if mine:
                row |= {"ours ms": mine * step_ms, "compile s": spent}
            if other:
                row["peer ms"] = 1e3 * float(seconds[other])
            if mine and other:
                row["peer / ours"] = row["peer ms"] / row["ours ms"]
            rows.append(row)
    return rows


def _solved(solver: Any, problem: Any, start: Any) -> tuple[Any, Any]:
    solution = jt.solve(problem, solver, start)
    return solution.params, solution.num_steps


def _params(solver: Any, problem: Any, start: Any) -> Any:
    return _solved(solver, problem, start)[0]


# 5. Packages in C and numba.


def package_rows() -> list[dict]:
    return lasso_package_rows() + quadratic_rows()


def lasso_package_rows(n: int = 500, p: int = 2000) -> list[dict]:
    rng = np.random.default_rng(2)
    design = np.asfortranarray(rng.normal(size=(n, p)))
    targets = design @ np.where(np.arange(p) < 20, 1.0, 0.0) + 0.5 * rng.normal(size=n)
    strength = 0.05 * np.abs(design.T @ targets).max() / n
    model = jt.LinearModel(jt.losses.Squared(), jnp.asarray(design), jnp.asarray(targets))
    problem = jt.Composite(model, jt.penalties.L1(strength))
    start = jnp.zeros(p)
    peers: dict[str, Callable[[], np.ndarray]] = {}
    if sklearn := optional("sklearn.linear_model"):
        theirs = sklearn.Lasso(alpha=strength, fit_intercept=False, tol=1e-8, max_iter=100_000)
        peers["scikit-learn"] = lambda: theirs.fit(design, targets).coef_
    if skglm := optional("skglm"):
        other = skglm.Lasso(alpha=strength, fit_intercept=False, tol=1e-8)
        peers["skglm"] = lambda: other.fit(design, targets).coef_
    calls = {
        type(solver).__name__: compiled(partial(_params, solver), problem, start)
        for solver in (jt.BlockCoordinateDescent(), jt.ProximalGradient(), jt.SemismoothNewton())
    }
    gap = lambda w: float(problem.duality_gap(jnp.asarray(w)) / problem.value(start))
    rows = []
    for name, peer in peers.items():
        excess = gap(peer())
        peer_ms = milliseconds(peer, 3)
        for method, (call, spent) in calls.items():
            ours_ms = milliseconds(call, 3)
            row = {"part": "packages", "method": method, "problem": f"lasso {n} x {p}", "peer": name}
            row |= {"ours ms": ours_ms, "peer ms": peer_ms, "peer / ours": peer_ms / ours_ms}
            rows.append(row | {"ours excess": gap(call()), "peer excess": excess, "compile s": spent})
    return rows


def quadratic_rows(n: int = 100, m: int = 150) -> list[dict]:
    osqp = optional("osqp")
    if osqp is None:
        return []
    from scipy import sparse

    rng = np.random.default_rng(3)
    root = rng.normal(size=(n, n // 2))
    P, q, A = root @ root.T / n, rng.normal(size=n), np.vstack([rng.normal(size=(m - n, n)), np.eye(n)])
    lower, upper = -rng.uniform(0.1, 1.0, m), rng.uniform(0.1, 1.0, m)
    problem = jt.QuadraticProgram(P, q, A, lower, upper)
    call, spent = compiled(partial(_solved, jt.OSQP()), problem, jnp.zeros(n))

    def theirs() -> Any:
        prog = osqp.OSQP()
        prog.setup(
            sparse.csc_matrix(P),
            q,
            sparse.csc_matrix(A),
            lower,
            upper,
            verbose=False,
            eps_abs=1e-8,
            eps_rel=1e-8,
            polishing=True,
            max_iter=50_000,
        )
        return prog.solve()

    def residual(x: Any, y: Any) -> float:
        point = problem.check((jnp.asarray(x), jnp.asarray(y)))
        return float(jnp.maximum(*problem.residuals(point)[:2]))

    (point, num_steps), other = call(), theirs()
    ours_ms, peer_ms = milliseconds(call), milliseconds(theirs)
    return [
        {
            "part": "packages",
            "method": "OSQP",
            "problem": f"quadratic program {n} x {m}",
            "peer": "OSQP in C",
            "ours ms": ours_ms,
            "peer ms": peer_ms,
            "peer / ours": peer_ms / ours_ms,
            "ours steps": int(num_steps),
            "peer steps": other.info.iter,
            "ours excess": residual(*point),
            "peer excess": residual(other.x, other.y),
            "compile s": spent,
        }
    ]


def main() -> None:
    # jaxopt and its peers warn about each other's deprecations.
    warnings.filterwarnings("ignore")
    rows = []
    for part in (equal_step_rows, batch_rows, bregman_rows, compile_rows, package_rows):
        begin = time.perf_counter()
        rows += part()
        print(f"{part.__name__}: {time.perf_counter() - begin:.0f} s", flush=True)
    ratios = lambda test: [row["peer / ours"] for row in rows if row.get("peer / ours") and test(row)]
    equal = lambda row: row["part"] == "equal steps"
    searched = lambda row: equal(row) and row["method"].endswith(", line search")
    groups = {
        "equal steps: least and greatest times jaxopt's speed": ratios(equal),
        "equal steps, both with line search": ratios(searched),
        "1000 lassos: least and greatest times the speed of a peer": ratios(
            lambda row: row["part"] == "1000 lassos" and row["peer"] != "ours under vmap"
        ),
        "relative smoothness: least and greatest times accbpg's speed": ratios(lambda row: row["peer"] == "accbpg"),
    }
    summary: dict[str, Any] = {
        name: f"{min(values):.2f} to {max(values):.2f}" for name, values in groups.items() if values
    }
    totals = {row["method"]: row["total s"] for row in rows if "total s" in row}
    if totals:
        slowest = max(totals, key=lambda name: totals[name])
        summary["slowest to compile"] = f"{slowest}, {totals[slowest]:.1f} s"
    keep("solvers", "Solvers beside their peers", rows, COLUMNS, summary)


if __name__ == "__main__":
    main()
