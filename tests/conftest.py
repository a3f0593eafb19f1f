import functools
import gc
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest


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
