"""Projections and proximal operators beside their peers: optax, scikit-learn, Condat's C code.

Each operator is timed on the same data in one process, compiled, as the median of several runs that take turns with
its peer. "gradient" is the gradient of half the squared norm of the result. Errors are those against the peer, or the
duality gap. The C code is `pip install condat-tv`, which needs a compiler; without it those rows are left out and the
script says so. Run it alone on a quiet machine: `python benchmarks/prox.py` (needs the `bench` extra).
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _record import keep
from sklearn.isotonic import isotonic_regression

import jaxopt_thoth as jt


try:
    import condat_tv
except ImportError:
    condat_tv = None

jax.config.update("jax_enable_x64", True)
SHAPES = ((1_000_000,), (100, 10_000), (1000, 100))


def in_turns(calls: dict[str, Callable[[], Any]], seconds: float = 3.0) -> dict[str, float]:
    """Median milliseconds of each call; they take turns, so that a busy moment of the machine meets all of them."""
    for call in calls.values():
        jax.block_until_ready(call())
    times: dict[str, list[float]] = {name: [] for name in calls}
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds * len(calls) or len(next(iter(times.values()))) < 5:
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            times[name].append(1e3 * (time.perf_counter() - start))
        if len(next(iter(times.values()))) >= 200:
            break
    return {name: statistics.median(values) for name, values in times.items()}


def batched(function: Callable, shape: tuple[int, ...]) -> Callable:
    return jax.vmap(function) if len(shape) > 1 else function


def gradient(function: Callable) -> Callable:
    return jax.grad(lambda x: jnp.sum(function(x) ** 2) / 2)


def row(
    operator: str, shape: tuple[int, ...], what: str, dtype: Any, times: dict[str, float], error: float | None
) -> dict:
    (_, ours), (peer, theirs) = times.items()
    return {
        "operator": operator,
        "shape": " x ".join(map(str, shape)),
        "what": what,
        "dtype": np.dtype(dtype).name,
        "peer": peer,
        "ours ms": ours,
        "peer ms": theirs,
        "peer / ours": theirs / ours,
        "error": error,
    }


def simplex_rows(rng: np.random.Generator) -> list[dict]:
    rows = []
    pairs = {
        "simplex": (jt.projections.simplex, optax.projections.projection_simplex),
        "l1 ball": (
            lambda x: jt.projections.l1_ball(x, 1.0),
            lambda x: optax.projections.projection_l1_ball(x, 1.0),
        ),
    }
    for operator, (ours, theirs) in pairs.items():
        for shape in SHAPES:
            for dtype in (np.float32, np.float64):
                x = rng.normal(size=shape).astype(dtype)
                # The derivative of optax's simplex fails in float32 while x64 is on.
                with jax.enable_x64(dtype == np.float64):
                    rows += [
                        simplex_row(operator, ours, theirs, jnp.asarray(x), what) for what in ("value", "gradient")
                    ]
    return rows


def simplex_row(operator: str, ours: Callable, theirs: Callable, x: jax.Array, what: str) -> dict:
    change = gradient if what == "gradient" else lambda f: f
    mine, other = (jax.jit(change(batched(f, x.shape))) for f in (ours, theirs))
    error = float(jnp.abs(mine(x) - other(x)).max())
    times = in_turns({"ours": partial(mine, x), "optax": partial(other, x)}, 1.0)
    return row(operator, x.shape, what, x.dtype, times, error)


def signals(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    return {
        "noise": rng.normal(size=n),
        "trend and noise": np.arange(n) / n * 5 + rng.normal(size=n),
        "walk": rng.normal(size=n).cumsum() / 10,
    }


def isotonic_rows(rng: np.random.Generator) -> list[dict]:
    rows = []
    ours = jax.jit(jt.projections.isotonic)
    for n in (100_000, 1_000_000):
        for name, x in signals(rng, n).items():
            device = jnp.asarray(x)
            error = float(np.abs(ours(device) - isotonic_regression(x)).max())
            times = in_turns({"ours": partial(ours, device), "scikit-learn": partial(isotonic_regression, x)}, 1.0)
            rows.append(row(f"isotonic, {name}", (n,), "value", x.dtype, times, error))

    def callback(x: jax.Array) -> jax.Array:
        """How jaxopt does it: a function of the host, called for each row."""
        regress = lambda x: np.asarray(isotonic_regression(np.asarray(x)), x.dtype)
        return jax.pure_callback(regress, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="sequential")

    for shape in ((10_000, 200), (1000, 1000)):
        x = jnp.asarray(rng.normal(size=shape))
        mine, other = jax.jit(jax.vmap(jt.projections.isotonic)), jax.jit(jax.vmap(callback))
        error = float(jnp.abs(mine(x) - other(x)).max())
        times = in_turns({"ours": partial(mine, x), "vmapped callback": partial(other, x)})
        rows.append(row("isotonic", shape, "value", x.dtype, times, error))
    return rows


def total_variation_rows(rng: np.random.Generator) -> list[dict]:
    if condat_tv is None:
        print("condat-tv is not installed: no rows of total variation in one dimension")
        return []
    rows = []
    ours = jax.jit(lambda x, t: jt.penalties.TotalVariation1D(t).prox(x, 1.0))
    for n in (100_000, 1_000_000):
        for name, x in signals(rng, n).items():
            for strength in (1.0, 100.0):
                device, t = jnp.asarray(x), jnp.asarray(strength)
                error = float(np.abs(ours(device, t) - condat_tv.tv_denoise(x, strength)).max())
                calls = {
                    "ours": partial(ours, device, t),
                    "C (Condat)": partial(condat_tv.tv_denoise, x, strength),
                }
                rows.append(row(f"TV-1D of {strength:g}, {name}", (n,), "value", x.dtype, in_turns(calls, 1.0), error))
    x = rng.normal(size=(10_000, 200))
    device = jnp.asarray(x)
    together = jax.jit(jax.vmap(lambda x: jt.penalties.TotalVariation1D(1.0).prox(x, 1.0)))
    error = float(np.abs(together(device) - condat_tv.tv_denoise_matrix(x, 1.0)).max())
    calls = {"ours": lambda: together(device), "C (Condat)": lambda: condat_tv.tv_denoise_matrix(x, 1.0)}
    rows.append(row("TV-1D of 1", x.shape, "value", x.dtype, in_turns(calls), error))
    slope = jax.jit(gradient(together))
    calls = {"ours": lambda: slope(device), "C (Condat), no gradient": lambda: condat_tv.tv_denoise_matrix(x, 1.0)}
    rows.append(row("TV-1D of 1", x.shape, "gradient", x.dtype, in_turns(calls), None))
    return rows


def image_rows(rng: np.random.Generator) -> list[dict]:
    """Total variation of images has no peer here: its own certificate is recorded."""
    rows = []
    clean = np.zeros((256, 256))
    clean[64:192, 64:192] = 1.0
    for dtype in (jnp.float32, jnp.float64):
        x = jnp.asarray(clean + 0.2 * rng.normal(size=clean.shape), dtype)
        for isotropic in (True, False):
            penalty = jt.penalties.TotalVariation2D(0.2, isotropic=isotropic)
            prox = jax.jit(lambda x, penalty=penalty: penalty.prox_with_gap(x, 1.0))
            begin = time.perf_counter()
            jax.block_until_ready(prox(x))
            first = time.perf_counter() - begin
            times = in_turns({"ours": partial(prox, x)}, 2.0)
            kind = "isotropic" if isotropic else "anisotropic"
            gap = float(prox(x)[1])
            rows.append(
                {
                    "operator": f"TV-2D of 0.2, {kind}",
                    "shape": "256 x 256",
                    "what": f"value, first call {first:.1f} s",
                    "dtype": np.dtype(dtype).name,
                    "peer": "relative duality gap",
                    "ours ms": times["ours"],
                    "error": gap,
                }
            )
    return rows


def memory_rows() -> list[dict]:
    """What a compiled operator allocates besides its result, as a multiple of its argument: no peer."""
    p, q, n = jt.penalties, jt.projections, 1_000_000
    groups = np.arange(n) // 10
    vectors = {
        "simplex": q.simplex,
        "capped simplex": lambda x: q.capped_simplex(x, 10.0),
        "l1 ball": q.l1_ball,
        "isotonic": q.isotonic,
        "epigraph of l1": lambda x: q.epigraph_l1(x, 1.0),
        "L1": lambda x: p.L1(1.0).prox(x, 1.0),
        "GroupLasso": lambda x: p.GroupLasso(1.0, groups).prox(x, 1.0),
        "GroupLInf": lambda x: p.GroupLInf(1.0, groups).prox(x, 1.0),
        "KSupport of 1000": lambda x: p.KSupport(1.0, 1000).prox(x, 1.0),
        "Slope": lambda x: p.Slope(jnp.linspace(2.0, 1.0, n, dtype=x.dtype)).prox(x, 1.0),
        "TV-1D": lambda x: p.TotalVariation1D(1.0).prox(x, 1.0),
        "FusedLasso": lambda x: p.FusedLasso(1.0, 0.1).prox(x, 1.0),
        "SumLargest of 1000": lambda x: p.SumLargest(1.0, 1000).prox(x, 1.0),
    }
    matrices = {
        "NuclearNorm": lambda x: p.NuclearNorm(1.0).prox(x, 1.0),
        "TV-2D, isotropic": lambda x: p.TotalVariation2D(0.1).prox(x, 1.0),
        "transport": lambda x: q.transport(x, (jnp.full(1000, 1e-3, x.dtype), jnp.full(1000, 1e-3, x.dtype))),
    }
    rows = []
    for shape, operators in (((n,), vectors), ((1000, 1000), matrices)):
        x = jax.ShapeDtypeStruct(shape, jnp.float64)
        for name, function in operators.items():
            used = jax.jit(function).lower(x).compile().memory_analysis().temp_size_in_bytes / (8 * n)
            shown = " x ".join(map(str, shape))
            rows.append({"operator": name, "shape": shown, "what": "memory", "temporaries / argument": used})
    return rows


def main() -> None:
    rng = np.random.default_rng(0)
    rows = simplex_rows(rng) + isotonic_rows(rng) + total_variation_rows(rng) + image_rows(rng) + memory_rows()
    ratio = lambda test: [r["peer / ours"] for r in rows if "peer / ours" in r and test(r)]
    is_simplex = lambda r: r["operator"] == "simplex"
    summary = {
        "simplex, value: least and greatest times optax's speed": ratio(
            lambda r: is_simplex(r) and r["what"] == "value"
        ),
        "simplex, gradient: least and greatest times optax's speed": ratio(
            lambda r: is_simplex(r) and r["what"] == "gradient"
        ),
        "isotonic, one row: least and greatest times scikit-learn's speed": ratio(
            lambda r: r["peer"] == "scikit-learn"
        ),
        "TV-1D, one row: least and greatest times the speed of C": ratio(
            lambda r: r["peer"].startswith("C") and " x " not in r["shape"]
        ),
    }
    columns = [
        "operator",
        "shape",
        "what",
        "dtype",
        "peer",
        "ours ms",
        "peer ms",
        "peer / ours",
        "error",
        "temporaries / argument",
    ]
    spread = {key: f"{min(values):.2f} to {max(values):.2f}" for key, values in summary.items() if values}
    keep("prox", "Projections and proximal operators beside their peers", rows, columns, spread)


if __name__ == "__main__":
    main()
