from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, PRNGKeyArray

from ... import _validate
from .._checks import as_spectra
from .._unmixing import Unmixing
from ._spread import abundances_of, check_runs, gather, Spread


def bootstrap_library(
    method: Callable[[Array], Unmixing | Array],
    library: ArrayLike,
    classes: ArrayLike,
    *,
    key: PRNGKeyArray,
    num_draws: int = 50,
    chunk: int = 1,
) -> Spread:
    """Mean and standard deviation of abundances over libraries drawn anew, with replacement within each class.

    Args:
        method: `fn(library (L, M)) -> Unmixing`, or abundances of the classes alone, that runs under `jit`: the spectra
            of a draw are of the same classes in the same order.
        library: (L, M) spectra.
        classes: (M,) class of each spectrum, integers; known at compile time.
        key: of the draws.
        num_draws: at least 2, static.
        chunk: draws at once, by `jax.vmap`; static.

    Returns:
        `Spread`; its counts say how many draws gave a pixel abundances at all.

    Raises:
        ValueError: for a library or classes of a wrong shape, too few draws, or an empty chunk.

    Source: B. Efron, R. Tibshirani, "An introduction to the bootstrap", 1993.

    Example:
        >>> import jax
        >>> from jaxopt_thoth import unmixing
        >>> library = jnp.array([[0.6, 0.5, 0.1], [0.2, 0.3, 0.4], [0.1, 0.1, 0.7]])
        >>> pixels, classes = library @ jnp.array([[0.0], [0.3], [0.5]]), np.array([0, 0, 1])
        >>> spread = bootstrap_library(
        ...     lambda spectra: unmixing.mesma(pixels, spectra, classes), library, classes, key=jax.random.key(0)
        ... )
        >>> spread.mean.shape, spread.counts.tolist()
        ((2, 1), [50])
    """
    spectra = as_spectra(library, "library", "(L, M)")
    known = _validate.concrete(classes)
    if known is None or known.shape != (spectra.shape[1],) or not np.issubdtype(known.dtype, np.integer):
        raise ValueError(f"classes must hold one known integer for each of the {spectra.shape[1]} spectra.")
    check_runs(num_draws, 2, "num_draws", chunk)
    _labels, places = np.unique(known, return_inverse=True)
    sizes = np.bincount(places)
    # The spectra class by class, and where each class begins.
    order, begins = jnp.asarray(np.argsort(places, kind="stable")), np.cumsum(sizes) - sizes
    begin, size = jnp.asarray(begins[places]), jnp.asarray(sizes[places])

    def run(spectra: Array, key: PRNGKeyArray) -> Array:
        drawn = jax.random.randint(key, size.shape, 0, size)
        return abundances_of(method(spectra[:, order[begin + drawn]]))

    keys = jax.random.split(key, num_draws)
    return jax.jit(lambda spectra, keys: gather(lambda key: run(spectra, key), keys, chunk))(spectra, keys)
