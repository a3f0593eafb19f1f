"""The command `methods`."""

from rich.console import Console
from rich.table import Table

from ..unmixing._method_settings import settings_of
from ..unmixing._methods import find_method, METHODS, Plan
from ._errors import bad_input


KINDS = {
    "blind": "blind: from the number of endmembers alone",
    "extraction": "extraction: before one of the fits, as in vca+fclsu",
    "linear": "fit of given endmembers, or after an extraction",
    "variability": "spectral variability about given endmembers, or after an extraction",
    "nonlinear": "nonlinear model of given endmembers, or after an extraction",
    "library": "by a spectral library",
    "classes": "by a spectral library whose spectra of one name are a class",
}


def print_methods(name: str | None) -> None:
    """Print all methods, or the settings of one.

    Raises:
        InputError: for an unknown name.
    """
    console = Console()
    if name is None:
        for kind, heading in KINDS.items():
            console.print(heading, style="bold")
            table = Table(show_header=False, box=None, padding=(0, 2))
            for key, method in METHODS.items():
                if method.kind == kind:
                    table.add_row(key, method.summary)
            console.print(table)
        return
    with bad_input():
        plan = Plan(None, METHODS[name]) if name in METHODS else find_method(name)
    table = Table(title=f"settings of {name}", title_justify="left")
    for heading in ("setting", "default", "may be"):
        table.add_column(heading)
    for key, setting in settings_of(plan).items():
        default = setting.default
        shown = str(default).lower() if default is None or isinstance(default, bool) else str(default)
        shown = "a schedule" if callable(default) else shown
        table.add_row(key, shown, setting.accepted())
    console.print(table if table.row_count else f"{name} has no settings")
