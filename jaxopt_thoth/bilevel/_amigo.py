import equinox as eqx
import jax
import optax
from jax import lax
from jaxtyping import Array, ArrayLike, Key

from .. import _tree
from .._types import IntScalar, Params, Scalar
from ..solvers._settings import count_setting
from ._amortized import AbstractAmortizedSolver, amortized_settings
from ._bilevel import Bilevel, BilevelPoint
from ._stochastic import common_settings, Schedule


class AmIGO(AbstractAmortizedSolver):
    """Amortized implicit gradient optimization: warm-started stochastic steps for the inner variable and the adjoint.

    Each outer step takes some stochastic gradient steps of the inner objective, then some of the adjoint's quadratic
    `q'Hq/2 - q'g` with g from one outer batch and H from a fresh batch a step, both from where they were, and moves the
    outer variable along the hypergradient that they give.

    Arbel and Mairal, "Amortized implicit differentiation for stochastic bilevel optimization", 2022, Algorithm 1.

    Args:
        optimizer: optax transformation of the hypergradient.
        inner_step: step of the inner variable, a number or a schedule (a function of the number of outer steps taken).
        adjoint_step: the same of the adjoint; as `inner_step` by default.
        inner_steps: inner steps for each outer step.
        adjoint_steps: adjoint steps for each outer step.
        key, batch_size, tol, max_steps: as in `SOBA`.

    Raises:
        TypeError: if `optimizer` is none; when solving, if the inner problem has a penalty.
        ValueError: if a setting is out of range; when solving, if the data has no rows to draw.

    Example:
        >>> import jax, jax.numpy as jnp, optax, jaxopt_thoth as jt
        >>> inner = lambda w, h: jnp.sum((w - 2.0) ** 2) / 2 + jnp.exp(h) * jnp.sum(w**2) / 2  # w* = 2 / (1 + e^h)
        >>> problem = jt.bilevel.Bilevel(lambda w, h: jnp.sum((w - 1.0) ** 2), inner)
        >>> solver = jt.bilevel.AmIGO(optax.sgd(0.3), 0.3, key=jax.random.key(0))
        >>> print(bool(abs(jt.solve(problem, solver, (1.0, jnp.zeros(1))).params.hyper) < 1e-3))
        True
    """

    optimizer: optax.GradientTransformation
    inner_step: Array | Schedule
    adjoint_step: Array | Schedule
    key: Key[Array, ""]
    tol: Scalar | None
    inner_steps: int = eqx.field(static=True)
    adjoint_steps: int = eqx.field(static=True)
    batch_size: int | None = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        optimizer: optax.GradientTransformation,
        inner_step: ArrayLike | Schedule = 0.1,
        adjoint_step: ArrayLike | Schedule | None = None,
        *,
        key: Key[Array, ""],
        inner_steps: int = 10,
        adjoint_steps: int = 10,
        batch_size: int | None = None,
        tol: ArrayLike | None = None,
        max_steps: int = 1000,
    ):
        self.adjoint_steps = count_setting(adjoint_steps, "adjoint_steps", 1)
        settings = common_settings(optimizer, key, batch_size, tol, max_steps)
        for name, value in (settings | amortized_settings(inner_step, adjoint_step, inner_steps)).items():
            setattr(self, name, value)

    def estimated_adjoint(
        self,
        problem: Bilevel,
        point: BilevelPoint,
        start: Params,
        target: Params,
        step_size: Scalar,
        key: Key[Array, ""],
    ) -> Params:
        def body(k: IntScalar, adjoint: Params) -> Params:
            curved = self.hessian_product(problem, point, adjoint, jax.random.fold_in(key, k))
            return _tree.add_scaled(adjoint, -step_size, _tree.sub(curved, target))

        return lax.fori_loop(0, self.adjoint_steps, body, start)
