"""Every solver on every suitable problem of the zoo, to its certificate."""

import importlib.util
import inspect
import sys
from functools import cache
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import mirror
from jaxopt_thoth.solvers import AbstractSolver


def _load(name):
    # Tests are imported by path.
    path = Path(__file__).parent / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"solvers_{name}", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


zoo = _load("zoo")
case = cache(lambda name, dtype=jnp.float64: zoo.CASES[name](dtype))

TOL = {jnp.float64: 1e-10, jnp.float32: 3e-6}
ENTROPY = mirror.NegativeEntropy()
FIRST = {"FISTA": lambda **k: jt.ProximalGradient(**k)}
ISTA = {"ISTA": lambda **k: jt.ProximalGradient(accelerated=False, max_steps=50_000, **k)}
ANDERSON = {"Anderson": lambda **k: jt.AndersonAcceleration(jt.ProximalGradient(accelerated=False, growth=1.0, **k))}
CATALYST = {"Catalyst": lambda **k: jt.Catalyst(jt.ProximalGradient(accelerated=False, **k))}
QNING = {"QNing": lambda **k: jt.QNing(jt.ProximalGradient(accelerated=False, **k))}
SECOND = {"semismooth Newton": lambda **k: jt.SemismoothNewton(**k)}
PROXIMAL_NEWTON = {"proximal Newton": lambda **k: jt.ProximalNewton(**k)}
COORDINATES = {"coordinate descent": lambda **k: jt.BlockCoordinateDescent(**k)}
WORKING_SET = {"working set descent": lambda **k: jt.WorkingSetDescent(gap=False, **k)}
BOUNDED = {"L-BFGS-B": lambda **k: jt.LBFGSB(**k)}
ADMM = {"ADMM": lambda **k: jt.ADMM(**k)}
PDHG = {"Chambolle-Pock": lambda **k: jt.ChambollePock(**k)}
AWAY = {"away-step Frank-Wolfe": lambda **k: jt.FrankWolfe("away", **k)}
PAIRWISE = {"pairwise Frank-Wolfe": lambda **k: jt.FrankWolfe("pairwise", **k)}
ENTROPIC = {"entropic descent": lambda **k: jt.MirrorDescent(ENTROPY, **k)}
ROWS = {
    "SVRG": lambda **k: jt.SVRG(key=jax.random.key(0), **k),
    "SAGA": lambda **k: jt.SAGA(key=jax.random.key(0), **k),
}
ACCELERATED_ROWS = {"accelerated SVRG": lambda **k: jt.AcceleratedSVRG(key=jax.random.key(0), **k)}
DUAL_ROWS = {"MISO": lambda **k: jt.MISO(key=jax.random.key(0), **k)}
SUITABLE = {
    "lasso": FIRST | ISTA | ANDERSON | CATALYST | SECOND | PROXIMAL_NEWTON | COORDINATES | WORKING_SET | ADMM,
    "elastic net": ROWS | ACCELERATED_ROWS | DUAL_ROWS,
    "lasso, saddle point": PDHG,
    "lasso, denoiser": {"plug and play": lambda **k: jt.solvers.PlugAndPlay(**k)},
    "l1 logistic": FIRST | ANDERSON | QNING | SECOND | PROXIMAL_NEWTON | COORDINATES | WORKING_SET,
    "group lasso": FIRST | ANDERSON | QNING | SECOND | COORDINATES | ADMM,
    "simplex least squares": FIRST
    | SECOND
    | AWAY
    | PAIRWISE
    | ADMM
    | ENTROPIC
    | {
        "exponentiated gradient": lambda **k: jt.ExponentiatedGradient(**k),
        "dual averaging": lambda **k: jt.DualAveraging(ENTROPY, 0.5, **k),
    },
    "consistent least squares": {
        "stochastic descent": lambda **k: jt.StochasticMirrorDescent(
            mirror.Euclidean(), 0.05, key=jax.random.key(0), check_every=50, max_steps=20_000, **k
        )
    },
    "nonnegative least squares": FIRST
    | SECOND
    | COORDINATES
    | BOUNDED
    | {"entropic descent": lambda **k: jt.MirrorDescent(mirror.UnnormalizedEntropy(), **k)},
    "box program": FIRST | COORDINATES | BOUNDED | AWAY | ADMM,
    "box program, rows": {"OSQP": lambda **k: jt.OSQP(**k)},
    "TV denoising": FIRST,
    "TV denoising, saddle point": PDHG | ADMM,
    "TV denoising, three terms": {"Davis-Yin": lambda **k: jt.DavisYin(**k)},
    "TV denoising, two terms": {"Douglas-Rachford": lambda **k: jt.DouglasRachford(**k)},
    "Poisson inverse": FIRST
    | QNING
    | BOUNDED
    | SECOND
    | {
        "barrier descent": lambda **k: jt.MirrorDescent(mirror.BurgEntropy(), **k),
        "accelerated Bregman": lambda **k: jt.AcceleratedBregmanProximalGradient(
            mirror.BurgEntropy(), restart=True, **k
        ),
    },
    "D-optimal design": FIRST | PAIRWISE | ENTROPIC,
    "D-optimal design, inside": {
        "barrier descent": lambda **k: jt.MirrorDescent(mirror.SimplexBurgEntropy(), **k),
        "accelerated Bregman": lambda **k: jt.AcceleratedBregmanProximalGradient(
            mirror.SimplexBurgEntropy(), restart=True, **k
        ),
    },
    "matrix game": {
        "mirror prox": lambda **k: jt.MirrorProx(mirror.Euclidean(), restart=True, **k),
        "optimistic descent": lambda **k: jt.OptimisticMirrorDescent(
            mirror.Product((ENTROPY, ENTROPY)), 0.3, max_steps=50_000, **k
        ),
    },
    "multiclass SVM": FIRST | PAIRWISE | ENTROPIC,
    "matrix completion": FIRST | ANDERSON | PROXIMAL_NEWTON,
    "exponential fit": {
        "Gauss-Newton": lambda **k: jt.GaussNewton(**k),
        "Levenberg-Marquardt": lambda **k: jt.LevenbergMarquardt(**k),
    },
}
# Each is short; together they are not, and what they run is run elsewhere in the table.
SLOW = {
    "lasso": {"ISTA"},
    "l1 logistic": {"Anderson", "proximal Newton"},
    "group lasso": {"FISTA", "Anderson", "QNing", "semismooth Newton"},
    "simplex least squares": {"pairwise Frank-Wolfe", "ADMM"},
    "nonnegative least squares": {"semismooth Newton"},
    "box program": {"FISTA", "ADMM"},
    "Poisson inverse": {"QNing", "semismooth Newton"},
    "D-optimal design": {"FISTA"},
    "multiclass SVM": {"FISTA"},
    "matrix completion": {"Anderson", "proximal Newton"},
}
PAIRS = [
    pytest.param(name, solver, marks=[pytest.mark.slow] * (solver in SLOW.get(name, ())), id=f"{name} by {solver}")
    for name, solvers in SUITABLE.items()
    for solver in solvers
]
SINGLE = [
    ("lasso", "FISTA"),
    ("nonnegative least squares", "coordinate descent"),
    ("simplex least squares", "entropic descent"),
    ("TV denoising, saddle point", "Chambolle-Pock"),
    ("matrix game", "mirror prox"),
    pytest.param("l1 logistic", "semismooth Newton", marks=pytest.mark.slow),
    pytest.param("box program, rows", "OSQP", marks=pytest.mark.slow),
]


def certified(name, solver, dtype=jnp.float64):
    kind = case(name, dtype)
    method = SUITABLE[name][solver](tol=TOL[dtype])
    arrays, rest = eqx.partition(kind.problem, eqx.is_array)

    def run(arrays, start):
        before = kind.problem.check(start)
        solution = jt.solve(eqx.combine(arrays, rest), method, start)
        return solution.params, solution.result, kind.certificate(solution.params), kind.certificate(before)

    params, result, certificate, at_start = jax.jit(run)(arrays, kind.start)
    assert result == jt.RESULTS.converged
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(params))
    # It is no constant.
    assert at_start > 1e-3
    return float(certificate), kind.scale


@pytest.mark.parametrize(("name", "solver"), PAIRS)
def test_certificate(name, solver):
    certificate, _ = certified(name, solver)
    assert -1e-12 <= certificate <= 1e-8


@pytest.mark.parametrize(("name", "solver"), SINGLE)
def test_certificate_in_single_precision(name, solver):
    certificate, scale = certified(name, solver, jnp.float32)
    assert certificate <= 1e-4 * max(1.0, scale)


def test_every_solver_is_in_the_table():
    used = {type(make(tol=1e-3)) for solvers in SUITABLE.values() for make in solvers.values()}
    public = {
        value
        for value in vars(jt.solvers).values()
        if inspect.isclass(value) and issubclass(value, AbstractSolver) and value is not AbstractSolver
    }
    # Its promise is a rate, not a certificate: tests/solvers/test_splitting_composite.py checks it step by step.
    assert used == public - {jt.solvers.AcceleratedChambollePock}
