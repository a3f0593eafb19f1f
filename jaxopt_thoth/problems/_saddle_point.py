from collections.abc import Callable
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import BoolScalar, Params, Scalar
from ..operators import AbstractOperator, as_operator
from ..penalties import AbstractPenalty, Zero
from ..smooth import AbstractSmooth, FunctionTerm, LinearModel
from . import _linear_map
from ._base import AbstractProblem


class SaddlePoint(AbstractProblem):
    """Minimize `f(x) + g(x) + h(K x)` together with its dual, `min_x max_y f(x) + g(x) + <K x, y> - h*(y)`.

    The unknown is the pair `(x, y)`, the primal and the dual variable: x is an array or a pytree, y is like `K x`. All
    functions here take such a pair; a solve may start from x alone, and then from y = 0. At a saddle point x solves the
    primal problem and y the dual one, `max_y -(f + g)*(-K'y) - h*(y)`.

    Args:
        smooth: the term f, or a function `fn(x)`; None for zero.
        penalty: the term g; None for `Zero()`.
        composed: the term h, a convex penalty of `K x`. Its conjugate is needed for the duality gap only.
        operator: the map K: an array (n, p), a sparse matrix, a lineax operator, one of `operators`, a linear function
            of x (transposed by autodiff), or None for the identity.

    Raises:
        TypeError: if a term is of another kind.
        ValueError: if a penalty is not convex; at a solve, if x or y does not fit, or a function is not linear.

    A. Chambolle and T. Pock, "A first-order primal-dual algorithm for convex problems with applications to imaging",
    2011.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> differences = jnp.array([[-1.0, 1.0, 0.0], [0.0, -1.0, 1.0]])
        >>> near = jt.penalties.Translated(jt.penalties.L2Squared(1.0), jnp.array([0.0, 0.0, 3.0]))
        >>> problem = jt.SaddlePoint(None, near, jt.penalties.L1(1.0), differences)
        >>> x, y = jt.solve(problem, jt.ChambollePock(), jnp.zeros(3)).params
        >>> print(x.round(2), bool(problem.duality_gap((x, y)) < 1e-2))
        [0.5 0.5 2. ] True
    """

    smooth: AbstractSmooth | None
    penalty: AbstractPenalty
    composed: AbstractPenalty
    operator: AbstractOperator | Callable[[Params], Params] | None

    def __init__(
        self,
        smooth: AbstractSmooth | Callable[[Params], Scalar] | None,
        penalty: AbstractPenalty | None,
        composed: AbstractPenalty,
        operator: Any = None,
    ):
        if smooth is not None and not isinstance(smooth, AbstractSmooth):
            if not callable(smooth):
                raise TypeError(f"smooth must be a smooth term, a function or None, got {type(smooth).__name__}.")
            smooth = FunctionTerm(smooth)
        penalty = Zero() if penalty is None else penalty
        for name, term in (("penalty", penalty), ("composed", composed)):
            if not isinstance(term, AbstractPenalty):
                raise TypeError(
                    f"{name} must be one of jaxopt_thoth.penalties, got {type(term).__name__}; "
                    "build it first, for example L1(0.1)."
                )
            if not term.is_convex:
                raise ValueError(
                    f"{name} must be convex for a saddle point, and {type(term).__name__} is not; take a convex one."
                )
        self.smooth = smooth
        self.penalty = penalty
        self.composed = composed
        matrix_like = hasattr(operator, "shape") or isinstance(operator, list | tuple | AbstractOperator)
        is_function = callable(operator) and not matrix_like and not hasattr(operator, "mv")
        self.operator = operator if operator is None or is_function else as_operator(operator)

    def image(self, x: Params) -> Params:
        """`K x`."""
        return _linear_map.apply(self.operator, x)

    def transposed_image(self, x: Params, y: Params) -> Params:
        """`K' y`, a pytree like `x`."""
        return _linear_map.apply_transpose(self.operator, x, y)

    def operator_norm(self, x: Params) -> Scalar:
        """Estimate from below of the spectral norm of K on pytrees like `x`."""
        return _linear_map.norm(self.operator, x)

    def smooth_gradient(self, x: Params) -> Params:
        """Gradient of f."""
        return _tree.zeros_like(x) if self.smooth is None else self.smooth.gradient(x)

    def value(self, params: Params) -> Scalar:
        """Primal objective `f(x) + g(x) + h(K x)`."""
        x, _ = params
        value = self.penalty.value(x) + self.composed.value(self.image(x))
        return value if self.smooth is None else value + self.smooth.value(x)

    def fixed_point(self, params: Params, step: ArrayLike) -> Params:
        """One primal-dual proximal step (Condat-Vu), whose fixed points are the saddle points for any positive step."""
        x, y = params
        slope = _tree.add(self.smooth_gradient(x), self.transposed_image(x, y))
        new_x = self.penalty.prox(_tree.add_scaled(x, -jnp.asarray(step), slope), step)
        ahead = self.image(_tree.sub(_tree.scale(2, new_x), x))
        return new_x, self.composed.conjugate_prox(_tree.add_scaled(y, step, ahead), step)

    def kkt_residual(self, params: Params, step: ArrayLike = 1.0) -> Scalar:
        """Larger of two relative proximal residuals, zero exactly at a saddle point.

        With step s the primal one is `|x - prox_{s g}(x - s (grad f(x) + K'y))| / s`, relative to
        `max(1, |grad f(x)|, |K'y|)`, and the dual one `|y - prox_{s h*}(y + s K x)| / s`, relative to `max(1, |K x|)`.
        """
        x, y = params
        gradient, pull, image = self.smooth_gradient(x), self.transposed_image(x, y), self.image(x)
        step = jnp.asarray(step, _tree.dtype_of(params))
        moved_x = self.penalty.prox(_tree.add_scaled(x, -step, _tree.add(gradient, pull)), step)
        moved_y = self.composed.conjugate_prox(_tree.add_scaled(y, step, image), step)
        primal, dual = _tree.norm(_tree.sub(x, moved_x)) / step, _tree.norm(_tree.sub(y, moved_y)) / step
        return jnp.maximum(*relative_residuals(primal, dual, (gradient, pull), (image,)))

    def duality_gap(self, params: Params) -> Scalar:
        """Upper bound of `value((x, y)) - minimum`; needs the conjugates of g and h.

        The dual point is y with the gradient of f at x, scaled down into the domains of the conjugates where f is zero
        or a `LinearModel`. Infinite where the dual point stays infeasible, as with `g = Zero()` before the solution.

        Raises:
            NotImplementedError: if a conjugate is not known.
        """
        x, y = params
        y = _tree.scale(self.composed.dual_scale(y), y)
        slope = _tree.add(self.smooth_gradient(x), self.transposed_image(x, y))
        correlation = _tree.scale(-1, slope)
        if self.smooth is None:
            factor = self.penalty.dual_scale(correlation)
            smooth_gap = jnp.zeros((), _tree.dtype_of(x))
        elif isinstance(self.smooth, LinearModel):
            factor = self.penalty.dual_scale(correlation)
            targets = self.smooth.targets
            dual = self.smooth.loss.derivative(self.smooth.image(x), targets)
            conjugate = jnp.sum(self.smooth.share(self.smooth.loss.conjugate(factor * dual, targets)))
            smooth_gap = self.smooth.value(x) + conjugate
        else:
            # The tangent of f at x is a lower bound of f: <grad f(x), x> is f(x) plus its conjugate there.
            factor = jnp.ones((), _tree.dtype_of(x))
            smooth_gap = _tree.vdot(self.smooth.gradient(x), x)
        g_gap = self.penalty.value(x) + self.penalty.conjugate(_tree.scale(factor, correlation))
        h_gap = self.composed.value(self.image(x)) + self.composed.conjugate(_tree.scale(factor, y))
        return smooth_gap + g_gap + h_gap

    def is_feasible(self, params: Params) -> BoolScalar:
        """Whether the sets of g and of h are not empty, each for itself, and f is below infinity at x."""
        feasible = self.penalty.is_feasible() & self.composed.is_feasible()
        return feasible if self.smooth is None else feasible & ~jnp.isposinf(self.smooth.value(params[0]))

    def closed(self, params: Params) -> Self:
        closed: Any = self
        if self.smooth is not None:
            closed = eqx.tree_at(lambda p: p.smooth, closed, self.smooth.closed(params[0]))
        operator: Any = self.operator
        if operator is not None and not isinstance(operator, AbstractOperator):
            linear = eqx.filter_closure_convert(lambda x: operator(x), params[0])
            closed = eqx.tree_at(lambda p: p.operator, closed, linear)
        return closed

    def check(self, params: Params) -> Params:
        """The pair `(x, y)` as floating-point arrays, from such a pair or from x alone with y = 0."""
        if isinstance(params, tuple) and len(params) == 2 and self._is_pair(*params):
            x, y = params
            x = self._check_primal(x)
            return x, jax.tree.map(lambda a, b: a.astype(b.dtype), _tree.as_inexact(y), self._dual_like(x))
        x = self._check_primal(params)
        return x, jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), self._dual_like(x))

    def _is_pair(self, x: Params, y: Params) -> bool:
        if isinstance(self.operator, AbstractOperator):
            _linear_map.check_image(self.operator, _tree.as_inexact(x))
        elif self.operator is None:
            # With K = I the two halves of a tuple are alike, and are taken for x and y.
            return _shapes(x) == _shapes(y)
        try:
            like = self._dual_like(_tree.as_inexact(x))
        except Exception:
            # A function of the whole tuple fails on its half in ways of its own.
            return False
        if _shapes(y) == _shapes(like):
            return True
        if isinstance(self.operator, AbstractOperator):
            raise ValueError(f"The dual variable must have shape {like.shape} like K x, got {_shapes(y)}.")
        return False

    def _check_primal(self, x: Params) -> Params:
        x = _tree.as_inexact(x)
        if self.smooth is not None:
            x = self.smooth.check(x)
        if isinstance(self.operator, AbstractOperator) and eqx.is_array(x):
            x = x.astype(self.operator.dtype)
        _linear_map.check_image(self.operator, x)
        return x

    def _dual_like(self, x: Params) -> Params:
        return jax.eval_shape(self.image, x)


def _shapes(tree: Params) -> Any:
    return jax.tree.map(lambda leaf: leaf.shape if hasattr(leaf, "shape") else jnp.shape(leaf), tree)


def relative_residuals(
    primal: Scalar, dual: Scalar, slopes: tuple[Params, ...], images: tuple[Params, ...]
) -> tuple[Scalar, Scalar]:
    """A primal and a dual residual, each relative to the largest norm of what it balances, at least 1."""
    largest = lambda parts: jnp.stack([jnp.ones((), primal.dtype), *(_tree.norm(part) for part in parts)]).max()
    return primal / largest(slopes), dual / largest(images)
