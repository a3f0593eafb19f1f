import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import IntScalar, Scalar
from ..penalties import AbstractPenalty, NonNegative, Simplex
from ..problems import Composite
from ..smooth import Quadratic
from ..solvers import SemismoothNewton, solve
from ._images import high_precision


def spectral_roughness(bands: int, dtype: jnp.dtype) -> Float[Array, "L L"]:
    """`D'D` of the differences of neighboring bands."""
    steps = jnp.diff(jnp.eye(bands, dtype=dtype), axis=0)
    return high_precision(steps.T, steps)


def fit_nonnegative(
    gram: Float[Array, "p p"],
    cross: Float[Array, "p k"],
    roughness: Float[Array, "p p"],
    smoothness: Scalar,
    tol: Scalar,
    *,
    sum_to_one: bool,
    max_steps: int,
) -> tuple[Float[Array, "p k"], Scalar, IntScalar]:
    """Columns x >= 0 that minimize `x' G x / 2 - c'x + smoothness t x' S x / 2`, t the mean of the diagonal of G.

    In units of t the settings of the solver mean the same for data of any unit. The Gram matrices of spectra and of
    patches are nearly singular, where a method of second order needs far fewer steps than a proximal gradient.
    """
    size = gram.shape[0]
    unit = jnp.trace(gram) / size
    unit = jnp.where(unit > 0, unit, 1)
    matrix = gram / unit + smoothness * roughness
    matrix = (matrix + matrix.T) / 2
    penalty: AbstractPenalty = Simplex(jnp.ones((), gram.dtype)) if sum_to_one else NonNegative()
    start = jnp.full((size,), 1 / size, gram.dtype)

    def column(target: Array) -> tuple[Array, Scalar, IntScalar]:
        problem = Composite(Quadratic(matrix, -target / unit), penalty)
        solution = solve(problem, SemismoothNewton(tol=tol, max_steps=max_steps), start)
        return solution.params, solution.error, solution.num_steps

    x, errors, steps = jax.vmap(column, in_axes=1, out_axes=(1, 0, 0))(cross)
    return x, jnp.max(errors), jnp.max(steps)
