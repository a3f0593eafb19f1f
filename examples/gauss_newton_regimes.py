"""When does Gauss-Newton learn features? A student network, a teacher, and three regimes told apart.

Run `python examples/gauss_newton_regimes.py [OUT.png]`; needs the `plot` extra. A network with one hidden layer, wide
enough to fit anything, learns from a teacher of five units by damped Gauss-Newton steps in function space: its kernel
of examples is formed without a Jacobian. Near zero damping all residuals fall at one rate, so that training says
nothing about what was learned. The scale of the first weights and the step do: three of each and five seeds are one
jitted call. The size of the experiment of the literature, 500 examples and 1000 units, is cut to 150 and 250, so that
it takes less than a minute on two cores.

What to see: every run fits the examples. With large weights, or with full steps, hidden units keep their directions,
and refitting the last layer does no better than random features: the kernel regime. Small weights with small steps turn
the units to those of the teacher, and the test loss falls below that of random features by far. Small weights with
full steps are the bad corner: units move, but not to the teacher, and do no better than random features. Bars are
medians over the seeds, dots single runs.
"""

import os
import sys
import time


# Threads that factor matrices this small cost more than they bring; read when the library is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

import jaxopt_thoth as jt
from jaxopt_thoth.solvers import weighted_direction_distance


DIMENSION, EXAMPLES, TESTS, UNITS, TEACHERS, SEEDS = 10, 150, 1000, 250, 5, 5
SCALES = (0.1, 1.0, 10.0)
STEPS = (1.0, 0.1, 0.02)
MAX_STEPS = 300
# Okabe and Ito's blue, vermilion and green, and grays.
TEST, REFIT, RANDOM = "#0072b2", "#56b4e9", "0.72"
START, TEACHER = "#e69f00", "#009e73"


class LossRatio(jt.stopping.AbstractStop):
    """Stops where the training loss has fallen to `tol` times the first."""

    tol: Array
    first: Array

    def __call__(self, problem, step):
        ratio = problem.value(step.params) / self.first
        return ratio, ratio <= self.tol


def network(params: tuple[Array, Array], inputs: Array) -> Array:
    return jt.problems.OneHiddenLayer(inputs, jnp.zeros(len(inputs))).outputs(params)


def features(hidden: Array, inputs: Array) -> Array:
    return jax.nn.silu(inputs @ hidden[:, :-1].T + hidden[:, -1][None]) / len(hidden)


class Task(eqx.Module):
    """Examples of a teacher, and a student's directions and noise before they are scaled."""

    inputs: Array
    targets: Array
    test_inputs: Array
    test_targets: Array
    teacher: Array
    noise: Array

    @classmethod
    def draw(cls, key: Array) -> "Task":
        keys = jax.random.split(key, 5)
        teacher = jax.random.normal(keys[0], (TEACHERS, DIMENSION + 1)), jax.random.normal(keys[1], (TEACHERS,))
        inputs = jax.random.normal(keys[2], (EXAMPLES, DIMENSION))
        tests = jax.random.normal(keys[3], (TESTS, DIMENSION))
        noise = jax.random.normal(keys[4], (UNITS, DIMENSION + 1))
        return cls(inputs, network(teacher, inputs), tests, network(teacher, tests), teacher[0][:, :-1], noise)

    def refit(self, hidden: Array) -> Array:
        """Test loss of the last layer that fits the examples with least norm."""
        output = jnp.linalg.lstsq(features(hidden, self.inputs), self.targets, rcond=1e-10)[0]
        return jnp.mean((features(hidden, self.test_inputs) @ output - self.test_targets) ** 2) / 2


def regime(task: Task, scale: Array, step_size: Array) -> dict[str, Array]:
    problem = jt.problems.OneHiddenLayer(task.inputs, task.targets)
    start = scale * task.noise, jnp.zeros(UNITS)
    solver = jt.GaussNewton(step_size, damping="min_eig", form="dual", max_steps=MAX_STEPS)
    stop = LossRatio(jnp.array(1e-8), problem.value(start))
    solution = jt.solve(problem, solver, start, stop=stop)
    hidden, _ = solution.params
    errors = network(solution.params, task.test_inputs) - task.test_targets
    return {
        "steps": solution.num_steps,
        "fit": solution.error,
        "zero": jnp.mean(task.test_targets**2) / 2,
        "test": jnp.mean(errors**2) / 2,
        "refit": task.refit(hidden),
        "random": task.refit(start[0]),
        "from start": weighted_direction_distance(hidden[:, :-1], start[0][:, :-1]),
        "from teacher": weighted_direction_distance(hidden[:, :-1], task.teacher),
        "first from teacher": weighted_direction_distance(start[0][:, :-1], task.teacher),
    }


@jax.jit
def experiment(key: Array) -> dict[str, Array]:
    """Every measure as an array (scales, steps, seeds)."""
    tasks = jax.vmap(Task.draw)(jax.random.split(key, SEEDS))
    scales, steps = (grid.ravel() for grid in jnp.meshgrid(jnp.array(SCALES), jnp.array(STEPS), indexing="ij"))
    # Seeds of one setting take about as many steps as each other, those of two settings do not.
    one = lambda setting: jax.vmap(regime, in_axes=(0, None, None))(tasks, *setting)
    found = jax.lax.map(one, (scales, steps))
    return jax.tree.map(lambda a: a.reshape(len(SCALES), len(STEPS), SEEDS), found)


def main(picture: str = "gauss_newton_regimes.png") -> None:
    # The kernel of a wide network is near singular.
    jax.config.update("jax_enable_x64", True)
    began = time.perf_counter()
    found = jax.block_until_ready(experiment(jax.random.key(0)))
    print(f"{len(SCALES) * len(STEPS) * SEEDS} networks in {time.perf_counter() - began:.0f} s")
    median = jax.tree.map(lambda a: jnp.median(a, axis=-1), found)
    names = ("steps", "test", "refit", "random", "from start", "from teacher", "first from teacher")
    print("  ".join(f"{name:>12}" for name in ("scale", "step size", *names)))
    for i, scale in enumerate(SCALES):
        for j, step in enumerate(STEPS):
            print(
                "  ".join(f"{float(value):12.3g}" for value in (scale, step, *(median[name][i, j] for name in names)))
            )
    draw(found, median).savefig(picture, dpi=110)
    print(f"the picture is {picture}")


def draw(found: dict[str, Array], median: dict[str, Array]):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 6.6), facecolor="white")
    panels = figure.subplots(2, len(SCALES), sharey="row")
    figure.subplots_adjust(left=0.075, right=0.985, top=0.86, bottom=0.085, hspace=0.22, wspace=0.06)
    rows = (
        {"test": (TEST, "network"), "refit": (REFIT, "last layer refitted"), "random": (RANDOM, "random features")},
        {"from start": (START, "from their start"), "from teacher": (TEACHER, "from the teacher's")},
    )
    for row, kinds in zip(panels, rows):
        for i, axes in enumerate(row):
            width = 0.8 / len(kinds)
            for k, (name, (color, label)) in enumerate(kinds.items()):
                at = jnp.arange(len(STEPS)) + (k - (len(kinds) - 1) / 2) * width
                axes.bar(at, median[name][i], width=0.92 * width, color=color, label=label)
                for seed in range(SEEDS):
                    axes.plot(at, found[name][i, :, seed], "o", color="0.15", markersize=2.2, alpha=0.7)
            axes.set_xticks(range(len(STEPS)), [f"step {step:g}" for step in STEPS])
            axes.grid(axis="y", alpha=0.25, linewidth=0.5)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(labelsize=8.5)
    for axes, scale in zip(panels[0], SCALES):
        axes.set_yscale("log")
        axes.set_title(f"First weights of scale {scale:g}", loc="left", fontsize=11, pad=8)
    panels[1, 0].set_ylim(0, 1.27)
    for i, axes in enumerate(panels[1]):
        axes.axhline(float(jnp.median(median["first from teacher"][i])), color=TEACHER, linewidth=1, linestyle="--")
    panels[1, 2].annotate(
        "dashes: from the teacher's at the start",
        (2.45, 1.19),
        ha="right",
        fontsize=8.5,
        color=TEACHER,
    )
    panels[0, 0].set_ylabel("test loss", fontsize=9.5)
    panels[1, 0].set_ylabel("distance of unit directions", fontsize=9.5)
    for row, y in ((0, 0.965), (1, 0.465)):
        handles, labels = panels[row, 0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="center right", bbox_to_anchor=(0.985, y), ncols=3, fontsize=9, frameon=False
        )
    figure.text(0.01, 0.965, "Gauss-Newton regimes", fontsize=13, va="center")
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:2])
