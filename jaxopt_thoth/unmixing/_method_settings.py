"""Settings of named methods: which there are, read off the functions, and whether values suit them."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_origin, Literal, NamedTuple

from ._methods import Plan


# Keywords that `unmix` fills itself, and those that no text can state.
_OWN = {
    "self",
    "pixels",
    "library",
    "endmembers",
    "num_endmembers",
    "key",
    "mask",
    "image_shape",
    "solver",
    "optimizer",
}
_SHARED = {"ensemble", "normalization", "progress"}


class Setting(NamedTuple):
    """One setting: the stage and keyword it goes to, its default, the words it may be, and the kind of its numbers."""

    stage: Literal["extraction", "main", "fit"]
    keyword: str
    default: Any
    words: tuple[str | None, ...]
    number: Literal["count", "real"] | None

    def check(self, name: str, value: Any) -> Any:
        """The value, as the function takes it.

        Raises:
            ValueError: when it does not suit.
        """
        if callable(self.default) and value is self.default:
            return value
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if isinstance(self.default, bool):
            if isinstance(value, bool):
                return value
        elif (value is None or isinstance(value, str)) and value in self.words:
            return value
        elif is_number and self.number == "real" and math.isfinite(value):
            return float(value)
        elif isinstance(value, int) and is_number and self.number == "count":
            return value
        shown = "none" if value is None else value
        raise ValueError(f"{name} must be {self.accepted()}, got {shown}.")

    def accepted(self) -> str:
        """What it may be, in words."""
        if isinstance(self.default, bool):
            return "true or false"
        numbers = {None: [], "count": ["a whole number"], "real": ["a finite number"]}[self.number]
        return " or ".join([*numbers, *("none" if word is None else word for word in self.words)])


def settings_of(plan: Plan) -> dict[str, Setting]:
    """The settings of a method by name; one of the extraction that the fit has too is called `extraction_...`."""
    found = _read(plan.main.function, "main")
    if plan.main.fit is not None:
        found |= _read(plan.main.fit, "fit")
    if plan.extraction is not None:
        for name, setting in _read(plan.extraction.function, "extraction").items():
            found[f"extraction_{name}" if name in found else name] = setting
    return found


def sort_settings(name: str, plan: Plan, given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Checked settings as keywords, by the stage they go to.

    Raises:
        ValueError: for a setting the method has not, listing those it has, or a value that does not suit.
    """
    known = settings_of(plan)
    stages: dict[str, dict[str, Any]] = {"extraction": {}, "main": {}, "fit": {}}
    for key, value in given.items():
        if key not in known:
            listed = f"has {', '.join(known)}" if known else "has none"
            raise ValueError(f"{key} is not a setting of {name}, which {listed}.")
        setting = known[key]
        stages[setting.stage][setting.keyword] = setting.check(key, value)
    return stages


def _read(function: Callable[..., Any], stage: Literal["extraction", "main", "fit"]) -> dict[str, Setting]:
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name in _OWN | _SHARED or parameter.default is inspect.Parameter.empty:
            continue
        words, number = _accepted(parameter.annotation)
        found[name] = Setting(stage, name, parameter.default, words, number)
    return found


def _accepted(annotation: Any) -> tuple[tuple[str | None, ...], Literal["count", "real"] | None]:
    """The words that an annotation allows, None among them, and the kind of numbers."""
    kinds: set[Any] = set()
    words: list[str | None] = []

    def visit(part: Any) -> None:
        members = get_args(part)
        if part is type(None):
            words.append(None)
        elif isinstance(part, str):
            words.append(part)
        elif get_origin(part) is Callable:
            return  # schedules of a rate: no text states one
        elif members:
            for member in members:
                visit(member)
        else:
            kinds.add(part)

    visit(annotation)
    return tuple(words), "real" if float in kinds else "count" if int in kinds else None
