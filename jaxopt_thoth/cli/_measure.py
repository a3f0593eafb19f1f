"""The errors of an estimate."""

from typing import Any

import equinox as eqx

from ..plotting._truth import true_count
from ..unmixing import evaluate, Scene, Unmixing


def measure(scene: Scene, unmixing: Unmixing) -> dict[str, Any]:
    """What `evaluate` says of an estimate in the order of the truth, ready to be written.

    An estimate with fewer endmembers than the truth is measured only by how well it rebuilds the pixels.
    """
    if (true_count(scene) or 0) > unmixing.num_endmembers:
        scene = eqx.tree_at(
            lambda s: (s.endmembers, s.abundances), scene, (None, None), is_leaf=lambda leaf: leaf is None
        )
    evaluation = evaluate(unmixing.endmembers, unmixing.abundances, scene)
    evaluation.pop("permutation", None)
    return evaluation
