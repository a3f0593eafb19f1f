"""Loops over blocks of pixels that stay on the device that holds the pixels.

A slice at a place that only the loop knows makes XLA gather an array whose sliced axis is sharded. So pixels (.., N)
are first split into groups (.., G, n) of neighbors, one or more for each device: the shards lie along G, and loops run
along n in all groups at once. Nothing has to be known of the sharding: any number of devices that pixels can be sharded
over evenly divides G, the largest common divisor of N and the number of devices there are. One device has one group.
"""

from collections.abc import Callable
from math import gcd
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def sum_groups(fold: Callable[..., Any], *arrays: Array) -> Any:
    """`fold(*arrays)`, a sum over the pixels along the last axes, as the sum of those of the groups."""
    groups = _number(arrays[0].shape[-1])
    if groups == 1:
        return fold(*arrays)
    split = [x.reshape(*x.shape[:-1], groups, -1) for x in arrays]
    totals = jax.vmap(fold, in_axes=-2)(*split)
    return jax.tree.map(lambda total: jnp.sum(total, axis=0), totals)


def map_pixels(function: Callable[[Any], Array], inputs: Any, batch_size: int) -> Array:
    """`lax.map` of a function of one pixel over the first axes, `batch_size` pixels of all groups at once."""
    groups = _number(jax.tree.leaves(inputs)[0].shape[0])
    if groups == 1:
        return jax.lax.map(function, inputs, batch_size=batch_size)
    split = jax.tree.map(lambda x: x.reshape(groups, -1, *x.shape[1:]), inputs)
    at_once = max(1, batch_size // groups)
    found = jax.vmap(lambda group: jax.lax.map(function, group, batch_size=at_once))(split)
    return found.reshape(-1, *found.shape[2:])


def map_groups(function: Callable[[Array], Any], pixels: Array) -> Any:
    """`function(pixels)`, arrays with the pixels along the last axes both ways, in all groups at once."""
    groups = _number(pixels.shape[-1])
    if groups == 1:
        return function(pixels)
    split = pixels.reshape(*pixels.shape[:-1], groups, -1)
    found = jax.vmap(function, in_axes=-2, out_axes=-2)(split) if pixels.ndim > 1 else jax.vmap(function)(split)
    return jax.tree.map(lambda x: x.reshape(*x.shape[:-2], -1), found)


def pixel_at(pixels: Float[Array, "L N"], place: Int[Array, ""]) -> Float[Array, " L"]:
    """One pixel: a list of one place, which is found where it lies, where a slice would gather all pixels."""
    return pixels[:, place[None]][:, 0]


def _number(count: int) -> int:
    return gcd(count, jax.device_count())
