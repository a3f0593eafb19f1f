from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from ..mirror import NegativeEntropy
from ._scaled_pixels import ScaledPixels


class ArchetypeStart(eqx.Module):
    """Where M runs of entropic archetypal analysis begin.

    The weights of the pixels in the endmembers have logits `offset - sharpness |pixel|^2 / 2 + <dual, pixel>`; the
    abundances start equal.

    Attributes:
        dual: (L, M, p).
        offset: (1, 1, N) for all runs, or (M, p, N); minus infinity keeps a pixel out.
        sharpness: (M, p), inverse temperature of weights that fall off with the distance to a vertex.
        step_factor: (M,), factor on the published step sizes.
    """

    dual: Float[Array, "L M p"]
    offset: Float[Array, "..."]
    sharpness: Float[Array, "M p"]
    step_factor: Float[Array, " M"]

    def take(self, runs: Int[Array, " k"]) -> "ArchetypeStart":
        """The starts of some of the runs."""
        shared = self.offset.shape[0] == 1
        return ArchetypeStart(
            dual=self.dual[:, runs],
            offset=self.offset if shared else self.offset[runs],
            sharpness=self.sharpness[runs],
            step_factor=self.step_factor[runs],
        )


class ArchetypeSteps(NamedTuple):
    """How long to run: T outer steps, each of K1 steps in the abundances and K2 in the pixel weights."""

    num_steps: int
    abundance_steps: int
    endmember_steps: int


class Archetypes(eqx.Module):
    """The end of M runs.

    Attributes:
        endmembers: (L, M, p).
        abundances: (M, p, N), columns on the simplex.
        dual: (L, M, p), the logits of the pixel weights as in `ArchetypeStart`.
        loss: (T, M), half the squared residual after each step, from Gram matrices (4 to 5 digits in float32).
    """

    endmembers: Float[Array, "L M p"]
    abundances: Float[Array, "M p N"]
    dual: Float[Array, "L M p"]
    loss: Float[Array, "T M"]


def project(pixels: ScaledPixels, spectra: Float[Array, "L M p"]) -> Float[Array, "M p N"]:
    """Inner products of the spectra of M runs with the pixels, one matrix product for all."""
    bands, runs, p = spectra.shape
    return pixels.project(spectra.reshape(bands, runs * p)).reshape(runs, p, -1)


def combine(pixels: ScaledPixels, weights: Float[Array, "M p N"]) -> Float[Array, "L M p"]:
    """Combinations of the pixels by the weights of M runs, one matrix product for all."""
    runs, p, count = weights.shape
    return pixels.combine(weights.reshape(runs * p, count)).reshape(-1, runs, p)


def pixel_weights(pixels: ScaledPixels, start: ArchetypeStart, dual: Float[Array, "L M p"]) -> Float[Array, "M p N"]:
    """The weights B of the pixels in the endmembers of M runs."""
    return NegativeEntropy(axis=2).from_dual(_logits(pixels, start, dual))


def _logits(pixels: ScaledPixels, start: ArchetypeStart, dual: Float[Array, "L M p"]) -> Float[Array, "M p N"]:
    squared = pixels.squared_norms()[None, None, :] / 2
    return start.offset - start.sharpness[:, :, None] * squared + project(pixels, dual)


def entropic_archetypes(pixels: ScaledPixels, start: ArchetypeStart, *, steps: ArchetypeSteps) -> Archetypes:
    """Entropic descent on `|Y - Y B A|^2 / 2` over columns of A and B on simplices, M runs at once.

    The iterates are those of the published method in exact arithmetic, at a third of its products: the gradient in B
    is Y' times an (L, p) matrix, so the logits of B are those of its start plus Y' times a dual variable of size
    (L, p), and B is never stored; the abundance steps need Gram matrices only; runs share each product with Y.
    """
    simplex_of_endmembers, simplex_of_pixels = NegativeEntropy(axis=1), NegativeEntropy(axis=2)
    _, runs, p = start.dual.shape
    count = pixels.scale.shape[0]
    squared = jnp.sum(pixels.squared_norms()) / 2
    valid = (pixels.scale > 0)[None, None, :]

    def endmembers_of(dual: Array) -> Array:
        return combine(pixels, simplex_of_pixels.from_dual(_logits(pixels, start, dual)))

    def gram(spectra: Array) -> Array:
        return jnp.einsum("lmi,lmj->mij", spectra, spectra, precision=lax.Precision.HIGHEST)

    endmembers = endmembers_of(start.dual)
    # The published step sizes, fixed for the whole run: one over the squared norm of the first endmembers.
    largest = jnp.linalg.eigvalsh(gram(endmembers))[:, -1]
    abundance_step = start.step_factor / largest
    endmember_step = abundance_step * jnp.sqrt(p / jnp.sum(valid).astype(largest.dtype))

    def outer(carry: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], Array]:
        logits, dual, endmembers = carry
        correlations, products = project(pixels, endmembers), gram(endmembers)

        def abundance(logits: Array, _: None) -> tuple[Array, None]:
            fractions = simplex_of_endmembers.from_dual(logits)
            slope = jnp.einsum("mij,mjn->min", products, fractions, precision=lax.Precision.HIGHEST) - correlations
            return simplex_of_endmembers.dual_step(logits, slope, abundance_step[:, None, None]), None

        logits = lax.scan(abundance, logits, None, length=steps.abundance_steps)[0]
        logits = simplex_of_endmembers.center_dual(logits)
        fractions = jnp.where(valid, jnp.exp(logits), 0)
        target = combine(pixels, fractions)
        weights = jnp.einsum("min,mjn->mij", fractions, fractions, precision=lax.Precision.HIGHEST)

        def endmember(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
            dual, endmembers = carry
            slope = jnp.einsum("lmi,mij->lmj", endmembers, weights, precision=lax.Precision.HIGHEST) - target
            dual = simplex_of_pixels.dual_step(dual, slope, endmember_step[None, :, None])
            return (dual, endmembers_of(dual)), None

        dual, endmembers = lax.scan(endmember, (dual, endmembers), None, length=steps.endmember_steps)[0]
        loss = (
            squared - jnp.sum(endmembers * target, axis=(0, 2)) + jnp.sum(gram(endmembers) * weights, axis=(1, 2)) / 2
        )
        return (logits, dual, endmembers), loss

    logits = jnp.zeros((runs, p, count), pixels.values.dtype)
    carry, loss = lax.scan(outer, (logits, start.dual, endmembers), None, length=steps.num_steps)
    logits, dual, endmembers = carry
    return Archetypes(endmembers, jax.nn.softmax(logits, axis=1), dual, loss)
