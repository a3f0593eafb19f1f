import functools
from collections.abc import Callable
from typing import Any, ClassVar

import jax

from .. import _tree
from .._types import Params
from ._base import AbstractPenalty
from ._separable_sum import SeparableSum


_LEAF_BY_LEAF = (
    "value",
    "prox",
    "conjugate",
    "dual_scale",
    "minimal_subgradient",
    "support",
    "critical_strength",
    "linear_minimizer",
)


class AbstractEntrywise(AbstractPenalty):
    """A sum over single entries, whose settings may differ from leaf to leaf.

    Subclasses are written for settings that are one array each, and their constructor takes their fields by name:
    settings that are pytrees make the penalty a `SeparableSum` of its own kind over the leaves.
    """

    is_separable: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        for name in _LEAF_BY_LEAF:
            if name in vars(cls):
                setattr(cls, name, _leaf_by_leaf(vars(cls)[name]))

    def _by_leaf(self, x: Params) -> SeparableSum:
        spread = {name: jax.tree.leaves(_tree.spread(part, x, name)) for name, part in vars(self).items()}
        blocks = [type(self)(**dict(zip(spread, settings))) for settings in zip(*spread.values())]
        return SeparableSum(jax.tree.unflatten(jax.tree.structure(x), blocks))


def _leaf_by_leaf(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def apply(self: AbstractEntrywise, x: Params, *rest: Any, **named: Any) -> Any:
        if jax.tree_util.all_leaves(vars(self).values()):
            return method(self, x, *rest, **named)
        return getattr(self._by_leaf(x), method.__name__)(x, *rest, **named)

    return apply
