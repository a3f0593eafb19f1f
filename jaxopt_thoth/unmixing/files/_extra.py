"""Libraries that only an extra of this package installs."""

import importlib
import warnings
from pathlib import Path
from typing import Any

from .._scene_error import SceneError


def import_extra(module: str, extra: str, path: Path) -> Any:
    """The module; raises `SceneError` that names the extra when it is not installed."""
    try:
        with warnings.catch_warnings():
            # Extension modules warn of the NumPy they were built against, and old ones of their own syntax.
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:
        library = module.split(".")[0]
        raise SceneError(
            f'{path.name}: files of this kind need {library}; pip install "jaxopt_thoth[{extra}]".'
        ) from error
