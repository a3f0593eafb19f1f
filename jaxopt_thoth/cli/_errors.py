"""Bad input: one exception for it, and the one line that it ends in."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class InputError(Exception):
    """What the user gave cannot be used; the message says why, and what would do."""


@contextmanager
def bad_input() -> Iterator[None]:
    """Turn the `ValueError` by which the library refuses its arguments into an `InputError`."""
    try:
        yield
    except ValueError as error:
        raise InputError(str(error)) from error


def report_error(message: str) -> int:
    """Write the message as one line on the standard error and return the exit code of bad input."""
    print(f"jaxopt-thoth: error: {' '.join(message.split())}", file=sys.stderr)
    return 2
