"""How far a run over tiles has come, in a file beside its maps."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._scene_error import SceneError
from ._source import SceneSource


@dataclass
class Journal:
    """What a run was asked for and what it has written: all rows before `rows_done` are in the file of maps."""

    settings: dict[str, Any]
    endmembers: list[list[float]]
    height: int
    rows_done: int = 0
    num_valid: int = 0
    num_failed: int = 0
    sum_squares: float = 0.0

    def save(self, path: Path) -> None:
        """Replace the file at once: a reader, or a run after a kill, sees the old text or the new."""
        draft = path.with_name(path.name + ".part")
        draft.write_text(json.dumps(asdict(self)))
        os.replace(draft, path)


def journal_path(out: Path) -> Path:
    """Where the journal of a file of maps lies."""
    return out.with_name(out.name + ".journal.json")


def load_journal(path: Path) -> Journal | None:
    """The journal, or None when there is none; `SceneError` when it is damaged."""
    if not path.exists():
        return None
    try:
        return Journal(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise SceneError(f"{path.name}: is no journal of maps, or a damaged one; delete it to start anew.") from error


def fingerprint(source: SceneSource) -> dict[str, Any]:
    """What identifies the image and how it is read."""
    status = source.path.stat()
    digest = hashlib.sha256()
    for part in (source.bands, source.scale, source.offset, source.mask):
        digest.update(b"none" if part is None else np.ascontiguousarray(part).tobytes())
    return {
        "file": source.path.name,
        "bytes": status.st_size,
        "modified": status.st_mtime_ns,
        "height": source.height,
        "width": source.width,
        "nodata": None if source.nodata is None else repr(source.nodata),
        "reading": digest.hexdigest(),
    }


def check_same(journal: Journal, settings: dict[str, Any], path: Path) -> None:
    """Raise `SceneError` unless a run with these settings can go on from the journal."""
    # Through JSON, where tuples become lists.
    wanted = json.loads(json.dumps(settings))
    for name in sorted(wanted.keys() | journal.settings.keys()):
        before, now = journal.settings.get(name), wanted.get(name)
        if before != now:
            raise SceneError(
                f"{path.name}: the maps were begun with another {name} ({_short(before)}, now {_short(now)}); pass the "
                "same to go on, or delete the journal to start anew."
            )


def refuse_unfinished(journal: Journal | None, out: Path) -> None:
    """Raise `SceneError` when the maps of `out` are those of a run that was interrupted."""
    if journal is not None and journal.rows_done < journal.height:
        raise SceneError(
            f"{out.name}: holds {journal.rows_done} of {journal.height} rows of an unfinished run; pass "
            f"resume=True (--resume) to go on, or delete {journal_path(out).name} to start anew."
        )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 80 else text[:77] + "..."
