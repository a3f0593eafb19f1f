from typing import Any

from ..losses import AbstractLoss
from ..penalties import AbstractPenalty
from ..solvers import AbstractSolver
from ._classifier_base import LinearClassifier


class Classifier(LinearClassifier):
    """A linear classifier with any loss and any penalty, `1/n sum_i loss((X w)_i + b, y_i) + penalty(w)`.

    Of more than two classes the logistic loss makes the multinomial model; the other losses, and `multi_class="ovr"`,
    fit each class against all others, all classes in one call and each to its own tolerance. Attributes: `coef_`, (p,)
    or (p, k), a column for each class (the transpose of scikit-learn's); `intercept_`; `classes_`; `n_features_in_`;
    `n_iter_` and `dual_gap_`, a number for each problem; `optimization_info_`, (problems, 6, checks), whose rows are
    epoch, primal, dual, relative gap, error of the solver where there is no gap, and seconds.

    Args:
        loss: "square", "logistic", "sqhinge" (or "squared_hinge", half of the square), "safe-logistic",
            "multiclass-logistic", "hinge", or one of `losses`.
        penalty: None or "none", "l2" (`lambda_1/2 |w|^2`), "l1", "elasticnet" (`lambda_1 |w|_1 + lambda_2/2 |w|^2`),
            "fused-lasso" (that, plus `lambda_3 sum_j |w_j - w_{j-1}|`), "l1-ball" and "l2-ball" of radius `lambda_1`;
            for several columns these act on each. "l1l2" and "l1linf" are `lambda_1` times the sum of the norms of
            rows, "l1l2+l1" that plus `lambda_2 |W|_1`. Or one of `penalties`, which acts on the whole.
        fit_intercept: whether there is an intercept, which no penalty touches.
        tol: bound on the duality gap relative to the objective; without a gap, on the error of the solver.
        solver: a name as in `erm.fit`, or a solver of `jaxopt_thoth.solvers`. "miso" stands for "catalyst-miso" where
            the problem is not strongly convex.
        random_state: seed of the solvers that draw rows: an integer, a generator of NumPy, or None.
        max_iter: bound on the epochs of solvers that draw rows, and on the steps of the others; 0 evaluates the start.
        fista_restart: outer steps after which Catalyst forgets its momentum.
        verbose: print the record of the checks after the fit.
        warm_start: begin at the last `coef_` and `intercept_` where they have the right shape.
        multi_class: "auto", "ovr" or "multinomial".
        limited_memory_qning: number of pairs that QNing keeps.
        lambda_1, lambda_2, lambda_3: strengths of the penalty; a penalty without strength is none.
        duality_gap_interval: epochs between two checks of the gap.
        n_threads, dual: have no effect; they are taken so that programs for Cyanure run.
        safe: whether to look for NaN and infinity in the data.
        class_weight: None, "balanced" or a dictionary from class to weight.

    Raises:
        ValueError: in `fit`, for settings out of range, unknown names, data that are not finite, and a single class.

    Data in float64 are fitted in double precision, whatever the setting of JAX; float32 stays float32. Warns with
    scikit-learn's `ConvergenceWarning` if the tolerance is not reached.

    Mairal, "Cyanure: an open-source toolbox for empirical risk minimization", 2019.

    Example:
        >>> import numpy as np
        >>> from jaxopt_thoth.linear_model import Classifier
        >>> X, y = np.array([[-2.0], [-1.0], [1.0], [3.0]]), ["no", "no", "yes", "yes"]
        >>> print(Classifier(loss="sqhinge", lambda_1=0.1).fit(X, y).predict([[-4.0], [2.0]]))
        ['no' 'yes']
    """

    def __init__(
        self,
        loss: str | AbstractLoss = "square",
        penalty: str | AbstractPenalty | None = "l2",
        fit_intercept: bool = True,
        tol: float = 1e-3,
        solver: str | AbstractSolver = "auto",
        random_state: Any = 0,
        max_iter: int = 500,
        fista_restart: int = 50,
        verbose: bool = False,
        warm_start: bool = False,
        multi_class: str = "auto",
        limited_memory_qning: int = 20,
        lambda_1: float = 0.0,
        lambda_2: float = 0.0,
        lambda_3: float = 0.0,
        duality_gap_interval: int = 5,
        n_threads: int = -1,
        dual: Any = None,
        safe: bool = True,
        class_weight: Any = None,
    ):
        self.loss = loss
        self.penalty = penalty
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.solver = solver
        self.random_state = random_state
        self.max_iter = max_iter
        self.fista_restart = fista_restart
        self.verbose = verbose
        self.warm_start = warm_start
        self.multi_class = multi_class
        self.limited_memory_qning = limited_memory_qning
        self.lambda_1 = lambda_1
        self.lambda_2 = lambda_2
        self.lambda_3 = lambda_3
        self.duality_gap_interval = duality_gap_interval
        self.n_threads = n_threads
        self.dual = dual
        self.safe = safe
        self.class_weight = class_weight
