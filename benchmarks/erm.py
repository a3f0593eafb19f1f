"""Single fits of linear models beside Cyanure, scikit-learn, celer and skglm: time to a relative gap of 1e-3 and 1e-6.

Every library is judged by our duality gap at the coefficients it returns, and given the loosest of its tolerances, in
factors of ten, that meets the target; so all have solved the same problem equally well. Fits are taken in turns,
medians are kept, compilation is apart. Strengths of ridges are multiples of 1/n on rows of norm one, the others are
parts of the critical strength. `python benchmarks/erm.py` needs the `bench` extra and takes eight minutes; `--quick`
keeps to the bundled data, two minutes. Peers that are not installed and files that are not at hand are named and left
out. The same script runs where JAX finds a GPU: our data then live there, the peers stay on the CPU.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import _erm_peers as peers
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from _erm_data import Data, generated, generated_sparse, load, Task
from _record import keep
from jax import lax

import jaxopt_thoth as jt
from jaxopt_thoth import erm


jax.config.update("jax_enable_x64", True)
QUICK = "--quick" in sys.argv
TARGETS = (1e-3, 1e-6)
REPEATS, LONG, LONGEST = 5, 2.0, 15.0
TIGHT = 1e-10

_BUNDLED = [
    Task("diabetes", "squared", "l1", 0.05),
    Task("diabetes", "squared", "elastic net", 0.05, True),
    Task("breast_cancer", "logistic", "l2", 1.0),
    Task("breast_cancer", "logistic", "l2", 0.01, True),
    Task("breast_cancer", "logistic", "l1", 0.05),
    Task("breast_cancer", "squared hinge", "l2", 0.1),
    Task("digits", "multinomial", "l2", 1.0),
]
_GENERATED = [
    Task("100k x 100", "logistic", "l2", 1.0),
    Task("100k x 100, decaying", "logistic", "l2", 0.01),
    Task("100k x 100", "squared", "l1", 0.05),
    Task("10k x 1k", "logistic", "l2", 1.0),
    Task("10k x 1k", "logistic", "l2", 0.01),
    Task("10k x 1k", "logistic", "l1", 0.1),
    Task("10k x 1k", "squared hinge", "l2", 0.1),
    Task("1k x 10k", "squared", "l1", 0.05),
    Task("1k x 10k", "squared", "elastic net", 0.05, True),
    Task("1k x 10k", "logistic", "l1", 0.05),
    Task("sparse 50k x 50k", "logistic", "l2", 1.0),
    Task("sparse 50k x 50k", "squared", "l1", 0.2),
]
_FILES = [
    Task("a9a", "logistic", "l2", 1.0),
    Task("a9a", "logistic", "l2", 0.01, True),
    Task("a9a", "logistic", "l1", 0.02),
    Task("magic04", "squared hinge", "l2", 1.0),
    Task("magic04", "logistic", "l2", 0.1, True),
    Task("MNIST 10k", "multinomial", "l2", 1.0),
    Task("MNIST 10k", "multinomial", "l1l2", 0.05),
]
TASKS = _BUNDLED if QUICK else _BUNDLED + _GENERATED + _FILES
LOSSES: dict[str, Callable[[], jt.losses.AbstractLoss]] = {
    "squared": jt.losses.Squared,
    "logistic": jt.losses.Logistic,
    "squared hinge": jt.losses.SquaredHinge,
    "multinomial": jt.losses.Multinomial,
}


def penalty_of(name: str, strength: Any, num_features: int) -> jt.penalties.AbstractPenalty:
    if name == "l2":
        return jt.penalties.L2Squared(strength)
    if name == "l1":
        return jt.penalties.L1(strength)
    if name == "elastic net":
        return jt.penalties.ElasticNet(peers.ELASTIC * strength, (1 - peers.ELASTIC) * strength)
    return jt.penalties.GroupLasso(strength, np.arange(num_features))


def problem_of(task: Task, data: Data) -> tuple[erm.Problem, float]:
    """The problem of a task, and the strength that the peers are given."""
    loss, targets = LOSSES[task.loss](), peers.targets_of(task, data)
    form = partial(penalty_of, task.penalty, num_features=data.design.shape[1])
    if task.penalty == "l2":
        strength = task.level / data.num_rows
    else:
        unit = jt.penalties.L1(1.0) if task.penalty == "elastic net" else form(strength=1.0)
        critical = erm.critical_strength(loss, unit, data.design, targets, fit_intercept=task.intercept)
        strength = task.level * float(critical) / (peers.ELASTIC if task.penalty == "elastic net" else 1)
    problem = erm.Problem(loss, form(strength=strength), data.design, targets, fit_intercept=task.intercept)
    return problem, strength


def gap_of(problem: erm.Problem, coef: Any, intercept: Any) -> float:
    """The relative duality gap at coefficients from anywhere."""
    shape = problem.coef_shape
    intercept = jnp.broadcast_to(jnp.asarray(intercept, problem.design.dtype).reshape(-1), shape[1:] or (1,))
    params = problem.join(jnp.asarray(coef).reshape(shape), intercept.reshape(shape[1:]))
    composite = problem.composite
    return float(composite.duality_gap(params) / composite.value(params))


def timed(call: Callable[[], Any]) -> tuple[Any, float, float]:
    begin, begin_cpu = time.perf_counter(), time.process_time()
    found = jax.block_until_ready(call())
    return found, time.perf_counter() - begin, time.process_time() - begin_cpu


def tolerance_for(run: peers.Run, problem: erm.Problem, target: float, first: float) -> tuple[float, float] | None:
    """The loosest tolerance, from `first` on in factors of ten, whose coefficients meet the target, and their gap."""
    begin = time.perf_counter()
    while first > 1e-15 and time.perf_counter() - begin < LONGEST:
        gap = gap_of(problem, *run(first))
        if gap <= target:
            return first, gap
        first /= 10
    return None


def race(task: Task) -> list[dict[str, Any]]:
    """Rows of one task: every library that solves it, at both targets, in turns."""
    data = load(task.data)
    if data is None:
        print(f"{task.name}: the data are not at hand", flush=True)
        return []
    problem, strength = problem_of(task, data)
    fit = lambda tol: erm.fit(problem, tol=tol, key=jax.random.key(0))
    # Nothing to do at a gap of one half: what is left is compilation.
    _, compile_s, _ = timed(lambda: fit(1e6))
    ready: list[tuple[dict[str, Any], Callable[[], Any]]] = []
    for target in TARGETS:
        row = {"task": task.name, "library": "ours", "target": target, "compile_s": compile_s}
        fitted = fit(target)
        row["gap"] = gap_of(problem, fitted.coef, fitted.intercept)
        ready.append((row, partial(fit, target)))
    for peer in filter(peers.installed, peers.PEERS):
        run = peers.run_of(peer, task, data, strength)
        if run is None:
            continue
        first = 1e-1 if peer == "scikit-learn" else TARGETS[0]
        # skglm compiles at its first call.
        run(first)
        for target in TARGETS:
            row = {"task": task.name, "library": peer, "target": target}
            found = tolerance_for(run, problem, target, first)
            if found is None:
                ready.append((row | {"note": "target not met"}, lambda: None))
                break
            first, gap = found
            ready.append((row | {"gap": gap, "tol": first}, partial(run, first)))
    return in_turns(ready)


def in_turns(ready: list[tuple[dict[str, Any], Callable[[], Any]]]) -> list[dict[str, Any]]:
    times: list[list[tuple[float, float]]] = [[] for _ in ready]
    for _ in range(REPEATS):
        for (row, call), kept in zip(ready, times, strict=True):
            if "gap" in row and (len(kept) < 1 or sum(wall for wall, _ in kept) < LONG):
                kept.append(timed(call)[1:])
    for (row, _), kept in zip(ready, times, strict=True):
        if kept:
            row["wall_ms"], row["cpu_ms"] = (1e3 * float(np.median(column)) for column in zip(*kept, strict=True))
    ours = {row["target"]: row for row, _ in ready if row["library"] == "ours"}
    for row, _ in ready:
        if "cpu_ms" in row:
            base = ours[row["target"]]
            row["cpu_ratio"], row["wall_ratio"] = (row[u] / base[u] for u in ("cpu_ms", "wall_ms"))
        print({k: f"{v:.3g}" if isinstance(v, float) else v for k, v in row.items()}, flush=True)
    return [row for row, _ in ready]


def optima() -> list[dict[str, Any]]:
    """The objectives that the libraries reach on every supported pair, relative to the least of them."""
    rows = []
    regression = generated(200, 20, seed=1)
    classes = np.digitize(regression.targets, np.quantile(regression.targets, [1 / 3, 2 / 3])).astype(float)
    grouped = Data(regression.design, classes)
    pairs = [("squared", "l2"), ("squared", "l1"), ("squared", "elastic net"), ("logistic", "l2"), ("logistic", "l1")]
    pairs += [("logistic", "elastic net"), ("squared hinge", "l2"), ("squared hinge", "l1"), ("multinomial", "l2")]
    pairs += [("multinomial", "l1l2")]
    for loss, penalty in pairs:
        for intercept in (False, True):
            task = Task("200 x 20", loss, penalty, 1.0 if penalty == "l2" else 0.1, intercept)
            data = grouped if loss == "multinomial" else regression
            problem, strength = problem_of(task, data)
            # The peers' best solver for a certain answer, not the fastest.
            runs: dict[str, peers.Run] = {}
            for peer in filter(peers.installed, peers.PEERS):
                settings = {"solver": "qning-ista", "max_iter": 10_000} if peer == "cyanure" else {}
                run = peers.run_of(peer, task, data, strength, **settings)
                if run is not None:
                    runs[peer] = run
            fitted = erm.fit(problem, tol=TIGHT / 10, key=jax.random.key(0))
            values = {"ours": float(fitted.primal)}
            for peer, run in runs.items():
                coef, free = run(TIGHT / 10)
                shape = problem.coef_shape
                free = jnp.broadcast_to(jnp.asarray(free, float).reshape(-1), shape[1:] or (1,)).reshape(shape[1:])
                values[peer] = float(problem.composite.value(problem.join(jnp.asarray(coef).reshape(shape), free)))
            best = min(values.values())
            excess = {f"{name}, excess": (value - best) / best for name, value in values.items()}
            gap = float(fitted.gap / fitted.primal)
            rows.append({"task": "optimum: " + task.name, "library": "ours", "gap": gap, **excess})
            print({k: f"{v:.2g}" if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
    return rows


def defects() -> list[dict[str, Any]]:
    """Problems on which Cyanure is wrong or crashes: its objective, or how it ended, beside our certified one."""
    if not peers.installed("cyanure"):
        print("cyanure is not installed: its defects are left out", flush=True)
        return []
    rows = []
    data = generated(1500, 30, seed=2)
    design, targets = data.design / 3, data.targets
    ours = {
        "elastic net, miso": erm.Problem(jt.losses.Squared(), jt.penalties.ElasticNet(0.1, 0.5), design, targets),
        "fused lasso": erm.Problem(jt.losses.Squared(), jt.penalties.FusedLasso(0.3, 0.1), design, targets),
        "l2-ball": erm.Problem(jt.losses.Squared(), jt.penalties.L2Ball(0.5), design[:300], targets[:300]),
    }
    settings = {
        "elastic net, miso": {"penalty": "elasticnet", "lambda_1": 0.1, "lambda_2": 0.5, "solver": "miso"},
        "fused lasso": {"penalty": "fused-lasso", "lambda_1": 0.1, "lambda_2": 0.0, "lambda_3": 0.3, "solver": "fista"},
        "l2-ball": {"penalty": "l2-ball", "lambda_1": 0.5},
    }
    for name, problem in ours.items():
        few = problem.targets.shape[0]
        rows.append(_defect(name, problem, "Regression", settings[name], design[:few], targets[:few]))
    rng = np.random.default_rng(3)
    aligned, classes = 10 + 0.1 * rng.standard_normal((300, 20)), np.arange(300) % 3
    softmax = erm.Problem(jt.losses.Multinomial(), jt.penalties.L2Squared(1e-3), aligned, classes)
    asked: dict[str, Any] = {"loss": "logistic", "multi_class": "multinomial", "penalty": "l2", "lambda_1": 1e-3}
    rows.append(
        _defect("softmax on rows of mean 10", softmax, "Classifier", asked | {"solver": "miso"}, aligned, classes)
    )
    wide = generated(100, 1200, seed=4)
    labels = wide.labels
    critical = erm.critical_strength(
        jt.losses.Logistic(), jt.penalties.L1(1.0), wide.design, labels, fit_intercept=True
    )
    strength = float(critical) / 10
    lasso = erm.Problem(jt.losses.Logistic(), jt.penalties.L1(strength), wide.design, labels, fit_intercept=True)
    asked = {"lambda_1": strength, "fit_intercept": True}
    rows.append(_defect("wide L1Logistic with intercept", lasso, "L1Logistic", asked, wide.design, labels))
    return rows


_CHILD = """
import sys, numpy as np
from cyanure import estimators
given = np.load(sys.argv[1], allow_pickle=True)
model = getattr(estimators, sys.argv[2])(**given["settings"].item())
model.fit(given["design"], given["targets"])
np.savez(sys.argv[3], coef=model.coef_, intercept=getattr(model, "intercept_", 0.0))
"""


def _defect(
    name: str, problem: erm.Problem, kind: str, settings: dict[str, Any], design: np.ndarray, targets: np.ndarray
) -> dict[str, Any]:
    fitted = erm.fit(problem, tol=1e-8, key=jax.random.key(0))
    asked: dict[str, Any] = {"fit_intercept": False, "tol": 1e-8, "max_iter": 2000, "verbose": False} | settings
    row: dict[str, Any] = {"task": "defect: " + name, "library": "cyanure", "our objective": float(fitted.primal)}
    with tempfile.TemporaryDirectory() as folder:
        given, found = (str(Path(folder) / name) for name in ("given.npz", "found.npz"))
        np.savez(given, settings=np.array(asked, object), design=design, targets=targets)
        # In a process of its own: some of these end it.
        command = [sys.executable, "-c", _CHILD, given, kind, found]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if ended.returncode:
            last = (ended.stderr.strip().splitlines() or [""])[-1]
            row["note"] = f"ends with {ended.returncode}" + (f": {last[:60]}" if ended.returncode > 0 else " (signal)")
        else:
            kept = np.load(found)
            shape = problem.coef_shape
            coef = kept["coef"] if kept["coef"].shape == shape else kept["coef"].T
            free = jnp.broadcast_to(jnp.asarray(kept["intercept"]).reshape(-1), shape[1:] or (1,)).reshape(shape[1:])
            row["its objective"] = float(problem.composite.value(problem.join(jnp.asarray(coef).reshape(shape), free)))
    print({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()}, flush=True)
    return row


def growth() -> list[dict[str, Any]]:
    """Milliseconds of an epoch of the stochastic solvers as rows and columns grow, over those of the smallest."""
    rows = []
    names = ("SVRG", "MISO") if QUICK else ("SVRG", "AcceleratedSVRG", "SAGA", "MISO")
    factors = (1, 2) if QUICK else (1, 2, 4, 8)
    shapes = {
        "rows of a dense design, 4k x 100": lambda k: generated(4000 * k, 100).design,
        "columns of a dense design, 4k x 100": lambda k: generated(4000, 100 * k).design,
        "rows and columns of a sparse design, 4k x 4k, 20 entries a row": lambda k: (
            generated_sparse(4000 * k, 4000 * k, 20 / (4000 * k)).design
        ),
    }
    for name in names:
        solver = getattr(jt.solvers, name)(key=jax.random.key(0))
        for grown, build in shapes.items():
            row: dict[str, Any] = {"task": f"epoch of {name}: {grown}", "library": "ours"}
            for factor in factors:
                design = build(factor)
                labels = np.sign(np.random.default_rng(0).standard_normal(design.shape[0]))
                penalty = jt.penalties.L2Squared(1 / design.shape[0])
                problem = erm.Problem(jt.losses.Logistic(), penalty, design, labels).composite
                run, state = _epochs(solver, problem)
                spent = [timed(partial(run, state))[2] for _ in range(3)]
                row[f"x{factor}"] = 1e3 * float(np.median(spent)) / 5
            rows.append(row)
            print({k: f"{v:.3g}" if isinstance(v, float) else v for k, v in row.items()}, flush=True)
    return rows


def _epochs(solver: Any, problem: jt.Composite) -> tuple[Callable[[Any], Any], Any]:
    params = jnp.zeros(problem.smooth.design.shape[1])  # type: ignore[attr-defined]
    start = params, eqx.filter_jit(solver.init)(problem, params)

    @eqx.filter_jit
    def run(problem: jt.Composite, carry: Any) -> Any:
        return lax.fori_loop(0, 5, lambda _, c: solver.step(problem, *c), carry)

    jax.block_until_ready(run(problem, start))
    return partial(run, problem), start


def summary_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the table: a ratio above one is a peer that takes longer than we do."""
    found: dict[str, Any] = {}
    timed_rows = [row for row in rows if "cpu_ratio" in row]
    for peer in peers.PEERS:
        for target in TARGETS:
            ours = [row for row in timed_rows if row["library"] == peer and row["target"] == target]
            if ours:
                for unit in ("cpu", "wall"):
                    median, least = (f([row[f"{unit}_ratio"] for row in ours]) for f in (np.median, np.min))
                    found[f"{peer} over ours at {target:g}, {unit}, median of {len(ours)}"] = float(median)
                    found[f"{peer} over ours at {target:g}, {unit}, least"] = float(least)
    excess = [row["ours, excess"] for row in rows if "ours, excess" in row]
    if excess:
        found["our objective over the least of all libraries, worst pair"] = float(max(excess))
    compiled = {row["task"]: row["compile_s"] for row in rows if row.get("compile_s")}
    found["our compilation, s, median"] = float(np.median(list(compiled.values())))
    return found


def main() -> None:
    for peer in peers.PEERS:
        if not peers.installed(peer):
            print(f"{peer} is not installed: its rows are left out", flush=True)
    rows: list[dict[str, Any]] = []
    for task in TASKS:
        rows += race(task)
    rows += growth() + defects()
    if not QUICK:
        rows += optima()
    columns = ["task", "library", "target", "wall_ms", "cpu_ms", "wall_ratio", "cpu_ratio", "gap", "tol", "compile_s"]
    columns += ["x1", "x2", "x4", "x8", "our objective", "its objective", "note"]
    columns += [f"{library}, excess" for library in ("ours", *peers.PEERS)]
    keep("erm", "Empirical risk minimization: single fits", rows, columns, summary_of(rows))


if __name__ == "__main__":
    main()
