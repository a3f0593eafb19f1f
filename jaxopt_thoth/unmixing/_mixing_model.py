import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from .. import _tree
from .._result import RESULTS
from .._types import Scalar
from .._validate import require_nonnegative
from ..implicit import attach, Implicit, StopGradient
from ..penalties import Box, SeparableSum, Simplex
from ..problems import Composite
from ..smooth import AbstractSmooth
from ..solvers import ProximalGradient, solve
from ._checks import as_matrix, as_spectra, same_dtype
from ._fclsu import fclsu
from ._pixel_input import as_given, PixelInput, read_pixels
from ._scene import Scene
from ._unmixing import Unmixing


# Tolerances on the projected gradient; the default of the solvers asks more of float64 than flat directions give.
_TOLERANCE = {2: 1e-3, 4: 1e-5, 8: 1e-7}


class AbstractMixingModel(eqx.Module):
    """A nonlinear mixing model: how spectra of materials, their fractions and further parameters make a pixel.

    A model gives `pixel`, the number of its parameters and their bounds; at the parameters zero it is linear.
    """

    def num_parameters(self, num_endmembers: int) -> int:
        """How many parameters a pixel has beside its fractions."""
        raise NotImplementedError

    def bounds(self) -> tuple[Scalar, Scalar]:
        """Least and largest value of each parameter; zero lies between them."""
        raise NotImplementedError

    def pixel(
        self, endmembers: Float[Array, "L p"], abundances: Float[Array, " p"], parameters: Float[Array, " q"]
    ) -> Float[Array, " L"]:
        """One pixel of the model."""
        raise NotImplementedError

    def mix(
        self, endmembers: ArrayLike, abundances: ArrayLike, parameters: ArrayLike | None = None
    ) -> Float[Array, "L N"]:
        """Pixels (L, N) of endmembers (L, p), abundances (p, N) and parameters (q, N); None stands for zeros.

        Raises:
            ValueError: when the shapes or the dtypes disagree.
        """
        spectra, fractions = as_mixture(endmembers, abundances)
        shape = (self.num_parameters(spectra.shape[1]), fractions.shape[1])
        values = jnp.zeros(shape, spectra.dtype) if parameters is None else _tree.as_inexact(parameters)
        if values.shape != shape:
            raise ValueError(f"parameters must have shape (q, N) = {shape}, got {values.shape}.")
        same_dtype(spectra, "endmembers", values, "parameters")
        return jax.vmap(self.pixel, in_axes=(None, 1, 1), out_axes=1)(spectra, fractions, values)

    def unmix(
        self,
        pixels: ArrayLike | Scene,
        endmembers: ArrayLike,
        *,
        mask: ArrayLike | None = None,
        tol: ArrayLike | None = None,
        max_steps: int = 3000,
        chunk: int = 256,
    ) -> Unmixing:
        """Abundances on the simplex and parameters within their bounds that fit each pixel best in the l2 norm.

        Accelerated projected gradient steps (`ProximalGradient`), from the fully constrained fit of the
        linear model, for a chunk of pixels at once; parameters are scaled so that they bend the fit as much as
        abundances do. The objective is not convex: the point that is found is stationary and no worse than the linear
        model. Derivatives in pixels, endmembers and settings of the model are those of the optimality conditions.

        Args:
            pixels: matrix (L, N), cube (H, W, L), or `Scene`.
            endmembers: (L, p), in the unit and the dtype of the pixels.
            mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite are left out anyway.
            tol: tolerance on the gradient, relative to that of the squared endmembers; 1e-7 in float64 and 1e-5 in
                float32 by default.
            max_steps: bound on the number of steps.
            chunk: pixels solved at once.

        Returns:
            `Unmixing` with abundances (p, N) or maps (NaN where masked), `result` converged when every pixel is, and in
            `diagnostics` the "parameters" (q, N), the "converged" pixels (N,), and the "residual" norms (N,).

        Raises:
            ValueError: when the arguments do not fit each other, or a setting is out of range.
        """
        given, spectra = read_supervised(pixels, endmembers, mask)
        if tol is not None:
            require_nonnegative(tol, "tol")
        for name, value in (("max_steps", max_steps), ("chunk", chunk)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        tolerance = _tree.setting(_TOLERANCE[spectra.dtype.itemsize] if tol is None else tol)
        return as_given(_unmix(self, given.values, given.mask, spectra, tolerance, max_steps, chunk), given)


def as_mixture(endmembers: ArrayLike, abundances: ArrayLike) -> tuple[Float[Array, "L p"], Float[Array, "p N"]]:
    """Both arguments as matrices that fit each other; raises `ValueError` otherwise."""
    spectra = as_matrix(endmembers, "endmembers", "(L, p)")
    fractions = as_matrix(abundances, "abundances", "(p, N)")
    same_dtype(spectra, "endmembers", fractions, "abundances")
    if spectra.shape[1] != fractions.shape[0]:
        raise ValueError(
            f"endmembers {spectra.shape} and abundances {fractions.shape} must be of as many materials; transpose one?"
        )
    return spectra, fractions


def read_supervised(
    pixels: ArrayLike | Scene, endmembers: ArrayLike, mask: ArrayLike | None
) -> tuple[PixelInput, Float[Array, "L p"]]:
    """Checked pixels and endmembers of as many bands and one dtype."""
    given = read_pixels(pixels, mask)
    spectra = as_spectra(endmembers, "endmembers", "(L, p)")
    same_dtype(given.values, "pixels", spectra, "endmembers")
    if given.values.shape[0] != spectra.shape[0]:
        raise ValueError(
            f"pixels {given.values.shape} and endmembers {spectra.shape} must have as many bands (rows); transpose one?"
        )
    return given, spectra


# Abundances, and then the parameters over their scales where the model has any.
_Variables = tuple[Array, ...]


class _Fit(AbstractSmooth):
    """Half the squared distance of a pixel from its model, in units of the endmembers."""

    model: AbstractMixingModel
    endmembers: Float[Array, "L p"]
    pixel: Float[Array, " L"]
    unit: Scalar
    scales: Float[Array, " q"]

    def residual(self, params: _Variables) -> Float[Array, " L"]:
        own = self.parameters(params)
        return (self.model.pixel(self.endmembers, params[0], own) - self.pixel) / self.unit

    def parameters(self, params: _Variables) -> Float[Array, " q"]:
        return self.scales * params[1] if len(params) > 1 else self.scales

    def value(self, params: _Variables) -> Scalar:
        return jnp.sum(self.residual(params) ** 2) / 2


@eqx.filter_jit
def _unmix(
    model: AbstractMixingModel,
    pixels: Float[Array, "L N"],
    mask: Bool[Array, " N"],
    endmembers: Float[Array, "L p"],
    tol: Scalar,
    max_steps: int,
    chunk: int,
) -> Unmixing:
    count = model.num_parameters(endmembers.shape[1])
    size = jnp.sqrt(jnp.mean(jnp.sum(endmembers * endmembers, axis=0)))
    unit = jnp.where(size > 0, size, 1)
    solver = ProximalGradient(tol=tol, max_steps=max_steps)
    frozen_pixels, frozen, frozen_model, frozen_unit = _tree.stop_gradient((pixels, endmembers, model, unit))

    def task(
        model: AbstractMixingModel, endmembers: Array, pixel: Array, unit: Scalar, scales: Array
    ) -> tuple[_Fit, Composite]:
        fit = _Fit(model, endmembers, pixel, unit, scales)
        lower, upper = (bound.astype(pixel.dtype) for bound in model.bounds())
        own = (Box(lower / scales, upper / scales),) if count else ()
        return fit, Composite(fit, SeparableSum((Simplex(), *own)))

    def one(inputs: tuple[Array, Array, Array]) -> tuple[tuple[Array, ...], Array, Array]:
        pixel, constant, linear = inputs
        scales = _scales(frozen_model, frozen, linear, count, frozen_unit)
        start = (linear, jnp.zeros(count, pixel.dtype)) if count else (linear,)
        _, constant_task = task(frozen_model, frozen, constant, frozen_unit, scales)
        found = solve(constant_task, solver, start, adjoint=StopGradient())
        # Accelerated steps may rise; where they ended above the linear model, that is kept.
        eps = jnp.finfo(pixel.dtype).eps
        before, after = constant_task.smooth.value(start), constant_task.smooth.value(found.params)
        kept = after <= before * (1 + jnp.sqrt(eps)) + eps
        solution = _tree.where(kept, found.params, start)
        step = solver.fixed_point_step(constant_task, found.params, found.state)
        fit, problem = task(model, endmembers, pixel, unit, scales)
        params = attach(Implicit(), problem, solution, step, solver.tolerance(solution))
        converged = kept & (found.result == RESULTS.converged)
        variables = (params[0], fit.parameters(params)) if count else params
        return variables, converged, _tree.norm(fit.residual(params)) * unit

    linear = fclsu(frozen_pixels, frozen)
    inputs = (pixels.T, frozen_pixels.T, linear.T)
    kept, converged, residual = jax.lax.map(one, inputs, batch_size=chunk)
    own = kept[1] if count else jnp.zeros((pixels.shape[1], 0), pixels.dtype)
    hide = lambda x: jnp.where(mask[None, :], x, jnp.nan)
    finite = jnp.all(jnp.isfinite(jnp.where(mask, residual, 0)))
    result = RESULTS.where(jnp.all(converged | ~mask), RESULTS.converged, RESULTS.max_steps_reached)
    return Unmixing(
        endmembers=endmembers,
        abundances=hide(kept[0].T),
        result=RESULTS.where(finite, result, RESULTS.nonfinite),
        diagnostics={
            "parameters": hide(own.T),
            "converged": converged & mask,
            "residual": jnp.where(mask, residual, jnp.nan),
        },
    )


def _scales(
    model: AbstractMixingModel,
    endmembers: Float[Array, "L p"],
    abundances: Float[Array, " p"],
    count: int,
    unit: Scalar,
) -> Float[Array, " q"]:
    """Units of the parameters in which each moves a pixel about as far as an abundance does."""
    # Inside the simplex: on a face some parameters do not move the pixel at all, though they might after a step.
    inside = (abundances + 1 / abundances.shape[0]) / 2
    slopes = jax.jacfwd(lambda own: model.pixel(endmembers, inside, own))(jnp.zeros(count, endmembers.dtype))
    sizes = _tree.safe_sqrt(jnp.sum(slopes**2, axis=0))
    return jnp.where(sizes > 0, unit / jnp.where(sizes > 0, sizes, 1), 1)
