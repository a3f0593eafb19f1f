"""What all estimators share: settings, the fit in numbers, its record, and products with new rows."""

import numbers
import time
import warnings
from collections.abc import Sequence
from typing import Any, Self

import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax.experimental import sparse as jsparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ..erm._solvers import NAMES
from ..losses import AbstractLoss
from ..operators import AbstractOperator
from ..solvers import AbstractSolver
from ._engine import Outcome, precision, run, Settings
from ._terms import clean, is_by_row, strongly_convex


# More features than this are fitted by working sets, where the penalty is the l1 norm.
WIDE = 1000
_HEAD = "   epoch        primal          dual   gap (relative)"


class LinearEstimator(BaseEstimator):
    """The base of the estimators of this room; the settings are those of `Classifier`."""

    _sets_where_wide = False
    # The settings that some estimators leave out.
    loss: Any = "square"
    penalty: Any = "l2"
    lambda_1: float = 0.0
    lambda_2: float = 0.0
    lambda_3: float = 0.0
    multi_class: str = "auto"
    class_weight: Any = None
    solver: Any
    tol: float
    duality_gap_interval: int
    max_iter: int
    limited_memory_qning: int
    fista_restart: int
    verbose: bool
    warm_start: bool
    n_threads: int
    random_state: Any
    fit_intercept: bool
    dual: Any
    safe: bool

    coef_: Any
    intercept_: Any
    n_features_in_: int

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _check_settings(self) -> None:
        for name in ("lambda_1", "lambda_2", "lambda_3", "tol"):
            value = getattr(self, name)
            if not isinstance(value, numbers.Real) or not 0 <= float(value) < np.inf:
                raise ValueError(f"{name} must be a finite nonnegative number, got {value!r}.")
        least = {"max_iter": 0, "duality_gap_interval": 1, "limited_memory_qning": 1, "fista_restart": 1}
        for name, low in least.items():
            value = getattr(self, name)
            if not isinstance(value, numbers.Integral) or value < low:
                raise ValueError(f"{name} must be an integer of at least {low}, got {value!r}.")
        if self.multi_class not in ("auto", "ovr", "multinomial"):
            raise ValueError(f"multi_class must be one of auto, ovr, multinomial, got {self.multi_class!r}.")
        known = (*NAMES, "svrg-uniform")
        if not isinstance(self.solver, AbstractSolver) and self.solver not in known:
            raise ValueError(f"solver must be one of {', '.join(known)}, or a solver, got {self.solver!r}.")

    def _validated(self, X: Any, y: Any = "no_validation", **more: Any) -> Any:
        """The data as scikit-learn checks them, the design in float32 or float64."""
        if isinstance(X, jsparse.BCOO):
            places = np.asarray(X.indices)
            X = scipy.sparse.coo_array((np.asarray(X.data), (places[:, 0], places[:, 1])), X.shape).tocsr()
        if isinstance(X, AbstractOperator):
            self.n_features_in_ = X.shape[1]
            return X, np.asarray(y)
        options: dict[str, Any] = {
            "accept_sparse": "csr",
            "accept_large_sparse": True,
            "dtype": [np.float64, np.float32],
            "ensure_all_finite": bool(self.safe),
        }
        return validate_data(self, X, y, **options, **more)

    def _weights(self, sample_weight: Any, X: Any) -> np.ndarray | None:
        if sample_weight is None:
            return None
        rows = X if not isinstance(X, AbstractOperator) else np.empty((X.shape[0], 1), X.dtype)
        weights = _check_sample_weight(sample_weight, rows, dtype=np.float64, ensure_non_negative=True)
        if not weights.any():
            raise ValueError("sample_weight must not be zero for all samples.")
        return weights

    def _solver_for(self, penalty: Any, num_features: int) -> Any:
        """The solver that the settings ask for; MISO needs a strongly convex problem, which Catalyst makes of any."""
        if self._sets_where_wide and self.solver == "auto" and penalty == "l1" and num_features > WIDE:
            return "cd"
        if self.solver == "svrg-uniform":
            return "svrg"
        if self.solver == "miso" and (self.fit_intercept or not strongly_convex(penalty)):
            return "catalyst-miso"
        return self.solver

    def _optimize(
        self,
        X: Any,
        targets: np.ndarray,
        weights: np.ndarray | None,
        loss: AbstractLoss,
        num_classes: int | None = None,
    ) -> None:
        """Fit, and set the attributes that tell of it; targets of several columns have as many columns of `coef_`."""
        columns = num_classes if num_classes is not None else targets.shape[1] if targets.ndim == 2 else 1
        strengths = (float(self.lambda_1), float(self.lambda_2), float(self.lambda_3))
        penalty, strengths = clean(self.penalty, strengths, columns)
        apart = targets.ndim == 2 and not is_by_row(penalty)
        settings = Settings(
            penalty=penalty if isinstance(penalty, str) else "",
            solver=self._solver_for(penalty, X.shape[1]) if isinstance(self.solver, str) else "",
            max_iter=int(self.max_iter),
            gap_every=int(self.duality_gap_interval),
            fit_intercept=bool(self.fit_intercept),
            num_classes=num_classes,
            memory=int(self.limited_memory_qning),
            restart=int(self.fista_restart),
            apart=apart,
        )
        solver = self.solver if isinstance(self.solver, AbstractSolver) else settings.solver
        shape = (X.shape[1], columns) if targets.ndim == 2 or num_classes is not None else (X.shape[1],)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        begin = time.perf_counter()
        found = run(
            X,
            targets,
            weights,
            self._start(shape),
            loss,
            penalty,
            strengths,
            solver,
            float(self.tol),
            seed,
            settings,
        )
        self._record(found, time.perf_counter() - begin)

    def _start(self, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray] | None:
        if not self.warm_start or not hasattr(self, "coef_"):
            return None
        coef = self._dense_coef()
        if coef.shape != shape:
            return None
        return coef, np.broadcast_to(self.intercept_, shape[1:])

    def _record(self, found: Outcome, seconds: float) -> None:
        self.coef_ = np.array(found.coef)
        self.intercept_ = np.array(found.intercept) if found.intercept.ndim else found.intercept[()]
        single = len(found.num_steps) == 1
        self.n_iter_ = int(found.num_steps[0]) if single else np.array(found.num_steps)
        self.dual_gap_ = float(found.gap[0]) if single else np.array(found.gap)
        self.optimization_info_ = information(found.history, found.gap, seconds)
        if self.verbose:
            report(self.optimization_info_)
        if self.max_iter > 0:
            warn_of(found, self.max_iter, self.tol)

    def _dense_coef(self) -> np.ndarray:
        coef = self.coef_
        if scipy.sparse.issparse(coef):
            coef = coef.toarray()
            coef = coef if np.ndim(self.intercept_) else coef.ravel()
        return coef

    def _scores(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        if isinstance(X, AbstractOperator):
            with precision(X.dtype):
                return np.asarray(X.matvec(jnp.asarray(self._dense_coef().astype(X.dtype)))) + self.intercept_
        X = self._validated(X, reset=False)
        product = X @ self.coef_
        product = product.toarray() if scipy.sparse.issparse(product) else np.asarray(product)
        return (product if np.ndim(self.intercept_) else product.reshape(-1)) + self.intercept_

    def get_weights(self) -> Any:
        """The coefficients, and with an intercept the pair of both."""
        check_is_fitted(self)
        return (self.coef_, self.intercept_) if self.fit_intercept else self.coef_

    def densify(self) -> Self:
        """Make `coef_` a dense array, as it is after a fit."""
        check_is_fitted(self)
        self.coef_ = self._dense_coef()
        return self

    def sparsify(self) -> Self:
        """Make `coef_` a sparse matrix (p, k), k = 1 for a vector: smaller where most are zero."""
        check_is_fitted(self)
        coef = self._dense_coef()
        self.coef_ = scipy.sparse.csr_matrix(coef if coef.ndim == 2 else coef[:, None])
        return self


def information(history: np.ndarray, gap: np.ndarray, seconds: float) -> np.ndarray:
    """The record of the checks, (problems, 6, checks): epoch, primal, dual, relative gap, error, seconds.

    Without a gap the fifth row has the error of the solver. The fit is one compiled call, whose seconds are spread over
    its epochs.
    """
    checks = int(np.max(np.sum(~np.isnan(history[..., 0]), 1)))
    step, primal, dual, error = np.moveaxis(history[:, :checks], -1, 0)
    bounded = np.isfinite(gap)[:, None]
    share = step / np.maximum(np.nanmax(step), 1)
    blank = np.nan
    rows = [step, primal, np.where(bounded, dual, blank), np.where(bounded, error, blank)]
    return np.stack([*rows, np.where(bounded, blank, error), seconds * share], 1)


def report(record: np.ndarray) -> None:
    """Print what every check has seen."""
    for number, problem in enumerate(record):
        print(f"Problem {number + 1} of {len(record)}, {np.nanmax(problem[5]):.2f} s")
        print(_HEAD)
        for epoch, primal, dual, gap, *_ in problem.T[~np.isnan(problem[0])]:
            print(f"{int(epoch):8d} {primal:13.6g} {dual:13.6g} {gap:16.3e}")


def warn_of(found: Outcome, max_iter: int, tol: float) -> None:
    """Warn of problems that are not solved to the tolerance, with the gap that was reached."""
    if found.converged.all():
        return
    counts = found.num_steps[~found.converged]
    if not found.finite.all():
        message = "The fit left the range of floating-point numbers; standardize X, or take a smaller step."
    else:
        last = [row[~np.isnan(row[:, 0])][-1, 3] for row in found.history[~found.converged]]
        bounded = np.isfinite(found.gap[~found.converged]).all()
        kind = "a relative duality gap" if bounded else "an error of the solver"
        message = (
            f"The fit stopped after {_most(counts)} epochs at {kind} of {_most(last):.2e}, above tol={tol:g}; "
            f"raise max_iter={max_iter}, standardize X, add a penalty, or ask for another solver."
        )
    warnings.warn(message, ConvergenceWarning, stacklevel=5)


def _most(values: Sequence[Any] | np.ndarray) -> Any:
    return max(values)
