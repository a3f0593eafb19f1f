"""The peers of `erm.py`: each gives `run(tol)` to `(coef, intercept)` for the problems that it knows."""

import logging
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import scipy.sparse as sp
from _erm_data import Data, Task


Run = Callable[[float], tuple[np.ndarray, Any]]
PEERS = ("cyanure", "scikit-learn", "celer", "skglm")
_MODULES = {"cyanure": "cyanure", "scikit-learn": "sklearn", "celer": "celer", "skglm": "skglm"}
ELASTIC = 0.5


def installed(peer: str) -> bool:
    return find_spec(_MODULES[peer]) is not None


def run_of(peer: str, task: Task, data: Data, strength: float, **settings: Any) -> Run | None:
    """How a peer solves a task, or None where it has no solver for it."""
    return _BUILDERS[peer](task, data, strength, **settings)


def targets_of(task: Task, data: Data) -> np.ndarray:
    if task.loss in ("logistic", "squared hinge"):
        return data.labels
    return data.targets.astype(int) if task.loss == "multinomial" else data.targets


def _fitted(model: Any, design: Any, targets: np.ndarray) -> tuple[np.ndarray, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(design, targets)
    # Cyanure has no attribute of an intercept that was not asked for.
    return np.asarray(model.coef_), np.asarray(getattr(model, "intercept_", 0.0))


def cyanure(task: Task, data: Data, strength: float, solver: str = "auto", **settings: Any) -> Run:
    from cyanure import estimators

    logging.disable(logging.WARNING)
    losses = {"squared": "square", "logistic": "logistic", "squared hinge": "sqhinge", "multinomial": "logistic"}
    penalties = {"elastic net": "elasticnet", "l1": "l1", "l2": "l2", "l1l2": "l1l2"}
    strengths = {"lambda_1": strength}
    if task.penalty == "elastic net":
        strengths = {"lambda_1": ELASTIC * strength, "lambda_2": (1 - ELASTIC) * strength}
    common: dict[str, Any] = {"fit_intercept": task.intercept, "max_iter": 2000, "verbose": False, "solver": solver}
    common |= {"n_threads": 2, "random_state": 0} | strengths | settings
    wide = task.penalty == "l1" and data.design.shape[1] > 1000
    # Its classes of their own use an active set for wide designs.
    wide_class = {"squared": estimators.Lasso, "logistic": estimators.L1Logistic}.get(task.loss) if wide else None
    targets, dense = targets_of(task, data), not sp.issparse(data.design)
    # It keeps a transposed copy, which it makes at each fit of another layout.
    design = np.asfortranarray(data.design) if dense else data.design

    def run(tol: float) -> tuple[np.ndarray, Any]:
        if wide_class is not None:
            model = wide_class(tol=tol, **common)
        else:
            named = {"penalty": penalties[task.penalty], "tol": tol, **common}
            if task.loss == "squared":
                model = estimators.Regression(**named)
            else:
                multi = {"multi_class": "multinomial"} if task.loss == "multinomial" else {}
                model = estimators.Classifier(loss=losses[task.loss], **multi, **named)
        coef, intercept = _fitted(model, design, targets)
        coef = coef if task.loss == "multinomial" else coef.ravel()
        return (coef.T if coef.shape[0] != data.design.shape[1] else coef), intercept

    return run


def scikit_learn(task: Task, data: Data, strength: float) -> Run | None:
    from sklearn import linear_model, svm

    targets, design = targets_of(task, data), data.design
    tall = design.shape[0] > 5 * design.shape[1] and not sp.issparse(design)
    inverse = 1 / (data.num_rows * strength)

    def build(tol: float) -> Any:
        common = {"tol": tol, "max_iter": 100_000}
        if task.loss in ("logistic", "multinomial") and task.penalty == "l2":
            solver = "newton-cholesky" if tall and task.loss == "logistic" else "lbfgs"
            return linear_model.LogisticRegression(C=inverse, solver=solver, fit_intercept=task.intercept, **common)
        if task.loss == "logistic" and task.penalty == "l1" and not task.intercept:
            return linear_model.LogisticRegression(
                C=inverse, l1_ratio=1.0, solver="liblinear", fit_intercept=False, **common
            )
        if task.loss == "squared hinge" and not task.intercept:
            dual = design.shape[0] < design.shape[1]
            return svm.LinearSVC(C=inverse / 2, dual=dual, fit_intercept=False, **common)
        if task.loss == "squared" and task.penalty in ("l1", "elastic net"):
            ratio = 1.0 if task.penalty == "l1" else ELASTIC
            return linear_model.ElasticNet(
                alpha=strength, l1_ratio=ratio, fit_intercept=task.intercept, tol=tol, max_iter=100_000
            )
        return None

    if build(1e-3) is None:
        return None
    fortran = np.asfortranarray(design) if not sp.issparse(design) else design.tocsc()
    layout = fortran if task.loss == "squared" else design

    def run(tol: float) -> tuple[np.ndarray, Any]:
        coef, intercept = _fitted(build(tol), layout, targets)
        return _columns(task, coef), intercept

    return run


def celer(task: Task, data: Data, strength: float) -> Run | None:
    if task.penalty not in ("l1", "elastic net") or task.loss not in ("squared", "logistic"):
        return None
    if task.loss == "logistic" and (task.intercept or task.penalty != "l1"):
        return None
    import celer as package

    design = data.design.tocsc() if sp.issparse(data.design) else np.asfortranarray(data.design)
    targets = targets_of(task, data)

    def run(tol: float) -> tuple[np.ndarray, Any]:
        if task.loss == "logistic":
            model = package.LogisticRegression(C=1 / (data.num_rows * strength), tol=tol, fit_intercept=False)
        elif task.penalty == "l1":
            model = package.Lasso(strength, tol=tol, fit_intercept=task.intercept)
        else:
            model = package.ElasticNet(strength, l1_ratio=ELASTIC, tol=tol, fit_intercept=task.intercept)
        coef, intercept = _fitted(model, design, targets)
        return _columns(task, coef), intercept

    return run


def skglm(task: Task, data: Data, strength: float) -> Run | None:
    if task.penalty not in ("l1", "elastic net") or task.loss not in ("squared", "logistic"):
        return None
    from skglm import datafits, GeneralizedLinearEstimator, penalties, solvers

    design = data.design.tocsc() if sp.issparse(data.design) else np.asfortranarray(data.design)
    targets = targets_of(task, data)
    penalty = penalties.L1(strength) if task.penalty == "l1" else penalties.L1_plus_L2(strength, ELASTIC)

    def run(tol: float) -> tuple[np.ndarray, Any]:
        if task.loss == "squared":
            datafit, solver = datafits.Quadratic(), solvers.AndersonCD(tol=tol, fit_intercept=task.intercept)
        else:
            datafit, solver = datafits.Logistic(), solvers.ProxNewton(tol=tol, fit_intercept=task.intercept)
        coef, intercept = _fitted(GeneralizedLinearEstimator(datafit, penalty, solver), design, targets)
        return _columns(task, coef), intercept

    return run


def _columns(task: Task, coef: np.ndarray) -> np.ndarray:
    return coef.T if task.loss == "multinomial" else coef.ravel()


_BUILDERS: dict[str, Callable[..., Run | None]] = {
    "cyanure": cyanure,
    "scikit-learn": scikit_learn,
    "celer": celer,
    "skglm": skglm,
}
