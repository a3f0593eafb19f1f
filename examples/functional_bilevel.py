"""The effect of a treatment behind a confounder: functional against parametric implicit differentiation.

Run `python examples/functional_bilevel.py [OUT.png]`; needs the `plot` extra. A confounder moves treatment x and
outcome o alike, so that regressing o on x finds no effect but a mixture. Instruments z move x alone: a network h learns
to predict f(x) from z, and a network f is sought for which h predicts the outcome. That is a bilevel problem. The
methods below take the same inner steps on h, the same closed form of its last layer and the same outer optimizer on f;
they differ in the hypergradient. Parametric differentiation solves a system in the Hessian with respect to the weights
of h, indefinite for a network that has not converged, by conjugate gradient: 20 steps from the last solution, as is
usual, or 5 from zero. Functional differentiation (Petrulionyte, Mairal and Arbel, 2024) takes the Hessian with respect
to predictions, which is 2, and solves for an adjoint function in the features of the last hidden layer, exactly.

What to see: the regression of the outcome on the treatment (dotted) leans along the confounder, the others follow the
effect |x|, smoothed at 0. On so small a problem, with the last layer solved for, both ways get there. The functional
one descends smoothly with nothing but a ridge to choose; the parametric one depends on its linear solver: stopped early
it leaves a seed behind, and carried on it jitters. Errors are against the truth, on a uniform grid that no outcome
enters, for each seed (thin) and for the median (thick).
"""

import sys
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import optax
from jax import Array

import jaxopt_thoth as jt


SEEDS = 5
EXAMPLES = 2000
OUTER_STEPS = 400
INNER_STEPS = 5
RIDGE = 1e-3
# Okabe and Ito's blue, green and vermilion, told apart by every common kind of color vision.
COLORS = {"functional": "#0072b2", "parametric, 5 steps": "#009e73", "parametric, 20 steps, warm": "#d55e00"}
GRID = jnp.linspace(-2.5, 2.5, 101)[:, None]


def effect(x: Array) -> Array:
    return jnp.abs(x)


def draw_data(key: Array) -> tuple[Array, Array, Array]:
    """Instruments (n, 2), treatments (n, 1) and outcomes (n,)."""
    z, u, noise = (jax.random.normal(k, (EXAMPLES, size)) for k, size in zip(jax.random.split(key, 3), (2, 1, 1)))
    x = jnp.sin(2 * z[:, :1]) + z[:, 1:] / 2 + u + 0.3 * noise
    return z, x, (effect(x) + 2 * u)[:, 0]


def inner_loss(f, prediction, z, x) -> Array:
    return (prediction - f(x)) ** 2


def outer_loss(f, prediction, z, o) -> Array:
    return (prediction - o) ** 2


def refit(h, f, batch: tuple[Array, ...]):
    """The network h with the last layer that ridge regression of f(x) gives it."""
    z, x = batch
    hidden = jax.vmap(lambda z: jnp.append(jnp.tanh(h.layers[0](z)), 1.0))(z)
    gram = hidden.T @ hidden / len(z) + RIDGE * jnp.diag(jnp.arange(hidden.shape[1]) < hidden.shape[1] - 1)
    weights = jnp.linalg.solve(gram, hidden.T @ jax.vmap(f)(x) / len(z))
    return eqx.tree_at(lambda h: (h.layers[1].weight, h.layers[1].bias), h, (weights[None, :-1], weights[-1:]))


METHOD = jt.bilevel.FunctionalBilevel(
    outer_loss,
    inner_loss,
    jt.bilevel.LinearFeatures(ridge=2 * RIDGE, scalar_hessian=True, linear_solver=lx.Cholesky()),
    inner_optimizer=optax.adam(1e-2),
    outer_optimizer=optax.adamw(1e-2, weight_decay=0.1),
    inner_steps=INNER_STEPS,
    refit=refit,
)


def error(f) -> Array:
    return jnp.mean((jax.vmap(f)(GRID) - effect(GRID[:, 0])) ** 2)


def functional(f, h, data: tuple[Array, ...], key: Array) -> tuple[Array, Array]:
    """The fit on the grid, and its error after each outer step."""
    z, x, o = data

    def step(state, _):
        state = METHOD.update(state, (z, x), (z, o))
        return state, error(state.hyper)

    state, errors = jax.lax.scan(step, METHOD.init(h, f, key=key), length=OUTER_STEPS)
    return jax.vmap(state.hyper)(GRID), errors


def parametric(f, h, data: tuple[Array, ...], cg_steps: int, warm: bool) -> tuple[Array, Array]:
    """The same with the hypergradient through the weights of h."""
    z, x, o = data
    (f, f_rest), (h, h_rest) = (eqx.partition(net, eqx.is_inexact_array) for net in (f, h))

    def mean_error(h: Any, targets: Array) -> Array:
        return jnp.mean((jax.vmap(eqx.combine(h, h_rest))(z) - targets) ** 2)

    problem = jt.bilevel.Bilevel(
        lambda h, f: mean_error(h, o), lambda h, f: mean_error(h, jax.vmap(eqx.combine(f, f_rest))(x))
    )

    def inner_step(carry, targets):
        h, memory = carry
        updates, memory = METHOD.inner_optimizer.update(jax.grad(mean_error)(h, targets), memory, h)
        return optax.apply_updates(h, updates), memory

    def step(carry, _):
        f, h, inner_memory, outer_memory, adjoint = carry
        targets = jax.vmap(eqx.combine(f, f_rest))(x)
        h, inner_memory = jax.lax.fori_loop(
            0, INNER_STEPS, lambda _, carry: inner_step(carry, targets), (h, inner_memory)
        )
        h = eqx.filter(refit(eqx.combine(h, h_rest), eqx.combine(f, f_rest), (z, x)), eqx.is_inexact_array)
        found = jt.bilevel.hypergradient(problem, f, h, adjoint=adjoint if warm else None, max_steps=cg_steps)
        updates, outer_memory = METHOD.outer_optimizer.update(found.gradient, outer_memory, f)
        f = optax.apply_updates(f, updates)
        return (f, h, inner_memory, outer_memory, found.adjoint), error(eqx.combine(f, f_rest))

    memories = METHOD.inner_optimizer.init(h), METHOD.outer_optimizer.init(f)
    start = f, h, *memories, jax.tree.map(jnp.zeros_like, h)
    carry, errors = jax.lax.scan(step, start, length=OUTER_STEPS)
    return jax.vmap(eqx.combine(carry[0], f_rest))(GRID), errors


def confounded(data: tuple[Array, ...]) -> Array:
    """Least squares of the outcome on powers of the treatment."""
    _, x, o = data
    powers = lambda x: (x / 3) ** jnp.arange(8)
    return powers(GRID) @ jnp.linalg.lstsq(powers(x), o)[0]


@jax.jit
@jax.vmap
def run(key: Array) -> tuple[dict[str, tuple[Array, Array]], Array, tuple[Array, ...]]:
    data_key, f_key, h_key, key = jax.random.split(key, 4)
    data = draw_data(data_key)
    f = eqx.nn.MLP(1, "scalar", 32, 1, activation=jax.nn.softplus, key=f_key)
    h = eqx.nn.MLP(2, "scalar", 32, 1, activation=jnp.tanh, key=h_key)
    found = functional(f, h, data, key), parametric(f, h, data, 5, False), parametric(f, h, data, 20, True)
    fits = dict(zip(COLORS, found))
    return fits, confounded(data), data


def main(picture: str = "functional_bilevel.png") -> None:
    fits, regression, data = run(jax.random.split(jax.random.key(0), SEEDS))
    # Dictionaries come out of JAX sorted.
    fits = {name: fits[name] for name in COLORS}
    biased = jnp.mean((regression - effect(GRID[:, 0])[None]) ** 2, axis=1)
    print(
        f"mean squared error on the grid, median of {SEEDS} seeds; regression of the outcome: {jnp.median(biased):.3f}"
    )
    for name, (_, errors) in fits.items():
        after = ", ".join(f"{k}: {jnp.median(errors[:, k - 1]):.3f}" for k in (100, 200, 300, OUTER_STEPS))
        print(f"  {name:26s} after {after}; worst seed at last {errors[:, -1].max():.3f}")
    draw(fits, regression, data).savefig(picture, dpi=110)
    print(f"the picture is {picture}")


def draw(fits: dict[str, tuple[Array, Array]], regression: Array, data: tuple[Array, ...]):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 6.6), facecolor="white", layout="constrained")
    grid = figure.add_gridspec(2, 3, height_ratios=(1.25, 1))
    x = GRID[:, 0]
    for place, (name, (fit, _)) in zip((grid[0, k] for k in range(3)), fits.items()):
        axes = figure.add_subplot(place)
        axes.plot(data[1][0, ::2, 0], data[2][0, ::2], ".", color="0.8", markersize=2.5, zorder=0)
        axes.plot(x, effect(x), color="black", linewidth=1.8, label="effect |x|")
        axes.plot(x, regression[0], color="0.3", linewidth=1.4, linestyle=":", label="regression of o on x")
        for k, curve in enumerate(fit):
            axes.plot(
                x,
                curve,
                color=COLORS[name],
                linewidth=1.1,
                alpha=0.8,
                label=f"fits of {SEEDS} seeds" if k == 0 else None,
            )
        axes.set_ylim(-4.5, 6)
        axes.set_xlim(-2.5, 2.5)
        axes.set_title(name[0].upper() + name[1:], loc="left", fontsize=11, color=COLORS[name])
        axes.set_xlabel("treatment x", fontsize=9)
        axes.legend(fontsize=8.5, frameon=False, loc="lower right")
        plain(axes)
    axes = figure.add_subplot(grid[1, :])
    steps = jnp.arange(1, OUTER_STEPS + 1)
    for name, (_, errors) in fits.items():
        for curve in errors:
            axes.semilogy(steps, curve, color=COLORS[name], linewidth=0.6, alpha=0.5)
        axes.semilogy(steps, jnp.median(errors, axis=0), color=COLORS[name], linewidth=2, label=name)
    bias = jnp.median(jnp.mean((regression - effect(x)[None]) ** 2, axis=1))
    axes.axhline(bias, color="0.3", linewidth=1.2, linestyle=":")
    axes.text(OUTER_STEPS, bias / 1.1, "regression of o on x", color="0.3", fontsize=8.5, ha="right", va="top")
    axes.set_xlim(1, OUTER_STEPS)
    axes.set_title("Mean squared error against the effect, on a uniform grid", loc="left", fontsize=11)
    axes.set_xlabel("outer steps", fontsize=9)
    axes.legend(fontsize=8.5, frameon=False, loc="lower left")
    plain(axes)
    return figure


def plain(axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


if __name__ == "__main__":
    main(*sys.argv[1:2])
