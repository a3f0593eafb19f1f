from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, get_args, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray

from .._fclsu import fclsu
from .._scaled_pixels import scale_pixels
from .._scene import Scene
from .._scene_error import SceneError
from ._journal import check_same, fingerprint, Journal, journal_path, load_journal, refuse_unfinished
from ._map_files import map_file, MapFile
from ._open_scene import open_scene
from ._read_ahead import read_ahead
from ._sample_pixels import sample_pixels
from ._source import SceneSource
from ._tile_plan import plan_tiles, TilePlan
from ._tiled_unmixing import TiledUnmixing


TileNormalization = Literal["none", "pixel_l2"]
Fit = Callable[[Float[Array, "L n"], Float[Array, "L p"]], Float[Array, "p n"]]


def unmix_tiles(
    source: SceneSource | str | PathLike[str],
    endmembers: ArrayLike | Callable[[Scene], ArrayLike],
    out: str | PathLike[str],
    *,
    key: PRNGKeyArray | None = None,
    sample: int = 20_000,
    fit: Fit = fclsu,
    normalization: TileNormalization = "none",
    names: Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    memory: float = 2e9,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> TiledUnmixing:
    """Unmix an image larger than memory: endmembers from a sample of its pixels, abundances tile by tile into a file.

    Tiles are whole rows, as many as the memory allows; the next is read while the device works on one, one compiled
    program serves all, and tiles without a valid pixel are passed over. The file has p maps of abundances, then the
    root mean square of the residual over the bands ("reconstruction_error", physical units), all NaN where the image
    has no data, and keeps the place of the image on the Earth. After each tile the journal beside the file
    (`OUT.journal.json`) says how far the run came: what was written before an interrupt or a kill stays, and
    `resume=True` goes on from there.

    Args:
        source: the image, or the path of its file.
        endmembers: (L, p) spectra, or a function from a scene of sampled pixels (1 x S) to them, as
            `lambda sample: unmix(sample, 5, key=key).endmembers`.
        out: the file of the maps: ENVI (.hdr or .img), GeoTIFF (.tif), NetCDF (.nc) or .npy (p + 1, H, W).
        key: random key of the sample; needed when `endmembers` is a function.
        sample: number of valid pixels drawn from the whole image for that function.
        fit: abundances (p, n) of pixels (L, n) and endmembers (L, p), each pixel by itself; a pure function. Pixels
            without data come as zeros.
        normalization: "pixel_l2" to fit pixels of unit norm, as `unmix` does by default, "none" for those of the file.
        names: p names of the endmembers.
        settings: whatever else names the run (a method, its seed), as JSON knows it; a resumed run must repeat it.
        memory: bytes that tiles and all computed from them may take, on top of the interpreter, the libraries and
            what the function of the sample takes.
        resume: go on with an interrupted run; without a journal the run starts at the first row.
        progress: called on the host after each tile with the number of tiles done and to do.

    Returns:
        The endmembers and a summary; the maps are in the file.

    Raises:
        SceneError: when the image cannot be read or has no valid pixel, the endmembers do not fit it, the memory
            does not do for one row, a resumed run differs in settings or input, or `out` holds an unfinished run and
            `resume` is false.

    Example:
        >>> import pathlib, tempfile, numpy as np
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> endmembers = np.array([[1.0, 0.0], [0.0, 1.0], [0.2, 0.4]])
        >>> np.save(folder / "cube.npy", np.full((6, 4, 3), endmembers @ [0.25, 0.75]))
        >>> result = unmix_tiles(folder / "cube.npy", endmembers, folder / "maps.npy", memory=1e6)
        >>> np.load(result.path).shape, np.load(result.path)[:2, 0, 0].round(3).tolist()
        ((3, 6, 4), [0.25, 0.75])
    """
    image = source if isinstance(source, SceneSource) else open_scene(source)
    file = Path(out)
    if normalization not in get_args(TileNormalization):
        raise SceneError(f"normalization must be one of {get_args(TileNormalization)}, got {normalization!r}.")
    if callable(endmembers) and key is None:
        raise SceneError("key must be a random key when endmembers is a function of a sample; pass jax.random.key(0).")
    log = journal_path(file)
    earlier = load_journal(log)
    wanted = {
        "input": fingerprint(image),
        "output": file.name,
        "fit": getattr(fit, "__qualname__", type(fit).__name__),
        "normalization": normalization,
        "dtype": str(jnp.result_type(float)),
        "names": None if names is None else list(names),
        "sample": None if key is None else [sample, np.asarray(jax.random.key_data(key)).tolist()],
        "settings": dict(settings or {}),
    }
    if earlier is not None and resume:
        check_same(earlier, wanted, log)
        spectra = np.asarray(earlier.endmembers, jnp.result_type(float))
        if not callable(endmembers) and not np.array_equal(spectra, _checked(endmembers, image)):
            raise SceneError(f"{log.name}: the maps were begun with other endmembers; pass the same to go on.")
        journal = earlier
    else:
        refuse_unfinished(earlier, file)
        found = endmembers
        if callable(endmembers):
            assert key is not None
            drawn = sample_pixels(image, sample, key=key, memory=memory)
            found = endmembers(Scene(drawn, 1, drawn.shape[1], wavelengths=image.wavelengths))
        spectra = _checked(found, image)  # type: ignore[arg-type]
        journal = Journal(wanted, spectra.astype(float).tolist(), image.height)

    count = spectra.shape[1]
    titles = tuple(names) if names is not None else tuple(f"endmember {k + 1}" for k in range(count))
    if len(titles) != count:
        raise SceneError(f"names must hold {count} names, one an endmember, got {len(titles)}.")
    titles = (*titles, "reconstruction_error")
    target = map_file(file, titles, image.height, image.width, image.georeference)
    plan = plan_tiles(image, count, memory)
    try:
        if journal is not earlier:
            log.unlink(missing_ok=True)
            target.create()
            journal.save(log)
        elif not target.data_path.exists():
            raise SceneError(f"{target.data_path.name}: is gone; delete {log.name} to start anew.")
        done = _run(image, spectra, target, journal, log, plan, fit, normalization, progress)
    except OSError as error:
        raise SceneError(f"{file.name}: cannot be written ({error.strerror or error}).") from error
    if journal.num_valid == 0:
        raise SceneError(f"{image.path.name}: no pixel is valid: every one is masked, zero or without data.")
    fitted = (journal.num_valid - journal.num_failed) * image.num_bands
    rmse = float(np.sqrt(journal.sum_squares / fitted)) if fitted else float("nan")
    return TiledUnmixing(
        target.data_path,
        titles,
        spectra,
        image.num_pixels,
        journal.num_valid,
        journal.num_failed,
        done,
        rmse,
    )


def _checked(endmembers: ArrayLike, image: SceneSource) -> np.ndarray:
    spectra = np.asarray(endmembers).astype(jnp.result_type(float))
    if spectra.ndim != 2 or spectra.shape[0] != image.num_bands or spectra.shape[1] < 1:
        raise SceneError(
            f"endmembers must have shape (L, p) with the {image.num_bands} bands of {image.path.name}, "
            f"got {spectra.shape}."
        )
    if not np.isfinite(spectra).all():
        raise SceneError("endmembers must be finite; remove NaN and infinity.")
    return spectra


def _run(
    image: SceneSource,
    spectra: np.ndarray,
    target: MapFile,
    journal: Journal,
    log: Path,
    plan: TilePlan,
    fit: Fit,
    normalization: TileNormalization,
    progress: Callable[[int, int], None] | None,
) -> int:
    """Go through the rows that are left; gives the number of tiles."""
    tiles = plan.tiles(journal.rows_done, image.height)
    on_device = jnp.asarray(spectra)
    number = 0
    # Counted by hand: `enumerate` would hold the tile before while it waits for the next one.
    for (start, stop), values in read_ahead(image, tiles):
        number += 1  # noqa: SIM113
        valid = np.isfinite(values).all(axis=0)
        block = np.full((len(target.names), stop - start, image.width), np.nan, np.float32)
        if valid.any():
            # The last tile is filled up with pixels that are not valid: one shape, one program.
            size = plan.rows * image.width
            pixels, usable = np.zeros((image.num_bands, size), values.dtype), np.zeros(size, bool)
            np.copyto(pixels[:, : values.shape[1]], values, where=valid[None, :])
            usable[: values.shape[1]] = valid
            del values
            maps = np.asarray(_unmix_tile(jnp.asarray(pixels), jnp.asarray(usable), on_device, fit, normalization))
            del pixels
            maps = maps[:, : valid.size]
            fitted = np.isfinite(maps).all(axis=0)
            journal.num_valid += int(valid.sum())
            journal.num_failed += int((valid & ~fitted).sum())
            journal.sum_squares += float(np.square(maps[-1, fitted].astype(float)).sum()) * image.num_bands
            block[:] = np.where(fitted, maps, np.nan).reshape(block.shape)
        target.write(start, block)
        journal.rows_done = stop
        journal.save(log)
        if progress is not None:
            progress(number, len(tiles))
    return len(tiles)


@eqx.filter_jit
def _unmix_tile(
    pixels: Float[Array, "L n"],
    valid: Bool[Array, " n"],
    endmembers: Float[Array, "L p"],
    fit: Fit,
    normalization: TileNormalization,
) -> Float[Array, "k n"]:
    """Abundances, then the error, NaN where a pixel is not valid."""
    scaled = scale_pixels(pixels, normalization, valid)
    units = pixels * scaled.scale[None, :]
    abundances = fit(units, endmembers)
    residual = units - jnp.matmul(endmembers, abundances, precision=jax.lax.Precision.HIGHEST)
    brightness = jnp.where(valid, 1 / jnp.where(valid, scaled.scale, 1), 1)
    error = jnp.sqrt(jnp.mean(jnp.square(residual), axis=0)) * brightness
    return jnp.where(valid[None, :], jnp.concatenate([abundances, error[None, :]]), jnp.nan)
