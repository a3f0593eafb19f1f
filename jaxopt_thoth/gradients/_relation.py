from enum import Enum


class NeighboringRelation(Enum):
    """Which two data sets a private method must not tell apart: the unit that its guarantee protects.

    `add_or_remove_one`: one example more or less. `replace_one`: one example exchanged for another.
    `replace_special`: one example exchanged for one that contributes zero, so that the number of examples is public.
    A guarantee is worth nothing without its relation: the sum of contributions of norm at most c moves by c under the
    first and the third, by 2c under the second.

    Dwork and Roth, "The algorithmic foundations of differential privacy", 2014.

    Example:
        >>> from jaxopt_thoth import gradients
        >>> gradients.GlobalClip(1.5).sensitivity(gradients.NeighboringRelation.replace_one).item()
        3.0
    """

    add_or_remove_one = "add_or_remove_one"
    replace_one = "replace_one"
    replace_special = "replace_special"

    @property
    def contributions(self) -> int:
        """How many contributions neighbors may differ by: the sensitivity of a sum, in bounds of one contribution."""
        return 2 if self is NeighboringRelation.replace_one else 1
