"""A strength for each coefficient of a logistic regression, learned on held-out rows: HOAG and MAID side by side.

Run `python examples/per_feature_regularization.py [OUT.png]`; needs the `plot` extra and scikit-learn. The data are the
breast cancer measurements: 30 features, and beside each a copy with its rows shuffled, which tells nothing. Inner
problem: the logistic loss of 150 rows plus `sum_j e^h_j w_j^2 / 2`; outer: the loss of 150 further rows, over the 60
logarithms h. Both methods raise the strengths of shuffled features, and so lower the loss on rows that took no part.
HOAG follows a fixed schedule of accuracies and a rule of thumb for its steps: cheap, but nothing is proved, and at the
end, where steps have grown too long, the loss goes up and down. MAID proves of each step that the held-out loss falls,
by pessimistic constants, and pays for it in inner gradients. They arrive at the same strengths.
"""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import jaxopt_thoth as jt


# The accuracies that certificates ask for are beyond single precision.
jax.config.update("jax_enable_x64", True)
NUM_ROWS, NUM_STEPS, LOWEST, HIGHEST, START = 150, 60, -4.0, 2.0, -3.0
# Okabe and Ito's blue and vermilion: told apart by every common kind of color vision.
COLORS = {"HOAG": "#0072b2", "MAID": "#d55e00"}
Rows = tuple[Array, Array]


def load(seed: int = 0) -> tuple[Rows, Rows, Rows, list[str]]:
    from sklearn.datasets import load_breast_cancer

    data, rng = load_breast_cancer(), np.random.default_rng(seed)
    features = (data.data - data.data.mean(0)) / data.data.std(0)
    both = np.hstack([features, rng.permuted(features, axis=0)])
    order = rng.permutation(len(both))
    parts = np.split(order, [NUM_ROWS, 2 * NUM_ROWS])
    train, valid, test = ((jnp.asarray(both[rows]), jnp.asarray(data.target[rows], float)) for rows in parts)
    return train, valid, test, list(data.feature_names)


def logistic(w: Array, design: Array, labels: Array) -> Array:
    scores = design @ w
    return jnp.mean(jnp.logaddexp(0, scores) - labels * scores)


def inner(w: Array, h: Array, design: Array, labels: Array) -> Array:
    return logistic(w, design, labels) + jnp.exp(h) @ w**2 / 2


def outer(w: Array, h: Array, design: Array, labels: Array) -> Array:
    return logistic(w, design, labels)


def make_maid(train: Array, valid: Array) -> jt.bilevel.MAID:
    """With the constants of both levels, as functions of the strengths."""
    curvature = lambda design: jnp.linalg.norm(design, 2) ** 2 / len(design)
    # The logistic loss has the second derivative 1/4 and the third 1 / (6 sqrt 3), at most.
    third = curvature(train) * jnp.max(jnp.linalg.norm(train, axis=1)) / (6 * 3**0.5)

    def bound(h: Array) -> jt.bilevel.ErrorBound:
        return jt.bilevel.ErrorBound(
            strong_convexity=jnp.min(jnp.exp(h)),
            outer_lipschitz=curvature(valid) / 4,
            hessian_lipschitz=third,
            cross_lipschitz=jnp.max(jnp.exp(h)),
            form="operator",
        )

    lipschitz = lambda h: curvature(train) / 4 + jnp.max(jnp.exp(h))
    return jt.bilevel.MAID(bound, step_size=50.0, convex=True, inner_lipschitz=lipschitz, max_inner_steps=100_000)


@eqx.filter_jit
def descend(solver: jt.bilevel.AbstractBilevelSolver, problem: jt.bilevel.Bilevel) -> tuple:
    """Strengths and states after each outer step."""
    num_features = problem.inner_data[0].shape[1]
    point = problem.check((jnp.full(num_features, START), jnp.zeros(num_features)))

    def step(carry, _):
        carry = solver.step(problem, *carry)
        return carry, (carry[0].hyper, carry[1])

    return jax.lax.scan(step, (point, solver.init(problem, point)), length=NUM_STEPS)[1]


def main(picture: str = "per_feature_regularization.png") -> None:
    train, valid, test, names = load()
    clip = lambda h: jnp.clip(h, LOWEST, HIGHEST)
    problem = jt.bilevel.Bilevel(outer, inner, outer_data=valid, inner_data=train, projection=clip)
    solvers = {"HOAG": jt.bilevel.HOAG(), "MAID": make_maid(train[0], valid[0])}

    @jax.jit
    def losses(h: Array) -> tuple[Array, Array]:
        """Loss on held-out and on test rows, of the exact inner solution."""
        smooth = jt.Composite(jt.FunctionTerm(inner, h, *train))
        w = jt.solve(smooth, jt.LBFGSB(tol=1e-9), jnp.zeros(h.size)).params
        return logistic(w, *valid), logistic(w, *test)

    start = losses(jnp.full(train[0].shape[1], START))
    print(f"one strength for all: held-out loss {start[0]:.4f}, test loss {start[1]:.4f}")
    found = {}
    for name, solver in solvers.items():
        hypers, states = descend(solver, problem)
        work = states.inner_steps if name == "HOAG" else states.num_inner
        found[name] = (np.asarray(hypers), np.asarray(work), *map(np.asarray, jax.lax.map(losses, hypers)), states)
        _, _, held_out, tested, _ = found[name]
        real, shuffled = np.split(found[name][0][-1], 2)
        print(
            f"{name}: after {NUM_STEPS} outer steps and {work[-1]} inner gradients held-out loss {held_out[-1]:.4f}, "
            f"test loss {tested[-1]:.4f}; mean log strength of the features {real.mean():.2f}, "
            f"of the shuffled {shuffled.mean():.2f}"
        )
    certified = found["MAID"][-1]
    print(f"MAID: every step certified {bool(certified.certified.all())}, stalled {bool(certified.stalled.any())}")
    draw(found, start, names).savefig(picture, dpi=110)
    print(f"the picture is {picture}")


def draw(found: dict, start: tuple, names: list[str]):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.4), layout="constrained", facecolor="white")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.15))
    panels = top.subplots(1, 3)
    for name, (_, work, held_out, tested, _) in found.items():
        steps = np.arange(len(held_out) + 1)
        panels[0].plot(work, held_out, ".-", color=COLORS[name], markersize=3, label=name)
        panels[1].plot(steps, np.r_[start[0], held_out], ".-", color=COLORS[name], markersize=3, label=name)
        panels[2].plot(steps, np.r_[start[1], tested], ".-", color=COLORS[name], markersize=3, label=name)
    panels[0].set_xscale("log")
    panels[0].axhline(start[0], color="0.6", linewidth=1, zorder=0)
    for axes, title, label in zip(
        panels,
        ("Held-out loss against the inner work", "... against the outer steps", "Loss on rows that took no part"),
        ("inner gradients so far", "outer steps", "outer steps"),
        strict=True,
    ):
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_xlabel(label)
        axes.legend(frameon=False, fontsize=9)

    axes = bottom.subplots()
    place = np.arange(len(names))
    for shift, (name, (hypers, *_)) in zip((-0.15, 0.15), found.items(), strict=True):
        real, shuffled = np.split(hypers[-1], 2)
        axes.plot(place + shift, real, "o", color=COLORS[name], markersize=5, label=f"{name}, feature")
        axes.plot(
            place + shift,
            shuffled,
            "o",
            markerfacecolor="white",
            color=COLORS[name],
            markersize=5,
            label=f"{name}, the same shuffled",
        )
    axes.axhline(START, color="0.6", linewidth=1, zorder=0)
    axes.set_xticks(place, names, rotation=60, ha="right", fontsize=8)
    axes.set_xlim(-0.8, len(names) - 0.2)
    axes.set_ylabel("log strength")
    axes.set_title("What was learned (line: the start)", loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=9, ncols=4, loc="lower right", bbox_to_anchor=(1.005, 0.98))
    for panel in (*panels, axes):
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(axis="y", labelsize=8)
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:2])
