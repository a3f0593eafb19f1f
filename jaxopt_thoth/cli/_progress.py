"""What the user sees while waiting: a live bar on a terminal, plain lines elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column


class Reporter:
    """Names the stage that runs, and how far it is."""

    def stage(self, description: str) -> None:
        """Begin a new stage."""

    def advance(self, done: int, total: int) -> None:
        """Say that `done` of `total` parts of the stage are finished; from a compiled function both are arrays."""


class _Lines(Reporter):
    """One line a stage, and one for each further quarter of it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._quarters = 0

    def stage(self, description: str) -> None:
        self._quarters = 0
        self._console.print(description, highlight=False, markup=False, soft_wrap=True)

    def advance(self, done: int, total: int) -> None:
        quarters = 4 * int(done) // max(int(total), 1)
        if quarters > self._quarters:
            self._quarters = quarters
            self._console.print(f"  {25 * quarters}%", highlight=False)


class _Bar(Reporter):
    """A bar that pulses until the first report of progress."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None)

    def stage(self, description: str) -> None:
        self._progress.reset(self._task, description=description, total=None)

    def advance(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=int(done), total=int(total))


@contextmanager
def reporting(console: Console) -> Iterator[Reporter]:
    """The reporter that suits this console; its bar is gone when the block ends."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis"))
    columns = (SpinnerColumn(), text, BarColumn(bar_width=20), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bar(progress)
