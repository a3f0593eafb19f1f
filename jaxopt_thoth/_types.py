"""Type aliases shared by every floor."""

from typing import Any

from jaxtyping import Array, Bool, Float, Int


# A pytree of floating-point arrays: the unknown of an optimisation problem.
Params = Any
# A pytree of arrays that a solver carries from one step to the next.
State = Any
Scalar = Float[Array, ""]
BoolScalar = Bool[Array, ""]
IntScalar = Int[Array, ""]
