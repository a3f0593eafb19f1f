"""Settings by name: those of `--setting`, and those of a TOML file, which flags override."""

import tomllib
from pathlib import Path
from typing import Any

import typer

from ._errors import InputError


# What `--config` may hold besides the table of settings; paths are meant from the place of the file.
_PATHS = ("library", "endmembers_file", "mask", "out", "scene")


def load_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make the values of a TOML file the defaults of the command; its table `settings` goes to `context.meta`.

    Raises:
        InputError: for a file that cannot be read, or a name that the command does not know.
    """
    if path is None:
        return None
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--config {path}: cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"--config {path}: not a TOML file: {error}") from error
    names = {option.name for option in context.command.params} - {"config", "setting", "help"}
    settings = values.pop("settings", {})
    if not isinstance(settings, dict):
        raise InputError(f"--config {path}: settings must be a table, [settings]")
    values = {name.replace("-", "_"): value for name, value in values.items()}
    unknown = sorted(set(values) - names)
    if unknown:
        listed = ", ".join(sorted(name for name in names if name))
        raise InputError(f"--config {path}: {unknown[0]} is not known; there are {listed}, and the table settings")
    for name in _PATHS:
        if isinstance(values.get(name), str):
            values[name] = str(path.parent / values[name])
    context.default_map = {**(context.default_map or {}), **values}
    context.meta["settings"] = settings
    return path


def read_settings(context: typer.Context, given: list[str] | None) -> dict[str, Any]:
    """Settings by name, those of `--setting name=value` over those of the file.

    Raises:
        InputError: for one without a name or a value.
    """
    settings = dict(context.meta.get("settings", {}))
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise InputError(f"--setting must be name=value, got {text!r}")
        settings[name.strip()] = _parse(value.strip())
    return {name: None if value == "none" else value for name, value in settings.items()}


def _parse(text: str) -> Any:
    """A number, true or false, or else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return text
