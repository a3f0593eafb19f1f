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


class StocBiO(AbstractAmortizedSolver):
    """Stochastic bilevel optimizer: the adjoint is a Neumann series of sampled Hessians, made anew at each outer step.

    `q = eta sum_{j < J} (I - eta H_1) ... (I - eta H_j) g`, each H from a batch of its own; the truncation leaves a
    relative bias of about `(1 - eta mu)^J`. The inner variable starts where it was.

    Ji, Yang and Liang, "Bilevel optimization: convergence analysis and enhanced design", 2021, Algorithms 2 and 3.

    Args:
        optimizer: optax transformation of the hypergradient.
        inner_step: step of the inner variable, a number or a schedule (a function of the number of outer steps taken).
        adjoint_step: eta of the series, below twice the inverse of the largest curvature; as `inner_step` by default.
        inner_steps: inner steps for each outer step.
        terms: number J of terms.
        key, batch_size, tol, max_steps: as in `SOBA`; the bias of the series bounds the error from below.

    Raises:
        TypeError: if `optimizer` is none; when solving, if the inner problem has a penalty.
        ValueError: if a setting is out of range; when solving, if the data has no rows to draw.

    Example:
        >>> import jax, jax.numpy as jnp, optax, jaxopt_thoth as jt
        >>> inner = lambda w, h: jnp.sum((w - 2.0) ** 2) / 2 + jnp.exp(h) * jnp.sum(w**2) / 2  # w* = 2 / (1 + e^h)
        >>> problem = jt.bilevel.Bilevel(lambda w, h: jnp.sum((w - 1.0) ** 2), inner)
        >>> solver = jt.bilevel.StocBiO(optax.sgd(0.3), 0.3, key=jax.random.key(0), max_steps=200)
        >>> print(bool(abs(jt.solve(problem, solver, (1.0, jnp.zeros(1))).params.hyper) < 1e-3))
        True
    """

    optimizer: optax.GradientTransformation
    inner_step: Array | Schedule
    adjoint_step: Array | Schedule
    key: Key[Array, ""]
    tol: Scalar | None
    inner_steps: int = eqx.field(static=True)
    terms: int = eqx.field(static=True)
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
        terms: int = 10,
        batch_size: int | None = None,
        tol: ArrayLike | None = None,
        max_steps: int = 1000,
    ):
        self.terms = count_setting(terms, "terms", 1)
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
        def body(k: IntScalar, carry: tuple[Params, Params]) -> tuple[Params, Params]:
            term, total = carry
            curved = self.hessian_product(problem, point, term, jax.random.fold_in(key, k))
            term = _tree.add_scaled(term, -step_size, curved)
            return term, _tree.add(total, term)

        return _tree.scale(step_size, lax.fori_loop(0, self.terms - 1, body, (target, target))[1])

    def measured_directions(self, gradient: Params, residual: Params, along_hyper: Params) -> Scalar:
        # What the truncated series leaves is its bias, which no step removes.
        return self.measured(gradient, along_hyper)
