import importlib.util
import sys
from collections.abc import Sequence

from ._errors import InputError, report_error


NEEDED = ("typer", "rich", "matplotlib")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; the console script `jaxopt-thoth` calls it.

    Every kind of bad input ends in one line on the standard error and exit code 2, an interruption in exit code 130.

    Args:
        arguments: the words after the program's name; by default those of the process.

    Returns:
        0 for success, 2 for bad input, 130 when interrupted.

    Raises:
        Exception: only for a defect of the library, which deserves its traceback.

    Example:
        >>> from jaxopt_thoth.cli import main
        >>> main(["unmix", "--endmembers", "3", "--method", "vca+fclsu", "--out", "report"])
        0
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return report_error(f"the command line needs {' and '.join(missing)}: pip install 'jaxopt_thoth[cli]'")

    from typer import Abort

    from ._app import app

    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(args=words, prog_name="jaxopt-thoth", standalone_mode=False)
    except (KeyboardInterrupt, Abort):
        return 130
    except (InputError, MemoryError, OSError) as error:
        return report_error(str(error) or type(error).__name__)
    except Exception as error:
        # Typer's own complaints share no public base class across its versions, only this method.
        if not hasattr(error, "format_message"):
            raise
        return report_error(error.format_message())
    return code if isinstance(code, int) else 0
