from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, PyTree

from .. import _tree
from .._types import Params, Scalar
from .._validate import require_positive
from ._secant_inverse import bfgs_inverse, broyden_inverse
from ._structures import require_same_structure


class QuasiNewtonInverse(lx.AbstractLinearSolver[Any]):
    """Linear solver that reuses the approximate inverse which a quasi-Newton method built on its way to the root.

    It costs no product with the operator unless it refines. Where the inverse blows the right-hand side c up,
    `|B^-1 c| > fallback |c|`, it is not trusted, and c itself is returned in its place (`JacobianFree`). Both are
    rough: the secants of the forward solver need not contain the direction c.

    With a solver that returns `(x, aux)` (`has_aux=True`), the decorators accept a function of aux as `linear_solver`,
    so that the secants of each call serve its own derivative.

    Ramzi et al., "SHINE: sharing the inverse estimate from the forward pass for bi-level optimization and implicit
    models", 2022.

    Args:
        inverse: function that applies the approximate inverse to a pytree like x.
        transposed: function that applies its transpose; the same for a symmetric one, as by BFGS.
        fallback: bound on the growth; infinity always trusts the inverse. The published 1.3 is for maps close to the
            identity.
        num_refinements: number of steps of minimal residual, `x + t B^-1 (c - A x)`, that follow; each lowers the
            residual, for two products.

    Raises:
        ValueError: if `fallback` is not positive or `num_refinements` is negative.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt
        >>> secants = jnp.eye(2), jnp.diag(jnp.array([1.0, 2.0]))  # steps, and the changes of the residual along them
        >>> solver = jt.implicit.QuasiNewtonInverse.from_secants(*secants)
        >>> residual = lambda x, a: jnp.array([1.0, 2.0]) * x - a
        >>> root = jt.implicit.custom_root(residual, linear_solver=solver)(lambda start, a: a / jnp.array([1.0, 2.0]))
        >>> print(jax.grad(lambda a: root(jnp.zeros(2), a).sum())(jnp.ones(2)))
        [1.  0.5]
    """

    inverse: Callable[[Params], Params]
    inverse_transposed: Callable[[Params], Params]
    fallback: Scalar
    num_refinements: int = eqx.field(static=True)

    def __init__(
        self,
        inverse: Callable[[Params], Params],
        transposed: Callable[[Params], Params] | None = None,
        *,
        fallback: ArrayLike = 1.3,
        num_refinements: int = 0,
    ):
        require_positive(fallback, "fallback")
        if num_refinements < 0:
            raise ValueError(f"num_refinements must be nonnegative, got {num_refinements}.")
        self.inverse = inverse
        self.inverse_transposed = inverse if transposed is None else transposed
        self.fallback = _tree.setting(fallback)
        self.num_refinements = num_refinements

    @classmethod
    def from_secants(
        cls, steps: Params, differences: Params, *, kind: Literal["broyden", "bfgs"] = "broyden", **settings: Any
    ) -> "QuasiNewtonInverse":
        """The inverse that stored pairs stand for: `steps` of x, and the changes of the residual along them.

        Args:
            steps: pytree like x with a leading axis of m pairs, oldest first; pairs of zeros are skipped.
            differences: the same for the residual (`mapping` enters the residual as `x - mapping(x)`).
            kind: "broyden" (the good one, from the identity, not symmetric) or "bfgs" (limited memory, symmetric,
                pairs without positive curvature are skipped).
            settings: `fallback` and `num_refinements`.

        Raises:
            ValueError: for an unknown kind, or pairs that do not fit each other.
        """
        if kind not in ("broyden", "bfgs"):
            raise ValueError(f'kind must be "broyden" or "bfgs", got {kind!r}.')
        require_same_structure(differences, steps, "differences", "steps")
        s, y = (jax.vmap(lambda tree: ravel_pytree(tree)[0])(tree) for tree in (steps, differences))
        pair = (bfgs_inverse if kind == "bfgs" else broyden_inverse)(s, y)
        return cls(*pair, **settings)

    def init(self, operator: lx.AbstractLinearOperator, options: dict[str, Any]) -> Any:
        if operator.in_structure() != operator.out_structure():
            raise ValueError("QuasiNewtonInverse needs a square operator; lineax.AutoLinearSolver takes others.")
        return lx.linearise(operator), self.inverse, self.inverse_transposed

    def compute(
        self, state: Any, vector: PyTree[Array], options: dict[str, Any]
    ) -> tuple[PyTree[Array], lx.RESULTS, dict[str, Any]]:
        operator, inverse, _ = state
        first = inverse(vector)
        grown = _tree.stable_norm(first)
        size = _tree.stable_norm(vector)
        trusted = grown <= self.fallback.astype(size.dtype) * size
        precondition = lambda v: _tree.where(trusted, inverse(v), v)

        def refine(x: Params) -> Params:
            residual = _tree.sub(vector, operator.mv(x))
            direction = precondition(residual)
            image = operator.mv(direction)
            squared = _tree.squared_norm(image)
            length = jnp.where(squared > 0, _tree.vdot(residual, image) / jnp.where(squared > 0, squared, 1), 0)
            return _tree.add_scaled(x, length, direction)

        x = _tree.where(trusted, first, vector)
        if self.num_refinements > 0:
            x = jax.lax.scan(lambda x, _: (refine(x), None), x, None, length=self.num_refinements)[0]
        return x, lx.RESULTS.successful, {}

    def transpose(self, state: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        operator, inverse, inverse_transposed = state
        return (operator.transpose(), inverse_transposed, inverse), options

    def conj(self, state: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return state, options

    def assume_full_rank(self) -> bool:
        return True

    def transposed(self) -> "QuasiNewtonInverse":
        """The solver for transposed operators."""
        return QuasiNewtonInverse(
            self.inverse_transposed, self.inverse, fallback=self.fallback, num_refinements=self.num_refinements
        )
