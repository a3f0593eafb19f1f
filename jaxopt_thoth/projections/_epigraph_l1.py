import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ._epigraph_linf import bound_of, pair


def epigraph_l1(x: Float[ArrayLike, "..."], t: ArrayLike) -> tuple[Float[Array, "..."], Float[Array, ""]]:
    """Euclidean projection of the pair `(x, t)` onto the epigraph of the l1 norm, `{(z, s): sum |z| <= s}`.

    All entries of `x` are one vector, and `t` is a scalar; the pair `(z, s)` is returned. Differentiable in both,
    forward and reverse. Raises `ValueError` for a `t` that is not a scalar.

    Parikh and Boyd, "Proximal algorithms", 2014, section 6.6.2: the entries shrink by the threshold that is added to
    `t`. By Moreau's identity that threshold is the bound of `epigraph_linf` at `(x, -t)`, the polar cone.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import projections
        >>> z, s = projections.epigraph_l1(jnp.array([3.0, 0.5]), 1.0)
        >>> z.tolist(), s.item()
        ([2.0, 0.0], 2.0)
    """
    array, level = pair(x, t)
    magnitude = jnp.abs(array)
    threshold = bound_of(magnitude.reshape(-1), -level)
    shrunk = jnp.sign(array) * jax.nn.relu(magnitude - threshold)
    # Inside the derivative is one, at zero entries too.
    return jnp.where(threshold > 0, shrunk, array), level + threshold
