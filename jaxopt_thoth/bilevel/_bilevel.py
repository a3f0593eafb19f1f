from collections.abc import Callable
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp

from .. import _tree
from .._types import Params, Scalar
from ..penalties import Zero
from ..problems import AbstractProblem, Composite
from ..smooth import FunctionTerm


class BilevelPoint(eqx.Module):
    """A point of a `Bilevel` problem.

    Attributes:
        hyper: the outer variable, a pytree of floating-point arrays.
        params: the inner variable, an approximate solution of the inner problem at `hyper`.
    """

    hyper: Params
    params: Params


class Bilevel(AbstractProblem):
    """Minimize `outer(w*(h), h)` over h, where `w*(h)` minimizes `inner(w, h)` over w.

    `solve(problem, solver, (hyper, params))` runs each algorithm of this room on it; `Solution.params` is a
    `BilevelPoint`. Pass arrays as data rather than closing over them: they are then leaves, which can be batched, and
    stochastic algorithms draw rows of them. Integer leaves are fine there.

    Args:
        outer: scalar function `outer(params, hyper, *outer_data)`.
        inner: scalar function `inner(params, hyper, *inner_data)`, smooth, with one minimizer. Sums over data must be
            means over their rows if rows are to be drawn.
        problem: in place of `inner`, a function `problem(hyper, *inner_data)` that returns a `Composite` problem, such
            as a lasso; algorithms that need a smooth inner objective refuse it.
        outer_data: further arguments of `outer`, pytrees of arrays; stochastic algorithms draw along their first axis.
        inner_data: the same for `inner`.
        projection: maps the outer variable onto the set where it may be, after each outer step.

    Raises:
        TypeError: if a function is none, both or neither of `inner` and `problem` are given, or the outer variable
            has integer arrays.
        ValueError: if a function does not return a scalar.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> inner = lambda w, h, y: jnp.sum((w - y) ** 2) / 2 + jnp.exp(h) * jnp.sum(w**2) / 2
        >>> ridge = jt.bilevel.Bilevel(lambda w, h: jnp.sum((w - 1.0) ** 2), inner, inner_data=(jnp.array([2.0]),))
        >>> print(ridge.value((0.0, jnp.array([1.5]))))  # at the inner variable as it is
        0.25
    """

    outer: Callable[..., Scalar]
    inner: Callable[..., Any]
    outer_data: tuple[Any, ...]
    inner_data: tuple[Any, ...]
    projection: Callable[[Params], Params] | None
    is_composite: bool = eqx.field(static=True)

    def __init__(
        self,
        outer: Callable[..., Scalar],
        inner: Callable[..., Scalar] | None = None,
        *,
        problem: Callable[..., Composite] | None = None,
        outer_data: tuple[Any, ...] = (),
        inner_data: tuple[Any, ...] = (),
        projection: Callable[[Params], Params] | None = None,
    ):
        chosen = problem if inner is None else inner
        if chosen is None or (inner is not None and problem is not None):
            raise TypeError("give one of inner and problem: a scalar function, or a function that returns a Composite.")
        optional = [] if projection is None else [("projection", projection)]
        for name, value in (("outer", outer), ("inner" if problem is None else "problem", chosen), *optional):
            if not callable(value):
                raise TypeError(f"{name} must be a function, got {type(value).__name__}.")
        for name, data in (("outer_data", outer_data), ("inner_data", inner_data)):
            if not isinstance(data, tuple):
                raise TypeError(f"{name} must be a tuple of further arguments, got {type(data).__name__}; pass (x,).")
        self.outer = outer
        self.inner = chosen
        self.outer_data = outer_data
        self.inner_data = inner_data
        self.projection = projection
        self.is_composite = problem is not None

    def inner_problem(self, hyper: Params, data: tuple[Any, ...] | None = None) -> Composite:
        """The inner problem at an outer variable, on all data or on those given."""
        data = self.inner_data if data is None else data
        if not self.is_composite:
            return Composite(FunctionTerm(self.inner, hyper, *data))
        built = self.inner(hyper, *data)
        if not isinstance(built, Composite):
            raise TypeError(f"problem must return a Composite, got {type(built).__name__}.")
        return built

    def inner_gradient(self, params: Params, hyper: Params, data: tuple[Any, ...] | None = None) -> Params:
        """Gradient of the smooth part of the inner objective in the inner variable."""
        return self.inner_problem(hyper, data).smooth.gradient(params)

    def inner_products(
        self, params: Params, hyper: Params, adjoint: Params, data: tuple[Any, ...] | None = None
    ) -> tuple[Params, Params, Params]:
        """Inner gradient, Hessian times `adjoint`, and transposed cross derivative times `adjoint`, in one pass."""
        gradient, pullback = jax.vjp(lambda w, h: self.inner_gradient(w, h, data), params, hyper)
        # The Hessian is symmetric: its transpose is itself.
        return (gradient, *pullback(adjoint))

    def outer_value(self, params: Params, hyper: Params, data: tuple[Any, ...] | None = None) -> Scalar:
        """Outer objective at an inner variable, on all data or on those given."""
        return self.outer(params, hyper, *(self.outer_data if data is None else data))

    def outer_gradients(
        self, params: Params, hyper: Params, data: tuple[Any, ...] | None = None
    ) -> tuple[Scalar, Params, Params]:
        """Outer objective, and its partial gradients in the inner and in the outer variable."""
        objective = lambda w, h: self.outer_value(w, h, data)
        value, (along_params, along_hyper) = jax.value_and_grad(objective, argnums=(0, 1))(params, hyper)
        return value, along_params, along_hyper

    def project(self, hyper: Params) -> Params:
        """The outer variable, moved to where it may be."""
        return hyper if self.projection is None else self.projection(hyper)

    def require_smooth(self, method: str) -> None:
        """Raise `TypeError`, in the name of a method, if the inner problem has a penalty."""
        if self.is_composite:
            raise TypeError(
                f"{method} needs a smooth inner objective; pass Bilevel(outer, inner), or use HOAG or AID, which take "
                "composite inner problems."
            )

    def value(self, params: Any) -> Scalar:
        """Outer objective at a `BilevelPoint` or a pair `(hyper, params)`, its inner variable taken as it is."""
        point = as_point(params)
        return self.outer_value(point.params, point.hyper)

    def fixed_point(self, params: Any, step: Any) -> Any:
        raise NotImplementedError(
            "The solution of a bilevel problem has no implicit derivative; pass adjoint=implicit.Unrolled() to "
            "differentiate the run of an algorithm whose inner loops have a fixed length."
        )

    def closed(self, params: Any) -> Self:
        # New functions, so that a program kept for the old ones cannot go on using what they once read.
        def fresh(fn: Callable) -> Callable:
            return lambda *args: fn(*args)

        if not _plain(self.outer, self.inner):
            return self
        return eqx.tree_at(lambda p: (p.outer, p.inner), self, (fresh(self.outer), fresh(self.inner)))

    def check(self, params: Any) -> BilevelPoint:
        point = as_point(params)
        for leaf in jax.tree.leaves(point.hyper):
            if hasattr(leaf, "dtype") and not jnp.issubdtype(leaf.dtype, jnp.inexact):
                raise TypeError(
                    f"hyper must be floating-point, got {leaf.dtype}; integers have no derivative, pass them as data."
                )
        inner = _tree.as_inexact(point.params)
        # Plain numbers take the dtype of the inner variable.
        dtype = _tree.dtype_of(inner)
        as_array = lambda leaf: jnp.asarray(leaf) if hasattr(leaf, "dtype") else jnp.asarray(leaf, dtype)
        point = BilevelPoint(jax.tree.map(as_array, point.hyper), inner)
        shape = jax.eval_shape(self.value, point).shape
        if shape != ():
            raise ValueError(f"outer must return a scalar, got shape {shape}; reduce it, for example with jnp.mean.")
        jax.eval_shape(lambda p: self.inner_problem(p.hyper).check(p.params), point)
        return point


def as_point(point: Any) -> BilevelPoint:
    """A `BilevelPoint`, or a pair `(hyper, params)` as one."""
    if isinstance(point, BilevelPoint):
        return point
    if not isinstance(point, tuple) or len(point) != 2:
        raise TypeError(f"a bilevel problem starts from a pair (hyper, params), got {type(point).__name__}.")
    return BilevelPoint(*point)


def has_penalty(problem: Composite) -> bool:
    """Whether the inner problem is more than a smooth objective."""
    return not isinstance(problem.penalty, Zero)


def _plain(*functions: Callable) -> bool:
    return all(not jax.tree.leaves(eqx.filter(fn, eqx.is_array)) for fn in functions)
