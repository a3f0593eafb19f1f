"""Sums of clipped per-example gradients: our three engines, jax_privacy and opacus, on an MLP and a small convnet.

Float32, clip level 1, batches of 256 and 1024; a plain gradient of the summed loss sets the scale. Compilation (of
opacus: the first call) is apart, and what XLA says of operations and temporary memory is given where there is a program
to ask. Medians are of three calls, and what takes longer than two seconds is called once. Sums are compared with ours.
Ratios are of CPU seconds, which other load on the machine disturbs less. Peers that are not
installed are named as missing (`pip install jax-privacy opacus`).
`python benchmarks/per_example.py`, or with batch sizes as arguments: most of the time goes to the slowest peer.
"""

import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from _record import keep, measure

from jaxopt_thoth import gradients


LEVEL, MICROBATCH = 1.0, 32
BATCHES = tuple(map(int, sys.argv[1:])) or (256, 1024)


class Convnet(eqx.Module):
    """Two convolutions with pooling and two linear layers, as in the tutorials of private training."""

    first: eqx.nn.Conv2d
    second: eqx.nn.Conv2d
    hidden: eqx.nn.Linear
    last: eqx.nn.Linear

    def __init__(self, key: jax.Array):
        keys = jax.random.split(key, 4)
        self.first = eqx.nn.Conv2d(1, 16, 8, stride=2, padding=2, key=keys[0])
        self.second = eqx.nn.Conv2d(16, 32, 4, stride=2, key=keys[1])
        self.hidden = eqx.nn.Linear(512, 32, key=keys[2])
        self.last = eqx.nn.Linear(32, 10, key=keys[3])

    def __call__(self, image: jax.Array) -> jax.Array:
        pool = eqx.nn.MaxPool2d(2, 1)
        image = pool(jax.nn.relu(self.second(pool(jax.nn.relu(self.first(image))))))
        return self.last(jax.nn.relu(self.hidden(image.ravel())))


def loss(model: Any, x: jax.Array, label: jax.Array) -> jax.Array:
    return -jax.nn.log_softmax(model(x))[label]


def models() -> dict[str, tuple[Any, tuple[int, ...]]]:
    mlp = eqx.nn.MLP(784, 10, 256, 2, key=jax.random.key(0))
    return {"MLP 784-256-256-10": (mlp, (784,)), "convnet 16-32": (Convnet(jax.random.key(1)), (1, 28, 28))}


def ours(engine: str) -> Callable[..., Any]:
    settings = {"microbatch_size": MICROBATCH} if engine == "microbatch" else {}
    run = gradients.per_example(loss, engine, clipping=gradients.GlobalClip(LEVEL), **settings)  # type: ignore[arg-type]
    return lambda model, x, y: run(model, x, y).total


def plain(model: Any, x: jax.Array, y: jax.Array) -> Any:
    return eqx.filter_grad(lambda m: jnp.sum(jax.vmap(lambda a, b: loss(m, a, b))(x, y)))(model)


def by_jax_privacy(microbatch: int | None) -> Callable[..., Any] | None:
    try:
        from jax_privacy.clipping import clipped_grad
    except ImportError:
        return None

    def run(model: Any, x: jax.Array, y: jax.Array) -> Any:
        arrays, static = eqx.partition(model, eqx.is_inexact_array)
        of_arrays = lambda arrays, x, label: loss(eqx.combine(arrays, static), x, label)
        clipped = clipped_grad(
            of_arrays, l2_clip_norm=LEVEL, batch_argnums=(1, 2), keep_batch_dim=False, microbatch_size=microbatch
        )
        return clipped(arrays, x, y)

    return run


def timed(call: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Seconds of a call, and what it returns; only a long first call is taken as it is."""
    results: list[Any] = []
    first = measure(lambda: results.append(call()), repeats=1)
    return (first if first["wall_s"] > 2 else measure(call, repeats=3)), results[0]


def compiled(run: Callable[..., Any], model: Any, x: jax.Array, y: jax.Array) -> dict[str, Any]:
    arrays, static = eqx.partition(model, eqx.is_array)
    begin = time.perf_counter()
    call = lambda arrays, x, y: eqx.filter(run(eqx.combine(arrays, static), x, y), eqx.is_array)
    program = jax.jit(call).lower(arrays, x, y).compile()
    took = time.perf_counter() - begin
    figures, result = timed(lambda: jax.block_until_ready(program(arrays, x, y)))
    costs = program.cost_analysis()
    return {
        **figures,
        "compile_s": took,
        "GFLOP": costs["flops"] / 1e9,
        "temporary MB": program.memory_analysis().temp_size_in_bytes / 1e6,
        "result": np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(result)]),
    }


def by_opacus(name: str, model: Any, x: jax.Array, y: jax.Array, *, private: bool) -> dict[str, Any] | None:
    try:
        import torch
        from opacus.grad_sample import GradSampleModule
    except ImportError:
        return None
    nn = torch.nn
    if name.startswith("MLP"):
        net = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
        layers = model.layers
    else:
        net = nn.Sequential(
            *(nn.Conv2d(1, 16, 8, stride=2, padding=2), nn.ReLU(), nn.MaxPool2d(2, 1)),
            *(nn.Conv2d(16, 32, 4, stride=2), nn.ReLU(), nn.MaxPool2d(2, 1)),
            *(nn.Flatten(), nn.Linear(512, 32), nn.ReLU(), nn.Linear(32, 10)),
        )
        layers = [model.first, model.second, model.hidden, model.last]
    values = [value for layer in layers for value in (layer.weight, layer.bias)]
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), values, strict=True):
            parameter.copy_(torch.tensor(np.array(value)).reshape(parameter.shape))
    if private:
        net = GradSampleModule(net, loss_reduction="sum")
    images, labels = torch.tensor(np.array(x)), torch.tensor(np.array(y), dtype=torch.long)

    def run() -> list[Any]:
        net.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(net(images), labels, reduction="sum").backward()
        if not private:
            return [p.grad for p in net.parameters()]
        each = [p.grad_sample for p in net.parameters()]
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in each]).norm(dim=0)
        factors = (LEVEL / norms).clamp(max=1)
        return [torch.einsum("i,i...->...", factors, g) for g in each]

    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = run()
        first = time.perf_counter() - begin
        figures = measure(run, repeats=3)
    flat = np.concatenate([g.detach().numpy().ravel() for g in result])
    return {**figures, "compile_s": first, "result": flat}


def main() -> None:
    rows: list[dict[str, Any]] = []
    missing: set[str] = set()
    for name, (model, shape) in models().items():
        for number in BATCHES:
            x = jax.random.normal(jax.random.key(2), (number, *shape))
            y = jnp.arange(number) % 10
            peers = {
                "jax_privacy": by_jax_privacy(None),
                f"jax_privacy, {MICROBATCH} at a time": by_jax_privacy(MICROBATCH),
            }
            runs: dict[str, Callable[..., Any] | None] = {"no clipping": plain}
            runs |= {f"ours, {engine}": ours(engine) for engine in ("ghost", "microbatch", "vmap")} | peers
            found = {way: None if run is None else compiled(run, model, x, y) for way, run in runs.items()}
            found["opacus"] = by_opacus(name, model, x, y, private=True)
            found["torch, no clipping"] = by_opacus(name, model, x, y, private=False)
            ghost = found["ours, ghost"]
            assert ghost is not None
            for way, figures in found.items():
                if figures is None:
                    missing.add(way.split(",")[0])
                    continue
                result = figures.pop("result") if way != "ours, ghost" else figures["result"]
                same = None if "no clipping" in way else float(np.abs(result - ghost["result"]).max())
                rows.append({"model": name, "batch": number, "way": way, **figures, "off ours by": same})
                rows[-1]["over ghost"] = figures["cpu_s"] / ghost["cpu_s"]
                rows[-1].pop("result", None)
    time_of = {(row["model"], row["batch"], row["way"]): row["over ghost"] for row in rows}
    summary: dict[str, Any] = {
        f"{model}, {number}: {way} over ghost": time_of[model, number, way]
        for model, number, way in time_of
        if way in ("ours, vmap", "jax_privacy", "opacus")
    }
    summary["missing peers"] = ", ".join(sorted(missing)) or "none"
    columns = ("model", "batch", "way", "wall_s", "cpu_s", "over ghost", "compile_s", "GFLOP", "temporary MB")
    keep("per_example", "Sums of clipped per-example gradients", rows, (*columns, "off ours by"), summary)


if __name__ == "__main__":
    main()
