import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from .. import _tree


def least_coherent(endmembers: Float[Array, "M L p"], fit_l1: Float[Array, " M"]) -> Int[Array, ""]:
    """The published choice: among runs whose l1 fit is within 5 per cent of the best, the least correlated endmembers.

    Correlation is the largest off-diagonal entry of the correlation matrix of the spectra of a run.
    """
    centered = endmembers - jnp.mean(endmembers, axis=1, keepdims=True)
    norms = _tree.safe_sqrt(jnp.sum(centered * centered, axis=1, keepdims=True))
    unit = centered / jnp.where(norms > 0, norms, 1)
    correlation = jnp.einsum("mli,mlj->mij", unit, unit, precision=lax.Precision.HIGHEST)
    p = endmembers.shape[2]
    largest = jnp.max(jnp.where(jnp.eye(p, dtype=bool)[None], -jnp.inf, correlation), axis=(1, 2))
    close = (fit_l1 - jnp.min(fit_l1)) / fit_l1 < 0.05
    return jnp.argmin(jnp.where(close, largest, jnp.inf))


def consensus(
    endmembers: Float[Array, "M L p"], fit_l2: Float[Array, " M"], *, slack: float = 0.25
) -> tuple[Int[Array, ""], Float[Array, " M"]]:
    """The medoid of the ensemble: among runs whose residual is near the best, the one whose endmembers most agree on.

    The distance of two runs is the mean angle of each endmember to the nearest of the other run, both ways, so that no
    alignment is needed. A run that lost a material, or found an outlier that few others found, is far from the rest.

    Args:
        endmembers: spectra of M runs.
        fit_l2: their squared residuals.
        slack: relative excess of squared residual up to which a run may be chosen.

    Returns:
        The index of the run, and each run's mean distance to the others in degrees.
    """
    norms = _tree.safe_sqrt(jnp.sum(endmembers * endmembers, axis=1, keepdims=True))
    unit = endmembers / jnp.where(norms > 0, norms, 1)

    def distances(spectra: Float[Array, "L p"]) -> Float[Array, " M"]:
        difference = jnp.sum((spectra[None, :, :, None] - unit[:, :, None, :]) ** 2, axis=1)
        angles = 2 * jnp.arcsin(jnp.minimum(_tree.safe_sqrt(difference) / 2, 1))
        return (jnp.mean(jnp.min(angles, axis=1), axis=1) + jnp.mean(jnp.min(angles, axis=2), axis=1)) / 2

    between = jnp.degrees(lax.map(distances, unit))
    # Of two candidates the one that agrees with more runs wins; a median is not moved by the runs that failed.
    spread = jnp.median(between, axis=1)
    close = fit_l2 <= (1 + slack) * jnp.min(fit_l2)
    return jnp.argmin(jnp.where(close, spread, jnp.inf)), spread
