from collections.abc import Callable

import jax
from jaxtyping import Array, ArrayLike, PRNGKeyArray

from ... import _tree
from .._unmixing import Unmixing
from ._spread import abundances_of, aligned, check_runs, gather, Spread


def ensemble_spread(
    method: Callable[[PRNGKeyArray], Unmixing | Array],
    *,
    key: PRNGKeyArray,
    num_runs: int = 10,
    reference: ArrayLike | None = None,
    chunk: int = 1,
) -> Spread:
    """Mean and standard deviation of the abundances of a method over random starts, endmembers matched between runs.

    The maps of each run are put in the order in which their squared distances to the reference are least in total.

    Args:
        method: `fn(key) -> Unmixing`, or abundances alone, that runs under `jit`.
        key: split into one for each run.
        num_runs: at least 2, static.
        reference: (p, N) or (p, H, W), abundances whose order is kept; those of the first run by default.
        chunk: runs at once, by `jax.vmap`; static.

    Raises:
        ValueError: for too few runs or an empty chunk.

    Example:
        >>> import jax
        >>> from functools import partial
        >>> from jaxopt_thoth import unmixing
        >>> scene = unmixing.simulate_scene(jax.random.key(0), height=12, width=12, num_bands=20)
        >>> run = lambda key: unmixing.nmf(scene, 3, key=key, max_steps=5)
        >>> spread = unmixing.uncertainty.ensemble_spread(run, key=jax.random.key(1), num_runs=3)
        >>> spread.standard_deviation.shape
        (3, 144)
    """
    check_runs(num_runs, 2, "num_runs", chunk)
    keys = jax.random.split(key, num_runs)
    run = lambda key: abundances_of(method(key))
    order = jax.jit(run)(keys[0]) if reference is None else _tree.as_inexact(reference)
    return jax.jit(lambda keys, order: gather(lambda key: aligned(run(key), order), keys, chunk))(keys, order)
