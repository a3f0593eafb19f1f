from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._types import IntScalar, Scalar
from .._validate import require_positive


class StepInfo(eqx.Module):
    """What a step-size rule may look at.

    Attributes:
        count: number of steps taken so far.
        value: objective at the current point.
        squared_norm: square of the norm of the gradient, the norm being the dual of the mirror map's.
        accumulated: sum of `squared_norm` over all steps, this one included.
        modulus: strong convexity of the mirror map in its norm.
    """

    count: IntScalar
    value: Scalar
    squared_norm: Scalar
    accumulated: Scalar
    modulus: Scalar


class AbstractStepRule(eqx.Module):
    """A rule that gives the step size of a mirror method from what is known before the step.

    Attributes:
        needs_value: whether the rule compares objective values, so that the penalty must be an indicator or `Zero`.
        needs_norm: whether the rule looks at norms of gradients; they are zero in what it is shown if not.
    """

    needs_value: ClassVar[bool] = False
    needs_norm: ClassVar[bool] = True

    def __call__(self, info: StepInfo) -> Scalar:
        """Size of the next step, positive."""
        raise NotImplementedError


class _Constant(AbstractStepRule):
    needs_norm: ClassVar[bool] = False
    size: Scalar

    def __call__(self, info: StepInfo) -> Scalar:
        return self.size


class _Schedule(AbstractStepRule):
    needs_norm: ClassVar[bool] = False
    schedule: Callable[[Any], ArrayLike]

    def __call__(self, info: StepInfo) -> Scalar:
        return jnp.asarray(self.schedule(info.count))


def as_rule(step_size: ArrayLike | Callable[[Array], ArrayLike] | AbstractStepRule) -> AbstractStepRule:
    """A rule from a number, from a schedule (a function of the number of steps taken), or as it is."""
    if isinstance(step_size, AbstractStepRule):
        return step_size
    if callable(step_size):
        return _Schedule(step_size)
    require_positive(step_size, "step_size")
    size = _tree.setting(step_size)
    if size.ndim:
        raise ValueError(f"step_size must be one number, got shape {size.shape}; use vmap for several.")
    return _Constant(size)
