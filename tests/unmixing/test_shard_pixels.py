import os
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from jaxopt_thoth.unmixing import edaa, fclsu, shard_pixels, simulate_scene
from jaxopt_thoth.unmixing._pixel_groups import map_pixels, sum_groups


DEVICES = """
import re
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
from jax.sharding import AxisType
from jaxopt_thoth import unmixing

assert jax.device_count() == 8
scene = unmixing.simulate_scene(jax.random.key(0), height=43, width=84, num_bands=30)
library = jnp.concatenate([scene.endmembers, jnp.asarray(np.random.default_rng(0).uniform(size=(30, 9)))], axis=1)
sharded, count = unmixing.shard_pixels(scene), scene.num_pixels
assert sharded.pixels.sharding.spec[1] == "pixels" and sharded.height == 44 and sharded.num_pixels % 8 == 0
assert {shard.data.shape for shard in sharded.pixels.addressable_shards} == {(30, sharded.num_pixels // 8)}
assert not bool(jnp.any(sharded.mask[count:]))

def check(method, tolerance=1e-9):
    # Nothing of a number for each pixel is gathered, neither the scene nor any map.
    compiled = jax.jit(method).lower(sharded).compile()
    sizes = ",".join(re.findall(r"[a-z0-9]+\\[([0-9,]+)\\]", compiled.as_text())).split(",")
    assert str(sharded.num_pixels) not in sizes, method
    assert compiled.memory_analysis().temp_size_in_bytes < sharded.pixels.nbytes
    found, expected = compiled(sharded), jax.jit(method)(scene)
    assert found.sharding.spec[1] == "pixels", found.sharding
    np.testing.assert_allclose(np.asarray(found)[:, :count], expected, atol=tolerance)

key = jax.random.key(1)
check(lambda scene: unmixing.fclsu(scene.pixels, library[:, :3]))
check(lambda scene: unmixing.fclsu(scene.pixels, library[:, :8]))
check(lambda scene: unmixing.scls(scene.pixels, library[:, :3]))
check(lambda scene: unmixing.ncls(scene.pixels, library[:, :3]))
# ADMM ends a step earlier or later by the norms of all pixels.
check(lambda scene: unmixing.sunsal(scene, library).library_abundances, 1e-4)
check(lambda scene: unmixing.fasun(scene, library, num_endmembers=3, key=key, max_steps=20).abundances, 1e-7)
check(lambda scene: unmixing.edaa(scene, 3, key=key, ensemble=2, num_steps=10, rank=20).abundances, 1e-7)

# As a user calls it, on half of the devices, and a matrix that does not divide evenly.
mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(AxisType.Auto,) * 2, devices=jax.devices()[:4])
matrix = unmixing.shard_pixels(scene.pixels[:, :-1], mesh)
assert matrix.shape[1] == count and bool(jnp.all(jnp.isnan(matrix[:, -1])))
found = unmixing.edaa(matrix, 3, key=key, ensemble=2, num_steps=10, rank=20)
expected = unmixing.edaa(scene, 3, key=key, ensemble=2, num_steps=10, rank=20, mask=jnp.arange(count) < count - 1)
np.testing.assert_allclose(found.endmembers, expected.endmembers, atol=1e-7)
assert len(found.abundances.sharding.device_set) == 4 and not found.abundances.sharding.is_fully_replicated
print("equal")
"""

PROCESS = """
import sys
import jax
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.config.update("jax_enable_x64", True)
port, me, given, out = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=me)
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from jaxopt_thoth import unmixing

assert jax.process_count() == 2 and jax.local_device_count() == 1
data = np.load(given)
mine = data["pixels"][:, :200] if me == 0 else data["pixels"][:, 200:]
pixels = unmixing.shard_pixels(mine)
assert pixels.addressable_data(0).shape[1] * 2 == pixels.shape[1] == 440
fit = unmixing.fclsu(pixels, data["endmembers"])
found = unmixing.edaa(pixels, 3, key=jax.random.key(1), ensemble=2, num_steps=10)
whole = {"fclsu": process_allgather(fit, tiled=True), "edaa": process_allgather(found.abundances, tiled=True)}
if me == 0:
    np.savez(out, endmembers=np.asarray(found.endmembers), **whole)
jax.distributed.shutdown()
"""


def test_methods_on_eight_devices_equal_those_on_one_and_gather_nothing():
    # In a process of its own: the number of devices is fixed when JAX starts.
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", DEVICES],
        env=os.environ | {"XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "equal" in done.stdout


@pytest.mark.slow
def test_two_processes_with_half_of_the_pixels_each(tmp_path):
    scene = simulate_scene(jax.random.key(0), height=20, width=21, num_bands=24)
    given, out = tmp_path / "given.npz", tmp_path / "out.npz"
    np.savez(given, pixels=scene.pixels, endmembers=scene.endmembers)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-c", PROCESS, port]
    processes = [
        subprocess.Popen([*command, str(k), given, out], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for k in range(2)
    ]
    try:
        said = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], said[0][-2000:] + said[1][-2000:]

    # The share of the first process is filled up with 20 pixels to that of the second.
    found = np.load(out)
    real = np.r_[0:200, 220:440]
    np.testing.assert_allclose(found["fclsu"][:, real], fclsu(scene.pixels, scene.endmembers), atol=1e-12)
    filled = np.full((24, 440), np.nan)
    filled[:, real] = scene.pixels
    expected = edaa(filled, 3, key=jax.random.key(1), ensemble=2, num_steps=10)
    np.testing.assert_allclose(found["endmembers"], expected.endmembers, atol=1e-8)
    np.testing.assert_allclose(found["edaa"][:, real], expected.abundances[:, real], atol=1e-7)
    assert np.isnan(found["edaa"][:, 200:220]).all()


def test_one_device_changes_nothing():
    scene = simulate_scene(jax.random.key(0), height=5, width=7, num_bands=6)
    same = shard_pixels(scene)
    for name in ("pixels", "mask", "abundances", "endmembers"):
        np.testing.assert_array_equal(getattr(same, name), getattr(scene, name))
    assert (same.height, same.width, same.names) == (5, 7, scene.names)
    np.testing.assert_array_equal(shard_pixels(np.asarray(scene.pixels)), scene.pixels)


def test_groups_of_pixels_cover_all_of_them(monkeypatch, rng):
    values = jnp.asarray(rng.normal(size=(3, 36)))
    fold = lambda x, w: (x @ w, jnp.sum(w))
    for devices in (1, 4, 5, 8):
        monkeypatch.setattr(jax, "device_count", lambda n=devices: n)
        total = sum_groups(fold, values, values[0])
        np.testing.assert_allclose(total[0], values @ values[0], atol=1e-12)
        np.testing.assert_allclose(total[1], values[0].sum(), atol=1e-12)
        mapped = map_pixels(lambda pair: pair[0] * pair[1], (values.T, values[0]), 7)
        np.testing.assert_allclose(mapped, values.T * np.asarray(values[0])[:, None])


def test_bad_pixels_and_meshes():
    with pytest.raises(ValueError, match="use cube_to_pixels"):
        shard_pixels(jnp.ones((2, 3, 4)))
    explicit = jax.make_mesh((1,), ("pixels",), axis_types=(AxisType.Explicit,))
    with pytest.raises(ValueError, match="mesh must have automatic axes"):
        shard_pixels(jnp.ones((2, 3)), explicit)
