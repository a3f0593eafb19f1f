from typing import ClassVar

import equinox as eqx
import jax
from jaxtyping import Array, ArrayLike, Float

from .._types import Scalar


class AbstractMirrorMap(eqx.Module):
    """A strictly convex potential h, whose gradient carries points to dual variables, where descent is subtraction.

    A solver that keeps the dual variable never takes the logarithm of a zero; `step` serves where only points are kept.

    Attributes:
        domain: the set on which `from_dual` lands, in words.
    """

    domain: ClassVar[str]

    def potential(self, x: Float[Array, "..."]) -> Scalar:
        """Value h(x)."""
        raise NotImplementedError

    def to_dual(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """Gradient of h at x."""
        raise NotImplementedError

    def from_dual(self, dual: Float[Array, "..."]) -> Float[Array, "..."]:
        """Gradient of the conjugate of h: the point of the domain that `dual` stands for."""
        raise NotImplementedError

    def divergence(self, x: Float[Array, "..."], y: Float[Array, "..."]) -> Scalar:
        """Bregman divergence `h(x) - h(y) - <grad h(y), x - y>`."""
        raise NotImplementedError

    def project(self, y: Float[Array, "..."]) -> Float[Array, "..."]:
        """Bregman projection `argmin_x divergence(x, y)` onto the domain."""
        raise NotImplementedError

    def dual_step(self, dual: Float[Array, "..."], gradient: Float[Array, "..."], step_size: ArrayLike) -> Array:
        """A descent step in the dual variable, `dual - step_size * gradient`."""
        return dual - jax.numpy.asarray(step_size, dual.dtype) * gradient

    def step(self, x: Float[Array, "..."], gradient: Float[Array, "..."], step_size: ArrayLike) -> Array:
        """Mirror step `argmin_z <gradient, z> + divergence(z, x) / step_size`."""
        return self.from_dual(self.dual_step(self.to_dual(x), gradient, step_size))
