"""The candidate models of MESMA: all choices of one library spectrum for each of a few classes."""

from itertools import combinations, product

import numpy as np


def count_models(classes: np.ndarray, num_classes: int, most: int) -> int:
    """How many models of one to `most` classes there are."""
    sizes = np.bincount(classes, minlength=num_classes)
    # Coefficients of the product of (1 + n_c x), one class after the other.
    totals = [1] + [0] * most
    for size in sizes:
        totals = [totals[0], *(totals[k] + int(size) * totals[k - 1] for k in range(1, most + 1))]
    return sum(totals[1:])


def list_models(classes: np.ndarray, num_classes: int, most: int, chunk: int) -> tuple[np.ndarray, np.ndarray]:
    """Tables of the models, in chunks of one number of classes each.

    Returns:
        Spectra of each model (chunks, chunk, most), the number of the library's spectra where there is none, and the
        number of classes of each chunk (chunks,), less one. A table is filled up with models without any spectrum.
    """
    absent = classes.size
    members = [np.flatnonzero(classes == c) for c in range(num_classes)]
    tables, levels = [], []
    for level in range(1, most + 1):
        models = [m for chosen in combinations(members, level) for m in product(*chosen)]
        table = np.full((-(-len(models) // chunk) * chunk, most), absent, np.int32)
        table[: len(models), :level] = np.asarray(models, np.int32)
        tables.append(table.reshape(-1, chunk, most))
        levels.append(np.full(len(tables[-1]), level - 1, np.int32))
    return np.concatenate(tables), np.concatenate(levels)
