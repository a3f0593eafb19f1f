import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from .._scene_error import SceneError
from ._source import SceneSource
from ._tile_plan import plan_tiles


def sample_pixels(
    source: SceneSource, count: int, *, key: PRNGKeyArray, memory: float = 2e9
) -> Float[np.ndarray, "L S"]:
    """Valid pixels drawn uniformly from a whole image in one pass, without replacement, in the order of the image.

    Each pixel has a random priority that depends on the key and its place alone, and those of the smallest are kept:
    the sample does not depend on how many rows are read at once.

    Args:
        source: the image.
        count: S, the size of the sample; all valid pixels when there are fewer.
        key: random key.
        memory: bytes of the working set, as in `unmix_tiles`; the sample comes on top, three times while it is drawn.

    Returns:
        (L, S) physical values.

    Raises:
        SceneError: when no pixel is valid, `count` is not positive, or the memory does not do for a row.

    Source: J. Vitter, "Random sampling with a reservoir", 1985 (the problem).

    Example:
        >>> import jax, pathlib, tempfile, numpy as np
        >>> from jaxopt_thoth.unmixing import open_scene
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "cube.npy"
        >>> np.save(path, np.ones((8, 9, 5)))
        >>> sample_pixels(open_scene(path), 20, key=jax.random.key(0)).shape
        (5, 20)
    """
    if count < 1:
        raise SceneError(f"count must be at least 1, got {count}.")
    plan = plan_tiles(source, 1, memory)
    seed = np.asarray(jax.random.key_data(key)).reshape(-1).tolist()
    values, priorities, places = None, np.empty(0), np.empty(0, np.int64)
    for start, stop in plan.tiles(0, source.height):
        block = source.read(slice(start, stop))
        drawn = np.concatenate([np.random.default_rng([*seed, row]).random(source.width) for row in range(start, stop)])
        limit = priorities.max() if priorities.size == count else np.inf
        fresh = np.flatnonzero(np.isfinite(block).all(axis=0) & (drawn < limit))
        # At most `count` of a block can stay, and they alone are copied.
        fresh = fresh[np.argsort(drawn[fresh], kind="stable")[:count]]
        values = block[:, fresh] if values is None else np.concatenate([values, block[:, fresh]], axis=1)
        priorities = np.concatenate([priorities, drawn[fresh]])
        places = np.concatenate([places, fresh + start * source.width])
        if priorities.size > count:
            kept = np.argsort(priorities, kind="stable")[:count]
            values, priorities, places = values[:, kept], priorities[kept], places[kept]
    if values is None or places.size == 0:
        raise SceneError(f"{source.path.name}: no pixel is valid: every one is masked, zero or without data.")
    found: np.ndarray = values[:, np.argsort(places)]
    return found
