from collections.abc import Callable
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import BoolScalar, Params, Scalar
from ..penalties import AbstractPenalty, Zero
from ._base import AbstractProblem


class VariationalInequality(AbstractProblem):
    """Find z with `<F(z), w - z> + g(w) - g(z) >= 0` for every w: zeros, saddle points and equilibria of monotone F.

    For the saddle points of `min_x max_y f(x, y)` F is `(grad_x f, -grad_y f)` of the pair; g is most often the
    indicator of a set, or a `SeparableSum` of those of the players. With g = 0 it is the equation `F(z) = 0`.

    Args:
        operator: monotone function `operator(params, *args)` from the parameters to a pytree like them; arrays it
            closes over are differentiated too.
        penalty: the convex term g; `Zero()` by default.
        args: pytrees passed on to the operator; their arrays are leaves of the problem.

    Raises:
        TypeError: if the operator is not callable, or the penalty is none.
        ValueError: if the penalty is not convex; when solving, if the operator does not return a pytree like `params`.

    Nemirovski, "Prox-method with rate of convergence O(1/t) for variational inequalities with Lipschitz continuous
    monotone operators and smooth convex-concave saddle point problems", 2004.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> turn = jnp.array([[0.0, 1.0], [-1.0, 0.0]])
        >>> problem = jt.problems.VariationalInequality(lambda z: turn @ z + 1.0, jt.penalties.Box(-2.0, 2.0))
        >>> print(jt.solve(problem, jt.MirrorProx(jt.mirror.Euclidean()), jnp.zeros(2)).params.round(2))
        [ 1. -1.]
    """

    operator: Callable[..., Params]
    penalty: AbstractPenalty
    args: tuple[Any, ...]

    def __init__(self, operator: Callable[..., Params], penalty: AbstractPenalty | None = None, *args: Any):
        if not callable(operator):
            raise TypeError(f"operator must be a callable operator(params, *args), got {type(operator).__name__}.")
        penalty = Zero() if penalty is None else penalty
        if not isinstance(penalty, AbstractPenalty):
            raise TypeError(
                f"penalty must be one of jaxopt_thoth.penalties, got {type(penalty).__name__}; "
                "build it first, for example Simplex()."
            )
        if not penalty.is_convex:
            raise ValueError(f"penalty must be convex, and {type(penalty).__name__} is not; take a convex one.")
        self.operator = operator
        self.penalty = penalty
        self.args = args

    def evaluate(self, params: Params) -> Params:
        """F at `params`."""
        return self.operator(params, *self.args)

    def value(self, params: Params) -> Scalar:
        """Norm of the natural residual `z - prox(z - F(z))`, which is zero at a solution and only there."""
        return _tree.norm(self.optimality(params))

    def fixed_point(self, params: Params, step: ArrayLike) -> Params:
        """`prox_{step g}(z - step F(z))`."""
        return self.penalty.prox(_tree.add_scaled(params, -jnp.asarray(step), self.evaluate(params)), step)

    def is_feasible(self, params: Params) -> BoolScalar:
        """Whether the constraint set is not empty."""
        return self.penalty.is_feasible()

    def closed(self, params: Params) -> Self:
        # Traced anew at each solve, as by `FunctionTerm`, for what the operator reads from its surroundings may change.
        fn = eqx.filter_closure_convert(lambda z, *args: self.operator(z, *args), params, *self.args)
        return eqx.tree_at(lambda p: p.operator, self, fn)

    def check(self, params: Params) -> Params:
        params = _tree.as_inexact(params)
        here, there = jax.eval_shape(lambda z: (z, self.evaluate(z)), params)
        shapes = lambda tree: jax.tree.map(lambda leaf: leaf.shape, tree)
        if shapes(here) != shapes(there):
            raise ValueError(
                f"operator must return a pytree like params, {shapes(here)}, got {shapes(there)}; "
                "for a saddle point return the pair of gradients, the second with its sign changed."
            )
        return params
