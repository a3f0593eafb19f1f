"""Log-probabilities of several actions."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array

from .. import _tree
from .._types import Params


def log_probs(log_prob: Callable, policy: Params, actions: Any) -> Array:
    return jax.vmap(log_prob, in_axes=(None, 0))(policy, actions).astype(_tree.dtype_of(policy))
