import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Params, Scalar
from .._validate import require_nonnegative
from ._entrywise import AbstractEntrywise
from ._parts import positive_root, total


class ReverseKullbackLeibler(AbstractEntrywise):
    """Poisson negative log-likelihood of the intensity x, `strength * sum (x - reference log x)`, on any pytree.

    Up to a constant the Kullback-Leibler divergence of the reference (the counts) from x, least at x = reference.
    `strength` and `reference` (which may hold zeros) are settings as in `AbstractPenalty`. Raises `ValueError` for a
    known negative strength or reference.

    Combettes and Pesquet, "Proximal splitting methods in signal processing", 2011, table 10.2.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import penalties
        >>> penalties.ReverseKullbackLeibler(1.0, reference=2.0).prox(jnp.array([2.0, 0.0]), step=1.0).tolist()
        [2.0, 1.0]
    """

    strength: Float[Array, "..."] | Params
    reference: Float[Array, "..."] | Params

    def __init__(self, strength: ArrayLike | Params, reference: ArrayLike | Params):
        require_nonnegative(strength, "strength")
        require_nonnegative(reference, "reference")
        self.strength = _tree.settings(strength)
        self.reference = _tree.settings(reference)

    def value(self, x: Params) -> Scalar:
        def entry(a: Array, r: Array) -> Array:
            strength = _tree.match(self.strength, a)
            positive = a > 0
            edge = jnp.where((a == 0) & (strength * r == 0), 0, jnp.inf)
            return jnp.where(positive, strength * (a - r * jnp.log(jnp.where(positive, a, 1))), edge)

        return total(entry, x, _tree.expand(self.reference, x))

    def prox(self, x: Params, step: ArrayLike) -> Params:
        def entry(a: Array, r: Array) -> Array:
            t = _tree.match(self.strength, a) * _tree.match(step, a)
            return positive_root(a - t, t * r)

        return jax.tree.map(entry, x, _tree.expand(self.reference, x))

    def conjugate(self, dual: Params) -> Scalar:
        def entry(u: Array, r: Array) -> Array:
            strength = _tree.match(self.strength, u)
            count, room = strength * r, strength - u
            inside = (room > 0) & (count > 0)
            ratio = jnp.where(inside, count / jnp.where(inside, room, 1), 1)
            # Without counts the domain is closed, and a dual point scaled onto its edge counts as inside.
            closed = room >= -64 * float(jnp.finfo(u.dtype).eps) * strength
            edge = jnp.where(closed & (count == 0), 0, jnp.inf)
            return jnp.where(inside, count * (jnp.log(ratio) - 1), edge)

        return total(entry, dual, _tree.expand(self.reference, dual))

    def dual_scale(self, dual: Params) -> Scalar:
        def entry(u: Array) -> Array:
            # Just inside the domain, which is open.
            bound = _tree.match(self.strength, u) * (1 - 64 * float(jnp.finfo(u.dtype).eps))
            outside = (u > bound) & (u > 0)
            return jnp.min(jnp.where(outside, bound / jnp.where(outside, u, 1), 1), initial=1)

        return jax.tree.reduce(jnp.minimum, jax.tree.map(entry, dual), jnp.ones((), _tree.dtype_of(dual)))

    def minimal_subgradient(self, x: Params, gradient: Params) -> Params:
        def entry(a: Array, g: Array, r: Array) -> Array:
            strength = _tree.match(self.strength, a)
            slope = g + strength * (1 - r / jnp.where(a > 0, a, 1))
            # At zero without counts the slope may fall to minus infinity; with counts there is no subgradient.
            at_zero = jnp.where(r == 0, jnp.minimum(g + strength, 0), -jnp.inf)
            return jnp.where(a > 0, slope, at_zero)

        return jax.tree.map(entry, x, gradient, _tree.expand(self.reference, x))

    def support(self, x: Params) -> Params:
        return jax.tree.map(lambda a: a > 0, x)
