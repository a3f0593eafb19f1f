import equinox as eqx
from jaxtyping import Array, Float

from .._result import RESULTS
from .._types import IntScalar, Scalar


class SimplexFit(eqx.Module):
    """The simplex of a minimum-volume method; under `vmap` every field gains the batch axis.

    Attributes:
        endmembers: (L, p), its vertices, in the affine space of the pixels; not pixels, and not always positive.
        log_volume: logarithm of its (p - 1)-dimensional volume in the unit of the pixels.
        outside: (p,) fraction of the valid pixels beyond the facet across from each vertex.
        num_steps: number of simplices on the way.
        result: how the method ended, an item of `jaxopt_thoth.RESULTS`.
    """

    endmembers: Float[Array, "L p"]
    log_volume: Scalar
    outside: Float[Array, " p"]
    num_steps: IntScalar
    result: RESULTS
