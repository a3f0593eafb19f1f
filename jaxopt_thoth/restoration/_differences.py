"""Quadratic priors of images: differences between neighbors, and what they add to the normal equations."""

from typing import get_args, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


Prior = Literal["identity", "gradient", "laplacian"]


def require_prior(prior: str) -> None:
    """Raise `ValueError` for an unknown prior."""
    if prior not in get_args(Prior):
        raise ValueError(f"prior must be one of {', '.join(map(repr, get_args(Prior)))}, got {prior!r}.")


def differences(image: Float[Array, "H W *L"], periodic: bool) -> Float[Array, "2 H W *L"]:
    """Differences to the next row and column; across the border to the first ones if periodic, else zero."""
    if periodic:
        return jnp.stack([jnp.roll(image, -1, axis) - image for axis in (0, 1)])
    return jnp.stack([jnp.diff(image, axis=0, append=image[-1:]), jnp.diff(image, axis=1, append=image[:, -1:])])


def laplacian(image: Float[Array, "H W *L"], periodic: bool) -> Float[Array, "H W *L"]:
    """`D'D` of the differences D: the negative Laplacian."""
    return jax.linear_transpose(lambda x: differences(x, periodic), image)(differences(image, periodic))[0]


def prior_product(image: Float[Array, "H W *L"], prior: Prior, periodic: bool) -> Float[Array, "H W *L"]:
    """`P'P x`, where the prior is `|P x|^2`."""
    if prior == "identity":
        return image
    once = laplacian(image, periodic)
    return once if prior == "gradient" else laplacian(once, periodic)
