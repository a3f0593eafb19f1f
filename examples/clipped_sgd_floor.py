"""Clipped SGD on skewed noise: it stops short of the solution, at a distance that no step size removes.

Run `python examples/clipped_sgd_floor.py [OUT.png]`; needs the `plot` extra. The function is L x^2 / 2, the noise of
the gradient is s (E - 1) with E exponential of mean one: often a little too low, sometimes much too high. Clipping cuts
the rare high values and so moves the mean: the iterates come to rest where the mean of the clipped gradient is zero,
which is not where the gradient is. `gradients.clipping_bias` finds that point, `gradients.clipping_floor` bounds it
over all noises of the same deviation. All runs, of every level, step size and seed, are one compiled call.

What to see: on the left the mean gradients of runs with steps a hundred times apart fall onto one level, the predicted
one (dashed): a shorter step arrives later, not lower. On the right the measured floors follow the predicted curve at
every level of clipping, with the shortest and the longest step, below the floor of the worst noise; they go away only
as the level exceeds the noise. Error feedback, at the same levels, has no floor: what is left of its mean gradient is
the sampling error of the runs.
"""

import sys
import time

import jax
import jax.numpy as jnp
from jax import Array

from jaxopt_thoth import gradients


CURVATURE = 1e-2
NOISE = 5e-3
START = 10.0
LEVELS = jnp.array([1e-3, 1e-2])
STEPS = jnp.array([0.1, 1.0, 10.0])
SEEDS = 8
NUM_STEPS = 400_000
RECORDS = 4000
SWEEP = NOISE * jnp.geomspace(0.1, 4.0, 7)
# Okabe and Ito's blue, vermilion and green, told apart by every common kind of color vision.
COLORS = ("#0072b2", "#d55e00", "#009e73")


def run(level: Array, step_size: Array, start: Array, feedback: Array, key: Array) -> Array:
    """Mean gradient over each of the equally many steps between two records."""
    plain = gradients.clip_transform(gradients.GlobalClip(level))
    corrected = gradients.clip_with_error_feedback(gradients.GlobalClip(level))

    def step(carry, noise):
        x, memory = carry
        slope = CURVATURE * x
        clipped, _ = plain.update(slope + noise, plain.init(x))
        fed, kept = corrected.update(slope + noise, memory)
        memory = jnp.where(feedback, kept, memory)
        return (x - step_size * jnp.where(feedback, fed, clipped), memory), slope

    def block(carry, key):
        noise = NOISE * (jax.random.exponential(key, (NUM_STEPS // RECORDS,)) - 1)
        carry, slopes = jax.lax.scan(step, carry, noise)
        return carry, slopes.mean()

    return jax.lax.scan(block, (start, corrected.init(start)), jax.random.split(key, RECORDS))[1]


run_all = jax.jit(jax.vmap(jax.vmap(run, (None, None, None, None, 0)), (0, 0, 0, 0, None)))


@jax.jit
@jax.vmap
def predict(level: Array) -> Array:
    """The mean gradient at rest, to first order in the step."""
    return gradients.clipping_bias(lambda x: jnp.exp(-jnp.maximum(x / NOISE + 1, 0)), level, breaks=[-NOISE])


def main(picture: str = "clipped_sgd_floor.png") -> None:
    # The runs of the left half, those of the sweep over levels from the origin, and those with error feedback.
    level, step_size = (a.ravel() for a in jnp.meshgrid(LEVELS, STEPS, indexing="ij"))
    sweep_level, sweep_step = (a.ravel() for a in jnp.meshgrid(SWEEP, STEPS[jnp.array([0, 2])], indexing="ij"))
    few = len(SWEEP)
    levels = jnp.concatenate([level, sweep_level, SWEEP])
    steps = jnp.concatenate([step_size, sweep_step, jnp.full(few, STEPS[-1])])
    feedback = jnp.arange(len(levels)) >= len(levels) - few
    starts = jnp.where(jnp.arange(len(levels)) < len(level), START, 0.0)
    began = time.perf_counter()
    slopes = jax.block_until_ready(run_all(levels, steps, starts, feedback, jax.random.split(jax.random.key(0), SEEDS)))
    print(f"{slopes.shape[0]} curves of {SEEDS} seeds, {NUM_STEPS} steps each: {time.perf_counter() - began:.0f} s")

    measured, predicted = slopes[:, :, RECORDS // 2 :].mean((1, 2)), predict(levels)
    for k in range(len(level)):
        off = measured[k] / predicted[k] - 1
        print(
            f"  level {level[k]:.0e}, step {step_size[k]:4.1f}: mean gradient {measured[k]:.6f}, "
            f"predicted {predicted[k]:.6f} ({100 * off:+.1f} per cent)"
        )
    print(f"  ratio of the two floors {predicted[0] / predicted[3]:.2f}")
    largest = jnp.abs(measured[-few:]).max()
    print(f"  with error feedback, step {STEPS[-1]:g}: at most {largest:.6f} at any level")
    draw(slopes, measured, predicted).savefig(picture, dpi=110)
    print(f"the picture is {picture}")


def draw(slopes: Array, measured: Array, predicted: Array):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 4.4), facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2)
    every = NUM_STEPS // RECORDS
    # Averages over windows that grow with the time: the gradient itself fluctuates much more.
    edges = jnp.unique(jnp.geomspace(1, RECORDS, 45).astype(int))
    sums = jnp.cumsum(slopes.mean(1), axis=1)[:, edges - 1]
    windows = jnp.abs(jnp.diff(sums, axis=1) / jnp.diff(edges)[None])
    times = jnp.sqrt(1.0 * edges[1:] * edges[:-1]) * every
    count = len(STEPS)
    for k in range(2 * count):
        style = "-" if k < count else "-."
        label = f"step {STEPS[k % count]:g}" if k < count else None
        left.loglog(times, windows[k], style, color=COLORS[k % count], linewidth=1.5, label=label)
    for k in range(2):
        left.axhline(predicted[count * k], color="black", linewidth=1, linestyle="--", zorder=3)
        text = f"predicted,\nlevel {LEVELS[k]:g}"
        left.text(1.01, predicted[count * k], text, fontsize=8.5, va="center", transform=left.get_yaxis_transform())
    left.set_ylim(top=2)
    left.set_title("Mean gradient along the runs", loc="left", fontsize=11)
    left.set_xlabel("steps", fontsize=9)
    title = f"solid: level {LEVELS[0]:g}\ndash-dotted: level {LEVELS[1]:g}"
    left.legend(fontsize=8.5, frameon=False, loc="upper right", title=title, title_fontsize=8.5)

    few = len(SWEEP)
    grid = NOISE * jnp.geomspace(0.08, 5.0, 60)
    right.loglog(grid, gradients.clipping_floor(NOISE, grid), color="0.6", linewidth=1.2, label="worst noise")
    right.loglog(grid, predict(grid), "--", color="black", linewidth=1.2, label="predicted for this noise")
    sweep = measured[2 * count : 2 * count + 2 * few].reshape(few, 2)
    for k, (marker, place) in enumerate((("o", 0), ("x", 2))):
        right.loglog(SWEEP, sweep[:, k], marker, color=COLORS[place], label=f"measured, step {STEPS[place]:g}")
    fed = jnp.abs(measured[-few:])
    right.loglog(SWEEP, fed, "^", color="#cc79a7", label=f"error feedback, step {STEPS[-1]:g}")
    right.set_title("Floor against the level of clipping", loc="left", fontsize=11)
    right.set_xlabel("level (the noise has deviation 0.005)", fontsize=9)
    right.legend(fontsize=8.5, frameon=False, loc="center left", bbox_to_anchor=(0, 0.38))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:2])
