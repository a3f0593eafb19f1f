"""Tells the documentation that `from ._name import Name as Name` makes `Name` public."""

from typing import Any

import griffe


class Reexports(griffe.Extension):
    """Marks what a module of the package re-exports from a private module beside it as its own public member."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        self._mark(pkg)

    def _mark(self, module: griffe.Module) -> None:
        for name, member in module.members.items():
            if member.is_alias:
                private = member.target_path.removeprefix(f"{module.path}.").startswith("_")  # type: ignore[union-attr]
                member.public = private and not name.startswith("_")
            elif member.is_module:
                self._mark(member)  # type: ignore[arg-type]
