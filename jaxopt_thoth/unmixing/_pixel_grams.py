"""Quadratic programs over the simplex of which every pixel has a matrix of its own: spectra that vary."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ._face_system import curvature, positive_on_simplex
from ._pixel_groups import map_pixels
from ._simplex_active_set import solve_one


# Pixels whose systems are held at once.
AT_ONCE = 2048


def fit_each(grams: Float[Array, "N p p"], cross: Float[Array, "p N"]) -> Float[Array, "p N"]:
    """Minimizers (p, N) of `a' G_n a / 2 - f_n' a` over the unit simplex, exact, by an active set."""
    size = cross.shape[0]
    eps = jnp.finfo(cross.dtype).eps
    identity = jnp.eye(size, dtype=cross.dtype)

    def one(inputs: tuple[Array, Array]) -> Array:
        gram, linear = inputs
        # Centered on the simplex: the minimizers stay, and the common part of large entries goes.
        mean = jnp.mean(gram, axis=1)
        gram = gram - mean[:, None] - mean[None, :] + jnp.mean(mean)
        linear = linear - mean
        linear = linear - jnp.mean(linear)
        scale = curvature(gram)
        system = (positive_on_simplex(gram) + 10 * size * eps * scale * identity) / scale
        return solve_one(gram / scale, system, linear / scale)

    return map_pixels(one, (grams, cross.T), AT_ONCE).T


def value_each(grams: Float[Array, "N p p"], cross: Float[Array, "p N"], x: Float[Array, "p N"]) -> Float[Array, " N"]:
    """`a' G_n a / 2 - f_n' a` of each column."""
    curved = jnp.einsum("nij,jn->in", grams, x, precision="highest")
    return jnp.sum(x * (curved / 2 - cross), axis=0)
