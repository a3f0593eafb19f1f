from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike, PyTree

from .._types import BoolScalar, Params, Scalar
from ._base import AbstractPenalty


class SeparableSum(AbstractPenalty):
    """A penalty for each block of the parameters, `sum_b g_b(x_b)`.

    `penalties` is a pytree of penalties with the top-level structure of `x` (a dictionary, tuple, Module...); what lies
    below a penalty is its block. Raises `ValueError` where the structures differ or a leaf is no penalty.

    Parikh and Boyd, "Proximal algorithms", 2014, chapter 2.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> g = penalties.SeparableSum({"weights": penalties.L1(1.0), "intercept": penalties.Zero()})
        >>> x = {"weights": jnp.array([3.0, 0.5]), "intercept": jnp.array(7.0)}
        >>> {name: block.tolist() for name, block in g.prox(x, step=1.0).items()}
        {'intercept': 7.0, 'weights': [2.0, 0.0]}
    """

    penalties: PyTree[AbstractPenalty]

    def __init__(self, penalties: PyTree[AbstractPenalty]):
        self.penalties = penalties
        for block in self._blocks()[0]:
            if not isinstance(block, AbstractPenalty):
                raise ValueError(f"penalties must hold penalties only, got {block!r}; use Zero() for a free block.")

    @property
    def is_separable(self) -> bool:  # type: ignore[override]
        return all(block.is_separable for block in self._blocks()[0])

    @property
    def is_convex(self) -> bool:  # type: ignore[override]
        return all(block.is_convex for block in self._blocks()[0])

    @property
    def is_indicator(self) -> bool:  # type: ignore[override]
        return all(block.is_indicator for block in self._blocks()[0])

    def _blocks(self) -> tuple[list[AbstractPenalty], Any]:
        return jax.tree.flatten(self.penalties, is_leaf=lambda node: isinstance(node, AbstractPenalty))

    def _map(self, fn: Callable[..., Any], *trees: Params) -> tuple[list[Any], Any]:
        blocks, structure = self._blocks()
        return [fn(*parts) for parts in zip(blocks, *(structure.flatten_up_to(tree) for tree in trees))], structure

    def _tree(self, fn: Callable[..., Any], *trees: Params) -> Params:
        parts, structure = self._map(fn, *trees)
        return structure.unflatten(parts)

    def value(self, x: Params) -> Scalar:
        return jnp.stack(self._map(lambda g, a: g.value(a), x)[0]).sum()

    def prox(self, x: Params, step: ArrayLike) -> Params:
        return self._tree(lambda g, a: g.prox(a, step), x)

    def conjugate(self, dual: Params) -> Scalar:
        return jnp.stack(self._map(lambda g, u: g.conjugate(u), dual)[0]).sum()

    def dual_scale(self, dual: Params) -> Scalar:
        return jnp.stack(self._map(lambda g, u: g.dual_scale(u), dual)[0]).min()

    def minimal_subgradient(self, x: Params, gradient: Params) -> Params:
        return self._tree(lambda g, a, d: g.minimal_subgradient(a, d), x, gradient)

    def support(self, x: Params) -> Params:
        return self._tree(lambda g, a: g.support(a), x)

    def critical_strength(self, gradient_at_zero: Params) -> Scalar:
        """Smallest strength, shared by all blocks, for which zero solves `f + g`."""
        return jnp.stack(self._map(lambda g, d: g.critical_strength(d), gradient_at_zero)[0]).max()

    def linear_minimizer(self, gradient: Params) -> Params:
        return self._tree(lambda g, d: g.linear_minimizer(d), gradient)

    def is_feasible(self) -> BoolScalar:
        return jnp.stack(self._map(lambda g: g.is_feasible())[0]).all()
