import equinox as eqx
from jaxtyping import Array, Float

from .._result import RESULTS
from .._types import IntScalar, Scalar


class SensorEstimate(eqx.Module):
    """What was estimated of two sensors, and how it ended.

    Attributes:
        response: (l, L), a row for each band of the multispectral sensor; None where it was not asked for.
        kernel: (a, b), the point spread on the fine grid; None where it was not asked for.
        result: `RESULTS.converged`, or why not.
        error: the largest error of the solver.
        num_steps: the most steps of the solver.
    """

    response: Float[Array, "l L"] | None
    kernel: Float[Array, "a b"] | None
    result: RESULTS
    error: Scalar
    num_steps: IntScalar
