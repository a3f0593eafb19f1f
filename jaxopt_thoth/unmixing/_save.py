from os import PathLike
from pathlib import Path

import numpy as np

from ._scene import Scene
from ._scene_error import SceneError


def save_scene(path: str | PathLike[str], scene: Scene) -> None:
    """Write a scene to a compressed .npz file that `load_scene` reads back, pixels in row-major order.

    Args:
        path: the file to write; it must end in .npz, and is replaced when it exists.
        scene: a concrete scene (not one being traced).

    Raises:
        SceneError: when the path does not end in .npz or cannot be written.

    Example:
        >>> import jax, pathlib, tempfile
        >>> from jaxopt_thoth.unmixing import load_scene, simulate_scene
        >>> scene = simulate_scene(jax.random.key(0), height=8, width=9, num_bands=20)
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "scene.npz"
        >>> save_scene(path, scene)
        >>> bool((load_scene(path).pixels == scene.pixels).all())
        True
    """
    file = Path(path)
    if file.suffix.lower() != ".npz":
        raise SceneError(f"{file.name}: scenes are written as .npz; end the name in .npz.")
    entries = {
        "Y": scene.pixels,
        "H": scene.height,
        "W": scene.width,
        "L": scene.num_bands,
        "N": scene.num_pixels,
        "mask": scene.mask,
        "order": "row-major",
        "E": scene.endmembers,
        "A": scene.abundances,
        "D": scene.library,
        "wavelengths": scene.wavelengths,
        "labels": scene.names,
        "names": scene.library_names,
    }
    arrays = {name: np.asarray(value) for name, value in entries.items() if value is not None}
    try:
        # A handle, since numpy appends its own suffix to a name that ends in .NPZ.
        with open(file, "wb") as handle:
            np.savez_compressed(handle, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise SceneError(f"{file.name}: cannot be written ({error.strerror}).") from error
