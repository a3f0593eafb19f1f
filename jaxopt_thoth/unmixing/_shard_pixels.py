from typing import overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec as P
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from ._scene import Scene


@overload
def shard_pixels(pixels: Scene, mesh: Mesh | None = None) -> Scene: ...
@overload
def shard_pixels(pixels: ArrayLike, mesh: Mesh | None = None) -> Float[Array, "L N"]: ...
def shard_pixels(pixels: ArrayLike | Scene, mesh: Mesh | None = None) -> Float[Array, "L N"] | Scene:
    """Spread the pixels of a matrix or of a scene over devices: what is computed of them then stays where they are.

    `edaa(shard_pixels(scene), ...)`, `fclsu(shard_pixels(pixels), endmembers)` and all methods that take pixels one by
    one, or by products with them, run on all devices, exchange products of the size of the endmembers, and give back
    sharded abundances. Spatial methods run too, but gather their maps.

    The number of pixels is made a multiple of the number of devices: a matrix gets columns of NaN at its end, which
    methods with a mask leave out and which come back as NaN, a scene gets masked rows below. With several processes
    (`jax.distributed`) each passes the pixels, or the rows of the scene, that it holds, in the order of the processes;
    each share is filled up to the largest, so that the added ones lie at the end of each share.

    Args:
        pixels: matrix (L, N), or `Scene`.
        mesh: devices, of automatic axes; the pixels are sharded over all of its axes. By default all there are.

    Returns:
        The same sharded over N, and whatever else the scene has on every device.

    Raises:
        ValueError: for pixels that are no matrix, a mesh of explicit or manual axes, or, with several processes, one
            without the same number of devices of each.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxopt_thoth import unmixing
        >>> sharded = unmixing.shard_pixels(jnp.array([[0.3, 0.6], [0.7, 0.4]]))
        >>> abundances = unmixing.fclsu(sharded, jnp.eye(2))
        >>> sharded.sharding.spec[1], abundances.shape
        ('pixels', (2, 2))
    """
    if mesh is None:
        mesh = jax.make_mesh((jax.device_count(),), ("pixels",), axis_types=(AxisType.Auto,))
    if any(kind != AxisType.Auto for kind in mesh.axis_types):
        raise ValueError(
            f"mesh must have automatic axes, got {mesh.axis_types}; pass axis_types=(AxisType.Auto,) to jax.make_mesh."
        )
    here = _devices_here(mesh)
    if isinstance(pixels, Scene):
        return _shard_scene(pixels, mesh, here)
    # What is on the host goes to the devices in parts: the first may have no room for the whole.
    values = _tree.as_inexact(pixels) if isinstance(pixels, jax.Array) else _host_inexact(pixels)
    if values.ndim != 2:
        raise ValueError(f"pixels must be a matrix (L, N), got shape {values.shape}; use cube_to_pixels on a cube.")
    return _spread(values, mesh, _share(values.shape[1], here), jnp.nan)


def _shard_scene(scene: Scene, mesh: Mesh, here: int) -> Scene:
    rows = _share(scene.height, here // np.gcd(here, scene.width))
    size, height = rows * scene.width, rows * jax.process_count()

    def everywhere(array: Array | None) -> Array | None:
        if array is None:
            return None
        return jax.make_array_from_process_local_data(NamedSharding(mesh, P()), np.asarray(array), array.shape)

    return Scene(
        _spread(scene.pixels, mesh, size, 0),
        height,
        scene.width,
        wavelengths=everywhere(scene.wavelengths),
        endmembers=everywhere(scene.endmembers),
        abundances=None if scene.abundances is None else _spread(scene.abundances, mesh, size, 0),
        library=everywhere(scene.library),
        mask=_spread(scene.mask, mesh, size, False),
        names=scene.names,
        library_names=scene.library_names,
    )


def _devices_here(mesh: Mesh) -> int:
    """Devices of the mesh of each process."""
    processes = [device.process_index for device in mesh.devices.flat]
    counts = np.bincount(processes, minlength=jax.process_count())
    if len(set(counts.tolist())) > 1 or processes != sorted(processes):
        raise ValueError(f"mesh must have as many devices of each process, in their order, got processes {processes}.")
    return int(counts[0])


def _share(count: int, multiple: int) -> int:
    """What each process holds: its count, filled up to that of the others and to a multiple."""
    if jax.process_count() > 1:
        count = int(np.max(multihost_utils.process_allgather(np.asarray(count))))
    return -(-count // multiple) * multiple


def _host_inexact(values: ArrayLike) -> np.ndarray:
    array = np.asarray(values)
    return array.astype(_tree.as_inexact(array.ravel()[:0]).dtype, copy=False)


def _spread(values: Array | np.ndarray, mesh: Mesh, size: int, fill: float | bool) -> Array:
    """The last axis sharded over the mesh, filled up to `size` entries here."""
    array, missing = values, size - values.shape[-1]
    sharding = NamedSharding(mesh, P(*[None] * (array.ndim - 1), mesh.axis_names))
    if missing:
        array = np.pad(np.asarray(array), [(0, 0)] * (array.ndim - 1) + [(0, missing)], constant_values=fill)
    if jax.process_count() > 1:
        whole = (*array.shape[:-1], size * jax.process_count())
        return jax.make_array_from_process_local_data(sharding, np.asarray(array), whole)
    return jax.device_put(array, sharding)
