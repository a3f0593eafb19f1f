import equinox as eqx
from jaxtyping import Array, Float

from .._result import RESULTS
from .._types import IntScalar, Scalar


class Restoration(eqx.Module):
    """A cube that an iterative method has restored, and how it ended.

    Attributes:
        cube: (H, W, L), in the unit and the dtype of the data.
        result: `RESULTS.converged`, or why not.
        error: what was compared with the tolerance, the largest of all bands.
        num_steps: steps taken, the most of all bands.
    """

    cube: Float[Array, "H W L"]
    result: RESULTS
    error: Scalar
    num_steps: IntScalar


def ending(error: Scalar, tol: Scalar) -> RESULTS:
    """Converged where the error is at most the tolerance, `nonfinite` where it is not finite."""
    told = RESULTS.where(error <= tol, RESULTS.converged, RESULTS.max_steps_reached)
    return RESULTS.where(error < float("inf"), told, RESULTS.nonfinite)
