"""The errors of an estimate."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ..plotting._fit import fitted_pixels, rebuilt_pixels
from ..plotting._truth import true_count
from ..unmixing import evaluate, Scene, Unmixing


def measure(scene: Scene, unmixing: Unmixing) -> dict[str, Any]:
    """What `evaluate` says of an estimate in the order of the truth, ready to be written.

    The reconstruction is that of the pixels the method worked on, as stored or scaled. An estimate with fewer
    endmembers than the truth is measured only by its reconstruction.
    """
    pixels, is_scaled = fitted_pixels(scene, unmixing)
    scene = eqx.tree_at(lambda s: s.pixels, scene, jnp.asarray(pixels))
    if (true_count(scene) or 0) > unmixing.num_endmembers:
        scene = eqx.tree_at(
            lambda s: (s.endmembers, s.abundances), scene, (None, None), is_leaf=lambda leaf: leaf is None
        )
    evaluation = evaluate(unmixing.endmembers, unmixing.abundances, scene)
    evaluation.pop("permutation", None)
    known = np.asarray(scene.mask) & np.isfinite(np.asarray(unmixing.abundances)).all(axis=0)
    rebuilt = rebuilt_pixels(unmixing, known)
    evaluation.pop("reconstruction_rmse")
    return {
        "reconstruction_rmse": float(np.sqrt(np.mean((pixels[:, known] - rebuilt) ** 2))),
        "relative_residual": relative_residual(pixels[:, known], rebuilt),
        "pixels": "scaled one by one" if is_scaled else "as stored",
        **evaluation,
    }


def relative_residual(pixels: np.ndarray, rebuilt: np.ndarray) -> float:
    """Norm of the difference over the norm of the pixels."""
    size = float(np.linalg.norm(pixels))
    return float(np.linalg.norm(pixels - rebuilt)) / size if size > 0 else 0.0


def likely_pixel_scale(scene: Scene, endmembers: np.ndarray, abundances: np.ndarray) -> np.ndarray | None:
    """The norms of the pixels when the estimate rebuilds unit pixels better than the stored ones, else None.

    A file holds only endmembers and abundances, and methods that ignore shade work on pixels of unit norm.
    """
    pixels = np.asarray(scene.pixels)
    known = np.asarray(scene.mask) & np.isfinite(abundances).all(axis=0)
    norms = np.linalg.norm(pixels, axis=0)
    norms[norms == 0] = 1
    rebuilt = endmembers @ abundances[:, known]
    unit, stored = (relative_residual(each[:, known], rebuilt) for each in (pixels / norms, pixels))
    return norms if unit < stored else None
