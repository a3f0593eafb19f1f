"""What the generated documentation has to be told about the conventions of the package."""

import re
from typing import Any

import griffe


class Conventions(griffe.Extension):
    """Reads the package as its authors mean it.

    `from ._name import Name as Name` makes `Name` public, an equinox module takes its fields as arguments, and a
    section `Example:` holds code.
    """

    def on_class_instance(self, *, cls: griffe.Class, **_: Any) -> None:
        if cls.bases:
            # Griffe then derives the signature from the fields, where there is no constructor.
            cls.decorators.append(
                griffe.Decorator(griffe.ExprName("dataclasses.dataclass"), lineno=None, endlineno=None)
            )

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        self._visit(pkg)

    def _visit(self, parent: griffe.Module | griffe.Class) -> None:
        for name, member in parent.members.items():
            if isinstance(member, griffe.Alias):
                private = member.target_path.removeprefix(f"{parent.path}.").startswith("_")
                member.public = private and not name.startswith("_")
                continue
            if member.docstring:
                member.docstring.value = re.sub(r"^Example:$", "Examples:", member.docstring.value, flags=re.MULTILINE)
            if isinstance(member, griffe.Module | griffe.Class):
                self._visit(member)
