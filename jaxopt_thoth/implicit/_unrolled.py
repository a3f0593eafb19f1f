from typing import ClassVar

import equinox as eqx

from ._base import AbstractAdjoint


class Unrolled(AbstractAdjoint):
    """Differentiate through the iterations themselves, and through the starting point.

    In mode "while" the loop becomes the checkpointed one, whose reverse mode recomputes between checkpoints and which
    has no forward mode; mode "scan" has both, and keeps every step. The derivative converges later than the iterate.

    Args:
        checkpoints: number of iterates kept in memory; None chooses about the square root of `max_steps`.

    Raises:
        ValueError: if `checkpoints` is not positive.

    Example:
        >>> from jaxopt_thoth import implicit
        >>> adjoint = implicit.Unrolled(checkpoints=10)
    """

    unrolls: ClassVar[bool] = True
    checkpoints: int | None = eqx.field(static=True)

    def __init__(self, checkpoints: int | None = None):
        if checkpoints is not None and checkpoints < 1:
            raise ValueError(f"checkpoints must be at least 1, got {checkpoints}.")
        self.checkpoints = checkpoints
