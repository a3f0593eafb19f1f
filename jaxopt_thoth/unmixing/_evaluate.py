from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from ._align import align, Criterion
from ._scene import Scene
from .metrics import abundance_rmse, reconstruction_rmse, spectral_angle, sre


def evaluate(endmembers: ArrayLike, abundances: ArrayLike, scene: Scene) -> dict[str, Any]:
    """Errors of an unmixing against what is known of the scene, after alignment; masked pixels do not count.

    A host function. The alignment is by abundances where their truth is known, else by spectral angle. The
    reconstruction is compared with the pixels of the scene: they must be in the unit of the endmembers.

    Args:
        endmembers: (L, p') estimate, p' >= p.
        abundances: (p', N) or (p', H, W) estimate, fractions.
        scene: pixels, and the truth where it exists.

    Returns:
        Plain numbers and lists, ready for JSON. Always `reconstruction_rmse` (unit of the pixels). With a truth:
        `alignment` ("abundance" or "spectral_angle") and `permutation` (estimate `permutation[i]` is true endmember
        i). With true endmembers: `spectral_angle` (p degrees) and `mean_spectral_angle`. With true abundances:
        `abundance_rmse` (per cent), `abundance_rmse_per_endmember` (p per cent) and `sre` (decibels). With names:
        `names`.

    Raises:
        ValueError: when the shapes disagree or there are fewer estimates than true endmembers.

    Example:
        >>> import jax
        >>> from jaxopt_thoth.unmixing import fclsu, simulate_scene
        >>> scene = simulate_scene(jax.random.key(0), height=12, width=12, num_bands=30)
        >>> report = evaluate(scene.endmembers, fclsu(scene.pixels, scene.endmembers), scene)
        >>> report["permutation"], report["mean_spectral_angle"], report["abundance_rmse"] < 5
        ([0, 1, 2], 0.0, True)
    """
    dtype = scene.pixels.dtype
    spectra, fractions = jnp.asarray(endmembers).astype(dtype), jnp.asarray(abundances).astype(dtype)
    if fractions.ndim == 3:
        if fractions.shape[1:] != (scene.height, scene.width):
            raise ValueError(
                f"abundances {fractions.shape} must be (p, {scene.height}, {scene.width}), the size of the scene."
            )
        fractions = fractions.reshape(fractions.shape[0], -1)
    if fractions.ndim != 2 or fractions.shape[1] != scene.num_pixels:
        raise ValueError(f"abundances must have shape (p, {scene.num_pixels}), got {fractions.shape}.")
    fractions = jnp.where(scene.mask[None, :], fractions, jnp.nan)
    report: dict[str, Any] = {"reconstruction_rmse": float(reconstruction_rmse(scene.pixels, spectra, fractions))}

    criterion: Criterion
    if scene.abundances is not None:
        criterion, estimate, truth = "abundance", fractions, scene.abundances
    elif scene.endmembers is not None:
        criterion, estimate, truth = "spectral_angle", spectra, scene.endmembers
    else:
        return report
    permutation = align(estimate, truth, criterion=criterion)
    report |= {"alignment": criterion, "permutation": permutation.tolist()}
    if scene.names is not None:
        report["names"] = list(scene.names)
    if scene.endmembers is not None:
        angles = np.asarray(spectral_angle(spectra[:, permutation], scene.endmembers))
        report |= {"spectral_angle": angles.tolist(), "mean_spectral_angle": float(angles.mean())}
    if scene.abundances is not None:
        aligned = fractions[permutation]
        each = abundance_rmse(aligned, scene.abundances, per_endmember=True)
        report |= {
            "abundance_rmse": float(abundance_rmse(aligned, scene.abundances)),
            "abundance_rmse_per_endmember": np.asarray(each).tolist(),
            "sre": float(sre(aligned, scene.abundances)),
        }
    return report
