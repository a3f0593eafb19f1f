import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative, require_positive
from ._step_rule import AbstractStepRule, StepInfo


class AdaGradNormStep(AbstractStepRule):
    """Step sizes `radius / sqrt(offset + sum |gradient|^2)`, which adapt to gradients of any size.

    `radius` is about the square root of the divergence to be traveled; `offset` bounds the first step. Raises
    `ValueError` for a known radius that is not positive or offset that is negative.

    Streeter and McMahan, "Less regret via online conditioning", 2010; Ward, Wu and Bottou, "AdaGrad stepsizes", 2019.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> problem = jt.Composite(lambda x: jnp.sum((x - 0.5) ** 2), jt.penalties.Simplex())
        >>> solver = jt.MirrorDescent(jt.mirror.NegativeEntropy(), jt.solvers.AdaGradNormStep(1.0))
        >>> print(jt.solve(problem, solver, jnp.array([0.9, 0.1])).params.round(3))
        [0.5 0.5]
    """

    radius: Scalar
    offset: Scalar

    def __init__(self, radius: ArrayLike, offset: ArrayLike = 0.0):
        require_positive(radius, "radius")
        require_nonnegative(offset, "offset")
        self.radius = _tree.setting(radius)
        self.offset = _tree.setting(offset)

    def __call__(self, info: StepInfo) -> Scalar:
        dtype = info.value.dtype
        total = self.offset.astype(dtype) + info.accumulated
        steep = total > 0
        return jnp.where(steep, self.radius.astype(dtype) / jnp.sqrt(jnp.where(steep, total, 1)), 0)
