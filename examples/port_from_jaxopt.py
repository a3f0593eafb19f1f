"""From jaxopt to this library, call by call: the old call in a comment, the new one under it, and the methods compared.

Run `python examples/port_from_jaxopt.py [OUT.png]`; needs the `plot` extra for the picture, and no jaxopt.

What to see in the picture: plain proximal gradient would take thousands of steps; Anderson acceleration of the very
same steps is about as good as the accelerated method; and proximal Newton, which jaxopt did not have, ends in a
handful, each better than the last (each costs many products with the Hessian, so that steps are not time).
"""

import sys

import jax
import jax.numpy as jnp
from jax import Array

import jaxopt_thoth as jt
from jaxopt_thoth import penalties, projections


jax.config.update("jax_enable_x64", True)

NUM_ROWS, NUM_FEATURES = 80, 40
COLORS = ("#4053d3", "#ddb310", "#b51d14", "#00b25d")


def main(picture: str = "port_from_jaxopt.png") -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    design = jax.random.normal(keys[0], (NUM_ROWS, NUM_FEATURES)) * jnp.logspace(0, 1, NUM_FEATURES)
    truth = jnp.where(jnp.arange(NUM_FEATURES) < 5, 1.0, 0.0)
    targets = design @ truth + jax.random.normal(keys[1], (NUM_ROWS,))
    labels = jnp.sign(targets)
    start = jnp.zeros(NUM_FEATURES)
    model = jt.LinearModel(jt.losses.Squared(), design, targets)

    # ---- proximal gradient ------------------------------------------------------------------------------------------
    # solver = jaxopt.ProximalGradient(fun=objective.least_squares, prox=prox.prox_lasso, tol=1e-8, maxiter=10_000)
    # params, state = solver.run(start, hyperparams_prox=0.1, data=(design, targets))
    lasso = jt.Composite(model, penalties.L1(0.1))
    solution = jt.solve(lasso, jt.ProximalGradient(tol=1e-8, max_steps=10_000), start)
    print(f"lasso: {int(jnp.sum(solution.params != 0))} features, gap {float(lasso.duality_gap(solution.params)):.1e}")

    # A function of your own goes as it is; what it takes besides the parameters is passed along.
    # fun = lambda w, X, y: 0.5 * jnp.mean((X @ w - y) ** 2)
    # solver = jaxopt.ProximalGradient(fun=fun, prox=prox.prox_lasso); solver.run(start, 0.1, design, targets)
    fun = lambda w, X, y: 0.5 * jnp.mean((X @ w - y) ** 2)
    own = jt.Composite(jt.FunctionTerm(fun, design, targets), penalties.L1(0.1))
    same = jt.solve(own, jt.ProximalGradient(tol=1e-8), start).params
    print(f"the same from a plain function: {float(jnp.abs(same - solution.params).max()):.1e} apart")

    # ---- projected gradient: a penalty that is the indicator of the set ---------------------------------------------
    # solver = jaxopt.ProjectedGradient(fun=objective.least_squares, projection=projection.projection_simplex)
    # params, state = solver.run(start, hyperparams_proj=1.0, data=(design, targets))
    on_simplex = jt.Composite(model, penalties.Simplex(1.0))
    projected = jt.solve(on_simplex, jt.ProximalGradient(tol=1e-8), start)
    print(f"simplex: sum {float(projected.params.sum()):.6f}, least entry {float(projected.params.min()):.1e}")

    # ---- mirror descent ---------------------------------------------------------------------------------------------
    # grad = jaxopt.MirrorDescent.make_projection_grad(projection.projection_simplex_kl, jnp.log)
    # solver = jaxopt.MirrorDescent(fun=objective.least_squares, projection_grad=grad, stepsize=1e-2, maxiter=5_000)
    mirror = jt.MirrorDescent(jt.mirror.NegativeEntropy(), tol=1e-6, max_steps=5_000)
    mirrored = jt.solve(on_simplex, mirror, jnp.full(NUM_FEATURES, 1 / NUM_FEATURES))
    print(f"mirror descent: {float(jnp.abs(mirrored.params - projected.params).max()):.1e} from projected gradient")

    # ---- bounds -----------------------------------------------------------------------------------------------------
    # jaxopt.LBFGSB(fun=objective.least_squares).run(start, bounds=(0.0, 0.5), data=(design, targets))
    bounded = jt.solve(jt.Composite(model, penalties.Box(0.0, 0.5)), jt.LBFGSB(), start)
    print(f"bounds: {int(bounded.num_steps)} steps, {int(jnp.sum(bounded.params == 0.5))} entries at the upper one")

    # ---- Anderson acceleration --------------------------------------------------------------------------------------
    # jaxopt.AndersonWrapper(jaxopt.ProximalGradient(fun, prox.prox_lasso, acceleration=False), history_size=5)
    plain = jt.ProximalGradient(accelerated=False, line_search=False, tol=1e-8, max_steps=20_000)
    few = jt.solve(lasso, jt.AndersonAcceleration(plain, history=5), start).num_steps
    print(f"Anderson acceleration: {int(jt.solve(lasso, plain, start).num_steps)} steps become {int(few)}")

    # ---- prox and projections: the strength is a field of the penalty, the step an argument -------------------------
    x = jnp.array([1.5, -0.2, 0.7])
    pairs = {
        # prox.prox_lasso(x, 0.5, scaling=2.0)
        "soft threshold": penalties.L1(0.5).prox(x, 2.0),
        # prox.prox_elastic_net(x, (0.5, 3.0), scaling=2.0), of l1 (|x|_1 + gamma/2 |x|^2); here l1 |x|_1 + l2/2 |x|^2
        "elastic net": penalties.ElasticNet(0.5, 0.5 * 3.0).prox(x, 2.0),
        # prox.prox_non_negative_lasso(x, 0.5, scaling=2.0)
        "nonnegative lasso": penalties.Tilted(penalties.NonNegative(), 0.5).prox(x, 2.0),
        # projection.projection_l1_ball(x, 1.0)
        "l1 ball": projections.l1_ball(x, 1.0),
        # projection.projection_box(x, (0.0, 1.0))
        "box": projections.box(x, 0.0, 1.0),
        # projection.projection_hyperplane(x, (normal, offset))
        "hyperplane": projections.hyperplane(x, jnp.ones(3), 1.0),
    }
    for name, value in pairs.items():
        print(f"  {name:18s} {[round(float(entry), 3) + 0.0 for entry in value]}")

    # ---- implicit differentiation: always on, in the strength, the data, or anything else that the problem holds ----
    # jax.grad(lambda s: validation(solver.run(start, hyperparams_prox=s, data=...).params))(0.1)   # implicit_diff=True
    def fitted(strength: float | Array) -> Array:
        problem = jt.Composite(model, penalties.L1(strength))
        return jnp.sum((jt.solve(problem, jt.ProximalGradient(tol=1e-11), start).params - truth) ** 2)

    slope = jax.grad(fitted)(0.1)
    difference = (fitted(0.1 + 1e-6) - fitted(0.1 - 1e-6)) / 2e-6
    print(f"derivative in the strength {float(slope):.6f}, finite difference {float(difference):.6f}")
    # unroll=True is adjoint=jt.implicit.Unrolled(); implicit_diff_solve=... is adjoint=jt.implicit.Implicit(solver).

    # ---- steps by hand ----------------------------------------------------------------------------------------------
    # state = solver.init_state(start, ...); params, state = solver.update(params, state, ...)
    solver = jt.ProximalGradient()
    params, state = start, solver.init(lasso, start)
    for _ in range(5):
        params, state = solver.step(lasso, params, state)
    print(f"five steps by hand: error {float(solver.error(lasso, params, state)):.2e}")

    logistic = jt.Composite(jt.LinearModel(jt.losses.Logistic(), design, labels), penalties.L1(0.02))
    races = {"Lasso": lasso, "l1 logistic regression": logistic}
    draw({name: race(problem, start) for name, problem in races.items()}).savefig(picture, dpi=120)
    print(f"the picture is {picture}")


def race(problem: jt.Composite, start: Array) -> dict[str, Array]:
    """Distance of the objective from its minimum after each step of four methods."""
    plain = jt.ProximalGradient(accelerated=False, line_search=False, tol=1e-11, max_steps=1000)
    methods = {
        "proximal gradient": plain,
        "accelerated": jt.ProximalGradient(tol=1e-11, max_steps=1000),
        "Anderson": jt.AndersonAcceleration(plain),
        "proximal Newton": jt.ProximalNewton(tol=1e-11),
    }
    values = {name: jt.solve(problem, method, start, history=True).history.value for name, method in methods.items()}
    least = min(jnp.nanmin(value) for value in values.values())
    return {name: value - least for name, value in values.items()}


def draw(races: dict[str, dict[str, Array]]):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 3.9), facecolor="white", layout="constrained")
    for axes, (title, race) in zip(figure.subplots(1, 2, sharey=True), races.items()):
        for color, (name, excess) in zip(COLORS, race.items()):
            steps = jnp.arange(1, excess.size + 1)
            shown = jnp.where(excess > 1e-14, excess, jnp.nan)
            axes.loglog(steps, shown, color=color, linewidth=1.8, label=name)
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_xlabel("steps")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.92")
    figure.axes[0].set_ylabel("objective above its minimum")
    figure.axes[0].legend(frameon=False, fontsize=9)
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:2])
