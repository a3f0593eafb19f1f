import jax.numpy as jnp
from jax import lax

from .. import _tree
from .._loop import while_loop
from .._types import Scalar
from ._as_operator import as_operator
from ._dense import DenseOperator


# Below this size the eigenvalues of the Gram matrix are cheaper than iterations, and exact.
_EXACT_SIZE = 128


def spectral_norm(matrix, *, rtol: float = 1e-6, max_steps: int = 1000) -> Scalar:
    """Largest singular value of a linear operator: exact for small dense matrices, else by power iteration on A'A.

    Power iteration approaches the norm from below; where a bound is needed, add a margin or use a line search.
    The derivative is that of the singular value, taken at the converged vector.

    Args:
        matrix: anything that `as_operator` takes.
        rtol: the iteration ends when the estimate changes by less than this fraction.
        max_steps: bound on the number of power iterations.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import operators
        >>> print(round(float(operators.spectral_norm(jnp.diag(jnp.array([3.0, 1.0])))), 5))
        3.0
    """
    operator = as_operator(matrix)
    if isinstance(operator, DenseOperator) and min(operator.shape) <= _EXACT_SIZE:
        tall = operator.matrix if operator.shape[0] >= operator.shape[1] else operator.matrix.T
        gram = jnp.matmul(tall.T, tall, precision=lax.Precision.HIGHEST)
        return _tree.safe_sqrt(jnp.maximum(jnp.linalg.eigvalsh(gram)[-1], 0))

    frozen = _tree.stop_gradient(operator)

    def normalize(v):
        size = _tree.norm(v)
        return v / jnp.where(size > 0, size, 1), size

    def body(carry):
        v, old, _, k = carry
        new_v, new = normalize(frozen.rmatvec(frozen.matvec(v)))
        return new_v, new, jnp.abs(new - old) > rtol * new, k + 1

    # Irrational phases: no symmetry of a structured matrix makes this start orthogonal to the top singular vector.
    v, _ = normalize(jnp.cos(1 + jnp.sqrt(jnp.arange(2, operator.shape[1] + 2, dtype=operator.dtype))))
    start = (v, jnp.zeros((), operator.dtype), jnp.asarray(True), jnp.asarray(0, jnp.int32))
    v = while_loop(lambda c: c[2] & (c[3] < max_steps), body, start)[0]
    return _tree.norm(operator.matvec(v))
