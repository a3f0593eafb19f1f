"""Learn to play two matrix games: which averages converge, which last iterates do, and how fast.

Run `python examples/matrix_game.py [OUT.png]`; needs the `plot` extra. One player pays x'Ay to the other, both mixing
their strategies. By multiplicative weights (MWU) each learns from what the other just did: averages converge at the
rate 1 / sqrt T, the players themselves circle outward. Mirror prox looks a step ahead, its optimistic kin guesses one
from the step before: averages at the rate 1 / T, and the players themselves come to rest. Restarts make that linear.
The gap is what both could gain together by one deviation each: a certificate that needs no solution to compare with.
"""

import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

import jaxopt_thoth as jt


jax.config.update("jax_enable_x64", True)
STEPS = 4000
# Okabe and Ito's colors, told apart by every common kind of color vision.
COLORS = {
    "MWU": "#d55e00",
    "Optimistic MWU": "#0072b2",
    "Mirror prox": "#009e73",
    "Restarted": "black",
}


def entropic_solvers(matrix: Array) -> dict[str, jt.solvers.AbstractSolver]:
    """The three entropic methods, each with the step size that its theory asks for."""
    entropies = jt.mirror.Product((jt.mirror.NegativeEntropy(), jt.mirror.NegativeEntropy()))
    largest = jnp.abs(matrix).max()
    tuned = jnp.sqrt(jnp.log(matrix.size) / STEPS) / largest
    return {
        "MWU": jt.OptimisticMirrorDescent(entropies, tuned, optimism=0.0),
        "Optimistic MWU": jt.OptimisticMirrorDescent(entropies, 0.5 / largest),
        "Mirror prox": jt.MirrorProx(entropies, 1 / largest),
    }


def play(matrix: Array, solver: jt.solvers.AbstractSolver, start: tuple[Array, Array]) -> tuple[Array, ...]:
    """Gaps of the averages and of the last iterates step by step, and the strategies of the row player."""
    game = jt.problems.MatrixGame(matrix)

    def step(carry, _):
        params, state = solver.step(game, *carry)
        seen = game.duality_gap(state.average), game.duality_gap(state.last), state.last[0], game.duality_gap(params)
        return (params, state), seen

    run: Callable = jax.jit(lambda: jax.lax.scan(step, (start, solver.init(game, start)), None, length=STEPS)[1])
    return run()


def main(picture: str = "matrix_game.png") -> None:
    # Rock, paper, scissors in which one win counts for more than another; players start away from the equilibrium.
    scissors = jnp.array([[0.0, 2.0, -1.0], [-2.0, 0.0, 1.0], [1.0, -1.0, 0.0]])
    random = jax.random.uniform(jax.random.key(0), (30, 20), minval=-1.0, maxval=1.0)
    biased = (jnp.array([0.15, 0.2, 0.65]), jnp.array([0.6, 0.3, 0.1]))
    games = {
        "Rock, paper, scissors": (scissors, biased),
        "A random game of 30 by 20": (random, (jnp.full(30, 1 / 30), jnp.full(20, 1 / 20))),
    }
    found = {}
    for title, (matrix, start) in games.items():
        solvers = entropic_solvers(matrix) | {"Restarted": jt.MirrorProx(jt.mirror.Euclidean(), restart=True)}
        found[title] = {name: play(matrix, solver, start) for name, solver in solvers.items()}
        solution = jt.solvers.matrix_game(matrix, tol=1e-10)
        print(f"{title}: value {float(solution.value):+.6f}, gap {float(solution.gap):.1e}")
        for name, (average, last, _, own) in found[title].items():
            best = (
                f"{float(own[-1]):.1e}" if name == "Restarted" else f"{float(average[-1]):.1e} / {float(last[-1]):.1e}"
            )
            print(f"  {name:15s} gap after {STEPS} steps, of the average / of the last iterate: {best}")
    equilibrium = jt.solvers.matrix_game(scissors, tol=1e-10).row
    draw(found, biased[0], equilibrium).savefig(picture, dpi=110)
    print(f"the picture is {picture}")


def draw(found: dict[str, dict], start: Array, equilibrium: Array):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 6.4), facecolor="white")
    grid = figure.add_gridspec(2, 1, left=0.07, right=0.985, top=0.95, bottom=0.03, hspace=0.36, height_ratios=(1.1, 1))
    top, bottom = grid[0].subgridspec(1, 2, wspace=0.16), grid[1].subgridspec(1, 3, wspace=0.05)
    steps = jnp.arange(1, STEPS + 1)
    for place, (title, methods) in zip(top, found.items()):
        axes = figure.add_subplot(place)
        for name, (average, last, _, own) in methods.items():
            if name == "Restarted":
                axes.loglog(steps, jnp.maximum(own, 1e-13), color=COLORS[name], linewidth=1.6, label="Restarted")
                continue
            axes.loglog(steps, average, color=COLORS[name], linewidth=1.6, label=name)
            axes.loglog(steps, jnp.maximum(last, 1e-13), color=COLORS[name], linewidth=0.9, linestyle=(0, (3, 1.5)))
        # Below everything that obeys it, for the slope alone.
        axes.loglog(steps[199:], 0.3 / steps[199:], color="0.55", linewidth=0.8)
        axes.text(STEPS, 0.18 / STEPS, "1 / T", color="0.4", fontsize=8, ha="right", va="top")
        axes.set_ylim(3e-11, 8)
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_xlabel("steps T", fontsize=9)
        axes.set_ylabel("gap", fontsize=9)
        if place.colspan.start > 0:
            axes.plot([], [], color="0.4", linewidth=1.6, label="average")
            axes.plot([], [], color="0.4", linewidth=0.9, linestyle=(0, (3, 1.5)), label="last iterate")
            axes.legend(fontsize=8, frameon=False, loc="lower left", labelspacing=0.35)
        plain(axes)

    methods = found["Rock, paper, scissors"]
    for place, name in zip(bottom, ("MWU", "Optimistic MWU", "Mirror prox")):
        axes = figure.add_subplot(place)
        corners = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.5, 3**0.5 / 2]])
        axes.fill(*corners.T, facecolor="0.97", edgecolor="0.6", linewidth=0.8)
        path = jnp.vstack([start, methods[name][2]]) @ corners
        axes.plot(*path.T, color=COLORS[name], linewidth=0.7)
        axes.plot(*path[0], "o", color=COLORS[name], markersize=5, mfc="white")
        axes.plot(*(equilibrium @ corners), "D", color="black", markersize=5, zorder=3)
        for label, corner, shift in zip(("rock", "paper", "scissors"), corners, ((-8, -4), (8, -4), (0, 6))):
            side = {-8: "right", 8: "left", 0: "center"}[shift[0]]
            axes.annotate(label, corner, shift, textcoords="offset points", fontsize=8, color="0.35", ha=side)
        axes.set_title(f"{name}: the last iterates", fontsize=10, color=COLORS[name], pad=10)
        axes.set_aspect("equal")
        axes.set_xlim(-0.2, 1.2)
        axes.set_ylim(-0.08, 0.93)
        axes.axis("off")
    return figure


def plain(axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


if __name__ == "__main__":
    main(*sys.argv[1:2])
