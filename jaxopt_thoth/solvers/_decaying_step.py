import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import Scalar
from .._validate import require_positive
from ._step_rule import AbstractStepRule, StepInfo


class DecayingStep(AbstractStepRule):
    """Step sizes `scale / sqrt(t)` at the steps t = 1, 2, ..., for nonsmooth objectives and unknown horizons.

    Raises `ValueError` for a known scale that is not positive.

    Beck and Teboulle, "Mirror descent and nonlinear projected subgradient methods", 2003.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> problem = jt.Composite(lambda x: jnp.sum(jnp.array([3.0, 1.0]) * x), jt.penalties.Simplex())
        >>> solver = jt.MirrorDescent(jt.mirror.NegativeEntropy(), jt.solvers.DecayingStep(2.0))
        >>> print(jt.solve(problem, solver, jnp.full(2, 0.5)).params.round(4))
        [0. 1.]
    """

    scale: Scalar

    def __init__(self, scale: ArrayLike):
        require_positive(scale, "scale")
        self.scale = _tree.setting(scale)

    def __call__(self, info: StepInfo) -> Scalar:
        dtype = info.value.dtype
        return self.scale.astype(dtype) / jnp.sqrt(1 + info.count.astype(dtype))
