import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray

from .._result import RESULTS
from ._checks import as_spectra, same_dtype
from ._extraction_input import read_simplex
from ._method_settings import sort_settings
from ._methods import find_method, Method, Plan
from ._pixel_input import read_pixels
from ._scaled_pixels import Normalization, scale_pixels
from ._scene import Scene
from ._unmixing import Unmixing


_RUNS = 10


def unmix(
    scene: Scene,
    num_endmembers: int | None = None,
    *,
    method: str = "edaa",
    key: PRNGKeyArray,
    ensemble: int | None = None,
    normalization: Normalization | None = None,
    library: ArrayLike | None = None,
    classes: ArrayLike | None = None,
    endmembers: ArrayLike | None = None,
    progress: Callable[[Any, Any], None] | None = None,
    **settings: Any,
) -> Unmixing:
    """Unmix a scene by a named method.

    Args:
        scene: the scene; masked pixels are left out and come back as NaN.
        num_endmembers: p, at least 2 and at most the number of bands or of atoms; that of `endmembers` by default.
        method: blind, "auto" (`auto_unmix`), "edaa" (archetypes by entropic descent), "aa" and "robust-aa" (archetypal
            analysis, of squared distances and of distances), "nmf", "mvc-nmf" and "nmf-qmv" (nonnegative factors,
            plain and of small volume), "auto-bundles" (spectra from the image itself), and the networks "undip",
            "misicnet", "cnnaeu", "pgmsu", "admmnet" and "msnet"; by a library, "sunsal", "clsunsal", "sunsal-tv",
            "s2wsu", "mua", "sunaa", "sunaa-tv", "fasun", "suns" and "suncnn"; by a library in classes, "mesma" and
            "bundle"; of endmembers that are given, "fclsu", "ncls", "scls", "ucls" (least squares), "sclsu", "elmm",
            "plmm" (spectral variability) and "fan", "gbm", "ppnm", "mlm", "hapke" (nonlinear models); or one of these
            after an extraction "vca", "nfindr", "ppi", "sivm", "atgp", "spa" (pure pixels), "sisal", "mvsa" (a
            simplex of least volume) or "ml-simplex" (the likeliest), as in "vca+fclsu".
        key: random key; used by the methods that draw.
        ensemble: number of runs of EDAA, VCA, N-FINDR and PPI, 10 by default; of those of an extraction the largest
            simplex is kept.
        normalization: as in `edaa`, "auto" for the method "auto"; otherwise by default "pixel_l2" for methods that
            find endmembers among the pixels and mix them linearly, and "none" for the others; under "pixel_l2" spectra
            that are given get unit norms too.
        library: (L, M) spectra of a library method, by default the scene's own.
        classes: (M,) class of each spectrum of the library, integers from 0, for "mesma" and "bundle"; by default
            spectra of the scene's own library that share a name make a class, and others are one each.
        endmembers: (L, p) spectra, for a method that fits given ones.
        progress: called on the host as `progress(done, total)`.
        settings: what the function of the method takes besides, by keyword; where an extraction and the fit after it
            share a name, that of the extraction is `extraction_...`.

    Returns:
        `Unmixing`; where pixels are not fitted by `endmembers @ abundances` (nonlinear models, libraries of more than p
        atoms), its `diagnostics` hold the "reconstruction" (L, N).

    Raises:
        ValueError: for an unknown method or setting, a number of endmembers out of range, spectra that are missing or
            do not fit, a normalization that makes no sense, or an ensemble below one.

    Example:
        >>> import jax
        >>> from jaxopt_thoth import unmixing
        >>> scene = unmixing.simulate_scene(jax.random.key(0), height=16, width=16, num_bands=30)
        >>> unmixing.unmix(scene, 3, method="vca+fclsu", key=jax.random.key(1)).abundances.shape
        (3, 256)
        >>> fit = unmixing.unmix(scene, method="ncls", endmembers=scene.endmembers, key=jax.random.key(1))
        >>> fit.abundances.shape
        (3, 256)
    """
    plan = find_method(method)
    stages = sort_settings(method, plan, settings)
    if ensemble is not None and ensemble < 1:
        raise ValueError(f"ensemble must be at least 1, got {ensemble}.")
    normalization = default_normalization(plan) if normalization is None else normalization
    given = _given_spectra(scene, plan, method, library, endmembers)
    groups = _read_classes(scene, plan, method, library is None, classes, given)
    count = _count(scene, plan, given, groups, num_endmembers)
    reports = plan.main.kind == "blind" and "progress" in inspect.signature(plan.main.function).parameters
    if plan.main.kind == "blind":
        shared: dict[str, Any] = {"key": key, "normalization": normalization, **stages["main"]}
        shared |= {"ensemble": ensemble or _RUNS} if plan.is_drawn else {}
        shared |= {"progress": progress} if reports else {}
        found: Unmixing = plan.main.function(scene, count, **shared)
    else:
        task = _scaled_task(scene, plan, normalization, given)
        if plan.main.kind == "library":
            shared = {"num_endmembers": count, "key": key, **stages["main"]}
            found = _by_library(scene, task, partial(plan.main.function, **shared))
        elif groups is not None:
            own = {"num_groups": count} if "num_groups" in inspect.signature(plan.main.function).parameters else {}
            found = _by_library(scene, task, partial(plan.main.function, **own, **stages["main"]), groups)
        else:
            found = _by_endmembers(scene, task, plan, count, key, ensemble or _RUNS, stages)
        found = eqx.tree_at(lambda u: u.pixel_scale, found, task.size, is_leaf=lambda leaf: leaf is None)
    if progress is not None and not reports:
        progress(1, 1)
    return found


def default_normalization(plan: Plan) -> Any:
    """Unit norms where endmembers come from the pixels and mix linearly; given spectra have the scene's unit."""
    own = inspect.signature(plan.main.function).parameters.get("normalization")
    if own is not None and own.default == "auto":
        return "auto"
    keeps_brightness = plan.main.kind in ("variability", "nonlinear")
    return "pixel_l2" if plan.finds_endmembers and not keeps_brightness else "none"


class _Task(NamedTuple):
    pixels: Float[Array, "L N"]
    mask: Bool[Array, " N"]
    size: Float[Array, " N"]
    spectra: Float[Array, "L m"] | None


def _given_spectra(
    scene: Scene, plan: Plan, method: str, library: ArrayLike | None, endmembers: ArrayLike | None
) -> Array | None:
    """The library or the endmembers, whichever the method works with; a `ValueError` where one lacks or is too many."""
    if endmembers is not None and not plan.needs_endmembers:
        raise ValueError(f"{method} finds its own endmembers; give none, or choose fclsu, which fits given ones.")
    if library is not None and not plan.uses_library:
        raise ValueError(f"{method} uses no library; give none, or choose a method that does, as sunsal.")
    name, spectra = "endmembers", endmembers
    if plan.uses_library:
        name, spectra = "library", scene.library if library is None else library
        if spectra is None:
            raise ValueError(f"{method} needs a library (L, M), and the scene brings none.")
    elif not plan.needs_endmembers:
        return None
    elif spectra is None:
        raise ValueError(f"{method} fits endmembers (L, p) that are given; give them, or choose vca+{method}.")
    values = as_spectra(spectra, name, "(L, M)" if name == "library" else "(L, p)")
    same_dtype(scene.pixels, "the scene", values, name)
    if values.shape[0] != scene.num_bands:
        raise ValueError(f"{name} {values.shape} must have the {scene.num_bands} bands of the scene; resample one.")
    return values


def _read_classes(
    scene: Scene, plan: Plan, method: str, is_own: bool, classes: ArrayLike | None, given: Array | None
) -> np.ndarray | None:
    """Class of each spectrum, for the methods that have classes."""
    if plan.main.kind != "classes":
        if classes is not None:
            raise ValueError(f"{method} knows no classes; give none, or choose mesma or bundle.")
        return None
    assert given is not None
    if classes is None:
        return classes_of(scene.library_names if is_own else None, given.shape[1])
    values = np.asarray(classes)
    if values.shape != given.shape[1:] or values.dtype.kind not in "iu" or values.min() < 0:
        raise ValueError(
            f"classes must hold an integer from 0 for each of the {given.shape[1]} spectra of the library, got "
            f"{values.dtype}{values.shape}."
        )
    return values.astype(np.int32)


def classes_of(names: Sequence[str] | None, count: int) -> np.ndarray:
    """Spectra of one name make a class, in the order of their first; without names each is one."""
    if names is None:
        return np.arange(count, dtype=np.int32)
    numbers = {name: k for k, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], np.int32)


def _count(scene: Scene, plan: Plan, given: Array | None, groups: np.ndarray | None, num_endmembers: int | None) -> int:
    most, what = scene.num_bands, f"the number of bands {scene.num_bands}"
    if groups is not None:
        most, what = int(groups.max()) + 1, f"the {groups.max() + 1} classes of the library"
    elif given is not None:
        most, what = given.shape[1], f"the {given.shape[1]} spectra that are given"
    is_known = plan.needs_endmembers or groups is not None
    if num_endmembers is None and is_known:
        num_endmembers = most
    if num_endmembers is None or not 2 <= num_endmembers <= most:
        raise ValueError(f"the number of endmembers must be between 2 and {what}, got {num_endmembers}.")
    if is_known and num_endmembers != most:
        raise ValueError(f"the number of endmembers must be that of {what}, got {num_endmembers}.")
    return num_endmembers


def _scaled_task(scene: Scene, plan: Plan, normalization: Normalization, given: Array | None) -> _Task:
    if plan.main.kind == "nonlinear" and normalization != "none":
        raise ValueError(f"normalization must be none for a nonlinear model, got {normalization}.")
    if given is not None and normalization == "perspective":
        raise ValueError("normalization perspective is for endmembers found among the pixels; choose pixel_l2 or none.")
    pixels, usable, _ = read_pixels(scene)
    scaled = scale_pixels(pixels, normalization, usable)
    used = scaled.scale > 0
    if given is not None and normalization == "pixel_l2":
        sizes = jnp.linalg.norm(given, axis=0, keepdims=True)
        given = given / jnp.where(sizes > 0, sizes, 1)
    size = jnp.where(used, 1 / jnp.where(used, scaled.scale, 1), jnp.nan)
    return _Task(pixels * scaled.scale[None, :], used, size, given)


def _as_image(scene: Scene, task: _Task) -> Scene:
    """As a scene, the image shape goes along to the methods that look at neighbors."""
    return eqx.tree_at(lambda s: (s.pixels, s.mask), scene, (task.pixels, task.mask))


def _by_library(scene: Scene, task: _Task, fit: Callable[..., Unmixing], *more: Any) -> Unmixing:
    found = fit(_as_image(scene, task), task.spectra, *more)
    assert found.library_abundances is not None and task.spectra is not None
    return _with_reconstruction(found, jnp.matmul(task.spectra, found.library_abundances, precision="highest"))


def _by_endmembers(
    scene: Scene,
    task: _Task,
    plan: Plan,
    count: int,
    key: PRNGKeyArray,
    ensemble: int,
    stages: dict[str, dict[str, Any]],
) -> Unmixing:
    spectra, indices, result = task.spectra, None, None
    if plan.extraction is not None:
        spectra, indices, result = _extract(task, plan.extraction, count, key, ensemble, stages["extraction"])
    assert spectra is not None
    finite = jnp.all(jnp.isfinite(spectra))
    if plan.main.kind == "nonlinear":
        model = plan.main.function(**stages["main"])
        found = model.unmix(task.pixels, spectra, mask=task.mask, **stages["fit"])
        own = {} if found.diagnostics is None else {"parameters": found.diagnostics["parameters"]}
        found = _with_reconstruction(found, model.mix(spectra, jnp.nan_to_num(found.abundances), **_known(own)))
        result = found.result if result is None else RESULTS.where(finite, found.result, result)
    elif plan.main.kind == "variability":
        found = plan.main.function(_as_image(scene, task), spectra, **stages["main"])
        result = found.result if result is None else RESULTS.where(finite, found.result, result)
    else:
        abundances = plan.main.function(task.pixels, spectra, **stages["main"])
        found = Unmixing(spectra, jnp.where(task.mask[None, :], abundances, jnp.nan))
        finite = finite & jnp.all(jnp.isfinite(abundances) | ~task.mask[None, :])
        result = RESULTS.converged if result is None else result
    return eqx.tree_at(
        lambda u: (u.indices, u.result),
        found,
        (indices, RESULTS.where(finite, result, RESULTS.nonfinite)),
        is_leaf=lambda leaf: leaf is None,
    )


def _known(parameters: dict[str, Array]) -> dict[str, Array]:
    return {name: jnp.nan_to_num(values) for name, values in parameters.items()}


def _extract(
    task: _Task, method: Method, count: int, key: PRNGKeyArray, ensemble: int, settings: dict[str, Any]
) -> tuple[Array, Array | None, Any]:
    """Endmembers, their pixels where they are pixels, and how a fitted simplex ended."""
    pixels, used = task.pixels, task.mask
    # Some take pixels of too low a rank, and of a compiled draw no error comes: these are told here.
    read_simplex(pixels, count, used)
    if method.is_drawn:
        keys = jax.random.split(key, ensemble)
        spectra, chosen = _draws(pixels, used, keys, method.function, count, tuple(sorted(settings.items())))
        best = jnp.argmax(jax.vmap(_log_volume)(spectra))
        return spectra[best], chosen[best], None
    found = method.function(pixels, count, mask=used, **settings)
    return (*found, None) if isinstance(found, tuple) else (found.endmembers, None, found.result)


# One program for all calls: a closure in the map would be compiled anew by each.
@partial(jax.jit, static_argnames=("function", "count", "settings"))
def _draws(
    pixels: Array,
    used: Array,
    keys: Array,
    function: Callable[..., Any],
    count: int,
    settings: tuple[tuple[str, Any], ...],
) -> tuple[Array, Array]:
    return jax.lax.map(lambda key: function(pixels, count, key=key, mask=used, **dict(settings)), keys)


def _with_reconstruction(found: Unmixing, pixels: Array) -> Unmixing:
    return eqx.tree_at(
        lambda u: u.diagnostics,
        found,
        {**(found.diagnostics or {}), "reconstruction": pixels},
        is_leaf=lambda leaf: leaf is None or isinstance(leaf, dict),
    )


def _log_volume(spectra: Array) -> Array:
    """Logarithm of the volume of a simplex, up to a constant of its dimension."""
    edges = spectra[:, 1:] - spectra[:, :1]
    return jnp.linalg.slogdet(jnp.matmul(edges.T, edges, precision=jax.lax.Precision.HIGHEST))[1]
