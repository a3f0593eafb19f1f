from typing import Any, ClassVar

import equinox as eqx
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Params, Scalar
from .._validate import require_positive
from ..problems import AbstractProblem, Composite
from ._as_saddle_point import as_saddle_point, first_pair, of_kind, require_split, smooth_prox
from ._base import AbstractSolver
from ._davis_yin import require_no_operator, split, SplittingState, start
from ._inverse_curvature import inverse_curvature
from ._settings import count_setting, tolerance_setting


class DouglasRachford(AbstractSolver):
    """Douglas-Rachford splitting for a sum of two penalties `g(x) + h(x)`, by a prox of each a step.

    The problem is a `SaddlePoint` without f and operator, `SaddlePoint(None, g, h)`; with two indicators it finds a
    point of two sets. It solves a `Composite` problem with a quadratic f of vectors too, by the prox of f, which is
    factored once; the solution is x alone then. From z one step takes `x = prox_{t g}(z)`, `v = prox_{t h}(2x - z)` and
    `z + relaxation (v - x)`; `u = (2x - z - v) / t` is the dual variable, a subgradient of h at v. It converges for any
    t > 0. With `adaptive` t moves to `|x| / |u|`, which balances the two residuals, by at most a factor of ten, after
    8, 16, 32, ... steps, so that the method with a fixed step has ever more steps between.

    The error is the relative KKT residual of the pair `(x, u)`: `|x - v| / t` relative to `max(1, |u|)`, or `|x - v|`
    relative to `max(1, |x|)` where that is larger. x is in the set of g, and in that of h in the limit; where the two
    do not meet, the result is `max_steps_reached` and the error says how far apart they are.

    Args:
        step_size: the step t at the start.
        relaxation: stretches the move of z; between 0 and 2.
        adaptive: let the step move.
        tol: tolerance on the error; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of steps.

    Raises:
        ValueError: if a setting is out of range; at a solve, if a saddle point has a smooth term or an operator.
        TypeError: at a solve, if the smooth term of a composite problem has no prox.

    P.-L. Lions and B. Mercier, "Splitting algorithms for the sum of two nonlinear operators", 1979.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> sparse = jt.penalties.Translated(jt.penalties.L1(1.0), jnp.array([2.0, -1.0]))
        >>> problem = jt.SaddlePoint(None, jt.penalties.Simplex(), sparse)
        >>> x, _ = jt.solve(problem, jt.DouglasRachford(), jnp.zeros(2)).params
        >>> print(x.round(2))
        [1. 0.]
    """

    problem_kind: ClassVar[type[AbstractProblem]] = AbstractProblem

    step_size: Scalar
    relaxation: Scalar
    tol: Scalar | None
    adaptive: bool = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        step_size: ArrayLike = 1.0,
        *,
        relaxation: ArrayLike = 1.0,
        adaptive: bool = True,
        tol: ArrayLike | None = None,
        max_steps: int = 50_000,
    ):
        require_positive(step_size, "step_size")
        require_positive(relaxation, "relaxation")
        require_positive(2 - _tree.setting(relaxation), "2 - relaxation")
        self.step_size = _tree.setting(step_size)
        self.relaxation = _tree.setting(relaxation)
        self.tol = tolerance_setting(tol)
        self.adaptive = adaptive
        self.max_steps = count_setting(max_steps, "max_steps")

    def check(self, problem: Any, params: Params) -> None:
        require_no_operator(problem, "DouglasRachford")
        if isinstance(problem, Composite):
            require_split(problem, params, "DouglasRachford", scores=False)
        elif problem.smooth is not None:
            raise ValueError("DouglasRachford takes no smooth term, and problem.smooth is one; use DavisYin().")

    def init(self, problem: Any, params: Params) -> SplittingState:
        term = smooth_prox(problem, scores=False)
        saddle = as_saddle_point(problem, term)
        x, u = first_pair(problem, saddle, params)
        return start(saddle, x, u, self.step_size, 0.0, term)

    def step(self, problem: Any, params: Params, state: SplittingState) -> tuple[Params, SplittingState]:
        new, new_state = split(as_saddle_point(problem, state.term), state, self.relaxation, self.adaptive)
        return of_kind(problem, new), new_state

    def error(self, problem: Any, params: Params, state: SplittingState) -> Scalar:
        return state.error

    def fixed_point_step(self, problem: Any, params: Params, state: SplittingState) -> Scalar:
        return inverse_curvature(problem, params) if isinstance(problem, Composite) else 1 / (1 + state.curvature)
