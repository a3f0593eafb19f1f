import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._validate import require_nonnegative, require_positive


def clipped_descent_bound(
    initial_gap: ArrayLike, step_size: ArrayLike, max_norm: ArrayLike, num_steps: ArrayLike
) -> Float[Array, "..."]:
    """Bound on the smallest gradient norm that clipped gradient descent has met within `num_steps` steps.

    It is `max(sqrt(2 F / (s T)), 2 F / (s c T))`: the level c enters only the term of higher order in 1 / T. It
    holds for exact gradients, where the step s is at most 1 / L for gradients of Lipschitz constant L, or at most
    1 / (L0 + c L1) where the constant is L0 + L1 times the norm of the gradient (within distance 1 / L1). Convexity
    is not needed.

    Args:
        initial_gap: F, the value at the start above the infimum.
        step_size: s.
        max_norm: c.
        num_steps: T, the gradient of the start being the first of T. All are scalars, or arrays of one shape.

    Raises:
        ValueError: where `initial_gap` is known to be negative, or another argument not to be positive.

    Koloskova, Hendrikx and Stich, "Revisiting gradient clipping: stochastic bias and tight convergence guarantees",
    2023, have the rate; these constants follow from the descent lemma.

    Example:
        >>> from jaxopt_thoth import gradients
        >>> gradients.clipped_descent_bound(8.0, step_size=1.0, max_norm=1.0, num_steps=4).item()
        4.0
        >>> gradients.clipped_descent_bound(8.0, step_size=1.0, max_norm=1.0, num_steps=400).item()
        0.2
    """
    require_nonnegative(initial_gap, "initial_gap")
    for value, name in ((step_size, "step_size"), (max_norm, "max_norm"), (num_steps, "num_steps")):
        require_positive(value, name)
    gap = _tree.setting(initial_gap)
    rest = (jnp.asarray(value).astype(gap.dtype) for value in (step_size, max_norm, num_steps))
    step, level, steps = rest
    mean_square = 2 * gap / (step * steps)
    return jnp.maximum(_tree.safe_sqrt(mean_square), mean_square / level)
