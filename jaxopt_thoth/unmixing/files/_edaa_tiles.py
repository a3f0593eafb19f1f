from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import get_args, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from .._archetypes import ArchetypeSteps
from .._edaa import EnsemblePlan, plan_ensemble, run_ensemble, Start
from .._scene_error import SceneError
from ._compressed import combine_pixels_of, compress, plan_compressed, Progress
from ._journal import journal_path, load_journal, refuse_unfinished
from ._map_files import map_file
from ._open_scene import open_scene
from ._source import SceneSource
from ._tile_plan import TilePlan
from ._tiled_unmixing import TiledUnmixing
from ._unmix_tiles import TileNormalization, unmix_tiles


def edaa_tiles(
    source: SceneSource | str | PathLike[str],
    num_endmembers: int,
    out: str | PathLike[str],
    *,
    key: PRNGKeyArray,
    ensemble: int = 10,
    num_steps: int = 100,
    abundance_steps: int = 5,
    endmember_steps: int = 5,
    start: Start = "soft_vertices",
    normalization: TileNormalization = "pixel_l2",
    rank: int | Literal["auto"] = "auto",
    names: Sequence[str] | None = None,
    memory: float = 2e9,
    resume: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> TiledUnmixing:
    """`edaa` on all pixels of an image larger than memory, and its maps in a file.

    Four passes over the file. The first finds the leading components of the pixels, the second their coordinates, which
    are held in memory: at rank 20 a fifteenth of an image of 300 bands. The runs descend on these, and the third pass
    combines the pixels of all bands with the weights of the run that the ensemble agrees on, so that the endmembers are
    those of the full data. The last, by `unmix_tiles`, writes the abundances that fit each pixel best under these
    endmembers (`fclsu`), and the error of reconstruction. An interrupt before it costs the passes so far; from then on
    the endmembers are in the journal and `resume=True` goes on at the row reached.

    Args:
        source: the image, or the path of its file.
        num_endmembers: p, at least 2 and at most L.
        out: the file of the maps, as in `unmix_tiles`.
        key: random key of the starts.
        ensemble: number of runs, one after the other.
        num_steps: outer steps of each run.
        abundance_steps: descent steps in the abundances an outer step.
        endmember_steps: descent steps in the weights of the pixels an outer step.
        start: "soft_vertices" or "uniform", as in `edaa`.
        normalization: "pixel_l2" divides each pixel by its norm; "none" keeps the unit of the file.
        rank: number of components; "auto" takes the larger of 20 and 4 p.
        names: p names of the endmembers.
        memory: bytes that the components, a run on them, and the tiles may take.
        resume: go on with an interrupted run; without a journal the run starts anew.
        progress: called on the host as `progress(stage, done, total)`, the stages being "gram", "components", "runs",
            "endmembers" and "maps".

    Returns:
        The endmembers, of normalized pixels, and a summary; the maps are in the file.

    Raises:
        SceneError: as `unmix_tiles`, or when the memory does not do for the components and one run on them.
        ValueError: for a setting out of range.

    Source: A. Zouaoui et al., "Entropic Descent Archetypal Analysis for Blind Hyperspectral Unmixing", IEEE TIP 2023
    (the method).

    Example:
        >>> import jax, pathlib, tempfile, numpy as np
        >>> from jaxopt_thoth import unmixing
        >>> scene = unmixing.simulate_scene(jax.random.key(0), height=24, width=24, num_bands=40)
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> np.save(folder / "cube.npy", np.asarray(scene.cube()))
        >>> settings = {"key": jax.random.key(1), "ensemble": 2, "num_steps": 20, "memory": 1e7}
        >>> result = unmixing.edaa_tiles(folder / "cube.npy", 3, folder / "maps.npy", **settings)
        >>> result.endmembers.shape, np.load(result.path).shape
        ((40, 3), (4, 24, 24))
    """
    image = source if isinstance(source, SceneSource) else open_scene(source)
    file = Path(out)
    if normalization not in get_args(TileNormalization):
        raise SceneError(f"normalization must be one of {get_args(TileNormalization)}, got {normalization!r}.")
    plan = plan_ensemble(
        image.num_bands,
        num_endmembers,
        ensemble=ensemble,
        steps=ArchetypeSteps(num_steps, abundance_steps, endmember_steps),
        start=start,
        rank=rank,
        chunk=1,
    )
    assert plan.rank is not None
    tiles = plan_compressed(image, num_endmembers, plan.rank, memory)
    # What is wrong with the output is said before the passes over the file, not after.
    titles = tuple(names) if names is not None else tuple(map(str, range(num_endmembers)))
    map_file(file, (*titles, "reconstruction_error"), image.height, image.width, image.georeference)
    if len(titles) != num_endmembers:
        raise SceneError(f"names must hold {num_endmembers} names, one an endmember, got {len(titles)}.")
    earlier = load_journal(journal_path(file))
    if earlier is None or not resume:
        refuse_unfinished(earlier, file)
        endmembers = _endmembers(image, plan, key, normalization, tiles, progress)
    else:
        endmembers = np.asarray(earlier.endmembers)
    return unmix_tiles(
        image,
        endmembers,
        file,
        normalization=normalization,
        names=names,
        settings={
            "method": "edaa_tiles",
            "num_endmembers": num_endmembers,
            "key": np.asarray(jax.random.key_data(key)).tolist(),
            "ensemble": ensemble,
            "steps": list(plan.steps),
            "start": start,
            "rank": plan.rank,
        },
        memory=memory,
        resume=resume,
        progress=None if progress is None else lambda done, total: progress("maps", done, total),
    )


def _endmembers(
    image: SceneSource,
    plan: EnsemblePlan,
    key: PRNGKeyArray,
    normalization: TileNormalization,
    tiles: TilePlan,
    progress: Progress,
) -> Float[np.ndarray, "L p"]:
    """Endmembers of the full data from runs on its components."""
    assert plan.rank is not None
    reduced = compress(image, plan.rank, normalization, tiles, progress)
    # The residual of the full pixels orders the runs: what the components leave out belongs to each of them.
    outside = jnp.asarray(reduced.outside, reduced.values.dtype)
    found = run_ensemble(
        jnp.asarray(reduced.values),
        jnp.asarray(reduced.mask),
        key,
        outside,
        plan=plan._replace(rank=None),
        selection="consensus",
        normalization="none",
        progress=None if progress is None else lambda done, total: progress("runs", int(done), int(total)),
    )
    weights = np.asarray(found.weights)
    del found, reduced
    endmembers = combine_pixels_of(image, weights, normalization, tiles, progress)
    if not np.isfinite(endmembers).all():
        raise SceneError(f"{image.path.name}: the descent did not stay finite; scale the pixels, or use pixel_l2.")
    return endmembers
