from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Params, Scalar
from .._validate import require_nonnegative, require_positive
from ..mirror import AbstractMirrorMap
from ..problems import AbstractProblem, VariationalInequality
from ._base import AbstractSolver
from ._mirror_descent import require_mirror_map
from ._mirror_prox import inverse_rate, natural_error
from ._settings import count_setting, tolerance_setting


class OptimisticMirrorDescentState(eqx.Module):
    """State of `OptimisticMirrorDescent`.

    Attributes:
        dual: dual variable before the guess of the next image is taken into account.
        last: the last iterate.
        image: the operator there.
        average: the iterates, averaged.
        count: number of steps.
        residual_step: step size of the Euclidean residual that is the error.
        error: the error at the point that the step returned.
    """

    dual: Params
    last: Params
    image: Params
    average: Params
    count: Scalar
    residual_step: Scalar
    error: Scalar


class OptimisticMirrorDescent(AbstractSolver):
    """Optimistic mirror descent for a monotone `VariationalInequality`: each step guesses that F will be what it was.

    With duals t and `z_k = step(t_k, F(z_{k-1}))`, `t_{k+1}` takes in `F(z_k)`: one evaluation of F a step, where
    `MirrorProx` takes two. For an F that is L-Lipschitz in the norm of the map the bound of its average holds for step
    sizes up to `modulus / (2 L)`. `optimism=0` is plain simultaneous mirror descent (of entropies: multiplicative
    weights), whose average converges at the slower rate and whose last iterate need not converge at all.

    The error is that of `MirrorProx`.

    Rakhlin and Sridharan, "Online learning with predictable sequences", 2013; Popov, "A modification of the
    Arrow-Hurwicz method for search of saddle points", 1980.

    Args:
        mirror_map: the geometry, for example `mirror.Product((mirror.NegativeEntropy(), mirror.NegativeEntropy()))`.
        step_size: positive number.
        optimism: weight of the guess.
        average: return the average rather than the last iterate; the state has both.
        tol: tolerance on the error; 1e-8 in float64 and 1e-4 in float32 by default.
        max_steps: bound on the number of steps.

    Raises:
        TypeError: if `mirror_map` is none.
        ValueError: if a setting is out of range; when solving, if the start is outside of the domain of the map.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> game = jt.problems.MatrixGame(jnp.array([[2.0, -1.0], [-1.0, 1.0]]))
        >>> entropies = jt.mirror.Product((jt.mirror.NegativeEntropy(), jt.mirror.NegativeEntropy()))
        >>> solver = jt.OptimisticMirrorDescent(entropies, 0.25)
        >>> x, y = jt.solve(game, solver, (jnp.full(2, 0.5), jnp.full(2, 0.5))).params
        >>> print(x.round(2), y.round(2))
        [0.4 0.6] [0.4 0.6]
    """

    problem_kind: ClassVar[type[AbstractProblem]] = VariationalInequality
    mirror_map: AbstractMirrorMap
    step_size: Scalar
    optimism: Scalar
    tol: Scalar | None
    average: bool = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        mirror_map: AbstractMirrorMap,
        step_size: ArrayLike,
        *,
        optimism: ArrayLike = 1.0,
        average: bool = False,
        tol: ArrayLike | None = None,
        max_steps: int = 10_000,
    ):
        require_mirror_map(mirror_map)
        require_positive(step_size, "step_size")
        require_nonnegative(optimism, "optimism")
        self.mirror_map = mirror_map
        self.step_size = _tree.setting(step_size)
        self.optimism = _tree.setting(optimism)
        self.tol = tolerance_setting(tol)
        self.average = average
        self.max_steps = count_setting(max_steps, "max_steps")

    def check(self, problem: VariationalInequality, params: Params) -> None:
        self.mirror_map.check(params)

    def init(self, problem: VariationalInequality, params: Params) -> OptimisticMirrorDescentState:
        self.check(problem, params)
        dtype = _tree.dtype_of(params)
        image, residual_step = inverse_rate(problem, params)
        return OptimisticMirrorDescentState(
            dual=self.mirror_map.center_dual(self.mirror_map.to_dual(params)),
            last=params,
            image=image,
            average=_tree.zeros_like(params),
            count=jnp.zeros((), dtype),
            residual_step=residual_step,
            error=jnp.asarray(jnp.inf, dtype),
        )

    def step(
        self, problem: VariationalInequality, params: Params, state: OptimisticMirrorDescentState
    ) -> tuple[Params, OptimisticMirrorDescentState]:
        step_size = self.step_size.astype(state.error.dtype)
        last = self.mirror_map.from_dual(
            self._moved(problem, state.dual, state.image, step_size * self.optimism.astype(step_size.dtype), step_size)
        )
        image = problem.evaluate(last)
        dual = self._moved(problem, state.dual, image, step_size, step_size)
        count = state.count + 1
        average = _tree.add_scaled(state.average, 1 / count, _tree.sub(last, state.average))
        point = average if self.average else last
        point_image = problem.evaluate(average) if self.average else image
        return point, OptimisticMirrorDescentState(
            dual=self.mirror_map.center_dual(dual),
            last=last,
            image=image,
            average=average,
            count=count,
            residual_step=state.residual_step,
            error=natural_error(problem, point, point_image, state.residual_step),
        )

    def error(self, problem: VariationalInequality, params: Params, state: OptimisticMirrorDescentState) -> Scalar:
        return state.error

    def fixed_point_step(
        self, problem: VariationalInequality, params: Params, state: OptimisticMirrorDescentState
    ) -> Scalar:
        return state.residual_step

    def _moved(
        self, problem: VariationalInequality, dual: Params, image: Params, image_step: Scalar, step_size: Scalar
    ) -> Params:
        # The penalty counts in full whatever the weight of the guess.
        moved = self.mirror_map.dual_step(dual, image, image_step)
        return self.mirror_map.prox_dual(moved, problem.penalty, step_size)
