from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .._types import Params
from ..penalties import AbstractPenalty
from .jaxopt._terms import ProxPenalty


def from_prox(prox: Callable[..., Params], hyperparams: Any = None) -> AbstractPenalty:
    """A function `prox(x, hyperparams, scaling)` of jaxopt's form as a penalty, for every solver that asks for no more.

    What it is the prox of is not known: there is no value and no conjugate, and so neither an objective in the history
    nor a duality gap. It has to be the prox of `scaling` times one convex function, whatever the scaling.

    Args:
        prox: a pure function; arrays that it closes over are constants.
        hyperparams: a pytree of numbers that may vary, as leaves: to be batched and differentiated. Integers stay what
            they are, as counts and axes have to.

    Raises:
        TypeError: if `prox` is no function.

    N. Parikh and S. Boyd, "Proximal algorithms", 2014.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> from jaxopt_thoth import interop
        >>> shrink = lambda x, strength, scaling: x / (1 + strength * scaling)
        >>> problem = jt.Composite(jt.Quadratic(jnp.eye(2), jnp.array([-3.0, 1.0])), interop.from_prox(shrink, 1.0))
        >>> print(jt.solve(problem, jt.ProximalGradient(), jnp.zeros(2)).params.round(3))
        [ 1.5 -0.5]
    """
    if not callable(prox):
        raise TypeError(f"prox must be a function prox(x, hyperparams, scaling), got {type(prox).__name__}.")
    return ProxPenalty(
        prox, jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, float) else leaf, hyperparams)
    )
