from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp

from .. import _tree
from .._types import Params, Scalar


class AbstractSmooth(eqx.Module):
    """A differentiable function f of the parameters; subclasses give `value`, the rest has defaults by autodiff.

    A term that depends on its parameters through a linear map can name that map in `image`: solvers then carry images
    along, combine them instead of recomputing them, and pay one product with the map and one with its transpose a step,
    line search included.
    """

    @property
    def has_full_domain(self) -> bool:
        """Whether f is known to be finite everywhere, so that no step can leave its domain."""
        return False

    def value(self, params: Params) -> Scalar:
        """Value f(params)."""
        raise NotImplementedError

    def value_and_grad(self, params: Params) -> tuple[Scalar, Params]:
        """Value and gradient together."""
        return self.value_and_grad_at(params, self.image(params))

    def gradient(self, params: Params) -> Params:
        """Gradient of f, a pytree like `params`."""
        return self.value_and_grad(params)[1]

    def hvp(self, params: Params, vector: Params) -> Params:
        """Product of the Hessian at `params` with `vector`."""
        return jax.jvp(self.gradient, (params,), (vector,))[1]

    def curvature_along(self, params: Params, vector: Params) -> Scalar:
        """Second derivative along `vector`, its inner product with its Hessian product."""
        return _tree.vdot(vector, self.hvp(params, vector))

    def lipschitz(self) -> Scalar | None:
        """Lipschitz constant of the gradient, or None when there is none or it is not known."""
        return None

    def image(self, params: Params) -> Any:
        """A pytree, linear in `params`, through which the expensive part of f depends on them; `()` by default."""
        return ()

    def value_and_grad_at(self, params: Params, image: Any) -> tuple[Scalar, Params]:
        """Value and gradient at `params`, given `image(params)`."""
        return jax.value_and_grad(self.value)(params)

    def divergence(
        self, new: Params, new_image: Any, old: Params, old_image: Any, old_value: Scalar, old_gradient: Params
    ) -> tuple[Scalar, Scalar]:
        """Bregman divergence `f(new) - f(old) - <gradient(old), new - old>` and the rounding error it may carry."""
        new_value = self.value(new)
        linear = _tree.vdot(old_gradient, _tree.sub(new, old))
        # Rounded parameters alone move a value by the last term, however small the value is.
        moved = _tree.vdot(jax.tree.map(jnp.abs, old_gradient), jax.tree.map(jnp.abs, old))
        size = jnp.abs(old_value) + jnp.abs(new_value) + jnp.abs(linear) + moved
        return new_value - old_value - linear, 8 * jnp.finfo(old_value.dtype).eps * size

    def closed(self, params: Params) -> Self:
        """The same term, with the arrays that its functions close over turned into leaves."""
        return self

    def check(self, params: Params) -> Params:
        """The parameters in the dtype of the term; raises `ValueError` when their shape does not fit."""
        return params
