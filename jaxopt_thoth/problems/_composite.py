from collections.abc import Callable
from typing import Any, Self

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import BoolScalar, Params, Scalar
from ..penalties import AbstractPenalty, Zero
from ..smooth import AbstractSmooth, FunctionTerm
from ._base import AbstractProblem
from ._duality import duality_gap


class Composite(AbstractProblem):
    """Minimize `f(w) + g(w)`, f smooth and g simple: the pytree that is solved, batched and differentiated.

    Args:
        smooth: the term f; a plain function `fn(params)` is wrapped as a `FunctionTerm`.
        penalty: the term g with its proximal operator; `Zero()` by default.

    Raises:
        TypeError: if a term is of another kind.

    Example:
        >>> import jax.numpy as jnp
        >>> import jaxopt_thoth as jt
        >>> model = jt.LinearModel(jt.losses.Squared(), jnp.eye(2), jnp.array([3.0, 1.0]))
        >>> lasso = jt.Composite(model, jt.penalties.L1(0.5))
        >>> print(lasso.value(jnp.array([2.0, 0.0])))
        1.5
    """

    smooth: AbstractSmooth
    penalty: AbstractPenalty

    def __init__(self, smooth: AbstractSmooth | Callable[[Params], Scalar], penalty: AbstractPenalty | None = None):
        if not isinstance(smooth, AbstractSmooth):
            if not callable(smooth):
                raise TypeError(f"smooth must be a smooth term or a function, got {type(smooth).__name__}.")
            smooth = FunctionTerm(smooth)
        if penalty is None:
            penalty = Zero()
        if not isinstance(penalty, AbstractPenalty):
            raise TypeError(
                f"penalty must be one of jaxopt_thoth.penalties, got {type(penalty).__name__}; "
                "build it first, for example L1(0.1)."
            )
        self.smooth = smooth
        self.penalty = penalty

    def value(self, params: Params) -> Scalar:
        """Objective f(params) + g(params)."""
        return self.smooth.value(params) + self.penalty.value(params)

    def forward_backward(self, params: Params, step: ArrayLike) -> Params:
        """The map `prox_{step g}(w - step grad f(w))`, whose fixed points are the solutions of a convex problem."""
        moved = _tree.add_scaled(params, -jnp.asarray(step), self.smooth.gradient(params))
        return self.penalty.prox(moved, step)

    def fixed_point(self, params: Params, step: ArrayLike) -> Params:
        return self.forward_backward(params, step)

    def duality_gap(self, params: Params) -> Scalar:
        """Upper bound of `value(params) - minimum` by Fenchel duality; needs a `LinearModel` and a conjugate of g."""
        return duality_gap(self.smooth, self.penalty, params)

    def is_feasible(self, params: Params) -> BoolScalar:
        """Whether the constraint set is not empty and f is below infinity at `params`."""
        feasible = self.penalty.is_feasible()
        return feasible if self.smooth.has_full_domain else feasible & ~jnp.isposinf(self.smooth.value(params))

    def closed(self, params: Params) -> Self:
        """The same problem with every array that its functions close over turned into a leaf."""
        closed: Any = self.smooth.closed(params)
        return self if closed is self.smooth else eqx.tree_at(lambda p: p.smooth, self, closed)

    def check(self, params: Params) -> Params:
        """`params` as floating-point arrays in the problem's dtype; raises `ValueError` when the shape does not fit."""
        return self.smooth.check(_tree.as_inexact(params))
