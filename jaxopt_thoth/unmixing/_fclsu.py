import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ..implicit import attach, Implicit
from ..penalties import Simplex
from ..problems import Composite
from ..smooth import Quadratic
from ._checks import as_matrix, as_pixels, as_spectra, same_dtype
from ._simplex_active_set import solve_by_active_set
from ._simplex_faces import MAX_FACES_DIMENSION, solve_by_faces


def fclsu(pixels: ArrayLike, endmembers: ArrayLike) -> Float[Array, "p N"]:
    """Abundances by fully constrained least squares, exact: nonnegative, summing to one, closest in the l2 norm.

    Solves `min_a |y - E a|^2 / 2` over the unit simplex for each pixel y: by enumeration of the faces of the simplex
    up to 6 endmembers, by a batched active set above. The pixels enter once, by the product E' Y; then all is of
    size p, O(p N) memory. Derivatives in both arguments are those of the active face, by the implicit rule.
    Where endmembers are affinely dependent (duplicates), the least-squares fit is still exact and one of the possible
    abundances is returned; in float32 dependence begins near a relative distance of 1e-3.

    Args:
        pixels: (L, N), any unit.
        endmembers: (L, p), in the unit of the pixels.

    Returns:
        (p, N) fractions; every column is in the unit simplex.

    Raises:
        ValueError: when the arguments are not matrices of as many bands and one dtype.

    Source: D. Heinz, C.-I. Chang, "Fully constrained least squares linear spectral mixture analysis method for
    material quantification in hyperspectral imagery", 2001 (the problem).

    Example:
        >>> import jax.numpy as jnp
        >>> endmembers = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
        >>> print([f"{float(a):.3f}" for a in fclsu(jnp.array([[0.3], [0.7], [0.2]]), endmembers).ravel()])
        ['0.300', '0.700']
    """
    values, spectra = as_pixels(pixels), as_spectra(endmembers, "endmembers", "(L, p)")
    same_dtype(values, "pixels", spectra, "endmembers")
    if values.shape[0] != spectra.shape[0]:
        raise ValueError(
            f"pixels {values.shape} and endmembers {spectra.shape} must have as many bands (rows); transpose one?"
        )
    # Weights that sum to one do not see a translation of pixels and endmembers, and small numbers cancel less.
    center = jnp.mean(spectra, axis=1, keepdims=True)
    centered = spectra - center
    highest = jax.lax.Precision.HIGHEST
    gram = jnp.matmul(centered.T, centered, precision=highest)
    cross = jnp.matmul(centered.T, values, precision=highest) - jnp.matmul(centered.T, center, precision=highest)
    return fclsu_gram(gram, cross)


def fclsu_gram(gram: Float[Array, "p p"], cross: Float[Array, "p N"]) -> Float[Array, "p N"]:
    """Abundances by fully constrained least squares from products alone: `min_a a' G a / 2 - f' a` over the simplex.

    Args:
        gram: (p, p) symmetric, positive semidefinite on the vectors that sum to zero: `E' E`.
        cross: (p, N), the columns f: `E' Y`.

    Returns:
        (p, N) fractions; every column is in the unit simplex.

    Raises:
        ValueError: when the shapes or the dtypes disagree.

    Source: as `fclsu`.

    Example:
        >>> import jax.numpy as jnp
        >>> print([f"{float(a):.3f}" for a in fclsu_gram(jnp.eye(2), jnp.array([[0.3], [0.9]])).ravel()])
        ['0.200', '0.800']
    """
    quadratic, linear = as_matrix(gram, "gram", "(p, p)"), as_matrix(cross, "cross", "(p, N)")
    same_dtype(quadratic, "gram", linear, "cross")
    if quadratic.shape != (linear.shape[0], linear.shape[0]):
        raise ValueError(f"gram must have shape (p, p) for cross (p, N), got {quadratic.shape} and {linear.shape}.")
    solve = solve_by_faces if quadratic.shape[0] <= MAX_FACES_DIMENSION else solve_by_active_set
    # Centering on the simplex: the minimizers stay, the common part of large entries goes.
    mean = jnp.mean(quadratic, axis=1, keepdims=True)
    centered = quadratic - mean - mean.T + jnp.mean(mean)
    shifted = linear - mean
    shifted = shifted - jnp.mean(shifted, axis=0, keepdims=True)
    abundances = solve(jax.lax.stop_gradient(centered), jax.lax.stop_gradient(shifted))
    return _differentiable(quadratic, linear, abundances)


def _differentiable(
    gram: Float[Array, "p p"], cross: Float[Array, "p N"], abundances: Float[Array, "p N"]
) -> Float[Array, "p N"]:
    """The solution with its derivative in `gram` and `cross`, that of the face it lies on, however it was found."""
    step = 1 / jnp.maximum(jnp.trace(gram), jnp.finfo(gram.dtype).tiny)
    tol = jnp.finfo(gram.dtype).eps

    def attach_one(linear: Float[Array, " p"], solution: Float[Array, " p"]) -> Float[Array, " p"]:
        problem = Composite(Quadratic(gram, -linear), Simplex(1.0))
        return attach(Implicit(), problem, solution, step, jnp.asarray(tol, gram.dtype))

    return jax.vmap(attach_one, in_axes=1, out_axes=1)(cross, abundances)
