from .._types import BoolScalar
from ._base import AbstractPenalty


class AbstractWrapper(AbstractPenalty):
    """A penalty made from another one, whose traits it has unless it says otherwise."""

    penalty: AbstractPenalty

    @property
    def is_separable(self) -> bool:  # type: ignore[override]
        return self.penalty.is_separable

    @property
    def is_convex(self) -> bool:  # type: ignore[override]
        return self.penalty.is_convex

    @property
    def is_indicator(self) -> bool:  # type: ignore[override]
        return self.penalty.is_indicator

    def is_feasible(self) -> BoolScalar:
        return self.penalty.is_feasible()
