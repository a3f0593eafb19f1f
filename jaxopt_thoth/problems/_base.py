from typing import Self

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import BoolScalar, Params, Scalar


class AbstractProblem(eqx.Module):
    """What is solved, batched and differentiated: an objective, and a map whose fixed points are its solutions.

    A solution is differentiated through the map, whatever solver found it.
    """

    def value(self, params: Params) -> Scalar:
        """Objective at `params`."""
        raise NotImplementedError

    def fixed_point(self, params: Params, step: ArrayLike) -> Params:
        """A map of `params` to itself whose fixed points are the solutions, for any positive step."""
        raise NotImplementedError

    def optimality(self, params: Params, step: ArrayLike = 1.0) -> Params:
        """Residual `(w - fixed_point(w, step)) / step`, zero exactly at a solution."""
        residual = _tree.sub(params, self.fixed_point(params, step))
        return _tree.scale(1 / jnp.asarray(step, _tree.dtype_of(params)), residual)

    def duality_gap(self, params: Params) -> Scalar:
        """Upper bound of `value(params)` minus the least value, where duality gives one."""
        raise NotImplementedError(f"{type(self).__name__} has no duality gap; stop on FixedPointResidual instead.")

    def implicit_tangent(self, params: Params, step: Scalar, rhs: Params) -> Params | None:
        """Solution d of `d - T'(params) d = rhs`, T being `fixed_point`, if the problem knows how; else None."""
        return None

    def is_feasible(self, params: Params) -> BoolScalar:
        """Whether the objective is below infinity somewhere, as far as can be told."""
        return jnp.asarray(True)

    def closed(self, params: Params) -> Self:
        """The same problem with every array that its functions close over turned into a leaf."""
        return self

    def check(self, params: Params) -> Params:
        """`params` as floating-point arrays in the problem's dtype; raises `ValueError` when the shape does not fit."""
        return _tree.as_inexact(params)
