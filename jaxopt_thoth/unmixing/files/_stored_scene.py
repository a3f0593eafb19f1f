"""A source read whole, as a `Scene`."""

import jax.numpy as jnp
import numpy as np

from .._scene import Scene
from .._scene_error import SceneError
from ._source import SceneSource


def whole_scene(source: SceneSource) -> Scene:
    """The scene of all pixels of a source."""
    values = source.read(slice(None))
    valid = np.isfinite(values).all(axis=0)
    values[:, ~valid] = 0
    try:
        return Scene(jnp.asarray(values), source.height, source.width, wavelengths=source.wavelengths, mask=valid)
    except SceneError as error:
        raise SceneError(f"{source.path.name}: {error}") from None
