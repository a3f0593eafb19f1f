import jax.numpy as jnp
from jax.scipy.fft import dct, idct
from jaxtyping import Array, Float, Int

from ._wide import wide


def dct_basis(size: int, dtype: jnp.dtype | None = None) -> Float[Array, "size size"]:
    """The orthonormal basis of the discrete cosine transform (DCT-II), one basis vector a column.

    `Q_jk = sqrt(2 / n) cos(pi (j + 1/2) k / n)`, and `1 / sqrt n` for k = 0. `dct_coefficients(g)` is `g @ Q` without
    the matrix. Raises `ValueError` for a size below 1.

    N. Ahmed, T. Natarajan and K. R. Rao, "Discrete cosine transform", 1974.

    Example:
        >>> import jaxopt_thoth as jt
        >>> print(jt.gradients.dct_basis(2).round(4))
        [[ 0.7071  0.7071]
         [ 0.7071 -0.7071]]
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}.")
    return dct(jnp.eye(size, dtype=dtype), norm="ortho", axis=-1)


def dct_coefficients(gradient: Float[Array, "... n"]) -> Float[Array, "... n"]:
    """Coefficients of the rows of a matrix in the orthonormal cosine basis, by fast transforms in float32 at least.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> print(jt.gradients.dct_coefficients(jnp.array([1.0, 1.0, 1.0, 1.0])).round(6))
        [2. 0. 0. 0.]
    """
    return dct(wide(gradient), norm="ortho", axis=-1)


def dct_columns(coefficients: Float[Array, "m n"], rank: int) -> Int[Array, " rank"]:
    """Indices of the columns of largest Euclidean norm, in increasing order.

    With `coefficients = dct_coefficients(gradient)` they are the best `rank` vectors of the basis for the gradient:
    what is left has the squared norm of the other columns, at most `(1 - rank / n) |gradient|^2`.
    Raises `ValueError` for a rank outside of 1 to n.

    I.-V. Modoranu, M. Safaryan, E. Schultheis, M. Ryabinin, A. Chumachenko and D. Alistarh, "FFT-based dynamic subspace
    selection for low-rank adaptive optimization of large language models", 2025.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> print(jt.gradients.dct_columns(jnp.array([[1.0, -5.0, 0.0, 3.0]]), rank=2))
        [1 3]
    """
    if not 1 <= rank <= coefficients.shape[-1]:
        raise ValueError(f"rank must be from 1 to {coefficients.shape[-1]}, the number of columns, got {rank}.")
    sizes = jnp.sum(jnp.square(wide(coefficients)), 0)
    return jnp.sort(jnp.argsort(-sizes, stable=True)[:rank]).astype(jnp.int32)


def expand_columns(low: Float[Array, "m rank"], indices: Int[Array, " rank"], size: int) -> Float[Array, "m size"]:
    """`low @ Q[:, indices].T`: back from the coefficients in a few vectors of the basis."""
    array = wide(low)
    full = jnp.zeros((array.shape[0], size), array.dtype).at[:, indices].set(array)
    return idct(full, norm="ortho", axis=-1)
