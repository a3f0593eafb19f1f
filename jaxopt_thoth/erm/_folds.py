import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, Shaped

from .._validate import concrete


def folds(
    key: PRNGKeyArray, num_rows: int, num_folds: int, *, stratify: Shaped[ArrayLike, " n"] | None = None
) -> Float[Array, "k n"]:
    """Weights of the rows for cross-validation, (k, n): 0 for the rows that a fold holds out, 1 for the others.

    Every row is held out once, and the sizes of the folds differ by one at most. With `stratify` every class is
    spread over the folds as evenly.

    Args:
        key: random key of the assignment.
        num_rows: n.
        num_folds: k, from 2 to n.
        stratify: the class of each row, (n,).

    Raises:
        ValueError: if a number is out of range, or `stratify` has another length.

    Kohavi, "A study of cross-validation and bootstrap for accuracy estimation and model selection", 1995.

    Example:
        >>> import jax
        >>> from jaxopt_thoth import erm
        >>> print(erm.folds(jax.random.key(0), 6, 3).sum(1))
        [4. 4. 4.]
    """
    if not 2 <= num_folds <= num_rows:
        raise ValueError(f"num_folds must be from 2 to the number of rows {num_rows}, got {num_folds}.")
    order = jax.random.permutation(key, num_rows)
    if stratify is not None:
        classes = jnp.asarray(stratify)
        if classes.shape != (num_rows,):
            raise ValueError(f"stratify must have shape ({num_rows},), one class a row, got {classes.shape}.")
        # Each class follows the one before in the deal, so that the sizes stay even in all.
        order = order[jnp.argsort(classes[order], stable=True)]
    fold = jnp.zeros(num_rows, jnp.int32).at[order].set(jnp.arange(num_rows, dtype=jnp.int32) % num_folds)
    return (fold[None, :] != jnp.arange(num_folds, dtype=jnp.int32)[:, None]).astype(jnp.result_type(float))


def held_rows(fold_weights: Float[Array, "k n"]) -> np.ndarray | None:
    """The rows that each fold holds out, (k, m), padded with n; None where that is not known yet."""
    known = concrete(fold_weights)
    if known is None:
        return None
    held = [np.flatnonzero(row == 0) for row in known]
    longest = max(len(rows) for rows in held)
    return np.stack([np.pad(rows, (0, longest - len(rows)), constant_values=known.shape[1]) for rows in held])


def is_partition(fold_weights: Float[Array, "k n"]) -> bool:
    """Whether it is known that every row is held out by one fold, and counts as one row in the others."""
    known = concrete(fold_weights)
    return known is not None and bool(np.all((known == 0) | (known == 1)) and np.all((known == 0).sum(0) == 1))
