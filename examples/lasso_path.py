"""A lasso path, its derivative, and the choice of a strength: solve a hundred problems, differentiate, look.

Run `python examples/lasso_path.py [OUT.png]`; needs the `plot` extra for the picture.
"""

import sys

import jax
import jax.numpy as jnp

import jaxopt_thoth as jt


jax.config.update("jax_enable_x64", True)

NUM_ROWS, NUM_FEATURES, NUM_NONZERO = 120, 60, 8


def main(picture: str = "lasso_path.png") -> None:
    keys = jax.random.split(jax.random.key(0), 4)
    truth = jnp.where(jnp.arange(NUM_FEATURES) < NUM_NONZERO, jax.random.normal(keys[0], (NUM_FEATURES,)), 0)
    design = jax.random.normal(keys[1], (2 * NUM_ROWS, NUM_FEATURES))
    targets = design @ truth + jax.random.normal(keys[2], (2 * NUM_ROWS,))
    train, held_out = (design[:NUM_ROWS], targets[:NUM_ROWS]), (design[NUM_ROWS:], targets[NUM_ROWS:])

    model = jt.LinearModel(jt.losses.Squared(), *train)
    test = jt.LinearModel(jt.losses.Squared(), *held_out)
    solver = jt.ProximalGradient(tol=1e-10)
    start = jnp.zeros(NUM_FEATURES)

    def problem_of(log_strength: jax.Array) -> jt.Composite:
        return jt.Composite(model, jt.penalties.L1(jnp.exp(log_strength)))

    # The whole path in one compiled call, each solution the start of the next.
    critical = jt.penalties.L1(1.0).critical_strength(model.gradient(start))
    grid = jnp.log(critical) + jnp.linspace(0, jnp.log(1e-3), 100)

    def held_out_losses(log_strengths: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jt.Solution]]:
        path = jt.solve_path(problem_of, log_strengths, solver, start)
        losses = jax.vmap(test.value)(path.params)
        return jnp.sum(losses), (losses, path)

    # Each loss depends on its own strength alone, so that the gradient of the sum is the derivative of each.
    slopes, (losses, path) = jax.jit(jax.grad(held_out_losses, has_aux=True))(grid)
    print(f"{int(jnp.sum(path.result == jt.RESULTS.converged))} of {grid.size} problems converged")
    steps = int(jnp.sum(path.num_steps))
    print(f"{steps} proximal gradient steps in all, {steps / grid.size:.1f} a problem")

    # The derivative is exact between the kinks of the path: compare with a finite difference on either side.
    both = jax.jit(jax.value_and_grad(lambda t: test.value(jt.solve(problem_of(t), solver, start).params)))
    where, step = grid[60], 1e-5
    difference = (both(where + step)[0] - both(where - step)[0]) / (2 * step)
    print(f"derivative at one strength {float(both(where)[1]):.8f}, finite difference {float(difference):.8f}")

    # And it finds the strength by itself: gradient descent on the logarithm of the strength.
    log_strength = grid[70]
    for _ in range(100):
        loss, slope = both(log_strength)
        log_strength = log_strength - 0.5 * slope
    best = int(jnp.argmin(losses))
    print(f"gradient descent: strength {float(jnp.exp(log_strength)):.4f}, held-out loss {float(loss):.5f}")
    print(f"best of the grid: strength {float(jnp.exp(grid[best])):.4f}, held-out loss {float(losses[best]):.5f}")

    from jaxopt_thoth.plotting import path_figure

    figure = path_figure(jnp.exp(grid), path.params, validation=losses, gradient=slopes)
    figure.savefig(picture, dpi=120)
    print(f"the picture is {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
