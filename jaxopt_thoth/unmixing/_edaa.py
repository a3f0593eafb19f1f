from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray

from .._result import RESULTS
from .._types import Scalar
from ._archetype_starts import soft_vertices, uniform_start
from ._archetypes import Archetypes, ArchetypeSteps, combine, entropic_archetypes, pixel_weights
from ._ensemble_rules import consensus, least_coherent
from ._pixel_input import as_given, read_pixels
from ._scaled_pixels import Normalization, scale_pixels, ScaledPixels
from ._scene import Scene
from ._unmixing import Unmixing
from ._vca import leading_eigenvectors


Start = Literal["soft_vertices", "uniform"]
Selection = Literal["consensus", "least_coherent"]
_matmul = partial(jnp.matmul, precision=lax.Precision.HIGHEST)
# Relative fall of the loss over the last tenth of the steps below which a run counts as converged.
_SETTLED = 0.02
_STARTS: dict[str, Callable[..., Any]] = {"soft_vertices": soft_vertices, "uniform": uniform_start}


def edaa(
    pixels: ArrayLike | Scene,
    num_endmembers: int,
    *,
    key: PRNGKeyArray,
    ensemble: int = 10,
    num_steps: int = 100,
    abundance_steps: int = 5,
    endmember_steps: int = 5,
    start: Start = "soft_vertices",
    selection: Selection = "consensus",
    normalization: Normalization = "pixel_l2",
    rank: int | Literal["auto"] | None = "auto",
    mask: ArrayLike | None = None,
    chunk: int | None = None,
    progress: Callable[[Any, Any], None] | None = None,
) -> Unmixing:
    """Blind unmixing by entropic descent archetypal analysis, an ensemble of runs and a choice among them.

    Endmembers are convex combinations of pixels and pixels convex combinations of endmembers, `Y = Y B A`; both factors
    descend by multiplicative (entropic mirror) steps of the published sizes. The published ensemble starts nearly
    uniform and keeps the run of least correlated endmembers: `start="uniform", selection="least_coherent"`. The default
    starts near vertices that VCA finds in random halves of the pixels, and keeps the run on whose endmembers the
    ensemble agrees best; over seeds it is more accurate and far less scattered. A material of a few pixels only is lost
    in either form: a least-squares fit of all pixels hardly sees it, and the consensus outvotes the runs that do.

    Memory beyond the pixels is about `4 * chunk * num_endmembers` numbers a pixel; the normalized pixels, the residual
    and the pixel weights of the other runs are never stored.

    Args:
        pixels: matrix (L, N), cube (H, W, L), or `Scene`; any unit, integers or floating point.
        num_endmembers: p, at least 2 and at most L; static.
        key: random key of the starts.
        ensemble: number of runs M.
        num_steps: outer steps T of each run.
        abundance_steps: descent steps in A an outer step, K1.
        endmember_steps: descent steps in B an outer step, K2.
        start: "soft_vertices" or "uniform".
        selection: "consensus" or "least_coherent".
        normalization: "pixel_l2" divides each pixel by its norm, so that shade does not count and abundances are those
            of the normalized pixels; "perspective" does so too and keeps mixtures exactly convex, but amplifies the
            noise of dark pixels; "none" keeps the pixels' unit.
        rank: descend on this many leading components of the pixels instead of all L bands; endmembers and fits are
            those of the full pixels all the same. "auto" takes the larger of 20 and 4 p, well above the p dimensions of
            the signal; None takes all bands, two to three times slower.
        mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite or zero are left out anyway.
        chunk: runs computed at once; by default as many as keep the memory below that of the pixels.
        progress: called on the host as `progress(done, total)` runs.

    Returns:
        `Unmixing` with endmembers (L, p) of the normalized pixels, abundances (p, N) or (p, H, W) for a cube (NaN where
        masked), weights (N, p), and in `diagnostics` the loss (T,), the fits and the spread of all runs, and which was
        chosen. `result` is `max_steps_reached` after fewer than 20 steps, or when the loss still fell by 2 per cent in
        the last tenth of them.

    Raises:
        ValueError: for a setting out of range, an unknown name, or pixels of a wrong shape.

    Source: A. Zouaoui et al., "Entropic Descent Archetypal Analysis for Blind Hyperspectral Unmixing", IEEE TIP 2023.

    Example:
        >>> import jax
        >>> from jaxopt_thoth import unmixing
        >>> scene = unmixing.simulate_scene(jax.random.key(0), height=24, width=24, num_bands=40)
        >>> found = unmixing.edaa(scene, 3, key=jax.random.key(1), ensemble=4, num_steps=30)
        >>> found.endmembers.shape, found.abundances.shape
        ((40, 3), (3, 576))
    """
    _check_choice(selection, ("consensus", "least_coherent"), "selection")
    given = read_pixels(pixels, mask)
    plan = plan_ensemble(
        given.values.shape[0],
        num_endmembers,
        ensemble=ensemble,
        steps=ArchetypeSteps(num_steps, abundance_steps, endmember_steps),
        start=start,
        rank=rank,
        chunk=chunk,
    )
    found = run_ensemble(
        given.values,
        given.mask,
        key,
        jnp.zeros((), given.values.dtype),
        plan=plan,
        selection=selection,
        normalization=normalization,
        progress=progress,
    )
    return as_given(found, given)


class EnsemblePlan(NamedTuple):
    """The settings of an ensemble of runs that decide what is compiled; `rank` None takes the pixels as they are."""

    num_endmembers: int
    ensemble: int
    steps: ArchetypeSteps
    start: str
    rank: int | None
    chunk: int


def plan_ensemble(
    bands: int,
    num_endmembers: int,
    *,
    ensemble: int,
    steps: ArchetypeSteps,
    start: str,
    rank: int | Literal["auto"] | None,
    chunk: int | None,
) -> EnsemblePlan:
    """Settings checked against the number of bands, with defaults filled in; `ValueError` for one out of range."""
    _check_choice(start, _STARTS, "start")
    for name, value in (("ensemble", ensemble), *steps._asdict().items()):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    if not 2 <= num_endmembers <= bands:
        raise ValueError(f"num_endmembers must be between 2 and the number of bands {bands}, got {num_endmembers}.")
    if rank == "auto":
        rank = min(bands, max(20, 4 * num_endmembers))
    if rank is not None and not num_endmembers <= rank <= bands:
        raise ValueError(f"rank must be between {num_endmembers} endmembers and {bands} bands, got {rank}.")
    if chunk is None:
        chunk = _default_chunk(ensemble, max(1, bands // (12 * num_endmembers)))
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}.")
    return EnsemblePlan(num_endmembers, ensemble, steps, start, rank, min(chunk, ensemble))


def _default_chunk(ensemble: int, most: int) -> int:
    """The size up to `most` that leaves the fewest runs computed in vain, among those the largest."""
    return min(range(max(1, most // 2), min(most, ensemble) + 1), key=lambda size: (-ensemble % size, -size), default=1)


def _check_choice(value: str, choices: Any, name: str) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}.")


@partial(jax.jit, static_argnames=("plan", "selection", "normalization", "progress"))
def run_ensemble(
    values: Float[Array, "L N"],
    mask: Bool[Array, " N"],
    key: PRNGKeyArray,
    outside: Scalar,
    *,
    plan: EnsemblePlan,
    selection: str,
    normalization: Normalization,
    progress: Callable[[Any, Any], None] | None,
) -> Unmixing:
    """All runs and the choice among them; `outside` is the energy of the scene that `values` are already without."""
    num_endmembers, ensemble, steps, start, rank, chunk = plan
    pixels = scale_pixels(values, normalization, mask)
    basis = None if rank is None else leading_eigenvectors(pixels.gram(), rank)[0]
    reduced = pixels if basis is None else ScaledPixels(_matmul(basis.T, values), pixels.scale)

    starts = _STARTS[start](reduced, num_endmembers, keys=jax.random.split(key, ensemble))

    def run(members: Array) -> tuple[Archetypes, Array]:
        begin = starts.take(members)
        found = entropic_archetypes(reduced, begin, steps=steps)
        if basis is None:
            return found, jnp.moveaxis(found.endmembers, 1, 0)
        return found, jnp.moveaxis(combine(pixels, pixel_weights(reduced, begin, found.dual)), 1, 0)

    # The abundances of all runs are kept where they are small beside the pixels, or at hand anyway; else the chosen run
    # is run again.
    keep = chunk == ensemble or 2 * ensemble * num_endmembers <= values.shape[0]

    def one_chunk(index: Array) -> Any:
        # The last chunk is filled up with the last run.
        found, endmembers = run(jnp.minimum(index * chunk + jnp.arange(chunk), ensemble - 1))
        fits = lax.map(lambda pair: pixels.residual_norms(*pair), (endmembers, found.abundances))
        if progress is not None:
            jax.debug.callback(progress, jnp.minimum((index + 1) * chunk, ensemble), ensemble)
        dual = jnp.moveaxis(found.dual, 1, 0)
        return endmembers, dual, found.loss.T, *fits, found.abundances if keep else None

    chunks = lax.map(one_chunk, jnp.arange(-(-ensemble // chunk)))
    runs = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:ensemble], chunks)
    endmembers, dual, loss, fit_l1, fit_l2, kept = runs
    fit_l2 = fit_l2 + outside
    chosen, spread = consensus(endmembers, fit_l2)
    if selection == "least_coherent":
        chosen = least_coherent(endmembers, fit_l1)
    if kept is None:
        found, again = run(chosen[None])
        spectra, abundances, dual = again[0], found.abundances[0], found.dual
    else:
        spectra, abundances, dual = endmembers[chosen], kept[chosen], dual[chosen][:, None]
    weights = pixel_weights(reduced, starts.take(chosen[None]), dual)[0]
    return Unmixing(
        endmembers=spectra,
        abundances=jnp.where(pixels.scale > 0, abundances, jnp.nan),
        result=_result(loss[chosen], spectra),
        weights=weights.T,
        pixel_scale=jnp.where(pixels.scale > 0, 1 / jnp.where(pixels.scale > 0, pixels.scale, 1), jnp.nan),
        diagnostics={
            "loss": loss[chosen],
            "chosen": chosen,
            "fit_l1": fit_l1,
            "fit_l2": fit_l2,
            "spread_degrees": spread,
        },
    )


def _result(loss: Array, spectra: Array) -> RESULTS:
    window = loss.shape[0] // 10
    settled = loss[-1 - window] - loss[-1] <= _SETTLED * jnp.abs(loss[-1])
    # The loss is flat at first too, where the runs leave a nearly uniform start.
    settled = settled & (window >= 2)
    result = RESULTS.where(settled, RESULTS.converged, RESULTS.max_steps_reached)
    return RESULTS.where(jnp.all(jnp.isfinite(spectra)), result, RESULTS.nonfinite)
