"""How long a calculation took, its compilation counted apart."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax


COMPILATION = "/jax/core/compile/"


class Stopwatch:
    """Seconds of one block: `compile` of tracing, lowering and compiling, `run` of the rest."""

    compile: float = 0.0
    run: float = 0.0


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    """Time the block; the caller waits for its arrays inside it."""
    watch = Stopwatch()
    spans: list[tuple[float, float]] = []

    def listen(event: str, start_time: float, end_time: float, **_: Any) -> None:
        if event.startswith(COMPILATION):
            spans.append((start_time, end_time))

    jax.monitoring.register_event_time_span_listener(listen)
    begin = time.perf_counter()
    try:
        yield watch
    finally:
        total = time.perf_counter() - begin
        jax.monitoring.unregister_event_time_span_listener(listen)
        watch.compile = min(union_length(spans), total)
        watch.run = total - watch.compile


def union_length(spans: list[tuple[float, float]]) -> float:
    """Length of a union of intervals; spans nest where one traced function calls another."""
    length, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        length += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return length
