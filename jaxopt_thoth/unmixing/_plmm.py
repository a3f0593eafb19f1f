from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from .. import _tree
from .._types import Scalar
from .._validate import concrete, require_nonnegative, require_positive
from ._alternate import alternate, Descent
from ._factor_steps import row_sweeps
from ._fclsu import fclsu
from ._pixel_grams import AT_ONCE, fit_each, value_each
from ._scene import Scene
from ._unmixing import Unmixing
from ._variability_input import check_counts, from_variability, read_variability


_product = partial(jnp.matmul, precision="highest")


def plmm(
    pixels: ArrayLike | Scene,
    endmembers: ArrayLike,
    strength: ArrayLike = 1.0,
    *,
    blind: bool = False,
    reference_weight: ArrayLike = 1e-2,
    keep_spectra: bool = False,
    max_steps: int = 200,
    tol: ArrayLike = 1e-4,
    mask: ArrayLike | None = None,
) -> Unmixing:
    """Perturbed linear mixing model: each pixel has spectra of its own, near the endmembers, nonnegative, of any form.

    Minimizes over abundances a in the unit simplex and perturbations D, with `E + D_n >= 0`,
    `sum_n |y_n - (E + D_n) a_n|^2 / 2 + strength / 2 |D_n|^2`; blind, over nonnegative endmembers E as well, with
    `reference_weight * N / 2 |E - given|^2` added, the published distance between endmembers and a reference. Blocks
    take turns, each exact but the endmembers: abundances by an active set, perturbations band by band at the
    root of a piecewise linear equation, endmembers by cycles over them. A perturbation is a function of the misfit of
    its pixel and never stored. The objective never rises, from the fit of `fclsu`, which an infinite strength keeps.

    Args:
        pixels: matrix (L, N), cube (H, W, L), or `Scene`.
        endmembers: (L, p) nonnegative, in the unit and the dtype of the pixels; known, or, blind, start and reference,
            for instance by `vca`.
        strength: positive; how hard it is for spectra to stray.
        blind: fit the endmembers too; static.
        reference_weight: nonnegative; how hard it is for the fitted endmembers to leave the given ones.
        keep_spectra: hand the spectra of each pixel back as "spectra" (L, p, N): p times the memory of the scene.
        max_steps: bound on the number of turns.
        tol: the end, when the objective falls in a turn by less than this, relative to itself.
        mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite are left out anyway.

    Returns:
        `Unmixing` with abundances (p, N) or maps (NaN where masked), endmembers E, and in `diagnostics` the
        "perturbation" norms |D_n| (N,), the "residual" norms (N,), the "reconstruction" (L, N), the "loss" after each
        turn (NaN beyond the last) and "num_steps".

    Raises:
        ValueError: when the arguments do not fit each other, an endmember has a negative entry, or a setting is out of
            range.

    Source: P.-A. Thouvenin, N. Dobigeon, J.-Y. Tourneret, "Hyperspectral unmixing with spectral variability using a
    perturbed linear mixing model", 2016.

    Example:
        >>> import jax.numpy as jnp
        >>> endmembers = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.1, 0.1]])
        >>> found = plmm(jnp.array([[0.5], [0.6], [0.1]]), endmembers)
        >>> print(found.abundances.round(2).ravel().tolist(), found.diagnostics["perturbation"].round(2).tolist())
        [0.45, 0.55] [0.03]
    """
    task = read_variability(pixels, endmembers, mask)
    known = concrete(task.spectra)
    if known is not None and not (known >= 0).all():
        raise ValueError(f"endmembers must be nonnegative, got {known.min():g}; clip or offset the spectra.")
    require_positive(strength, "strength")
    require_nonnegative(reference_weight, "reference_weight")
    require_nonnegative(tol, "tol")
    check_counts(max_steps=max_steps)
    settings = tuple(_tree.setting(x).astype(task.pixels.dtype) for x in (strength, reference_weight, tol))
    fit, moved, spectra = _plmm(
        task.pixels, task.mask, task.spectra, *settings, blind=blind, keep_spectra=keep_spectra, max_steps=max_steps
    )
    state: _State = fit.factors
    residual = _tree.safe_sqrt(jnp.sum(state.misfit**2, axis=0))
    maps = {"perturbation": moved, "residual": residual, "reconstruction": task.pixels - state.misfit}
    maps |= {"spectra": spectra} if keep_spectra else {}
    return from_variability(task, state.spectra, state.abundances, fit, **maps)


class _State(NamedTuple):
    """Spectra E, abundances, and `y_n - (E + D_n) a_n`; the perturbations are `max(-E, misfit_n a_n' / strength)`."""

    spectra: Float[Array, "L p"]
    abundances: Float[Array, "p N"]
    misfit: Float[Array, "L N"]


@partial(jax.jit, static_argnames=("blind", "keep_spectra", "max_steps"))
def _plmm(
    pixels: Float[Array, "L N"],
    mask: Bool[Array, " N"],
    spectra: Float[Array, "L p"],
    strength: Scalar,
    weight: Scalar,
    tol: Scalar,
    *,
    blind: bool,
    keep_spectra: bool,
    max_steps: int,
) -> tuple[Descent, Array, Array | None]:
    p = spectra.shape[1]
    members = mask.astype(pixels.dtype)[None, :]
    pull = weight * jnp.maximum(jnp.sum(members), 1)

    def varied(spectra: Array, abundances: Array, misfit: Array) -> Array:
        """Spectra (L, p) of one pixel."""
        return jnp.maximum(spectra + misfit[:, None] * (abundances / strength)[None, :], 0)

    def energy(state: _State) -> Array:
        """Half of strength times |D_n|^2, (N,)."""
        parts = [
            jnp.sum(jnp.maximum(-state.spectra[:, k, None], state.misfit * (a / strength)[None, :]) ** 2, axis=0)
            for k, a in enumerate(state.abundances)
        ]
        return strength * sum(parts[1:], parts[0]) / 2

    def loss(state: _State) -> Scalar:
        total = jnp.sum(state.misfit**2) / 2 + jnp.sum(energy(state))
        return total + (pull * jnp.sum((state.spectra - spectra) ** 2) / 2 if blind else 0)

    def perturb(spectra: Array, abundances: Array) -> Array:
        """The misfit t of the best perturbations, the root of `t + sum_k a_k max(-e_k, a_k t / strength) = r`."""
        rest = (pixels - _product(spectra, abundances)) * members

        # Convex, increasing and piecewise linear: Newton steps end at the root after one more than there are pieces.
        def step(_: int, t: Array) -> Array:
            value, slope = t - rest, jnp.ones_like(t)
            for k, a in enumerate(abundances):
                rate = (a / strength)[None, :]
                free = rate * t > -spectra[:, k, None]
                value = value + a[None, :] * jnp.where(free, rate * t, -spectra[:, k, None])
                slope = slope + jnp.where(free, a[None, :] * rate, 0)
            return t - value / slope

        return jax.lax.fori_loop(0, p + 2, step, rest)

    def products(state: _State) -> tuple[Array, Array]:
        def one(inputs: tuple[Array, Array, Array]) -> tuple[Array, Array]:
            pixel, a, t = inputs
            own = varied(state.spectra, a, t)
            return _product(own.T, own), _product(own.T, pixel)

        inputs = (pixels.T, state.abundances.T, state.misfit.T)
        grams, cross = jax.lax.map(one, inputs, batch_size=AT_ONCE)
        return grams, cross.T

    def move_spectra(state: _State, abundances: Array) -> Array:
        """Endmembers with the perturbations held, above what keeps all spectra nonnegative."""
        shifts = [state.misfit * (a / strength)[None, :] for a in state.abundances]
        shifts = [jnp.maximum(-state.spectra[:, k, None], shift) for k, shift in enumerate(shifts)]
        known = sum(
            (shift * a[None, :] for shift, a in zip(shifts[1:], abundances[1:], strict=True)),
            shifts[0] * abundances[0][None, :],
        )
        # A perturbation of zero, as that of any masked pixel, asks for nonnegative endmembers.
        least = jnp.stack([jnp.maximum(-jnp.min(shift, axis=1), 0) for shift in shifts], axis=1)
        gram = _product(abundances, abundances.T) + pull * jnp.eye(p, dtype=pixels.dtype)
        cross = _product(abundances, ((pixels - known) * members).T) + pull * spectra.T
        rows = row_sweeps(gram, cross - _product(gram, least.T), jnp.maximum(state.spectra - least, 0).T, 2)
        return rows.T + least

    def sweep(state: _State) -> tuple[_State, Scalar]:
        grams, cross = products(state)
        new = fit_each(grams, cross) * members
        falls = value_each(grams, cross, new) <= value_each(grams, cross, state.abundances)
        abundances = jnp.where(falls[None, :], new, state.abundances)
        own = move_spectra(state, abundances) if blind else state.spectra
        state = _State(own, abundances, perturb(own, abundances))
        return state, loss(state)

    abundances = fclsu(pixels, spectra) * members
    start = _State(spectra, abundances, perturb(spectra, abundances))
    found = alternate(sweep, start, loss(start), tol, max_steps)
    last: _State = found.factors
    moved = _tree.safe_sqrt(2 * energy(last) / strength)
    if not keep_spectra:
        return found, moved, None
    return found, moved, jax.vmap(varied, in_axes=(None, 1, 1), out_axes=2)(*last)
