from jaxtyping import ArrayLike

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative, require_positive
from ._step_rule import AbstractStepRule, StepInfo


class HarmonicStep(AbstractStepRule):
    """Step sizes `scale / (offset + t)` at the steps t = 1, 2, ..., for objectives strongly convex relative to the map.

    With scale 1 / mu, mu the relative strong convexity, the distance to the solution falls as one over the number of
    steps, but for a logarithm (Lacoste-Julien, Schmidt and Bach 2012). With scale 1 mirror descent on the likelihood of
    an exponential family is the maximum a posteriori estimate after `offset` examples of a prior.

    Raises `ValueError` for a known scale that is not positive, or a negative offset.

    Lacoste-Julien, Schmidt and Bach, "A simpler approach to obtaining an O(1/t) convergence rate for the projected
    stochastic subgradient method", 2012.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt
        >>> term = jt.smooth.FiniteSum(lambda w, t: (w - t) ** 2 / 2, jnp.array([2.0]))
        >>> rule, key = jt.solvers.HarmonicStep(offset=1.0), jax.random.key(0)
        >>> solver = jt.StochasticMirrorDescent(jt.mirror.Euclidean(), rule, key=key, max_steps=3)
        >>> print(jt.solve(jt.Composite(term), solver, jnp.array(0.0)).params)  # the mean of 0, 2, 2 and 2
        1.5
    """

    scale: Scalar
    offset: Scalar

    def __init__(self, scale: ArrayLike = 1.0, offset: ArrayLike = 0.0):
        require_positive(scale, "scale")
        require_nonnegative(offset, "offset")
        self.scale = _tree.setting(scale)
        self.offset = _tree.setting(offset)

    def __call__(self, info: StepInfo) -> Scalar:
        dtype = info.value.dtype
        return self.scale.astype(dtype) / (self.offset.astype(dtype) + 1 + info.count.astype(dtype))
