from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import BoolScalar, Params, Scalar


class AbstractPenalty(eqx.Module):
    """A simple function g of the parameters, known by its value and its proximal operator.

    The strength is a field of the penalty and never an argument; the step is an argument and never a field.
    Penalties that act entry by entry accept any pytree; the others take one array unless they say otherwise. Each
    setting of the former is a scalar, an array that broadcasts to the shape of each leaf, or a pytree of these like the
    variable or a prefix of it (a list is a pytree, not an array); a structure that does not fit raises `ValueError`.

    Attributes:
        is_separable: whether g is a sum over single entries (then the Jacobian of the prox is diagonal).
        is_convex: whether g is convex.
        is_indicator: whether g only takes the values 0 and infinity (then the prox is a projection).
    """

    is_separable: ClassVar[bool] = False
    is_convex: ClassVar[bool] = True
    is_indicator: ClassVar[bool] = False
    # NumPy scalars on the left must hand the product to `__rmul__` instead of building an object array.
    __array_ufunc__: ClassVar[None] = None

    def value(self, x: Params) -> Scalar:
        """Value g(x); for an indicator 0 inside the set (up to rounding) and infinity outside."""
        raise NotImplementedError

    def prox(self, x: Params, step: ArrayLike) -> Params:
        """Proximal operator `argmin_z g(z) + |z - x|^2 / (2 step)`, a pytree like `x`."""
        raise NotImplementedError

    def conjugate(self, dual: Params) -> Scalar:
        """Fenchel conjugate `sup_x <dual, x> - g(x)`."""
        raise NotImplementedError(f"{type(self).__name__} has no closed-form conjugate.")

    def dual_scale(self, dual: Params) -> Scalar:
        """Largest factor in [0, 1] that brings `dual` into the domain of the conjugate."""
        return jnp.ones((), _tree.dtype_of(dual))

    def minimal_subgradient(self, x: Params, gradient: Params) -> Params:
        """Element of least norm of `gradient + subdifferential(x)`; zero at a minimiser of f + g."""
        raise NotImplementedError(f"{type(self).__name__} has no closed-form subdifferential.")

    def support(self, x: Params) -> Params:
        """Boolean mask of the entries where the prox is not locally constant at a solution `x`."""
        raise NotImplementedError(f"{type(self).__name__} has no support in the sense of sparsity.")

    def critical_strength(self, gradient_at_zero: Params) -> Scalar:
        """Smallest strength for which zero solves `f + g`, given the gradient of f at zero."""
        raise NotImplementedError(f"{type(self).__name__} has no critical strength.")

    def linear_minimizer(self, gradient: Params) -> Params:
        """A point of a bounded set that minimizes `<gradient, z>`, a vertex of a polytope: what Frank-Wolfe needs.

        Not finite where the set is unbounded in that direction. With the conjugate,
        `<gradient, linear_minimizer(gradient)> = -conjugate(-gradient)`.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no linear minimization oracle; take the indicator of a bounded set, for "
            "example Simplex, L1Ball or Box."
        )

    def is_feasible(self) -> BoolScalar:
        """Whether g is finite anywhere: false for an empty box or a negative radius."""
        return jnp.asarray(True)

    def conjugate_prox(self, dual: Params, step: ArrayLike) -> Params:
        """Proximal operator of the conjugate, by Moreau's identity `u - step * prox_{g/step}(u / step)`."""
        inverse = 1 / jnp.asarray(step).astype(_tree.dtype_of(dual))
        inner = self.prox(_tree.scale(inverse, dual), inverse)
        return _tree.add_scaled(dual, -jnp.asarray(step), inner)

    def envelope(self, x: Params, step: ArrayLike) -> Scalar:
        """Moreau envelope `min_z g(z) + |z - x|^2 / (2 step)`."""
        p = self.prox(x, step)
        squared = _tree.squared_norm(_tree.sub(p, x))
        return self.value(p) + squared / (2 * jnp.asarray(step).astype(squared.dtype))

    def subdifferential_distance(self, x: Params, gradient: Params) -> Scalar:
        """Euclidean distance of `-gradient` to the subdifferential of g at `x`."""
        return _tree.norm(self.minimal_subgradient(x, gradient))

    def __rmul__(self, factor: ArrayLike) -> "AbstractPenalty":
        """`factor * penalty`, the penalty of value `factor * g(x)`."""
        from ._scaled import Scaled

        return Scaled(self, factor)

    __mul__ = __rmul__
