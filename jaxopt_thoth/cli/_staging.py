"""Output that appears whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ._errors import InputError


def require_writable(directory: Path, names: Iterable[str]) -> None:
    """Fail before the long calculation, not after it, when these files could not be written there.

    Raises:
        InputError: when the directory or one of the files cannot be made.
    """
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} is a file, not a directory; choose another --out")
    for name in names:
        if (directory / name).is_dir():
            raise InputError(f"{directory / name} is a directory, where a file has to be written; choose another --out")
    shutil.rmtree(_make_stage(directory))


@contextmanager
def staged(directory: Path) -> Iterator[Path]:
    """A hidden directory whose files move into `directory` when the block ends well, and vanish when it does not.

    The files of a directory that is already there are replaced one by one, each atomically; a new directory appears
    complete.

    Raises:
        InputError: when nothing can be written there.
    """
    stage = _make_stage(directory)
    inner = stage / "new"
    try:
        inner.mkdir()
        yield inner
        try:
            if directory.is_dir():
                for path in sorted(inner.iterdir()):
                    os.replace(path, directory / path.name)
            else:
                directory.parent.mkdir(parents=True, exist_ok=True)
                os.rename(inner, directory)
        except OSError as error:
            raise InputError(f"cannot write into {directory}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _make_stage(directory: Path) -> Path:
    """A fresh hidden directory on the file system where `directory` is or will be."""
    home = directory.absolute()
    while not home.exists():
        home = home.parent
    if not home.is_dir():
        raise InputError(f"cannot write into {directory}: {home} is a file")
    try:
        return Path(tempfile.mkdtemp(prefix=".jaxopt-thoth-", dir=home))
    except OSError as error:
        raise InputError(f"cannot write into {directory}: {error.strerror or error}") from error
