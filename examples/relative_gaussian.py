"""Private gradient descent without a clipping level: noise that follows the norm of the gradient.

Run `python examples/relative_gaussian.py [OUT.png]`; needs the `plot` extra. Least squares with 10,000 examples and ten
parameters, in 50 steps. Clipping needs a level: one too low is slow, one too high adds noise for gradients that never
come, and trying levels costs privacy that is seldom paid for. The relative Gaussian mechanism takes its noise from
smoothness, strong convexity and the size of the gradients at the solution, has no level to tune, and ends up near the
best one. With every step the noise of the mechanism feeds on the noise before it, so that this holds for moderate
steps: at 9.0 instead of 4.0 the best level is five times better at epsilon 1.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import jaxopt_thoth as jt


NUMBER, DIMENSION, STEPS, SEEDS, DELTA = 10_000, 10, 50, 20, 1e-5
EPSILONS = (0.5, 1.0, 4.0)
LEVELS = np.geomspace(0.02, 20, 16)
# Promised for every data set that may come: rows have norm 1 and are spread out, residuals are small.
CONSTANTS = {"smoothness": 1.0, "strong_convexity": 0.09, "gradient_bound": 0.105}
# Under half of what the curvature allows: noise that is averaged over more steps.
STEP_SIZE = 4.0
# Okabe and Ito's blue, vermilion and green: told apart by every common kind of color vision.
COLORS = ("#0072b2", "#d55e00", "#009e73")


def make_data(key: Array) -> tuple[Array, Array]:
    rows, truth, noise = jax.random.split(key, 3)
    features = jax.random.normal(rows, (NUMBER, DIMENSION))
    features = features / jnp.linalg.norm(features, axis=1, keepdims=True)
    weights = jax.random.normal(truth, (DIMENSION,))
    residuals = jax.random.uniform(noise, (NUMBER,), minval=-0.1, maxval=0.1)
    return features, features @ (5 * weights / jnp.linalg.norm(weights)) + residuals


def loss(weights: Array, example: tuple[Array, Array]) -> Array:
    features, target = example
    return (jnp.vdot(features, weights) - target) ** 2 / 2


def clipped(level: Array, noise: Array) -> jt.privacy.DPGD:
    plan = jt.privacy.Plan(
        noise,
        num_examples=NUMBER,
        steps=STEPS,
        clipping=jt.gradients.GlobalClip(level),
        relation=jt.gradients.NeighboringRelation.replace_one,
    )
    return jt.privacy.DPGD(loss, plan, optax.sgd(STEP_SIZE), engine="ghost")


def relative(noise: Array) -> jt.privacy.RelativeGaussianGD:
    settings = {"num_examples": NUMBER, "dimension": DIMENSION, "steps": STEPS, "step_size": STEP_SIZE}
    return jt.privacy.RelativeGaussianGD(loss, noise, **settings, **CONSTANTS)


def main(picture: str = "relative_gaussian.png") -> None:
    data = make_data(jax.random.key(0))
    hessian = data[0].T @ data[0] / NUMBER
    solution = jnp.linalg.solve(hessian, data[0].T @ data[1] / NUMBER)
    assert jnp.linalg.eigvalsh(hessian)[0] >= CONSTANTS["strong_convexity"]
    assert jnp.abs(data[0] @ solution - data[1]).max() <= CONSTANTS["gradient_bound"]

    def excess(method, key: Array) -> Array:
        """Excess loss before and after every step."""

        def body(carry, _):
            params, state = method.update(*carry, data)
            return (params, state), params

        start = jnp.zeros(DIMENSION)
        _, path = jax.lax.scan(body, (start, method.init(start, key)), None, length=STEPS)
        away = jnp.concatenate([start[None], path]) - solution
        return jnp.einsum("ti,ij,tj->t", away, hessian, away) / 2

    keys = jax.random.split(jax.random.key(1), SEEDS)
    mean = lambda method: jax.vmap(lambda key: excess(method, key))(keys).mean(axis=0)
    # One program for all levels and budgets: they are numbers, not structure.
    of_levels = jax.jit(lambda noise: jax.lax.map(lambda level: mean(clipped(level, noise)), jnp.asarray(LEVELS)))
    of_noise = jax.jit(lambda noise: mean(relative(noise)))

    found = {}
    for epsilon in EPSILONS:
        plain = jt.privacy.calibrate_noise(epsilon, DELTA, 1.0, STEPS)
        noise = jt.privacy.calibrate_relative_gaussian(epsilon, DELTA, relative(1.0).slope, DIMENSION, STEPS)
        paths, path = np.asarray(of_levels(plain)), np.asarray(of_noise(noise))
        found[epsilon] = paths, path
        best = paths[:, -1].argmin()
        print(
            f"epsilon {epsilon:3.1f}: noise multiplier {plain:5.1f} clipped, {noise:5.1f} relative; excess loss "
            f"{path[-1]:.1e} relative, {paths[best, -1]:.1e} at the best level ({LEVELS[best]:.2f}), "
            f"{paths[0, -1]:.1e} and {paths[-1, -1]:.1e} at the ends"
        )
        print(
            f"  relative over best level: {path[-1] / paths[best, -1]:.1f}; "
            f"ends over relative: {paths[0, -1] / path[-1]:.0f} and {paths[-1, -1] / path[-1]:.0f}"
        )
    draw(found).savefig(picture, dpi=110)
    print(f"the picture is {picture}")


def draw(found: dict):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 4.3), facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2)
    paths, path = found[1.0]
    best = paths[:, -1].argmin()
    shown = ((0, "too low", ":"), (best, "best", "-"), (len(LEVELS) - 4, "too high", "--"))
    for index, word, style in shown:
        left.semilogy(paths[index], style, color="0.45", linewidth=1.6)
        left.annotate(
            f"clipped at {LEVELS[index]:.2g}, {word}",
            (STEPS, paths[index, -1]),
            xytext=(-4, {"best": -14, "too low": 18, "too high": 8}[word]),
            textcoords="offset points",
            ha="right",
            fontsize=9,
            color="0.3",
        )
    left.semilogy(path, color=COLORS[1], linewidth=2.2)
    left.annotate(
        "relative Gaussian",
        (16, path[16]),
        xytext=(0, 10),
        textcoords="offset points",
        fontsize=10,
        color=COLORS[1],
    )
    left.set_title("Excess loss at epsilon 1", loc="left", fontsize=11)
    left.set_xlabel("step")
    left.margins(x=0.01, y=0.09)
    for color, (epsilon, (paths, path)) in zip(COLORS, found.items()):
        right.loglog(LEVELS, paths[:, -1], "o-", color=color, markersize=4, linewidth=1.4)
        right.axhline(path[-1], color=color, linewidth=1.6, linestyle=(0, (4, 2)))
        right.annotate(
            f"epsilon {epsilon:g}",
            (LEVELS[-1], paths[-1, -1]),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=color,
        )
    right.plot([], [], "o-", color="0.4", markersize=4, label="clipped")
    right.plot([], [], color="0.4", linewidth=1.6, linestyle=(0, (4, 2)), label="relative Gaussian, no level")
    right.legend(fontsize=9, frameon=False, loc="upper center")
    right.set_title("Excess loss after 50 steps", loc="left", fontsize=11)
    right.set_xlabel("clipping level")
    right.set_xlim(right=90)
    right.set_ylim(top=30 * max(paths.max() for paths, _ in found.values()))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:])
