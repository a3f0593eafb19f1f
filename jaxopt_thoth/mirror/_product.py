from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike, PyTree

from .. import _tree
from .._types import BoolScalar, Params, Scalar
from ..penalties import AbstractPenalty, NonNegative, SeparableSum
from ..penalties._entrywise import AbstractEntrywise
from ._base import AbstractMirrorMap


class Product(AbstractMirrorMap):
    """A mirror map for each block of the parameters; potentials and divergences add up.

    `maps` is a pytree of mirror maps with the top-level structure of the points (a dictionary, tuple, Module...); what
    lies below a map is its block. `modulus` is the least of the blocks, in the root of the sum of their squared norms.
    The composite step is closed for a `SeparableSum` with the same blocks, and for entrywise penalties with one
    setting for all, where each block has it. Raises `ValueError` where the structures differ or a leaf is no mirror
    map.

    Nemirovski, "Prox-method with rate of convergence O(1/t) for variational inequalities with Lipschitz continuous
    monotone operators and smooth convex-concave saddle point problems", 2004.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import mirror
        >>> both = mirror.Product({"weights": mirror.NegativeEntropy(), "bias": mirror.Euclidean()})
        >>> center = both.center({"weights": jnp.zeros(2), "bias": jnp.zeros(1)})
        >>> {name: block.tolist() for name, block in center.items()}
        {'bias': [0.0], 'weights': [0.5, 0.5]}
    """

    maps: PyTree[AbstractMirrorMap]
    domain: ClassVar[str] = "product of the domains of its maps"

    def __init__(self, maps: PyTree[AbstractMirrorMap]):
        self.maps = maps
        for block in self._blocks()[0]:
            if not isinstance(block, AbstractMirrorMap):
                raise ValueError(f"maps must hold mirror maps only, got {block!r}; use Euclidean() for a free block.")

    def _blocks(self) -> tuple[list[AbstractMirrorMap], Any]:
        return jax.tree.flatten(self.maps, is_leaf=lambda node: isinstance(node, AbstractMirrorMap))

    def _map(self, fn: Callable[..., Any], *trees: Params) -> tuple[list[Any], Any]:
        blocks, structure = self._blocks()
        return [fn(*parts) for parts in zip(blocks, *(structure.flatten_up_to(tree) for tree in trees))], structure

    def _tree(self, fn: Callable[..., Any], *trees: Params) -> Params:
        parts, structure = self._map(fn, *trees)
        return structure.unflatten(parts)

    def _stack(self, fn: Callable[..., Scalar], *trees: Params) -> Any:
        dtype = _tree.dtype_of(trees[0])
        return jnp.stack([part.astype(dtype) for part in self._map(fn, *trees)[0]])

    def potential(self, x: Params) -> Scalar:
        return self._stack(lambda m, a: m.potential(a), x).sum()

    def to_dual(self, x: Params) -> Params:
        return self._tree(lambda m, a: m.to_dual(a), x)

    def from_dual(self, dual: Params) -> Params:
        return self._tree(lambda m, t: m.from_dual(t), dual)

    def conjugate(self, dual: Params) -> Scalar:
        return self._stack(lambda m, t: m.conjugate(t), dual).sum()

    def divergence(self, x: Params, y: Params) -> Scalar:
        return self._stack(lambda m, a, b: m.divergence(a, b), x, y).sum()

    def dual_divergence(self, dual_x: Params, dual_y: Params) -> Scalar:
        return self._stack(lambda m, s, t: m.dual_divergence(s, t), dual_x, dual_y).sum()

    def project(self, y: Params) -> Params:
        return self._tree(lambda m, a: m.project(a), y)

    def center(self, like: Params) -> Params:
        return self._tree(lambda m, a: m.center(a), like)

    def center_dual(self, dual: Params) -> Params:
        return self._tree(lambda m, t: m.center_dual(t), dual)

    def from_centered_dual(self, dual: Params) -> Params:
        return self._tree(lambda m, t: m.from_centered_dual(t), dual)

    def dual_step(self, dual: Params, gradient: Params, step_size: ArrayLike) -> Params:
        return self._tree(lambda m, t, g: m.dual_step(t, g, step_size), dual, gradient)

    def _prox_dual(self, dual: Params, penalty: AbstractPenalty, step: ArrayLike) -> Params | None:
        if isinstance(penalty, SeparableSum):
            blocks, structure = self._blocks()
            parts = structure.flatten_up_to(penalty.penalties)
            if not all(isinstance(part, AbstractPenalty) for part in parts):
                raise ValueError(
                    "The SeparableSum must have one penalty a block of the Product; nest one inside a block."
                )
            duals = structure.flatten_up_to(dual)
            return structure.unflatten([m.prox_dual(t, g, step) for m, t, g in zip(blocks, duals, parts)])
        settings = list(vars(penalty).values())
        alike = isinstance(penalty, AbstractEntrywise) and all(
            jnp.ndim(value) == 0 for value in jax.tree.leaves(settings)
        )
        if isinstance(penalty, NonNegative) or (alike and jax.tree_util.all_leaves(settings)):
            return self._tree(lambda m, t: m.prox_dual(t, penalty, step), dual)
        return None

    def norm(self, x: Params) -> Scalar:
        """Root of the sum of the squared norms of the blocks."""
        return _tree.norm(self._stack(lambda m, a: m.norm(a), x))

    def dual_norm(self, gradient: Params) -> Scalar:
        """Root of the sum of the squared dual norms of the blocks."""
        return _tree.norm(self._stack(lambda m, g: m.dual_norm(g), gradient))

    def modulus(self, like: Params, radius: ArrayLike = jnp.inf) -> Scalar:
        return self._stack(lambda m, a: m.modulus(a, radius), like).min()

    def contains(self, x: Params) -> BoolScalar:
        return jnp.stack(self._map(lambda m, a: m.contains(a), x)[0]).all()
