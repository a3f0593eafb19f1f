import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def bilinear_pixel(
    endmembers: Float[Array, "L p"], abundances: Float[Array, " p"], interactions: Float[Array, " q"]
) -> Float[Array, " L"]:
    """`E a` plus, over the pairs i < j of materials in row-major order, `c_ij a_i a_j` times the product of spectra."""
    first, second = np.triu_indices(endmembers.shape[1], 1)
    pairs = endmembers[:, first] * endmembers[:, second]
    weights = interactions * abundances[first] * abundances[second]
    linear = jnp.matmul(endmembers, abundances, precision="highest")
    return linear + jnp.matmul(pairs, weights, precision="highest")
