from functools import partial
from typing import ClassVar, get_args, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from .. import _tree, _validate
from .._result import RESULTS
from .._types import BoolScalar, Scalar
from .._validate import require_nonnegative
from ..penalties import AbstractPenalty, Simplex
from ..problems import SaddlePoint
from ..smooth import Quadratic
from ..solvers import ADMM, solve
from ._alternate import alternate
from ._fclsu import fclsu, fclsu_gram
from ._library_fit import default_admm
from ._library_input import LibraryInput, read_library
from ._pixel_input import as_given
from ._scene import Scene
from ._unmixing import Unmixing


Norm = Literal["none", "group", "fractional"]
_product = partial(jnp.matmul, precision="highest")
# Sums of a group below this count as zero to the fractional norm, whose slope at zero is infinite.
_SMALL = 1e-3


def bundle_unmix(
    pixels: ArrayLike | Scene,
    library: ArrayLike,
    groups: ArrayLike,
    strength: ArrayLike = 1e-3,
    *,
    num_groups: int,
    norm: Norm = "none",
    power: ArrayLike = 0.1,
    max_steps: int = 30,
    tol: ArrayLike = 1e-6,
    mask: ArrayLike | None = None,
) -> Unmixing:
    """Abundances of materials each of which has a bundle of spectra: the sums over its bundle of the fractions.

    Minimizes `|y - D x|^2 / 2 + strength * u * V(x)` over fractions x in the unit simplex for each pixel, u the mean
    squared norm of the spectra. V is zero ("none", exact), the sum over the groups of the Euclidean norms of their
    fractions ("group", by ADMM), or of a power of their sums ("fractional", few materials a pixel): there by exact fits
    with the tangents of the powers, from the fit without them, and the objective never rises. The sums of all groups
    make one, so that a power of one changes nothing.

    Args:
        pixels: matrix (L, N), cube (H, W, L), or `Scene`.
        library: (L, M) spectra of the unit and the dtype of the pixels, for instance by `bundles`.
        groups: (M,) material of each spectrum, integers from 0.
        strength: nonnegative; not used without a norm.
        num_groups: p, the materials; static.
        norm: name of V; static.
        power: of the fractional norm, in (0, 1]; that of sums s is `sum_g (s_g + 1e-3)^power`.
        max_steps: bound on the number of tangents.
        tol: the end of the turns, when the objective falls by less than this, relative to itself.
        mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite are left out anyway.

    Returns:
        `Unmixing` with abundances (p, N) or maps (NaN where masked), `library_abundances` (M, N), the `weights` (M, p)
        of each spectrum in its material over the image, whose spectra are the endmembers, and in `diagnostics` the
        "residual" norms (N,) of the fit by all spectra; for the fractional norm the "loss" and "num_steps" too.

    Raises:
        ValueError: when the arguments do not fit each other, or a setting is out of range.

    Source: L. Drumetz, T. R. Meyer, J. Chanussot, A. L. Bertozzi, C. Jutten, "Hyperspectral image unmixing with
    endmember bundles and group sparsity inducing mixed norms", 2019.

    Example:
        >>> import jax.numpy as jnp
        >>> library = jnp.array([[1.0, 0.8, 0.0], [0.0, 0.0, 1.0]])
        >>> found = bundle_unmix(jnp.array([[0.45], [0.5]]), library, jnp.array([0, 0, 1]), num_groups=2)
        >>> print(found.abundances.round(2).ravel().tolist())
        [0.5, 0.5]
    """
    task = read_library(pixels, library, num_groups, mask)
    if norm not in get_args(Norm):
        raise ValueError(f"norm must be one of {get_args(Norm)}, got {norm!r}.")
    require_nonnegative(strength, "strength")
    require_nonnegative(tol, "tol")
    known_power = _validate.concrete(power)
    if known_power is not None and not 0 < known_power <= 1:
        raise ValueError(f"power must be in (0, 1], got {power}.")
    if max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {max_steps}.")
    labels = jnp.asarray(groups)
    if labels.shape != (task.library.shape[1],) or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"groups must hold one integer for each of the {task.library.shape[1]} spectra, got "
            f"{labels.dtype}{labels.shape}."
        )
    known = _validate.concrete(labels)
    if known is not None and not (known.min() >= 0 and known.max() < num_groups):
        raise ValueError(f"groups must be from 0 to num_groups - 1, got {known.min()} to {known.max()}.")
    dtype = task.pixels.dtype
    size = _tree.setting(strength).astype(dtype) * jnp.mean(jnp.sum(task.library**2, axis=0))
    diagnostics: dict[str, Array] = {}
    converged: BoolScalar | bool = True
    if norm == "none":
        parts = fclsu(task.pixels, task.library)
    elif norm == "group":
        parts, converged = _group(task.pixels, task.library, labels, size, default_admm(task), num_groups)
    else:
        settings = (_tree.setting(power).astype(dtype), _tree.setting(tol))
        parts, converged, diagnostics = _fractional(
            task.pixels, task.library, labels, task.mask, size, *settings, num_groups=num_groups, max_steps=max_steps
        )
    return _summed(task, labels, parts, num_groups, converged, diagnostics)


class _PixelGroups(AbstractPenalty):
    """`strength` times the sum over pixels and groups of the Euclidean norms of the fractions of the group."""

    strength: Scalar
    groups: Int[Array, " M"]
    sizes: Array

    is_separable: ClassVar[bool] = False

    def _norms(self, x: Float[Array, "M N"]) -> Float[Array, "p N"]:
        return _tree.safe_sqrt(jax.ops.segment_sum(x * x, self.groups, self.sizes.shape[0]))

    def value(self, x: Float[Array, "M N"]) -> Scalar:
        return self.strength * jnp.sum(self._norms(x))

    def prox(self, x: Float[Array, "M N"], step: ArrayLike) -> Float[Array, "M N"]:
        norms = self._norms(x)
        level = self.strength * _tree.match(step, x)
        return x * jnp.maximum(1 - level / jnp.where(norms > 0, norms, 1), 0)[self.groups]


@partial(jax.jit, static_argnames="num_groups")
def _group(
    pixels: Float[Array, "L N"],
    library: Float[Array, "L M"],
    groups: Int[Array, " M"],
    strength: Scalar,
    solver: ADMM,
    num_groups: int,
) -> tuple[Float[Array, "M N"], BoolScalar]:
    unit = jnp.mean(jnp.sum(library * library, axis=0))
    unit = jnp.where(unit > 0, unit, 1)
    smooth = Quadratic(_product(library.T, library) / unit, -_product(library.T, pixels) / unit)
    composed = _PixelGroups(strength / unit, groups, jnp.zeros(num_groups))
    problem = SaddlePoint(smooth, Simplex(1.0, axis=0), composed)
    start = jnp.full((library.shape[1], pixels.shape[1]), 1 / library.shape[1], pixels.dtype)
    found = solve(problem, solver, start)
    return found.params[0], found.result == RESULTS.converged


@partial(jax.jit, static_argnames=("num_groups", "max_steps"))
def _fractional(
    pixels: Float[Array, "L N"],
    library: Float[Array, "L M"],
    groups: Int[Array, " M"],
    mask: Bool[Array, " N"],
    strength: Scalar,
    power: Scalar,
    tol: Scalar,
    *,
    num_groups: int,
    max_steps: int,
) -> tuple[Float[Array, "M N"], BoolScalar, dict[str, Array]]:
    gram, cross = _product(library.T, library), _product(library.T, pixels)

    def sums(parts: Array) -> Array:
        return jax.ops.segment_sum(parts, groups, num_groups) + _SMALL

    def each(parts: Array) -> Float[Array, " N"]:
        misfit = pixels - _product(library, parts)
        value = jnp.sum(misfit * misfit, axis=0) / 2 + strength * jnp.sum(sums(parts) ** power, axis=0)
        return jnp.where(mask, value, 0)

    def sweep(parts: Array) -> tuple[Array, Scalar]:
        slopes = strength * power * sums(parts) ** (power - 1)
        new = fclsu_gram(gram, cross - slopes[groups])
        falls = each(new) <= each(parts)
        parts = jnp.where(falls[None, :], new, parts)
        return parts, jnp.sum(each(parts))

    start = fclsu(pixels, library)
    found = alternate(sweep, start, jnp.sum(each(start)), tol, max_steps)
    return found.factors, found.settled, {"loss": found.loss, "num_steps": found.num_steps}


def _summed(
    task: LibraryInput,
    groups: Int[Array, " M"],
    parts: Float[Array, "M N"],
    num_groups: int,
    converged: BoolScalar | bool,
    diagnostics: dict[str, Array],
) -> Unmixing:
    dtype = task.pixels.dtype
    kept = jnp.where(task.mask[None, :], parts, 0)
    members = jax.nn.one_hot(groups, num_groups, dtype=dtype)
    shares = jnp.sum(kept, axis=1, keepdims=True) * members
    totals = jnp.sum(shares, axis=0, keepdims=True)
    # A material that no pixel holds: the mean of its bundle.
    shares = jnp.where(totals > 0, shares, members)
    weights = shares / jnp.maximum(jnp.sum(shares, axis=0, keepdims=True), jnp.finfo(dtype).tiny)
    misfit = task.pixels - _product(task.library, kept)
    residual = _tree.safe_sqrt(jnp.sum(misfit * misfit, axis=0))
    hide = lambda x: jnp.where(jnp.broadcast_to(task.mask, x.shape), x, jnp.nan)
    result = RESULTS.where(jnp.asarray(converged), RESULTS.converged, RESULTS.max_steps_reached)
    return as_given(
        Unmixing(
            endmembers=_product(task.library, weights),
            abundances=hide(_product(members.T, kept)),
            result=RESULTS.where(_tree.all_finite(kept), result, RESULTS.nonfinite),
            weights=weights,
            diagnostics={"residual": hide(residual), **diagnostics},
            library_abundances=hide(kept),
        ),
        task.given,
    )
