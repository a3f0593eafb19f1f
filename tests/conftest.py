import functools
import gc
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import jax
import jaxlib
import numpy as np
import pytest


# The tests compile thousands of small programs and run each for milliseconds: with less work in the compiler they take
# a third of the time. `XLA_FLAGS= pytest` runs them with all of its optimizations.
_QUICK_TO_COMPILE = {
    "xla_backend_optimization_level": "0",
    "xla_llvm_disable_expensive_passes": "true",
    "xla_cpu_use_fusion_emitters": "false",
    "xla_cpu_parallel_codegen_split_count": "1",
}


def _compiler_has(name: str) -> bool:
    # Flags come and go, and one that the compiler does not know would end the process.
    for path in Path(jaxlib.__file__).parent.glob("libjax_common.*"):
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as library:
            return library.find(name.encode()) >= 0
    return False


if "XLA_FLAGS" not in os.environ:
    flags = (f"--{name}={value}" for name, value in _QUICK_TO_COMPILE.items() if _compiler_has(name))
    os.environ["XLA_FLAGS"] = " ".join(flags)

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# Each compiled program holds memory maps, and a process that has too many of them (65 530 by default on Linux) dies in
# the compiler. Programs are let go between files, which do not share them.
_MAPS = Path("/proc/self/maps")
_MANY = 20_000


@pytest.fixture(autouse=True, scope="module")
def few_memory_maps(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if not _MAPS.exists() or _MAPS.read_bytes().count(b"\n") < _MANY:
        return
    for value in vars(request.module).values():
        if isinstance(value, functools._lru_cache_wrapper):
            value.cache_clear()
    jax.clear_caches()
    gc.collect()
