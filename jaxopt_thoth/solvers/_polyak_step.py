from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Scalar
from ._step_rule import AbstractStepRule, StepInfo


class PolyakStep(AbstractStepRule):
    """Polyak's step sizes `modulus * (f(x) - minimum) / |gradient|^2`, for a known minimal value.

    The divergence from every solution to the iterates never grows, smooth or not, and no constant is to be tuned. Where
    the gradient does not vanish at the solution the steps do, and values converge slower than with a search. The method
    comes to rest at a `minimum` above the true one; below it the steps never vanish. The penalty of the problem must be
    an indicator or `Zero`.

    Polyak, "Minimization of unsmooth functionals", 1969; for mirror descent, You and Li, "Two Polyak-type step sizes
    for mirror descent", 2022.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> problem = jt.Composite(lambda x: jnp.sum((x - 0.5) ** 2), jt.penalties.Simplex())
        >>> solver = jt.MirrorDescent(jt.mirror.NegativeEntropy(), jt.solvers.PolyakStep(0.0))
        >>> print(jt.solve(problem, solver, jnp.array([0.9, 0.1])).params.round(3))
        [0.5 0.5]
    """

    minimum: Scalar

    needs_value: ClassVar[bool] = True

    def __init__(self, minimum: ArrayLike):
        self.minimum = _tree.setting(minimum)

    def __call__(self, info: StepInfo) -> Scalar:
        excess = jnp.maximum(info.value - self.minimum.astype(info.value.dtype), 0)
        steep = info.squared_norm > 0
        return info.modulus * jnp.where(steep, excess / jnp.where(steep, info.squared_norm, 1), 0)
