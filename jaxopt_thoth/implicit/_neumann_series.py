import equinox as eqx
import jax
import lineax as lx
from jaxtyping import Array, ArrayLike, PyTree

from .. import _tree
from .._types import Scalar
from .._validate import require_positive
from ._operator_solver import AbstractOperatorSolver


class NeumannSeries(AbstractOperatorSolver):
    """Linear solver that sums `num_terms` terms of a Neumann series past the first one: a fixed number of products.

    For an operator `I - J`, as of `custom_fixed_point` and `Implicit`, the sum is `b + J b + ... + J^k b`, and its
    error `rho^(k+1) / (1 - rho)` for `|J| = rho < 1`. Any other operator A is taken for `(I - J) / scale`: a gradient,
    as of `custom_argmin`, needs a scale below two over its Lipschitz constant. It never fails: a series that
    diverges gives a large number.

    Args:
        num_terms: number of products with the operator; 0 is `JacobianFree` but for the scale.
        scale: the step of the iteration `x + scale (b - A x)`.

    Raises:
        ValueError: if `num_terms` is negative or `scale` not positive.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt
        >>> mapping = lambda x, a: x / 2 + a
        >>> for num_terms in (0, 1, 20):
        ...     solver = jt.implicit.NeumannSeries(num_terms)
        ...     solve = jt.implicit.custom_fixed_point(mapping, linear_solver=solver)(lambda start, a: 2 * a)
        ...     print(f"{jax.grad(solve, 1)(0.0, 3.0):.3f}")
        1.000
        1.500
        2.000
    """

    num_terms: int = eqx.field(static=True)
    scale: Scalar

    def __init__(self, num_terms: int, scale: ArrayLike = 1.0):
        if num_terms < 0:
            raise ValueError(f"num_terms must be nonnegative, got {num_terms}.")
        require_positive(scale, "scale")
        self.num_terms = num_terms
        self.scale = _tree.setting(scale)

    def approximate(self, operator: lx.AbstractLinearOperator, vector: PyTree[Array]) -> PyTree[Array]:
        first = jax.tree.map(lambda b: self.scale.astype(b.dtype) * b, vector)

        def add_term(x: PyTree[Array]) -> PyTree[Array]:
            return _tree.add(_tree.add_scaled(x, -self.scale, operator.mv(x)), first)

        return jax.lax.scan(lambda x, _: (add_term(x), None), first, None, length=self.num_terms)[0]
