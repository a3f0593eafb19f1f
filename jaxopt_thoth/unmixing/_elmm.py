from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.fft import dctn, idctn
from jaxtyping import Array, ArrayLike, Bool, Float

from .. import _tree
from .._types import Scalar
from .._validate import require_nonnegative, require_positive
from ..penalties import Simplex
from ._alternate import alternate, Descent
from ._pixel_grams import fit_each, value_each
from ._scene import Scene
from ._sclsu import scaled_fit
from ._total_variation_fit import differences, fit_spatial, SpatialFit, SpatialState, start_spatial
from ._unmixing import Unmixing
from ._variability_input import check_counts, from_variability, read_variability


_product = partial(jnp.matmul, precision="highest")
# Relative residuals at which the steps in abundances with total variation end.
_SPATIAL_TOLERANCE = 1e-5


def elmm(
    pixels: ArrayLike | Scene,
    endmembers: ArrayLike,
    strength: ArrayLike = 0.5,
    *,
    total_variation: ArrayLike | None = None,
    scale_smoothness: ArrayLike | None = None,
    image_shape: tuple[int, int] | None = None,
    keep_spectra: bool = False,
    inner_steps: int = 50,
    max_steps: int = 200,
    tol: ArrayLike = 1e-4,
    mask: ArrayLike | None = None,
) -> Unmixing:
    """Extended linear mixing model: an endmember has a scale of its own in each pixel, and may stray a little from it.

    Minimizes over abundances a in the unit simplex, spectra S and scales c of each pixel n
    `sum_n |y_n - S_n a_n|^2 / 2 + strength / 2 |S_n - E diag(c_n)|^2`, plus, where asked for,
    `total_variation * u * sum_n |differences of a at pixel n|_2 + scale_smoothness * u / 2 * |differences of c|^2`, u
    the mean squared norm of the endmembers, so that no strength has a unit. Blocks take turns: the abundances exactly
    by an active set (with total variation by an alternating direction method, kept where the objective falls), the
    scales and the spectra in closed form. The spectra differ from `E diag(c_n)` by a matrix of rank one and are
    never stored. The objective never rises, from the fit of `sclsu`, which a large strength keeps.

    Args:
        pixels: matrix (L, N), cube (H, W, L), or `Scene`.
        endmembers: reference spectra E (L, p), in the unit and the dtype of the pixels.
        strength: positive; how hard it is for spectra to stray from a multiple of the reference.
        total_variation: nonnegative strength of the total variation of the abundances, all maps together; None for no
            such term.
        scale_smoothness: nonnegative strength of the squared differences of the scales; None for no such term.
        image_shape: (H, W) of a matrix of pixels, row-major; known for a cube or a scene.
        keep_spectra: hand the spectra of each pixel back as "spectra" (L, p, N): p times the memory of the scene.
        inner_steps: bound on the steps in the abundances a turn, with total variation.
        max_steps: bound on the number of turns.
        tol: the end, when the objective falls in a turn by less than this, relative to itself.
        mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite are left out anyway.

    Returns:
        `Unmixing` with abundances (p, N) or maps (NaN where masked), the reference as endmembers, and in `diagnostics`
        the "scales" (p, N), the "residual" norms (N,) of `y_n - S_n a_n`, the "reconstruction" (L, N), the "loss" after
        each turn (NaN beyond the last) and "num_steps".

    Raises:
        ValueError: when the arguments do not fit each other, a setting is out of range, or a spatial term is asked for
            without the image shape.

    Source: L. Drumetz, M.-A. Veganzones, S. Henrot, R. Phlypo, J. Chanussot, C. Jutten, "Blind hyperspectral unmixing
    using an extended linear mixing model to address spectral variability", 2016.

    Example:
        >>> import jax.numpy as jnp
        >>> endmembers = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.1, 0.1]])
        >>> found = elmm(endmembers @ jnp.array([[0.4, 0.0], [0.4, 1.2]]), endmembers)
        >>> print(found.abundances.round(2).tolist(), found.diagnostics["scales"].round(2)[:, 0].tolist())
        [[0.5, 0.0], [0.5, 1.0]] [0.8, 0.8]
    """
    spatial = total_variation is not None or scale_smoothness is not None
    task = read_variability(pixels, endmembers, mask, image_shape, spatial=spatial)
    require_positive(strength, "strength")
    require_nonnegative(tol, "tol")
    strengths = {"total_variation": total_variation, "scale_smoothness": scale_smoothness}
    for name, value in strengths.items():
        if value is not None:
            require_nonnegative(value, name)
    check_counts(inner_steps=inner_steps, max_steps=max_steps)
    as_leaf = lambda value: None if value is None else _tree.setting(value).astype(task.pixels.dtype)
    fit, spectra, misfit = _elmm(
        task.pixels,
        task.mask,
        task.spectra,
        as_leaf(strength),
        as_leaf(total_variation),
        as_leaf(scale_smoothness),
        as_leaf(tol),
        # Without a spatial term any shape will do.
        image=task.image or (1, task.mask.size),
        keep_spectra=keep_spectra,
        inner_steps=inner_steps,
        max_steps=max_steps,
    )
    state: _State = fit.factors
    maps = {"scales": state.scales, "residual": _tree.safe_sqrt(jnp.sum(misfit * misfit, axis=0))}
    maps |= {"spectra": spectra} if keep_spectra else {}
    return from_variability(task, task.spectra, state.abundances, fit, reconstruction=task.pixels - misfit, **maps)


class _State(NamedTuple):
    abundances: Float[Array, "p N"]
    scales: Float[Array, "p N"]
    spatial: SpatialState | None


@partial(jax.jit, static_argnames=("image", "keep_spectra", "inner_steps", "max_steps"))
def _elmm(
    pixels: Float[Array, "L N"],
    mask: Bool[Array, " N"],
    spectra: Float[Array, "L p"],
    strength: Scalar,
    total_variation: Scalar | None,
    scale_smoothness: Scalar | None,
    tol: Scalar,
    *,
    image: tuple[int, int],
    keep_spectra: bool,
    inner_steps: int,
    max_steps: int,
) -> tuple[Descent, Array | None, Float[Array, "L N"]]:
    p = spectra.shape[1]
    gram = _product(spectra.T, spectra)
    squares = jnp.diagonal(gram)[:, None]
    unit = jnp.mean(squares)
    cross = _product(spectra.T, pixels)
    weights = jnp.ones((2, *image), pixels.dtype)

    def misfit(abundances: Array, scales: Array) -> Array:
        return jnp.where(mask[None, :], pixels - _product(spectra, scales * abundances), 0)

    def variation(abundances: Array) -> Scalar:
        if total_variation is None:
            return jnp.zeros((), pixels.dtype)
        edges = differences(abundances.reshape(p, *image))
        return total_variation * unit * jnp.sum(_tree.safe_sqrt(jnp.sum(edges * edges, axis=(0, 1))))

    def loss(state: _State) -> Scalar:
        rest = misfit(state.abundances, state.scales)
        # What is left of the fit and of the straying at the best spectra.
        shares = strength / (strength + jnp.sum(state.abundances**2, axis=0))
        total = jnp.sum(shares * jnp.sum(rest * rest, axis=0)) / 2 + variation(state.abundances)
        if scale_smoothness is None:
            return total
        return total + scale_smoothness * unit * jnp.sum(differences(state.scales.reshape(p, *image)) ** 2) / 2

    def smooth_scales(target: Array) -> Array:
        if scale_smoothness is None:
            return target
        waves = [2 - 2 * jnp.cos(jnp.pi * jnp.arange(n, dtype=target.dtype) / n) for n in image]
        frequencies = (waves[0][:, None] + waves[1][None, :])[None]
        hold = strength * squares[:, :, None]
        total = hold + scale_smoothness * unit * frequencies
        shares = jnp.where(total > 0, hold / jnp.where(total > 0, total, 1), 1)
        maps = dctn(target.reshape(p, *image), axes=(1, 2), norm="ortho") * shares
        return idctn(maps, axes=(1, 2), norm="ortho").reshape(target.shape)

    def sweep(state: _State) -> tuple[_State, Scalar]:
        a, c = state.abundances, state.scales
        rest = misfit(a, c)
        # The spectra `E diag(c) + r a' pull` of Sherman and Morrison enter by their products alone.
        pull = 1 / (strength + jnp.sum(a * a, axis=0, keepdims=True))
        along = _product(spectra.T, rest)
        mixed = jnp.einsum("kn,jn->nkj", c * along * pull, a)
        strayed = jnp.sum(rest * rest, axis=0) * pull[0] ** 2
        scaled = jnp.einsum("kn,kj,jn->nkj", c, gram, c, precision="highest")
        own = scaled + mixed + jnp.swapaxes(mixed, 1, 2) + jnp.einsum("n,kn,jn->nkj", strayed, a, a)
        right = jnp.where(mask[None, :], c * cross + a * pull * jnp.sum(rest * pixels, axis=0, keepdims=True), 0)
        spatial = state.spatial
        if spatial is None or total_variation is None:
            new = fit_each(own, right)
            falls = value_each(own, right, new) <= value_each(own, right, a)
            new = jnp.where(falls[None, :], new, a)
        else:
            counted = jnp.where(mask[:, None, None], own, 0)
            problem = SpatialFit(counted, right, Simplex(1.0, axis=0), weights, total_variation * unit, mask)
            spatial = spatial._replace(num_steps=jnp.zeros_like(spatial.num_steps))
            limit = jnp.asarray(_SPATIAL_TOLERANCE, pixels.dtype)
            spatial = fit_spatial(problem, spatial, image=image, coupled=True, tol=limit, max_steps=inner_steps)
            value = lambda x: jnp.sum(value_each(counted, right, x)) + variation(x)
            new = jnp.where(value(spatial.copy) <= value(a), spatial.copy, a)
        moved = along * a * pull / jnp.where(squares > 0, squares, 1)
        state = _State(new, smooth_scales(c + jnp.where(squares > 0, moved, 0)), spatial)
        return state, loss(state)

    scale, abundances = scaled_fit(pixels, spectra)
    # A pixel without any light has no scale of its own.
    scales = jnp.broadcast_to(jnp.where(scale > 0, scale, 1), abundances.shape)
    spatial = None
    if total_variation is not None:
        spatial = start_spatial(abundances, image, 0.1 * unit)
    start = _State(abundances, scales, spatial)
    found = alternate(sweep, start, loss(start), tol, max_steps)
    a, c = found.factors.abundances, found.factors.scales
    rest = misfit(a, c)
    pull = 1 / (strength + jnp.sum(a * a, axis=0, keepdims=True))
    varied = spectra[:, :, None] * c[None] + (rest * pull)[:, None] * a[None] if keep_spectra else None
    return found, varied, strength * pull * rest
