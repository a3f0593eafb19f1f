from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import BoolScalar, Params, Scalar
from .._validate import concrete
from ..penalties import AbstractPenalty, L1, NonNegative, Scaled, Zero


class AbstractMirrorMap(eqx.Module):
    """A strictly convex potential h, whose gradient carries points to dual variables, where descent is subtraction.

    A solver that keeps the dual variable never takes the logarithm of a zero; `step` serves where only points are kept.
    Maps take one array of any shape (the matrix maps one square matrix), `Product` takes pytrees.

    Attributes:
        domain: the set on which `from_dual` lands, in words.
    """

    domain: ClassVar[str]

    def potential(self, x: Params) -> Scalar:
        """Value h(x)."""
        raise NotImplementedError

    def to_dual(self, x: Params) -> Params:
        """Gradient of h at x, up to what is constant over a constraint of equality."""
        raise NotImplementedError

    def from_dual(self, dual: Params) -> Params:
        """Gradient of the conjugate of h: the point of the domain that `dual` stands for."""
        raise NotImplementedError

    def conjugate(self, dual: Params) -> Scalar:
        """Conjugate `sup_x <dual, x> - h(x)` over the domain, whose gradient is `from_dual`."""
        raise NotImplementedError

    def divergence(self, x: Params, y: Params) -> Scalar:
        """Bregman divergence `h(x) - h(y) - <grad h(y), x - y>`."""
        raise NotImplementedError

    def dual_divergence(self, dual_x: Params, dual_y: Params) -> Scalar:
        """Divergence of the points that two duals stand for; that of the conjugate from `dual_y` to `dual_x`."""
        return self.divergence(self.from_dual(dual_x), self.from_dual(dual_y))

    def project(self, y: Params) -> Params:
        """Bregman projection `argmin_x divergence(x, y)` onto the domain; y itself where nothing binds but signs."""
        return y

    def center(self, like: Params) -> Params:
        """The point where h is least, in the shapes and dtypes of `like`: where to start without a better guess."""
        return self.from_dual(_tree.zeros_like(_tree.as_inexact(like)))

    def center_dual(self, dual: Params) -> Params:
        """Another dual of the same point, of bounded size where `dual` is known up to a constant only."""
        return dual

    def from_centered_dual(self, dual: Params) -> Params:
        """`from_dual` of what `center_dual` gave, which may be cheaper."""
        return self.from_dual(dual)

    def dual_step(self, dual: Params, gradient: Params, step_size: ArrayLike) -> Params:
        """A descent step in the dual variable, `dual - step_size * gradient`."""
        return jax.tree.map(lambda t, g: t - jnp.asarray(step_size, t.dtype) * g, dual, gradient)

    def step(self, x: Params, gradient: Params, step_size: ArrayLike) -> Params:
        """Mirror step `argmin_z <gradient, z> + divergence(z, x) / step_size`."""
        return self.from_dual(self.dual_step(self.to_dual(x), gradient, step_size))

    def prox_dual(self, dual: Params, penalty: AbstractPenalty, step: ArrayLike) -> Params:
        """A dual of `prox(dual, penalty, step)`, exact where the point itself would round to the boundary.

        Raises `NotImplementedError` where it has no closed form.
        """
        if isinstance(penalty, Zero):
            return dual
        if isinstance(penalty, Scaled):
            factor = jnp.asarray(penalty.factor) * jnp.asarray(step).astype(jnp.result_type(penalty.factor))
            return self.prox_dual(dual, penalty.penalty, factor)
        closed = self._prox_dual(dual, penalty, step)
        if closed is None:
            raise NotImplementedError(
                f"{type(self).__name__} has no closed-form prox of {type(penalty).__name__}; take "
                "mirror.Euclidean(), or add the penalty to the smooth term if it is smooth on the domain."
            )
        return closed

    def _prox_dual(self, dual: Params, penalty: AbstractPenalty, step: ArrayLike) -> Params | None:
        """`prox_dual` of the penalties that this map knows; None for any other."""
        return None

    def prox(self, dual: Params, penalty: AbstractPenalty, step: ArrayLike) -> Params:
        """Composite step `argmin_x step * penalty(x) + h(x) - <dual, x>`.

        With `dual = dual_step(to_dual(y), gradient, step)` this is the minimizer of
        `<gradient, x> + penalty(x) + divergence(x, y) / step`.

        Raises `NotImplementedError` where it has no closed form.
        """
        return self.from_dual(self.prox_dual(dual, penalty, step))

    def norm(self, x: Params) -> Scalar:
        """The norm in which `modulus` is told; the Euclidean one unless said otherwise."""
        return _tree.norm(x)

    def dual_norm(self, gradient: Params) -> Scalar:
        """The dual of `norm`, in which gradients are to be measured."""
        return _tree.norm(gradient)

    def modulus(self, like: Params, radius: ArrayLike = jnp.inf) -> Scalar:
        """Largest known c with `divergence(x, y) >= c/2 norm(x - y)^2` for x, y in the domain with `norm <= radius`.

        Zero where there is none. `like` gives the shapes and the dtype.
        """
        return jnp.zeros((), _tree.dtype_of(like))

    def contains(self, x: Params) -> BoolScalar:
        """Whether x is in the relative interior of the domain, where its dual is finite."""
        return _tree.all_finite(x)

    def check(self, x: Params, name: str = "params") -> None:
        """Raise `ValueError` where x is known to be outside the relative interior of the domain."""
        inside = concrete(self.contains(x))
        if inside is not None and not inside.all():
            raise ValueError(
                f"{name} must be in the interior of the domain of {type(self).__name__} ({self.domain}), where the "
                "dual is finite; start at mirror_map.center(params)."
            )


def one_norm(x: Params) -> Scalar:
    """Sum of the absolute values of every entry of a pytree."""
    sums = jax.tree.map(lambda a: jnp.sum(jnp.abs(a)), x)
    return jax.tree.reduce(jnp.add, sums, jnp.zeros((), _tree.dtype_of(x)))


def max_norm(x: Params) -> Scalar:
    """Largest absolute value of any entry of a pytree."""
    peaks = jax.tree.map(lambda a: jnp.max(jnp.abs(a), initial=0), x)
    return jax.tree.reduce(jnp.maximum, peaks, jnp.zeros((), _tree.dtype_of(x)))


def odd_prox(dual: Params, penalty: AbstractPenalty, step: ArrayLike) -> Params | None:
    """`prox_dual` of a map whose gradient keeps the sign of every entry, and zeros: what shrinks does so to duals."""
    return penalty.prox(dual, step) if isinstance(penalty, L1 | NonNegative) else None
