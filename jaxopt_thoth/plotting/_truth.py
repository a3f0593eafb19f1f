"""How an estimate is presented beside the truth of its scene: in which order, under which names."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ..unmixing import align, Scene, Unmixing


def true_count(scene: Scene) -> int | None:
    """How many endmembers the truth of a scene has, or None when there is no truth."""
    if scene.abundances is not None:
        return scene.abundances.shape[0]
    return None if scene.endmembers is None else scene.endmembers.shape[1]


def presented(scene: Scene, unmixing: Unmixing) -> Unmixing:
    """The estimate in the order of the truth; raises `ValueError` where it is not one of this scene."""
    p = unmixing.num_endmembers
    shapes = unmixing.endmembers.shape, unmixing.abundances.shape
    if shapes != ((scene.num_bands, p), (p, scene.num_pixels)):
        raise ValueError(
            f"The estimate has endmembers {shapes[0]} and abundances {shapes[1]}, "
            f"but the scene has {scene.num_bands} bands and {scene.num_pixels} pixels."
        )
    return in_truth_order(scene, unmixing)


def in_truth_order(scene: Scene, unmixing: Unmixing) -> Unmixing:
    """The endmembers and abundances of an estimate in the order of the truth, the surplus last.

    Without a truth, or with fewer endmembers than it has, the order stays.
    """
    known, count = true_count(scene), unmixing.num_endmembers
    if known is None or known > count:
        return unmixing
    if scene.abundances is not None:
        masked = jnp.where(scene.mask[None], unmixing.abundances, jnp.nan)
        found = align(masked, scene.abundances, criterion="abundance")
    else:
        found = align(unmixing.endmembers, jnp.asarray(scene.endmembers), criterion="spectral_angle")
    order = np.append(found, np.setdiff1d(np.arange(count), found))
    return eqx.tree_at(
        lambda u: (u.endmembers, u.abundances), unmixing, (unmixing.endmembers[:, order], unmixing.abundances[order])
    )


def endmember_names(scene: Scene, count: int) -> list[str]:
    """The scene's own names for an estimate in the order of its truth; numbers for what the truth does not name."""
    named = list(scene.names or ())
    if len(named) > count:
        # An estimate with fewer endmembers than the truth cannot be in its order.
        named = []
    return named + [f"endmember {index + 1}" for index in range(len(named), count)]
