from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from .. import _tree, _validate
from .._result import RESULTS
from .._types import Scalar
from .._validate import require_nonnegative, require_ordered
from ._library_input import LibraryInput, read_library
from ._mesma_models import count_models, list_models
from ._pixel_input import as_given
from ._scene import Scene
from ._unmixing import Unmixing


_product = partial(jnp.matmul, precision="highest")
_MOST_MODELS = 2_000_000


def mesma(
    pixels: ArrayLike | Scene,
    library: ArrayLike,
    classes: ArrayLike,
    *,
    max_classes: int | None = None,
    shade: bool = True,
    min_fraction: ArrayLike = -0.05,
    max_fraction: ArrayLike = 1.05,
    max_shade: ArrayLike = 0.8,
    max_rmse: ArrayLike = 0.025,
    gain: ArrayLike = 0.007,
    models_at_once: int = 64,
    pixels_at_once: int = 4096,
    mask: ArrayLike | None = None,
) -> Unmixing:
    """Multiple endmember spectral mixture analysis: in each pixel the best few spectra of a library, one a class.

    All models of one to `max_classes` classes, one library spectrum each, are fitted by least squares, with a shade
    that reflects nothing and takes what the fractions leave to one, or without it under a sum of one. A model is
    allowed when its fractions, its shade and its root mean squared error are within the limits; of each number of
    classes the allowed one of least error is kept. A model of more classes is taken when it lowers the error by more
    than `gain`, or when no smaller one is allowed.

    Models and pixels go in chunks: time grows with their product, memory with `models_at_once * pixels_at_once` and the
    size of the tables of models. Errors come from products of spectra, whose rounding in float32 is about 1e-3 of a
    pixel's size; the ones handed back are those of the residuals.

    Args:
        pixels: matrix (L, N), cube (H, W, L), or `Scene`; reflectances, which the limits are made for.
        library: (L, M) spectra of the unit and the dtype of the pixels.
        classes: (M,) class of each spectrum, integers from 0 without a gap; known at compile time.
        max_classes: classes in a model, those of two, three and four endmembers with shade being 1 to 3; by default 3,
            or as many as there are; static.
        shade: whether the models have a shade; static.
        min_fraction, max_fraction: limits of the fractions.
        max_shade: largest fraction of the shade; the least is `min_fraction`.
        max_rmse: largest root mean squared error over the bands.
        gain: by how much the error must fall for one more class.
        models_at_once, pixels_at_once: sizes of the chunks; static.
        mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite are left out anyway.

    Returns:
        `Unmixing` with abundances of the classes (C, N) or maps, NaN where masked and where no model is allowed,
        `library_abundances` (M, N), the mean spectra of the classes as endmembers, and in `diagnostics` for each pixel
        "modeled", the chosen "spectra" (C, N), -1 for a class that is not in the model, the "shade", "rmse" and
        "residual" norm; `result` is `infeasible` when no pixel has a model. See `uncertainty.bootstrap_library` and
        `uncertainty.bootstrap_noise` for their spread.

    Raises:
        ValueError: when the arguments do not fit each other, classes are not known or have a gap, a setting is out of
            range, or there are more than two million models.

    Source: D. A. Roberts, M. Gardner, R. Church, S. Ustin, G. Scheer, R. O. Green, "Mapping chaparral in the Santa
    Monica mountains using multiple endmember spectral mixture models", 1998.

    Example:
        >>> import jax.numpy as jnp
        >>> library = jnp.array([[0.6, 0.5, 0.1], [0.2, 0.3, 0.4], [0.1, 0.1, 0.7]])
        >>> found = mesma(library @ jnp.array([[0.0], [0.3], [0.5]]), library, [0, 0, 1])
        >>> print(found.abundances.round(2).ravel().tolist(), found.diagnostics["spectra"].ravel().tolist())
        [0.3, 0.5] [1, 2]
    """
    task = read_library(pixels, library, None, mask)
    known = _read_classes(classes, task.library.shape[1])
    num_classes = int(known.max()) + 1
    max_classes = min(3, num_classes) if max_classes is None else max_classes
    if not 1 <= max_classes <= num_classes:
        raise ValueError(f"max_classes must be between 1 and the {num_classes} classes, got {max_classes}.")
    for name, value in (("models_at_once", models_at_once), ("pixels_at_once", pixels_at_once)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    require_ordered(min_fraction, max_fraction)
    for name, limit in (("max_shade", max_shade), ("max_rmse", max_rmse), ("gain", gain)):
        require_nonnegative(limit, name)
    total = count_models(known, num_classes, max_classes)
    if total > _MOST_MODELS:
        raise ValueError(f"the library gives {total} models, more than {_MOST_MODELS}; prune it or lower max_classes.")
    tables, levels = list_models(known, num_classes, max_classes, models_at_once)
    settings = (min_fraction, max_fraction, max_shade, max_rmse, gain)
    limits = _Limits(*(_tree.setting(x).astype(task.pixels.dtype) for x in settings))
    best = _mesma(
        task.pixels,
        task.library,
        jnp.asarray(tables),
        jnp.asarray(levels),
        limits,
        num_levels=max_classes,
        shade=shade,
        pixels_at_once=min(pixels_at_once, task.mask.size),
    )
    return _report(task, known, num_classes, best, limits, shade)


class _Limits(NamedTuple):
    min_fraction: Scalar
    max_fraction: Scalar
    max_shade: Scalar
    max_rmse: Scalar
    gain: Scalar


# Least error of each number of classes, (levels, N), with its spectra and fractions, (levels, N, most).
_Running = tuple[Array, Array, Array]


class _Best(NamedTuple):
    """The model of each pixel: its spectra and fractions, (N, most), and whether there is one, (N,)."""

    spectra: Int[Array, "N m"]
    fractions: Float[Array, "N m"]
    modeled: Bool[Array, " N"]


def _read_classes(classes: ArrayLike, num_spectra: int) -> np.ndarray:
    known = _validate.concrete(classes)
    if known is None:
        raise ValueError("classes must be known at compile time; close over them, or pass a NumPy array.")
    if known.shape != (num_spectra,) or not np.issubdtype(known.dtype, np.integer):
        raise ValueError(
            f"classes must hold one integer for each of the {num_spectra} spectra, got {known.dtype}{known.shape}."
        )
    if known.min() != 0 or np.unique(known).size != known.max() + 1:
        raise ValueError("classes must run from 0 without a gap; number them anew with numpy.unique(return_inverse).")
    return known


@partial(jax.jit, static_argnames=("num_levels", "shade", "pixels_at_once"))
def _mesma(
    pixels: Float[Array, "L N"],
    library: Float[Array, "L M"],
    tables: Int[Array, "k c m"],
    levels: Int[Array, " k"],
    limits: _Limits,
    *,
    num_levels: int,
    shade: bool,
    pixels_at_once: int,
) -> _Best:
    bands, atoms = library.shape
    dtype = pixels.dtype
    # The spectrum of a place that a model leaves empty: zeros, orthogonal to all others, of unit length.
    gram = jnp.pad(_product(library.T, library), ((0, 1), (0, 1))).at[atoms, atoms].set(1)
    systems = gram[tables[..., :, None], tables[..., None, :]]
    filled = tables < atoms
    empty = jnp.arange(tables.shape[-1])[:, None] == jnp.arange(tables.shape[-1])[None, :]
    systems = jnp.where(filled[..., :, None] & filled[..., None, :], systems, empty.astype(dtype))
    inverses = jnp.linalg.inv(systems)

    def block(values: Float[Array, "L b"]) -> _Best:
        cross = jnp.pad(_product(library.T, values), ((0, 1), (0, 0)))
        squares = jnp.sum(values * values, axis=0)

        def visit(best: _Running, chunk: tuple[Array, ...]) -> tuple[_Running, None]:
            table, level, system, inverse, present = chunk
            right = cross[table]
            fractions = _product(inverse, right)
            if not shade:
                towards = _product(inverse, present.astype(dtype)[..., None])
                missing = 1 - jnp.sum(fractions, axis=1, keepdims=True)
                fractions = fractions + towards * missing / jnp.sum(towards, axis=1, keepdims=True)
            fractions = jnp.where(present[..., None], fractions, 0)
            curved = _product(system, fractions)
            error = jnp.maximum(squares[None, :] + jnp.sum(fractions * (curved - 2 * right), axis=1), 0)
            inside = (fractions >= limits.min_fraction) & (fractions <= limits.max_fraction)
            allowed = jnp.all(inside | ~present[..., None], axis=1) & jnp.any(present, axis=1)[:, None]
            rest = 1 - jnp.sum(fractions, axis=1)
            if shade:
                allowed &= (rest >= limits.min_fraction) & (rest <= limits.max_shade)
            # Dependent spectra give no model: one of fewer fits as well.
            allowed &= jnp.isfinite(error) & (error <= limits.max_rmse**2 * bands)
            error = jnp.where(allowed, error, jnp.inf)
            winner = jnp.argmin(error, axis=0)
            columns = jnp.arange(values.shape[1])
            least = error[winner, columns]
            errors, spectra, kept = best
            better = least < errors[level]
            update = lambda old, new: old.at[level].set(jnp.where(better[:, None], new, old[level]))
            spectra, kept = update(spectra, table[winner]), update(kept, fractions[winner, :, columns])
            return (errors.at[level].set(jnp.minimum(least, errors[level])), spectra, kept), None

        shape = (num_levels, values.shape[1])
        start = (
            jnp.full(shape, jnp.inf, dtype),
            jnp.full((*shape, tables.shape[-1]), atoms, tables.dtype),
            jnp.zeros((*shape, tables.shape[-1]), dtype),
        )
        (errors, spectra, kept), _ = jax.lax.scan(visit, start, (tables, levels, systems, inverses, filled))
        rmse = jnp.sqrt(errors / bands)
        chosen, current = jnp.zeros(values.shape[1], jnp.int32), rmse[0]
        for level in range(1, num_levels):
            grows = jnp.isfinite(rmse[level]) & (~jnp.isfinite(current) | (rmse[level] < current - limits.gain))
            chosen, current = jnp.where(grows, level, chosen), jnp.where(grows, rmse[level], current)
        columns = jnp.arange(values.shape[1])
        return _Best(spectra[chosen, columns], kept[chosen, columns], jnp.isfinite(current))

    count = pixels.shape[1]
    blocks = -(-count // pixels_at_once)
    padded = jnp.pad(pixels, ((0, 0), (0, blocks * pixels_at_once - count)))
    cut = jnp.moveaxis(padded.reshape(bands, blocks, pixels_at_once), 1, 0)
    best = jax.lax.map(block, cut)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], best)


def _report(
    task: LibraryInput, classes: np.ndarray, num_classes: int, best: _Best, limits: _Limits, shade: bool
) -> Unmixing:
    bands, atoms = task.library.shape
    dtype = task.pixels.dtype
    count = task.mask.size
    modeled = best.modeled & task.mask
    columns = jnp.broadcast_to(jnp.arange(count)[:, None], best.spectra.shape)
    # One row more takes the empty places.
    parts = jnp.zeros((atoms + 1, count), dtype).at[best.spectra, columns].add(best.fractions)[:atoms]
    members = jnp.asarray(np.eye(num_classes)[classes].T, dtype)
    labels = jnp.asarray(np.append(classes, num_classes), jnp.int32)[best.spectra]
    chosen = jnp.full((num_classes + 1, count), -1, jnp.int32).at[labels, columns].set(best.spectra)[:num_classes]
    misfit = task.pixels - _product(task.library, parts)
    squares = jnp.sum(misfit * misfit, axis=0)
    hide = lambda x: jnp.where(jnp.broadcast_to(modeled, x.shape), x, jnp.nan)
    abundances = _product(members, parts)
    return as_given(
        Unmixing(
            endmembers=_product(task.library, (members / jnp.sum(members, axis=1, keepdims=True)).T),
            abundances=hide(abundances),
            result=RESULTS.where(jnp.any(modeled), RESULTS.converged, RESULTS.infeasible),
            diagnostics={
                "modeled": modeled,
                "spectra": jnp.where(modeled[None, :], chosen, -1),
                "shade": hide(1 - jnp.sum(abundances, axis=0)),
                "rmse": hide(_tree.safe_sqrt(squares / bands)),
                "residual": hide(_tree.safe_sqrt(squares)),
            },
            library_abundances=hide(parts),
        ),
        task.given,
    )
