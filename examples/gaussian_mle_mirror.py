"""How fast maximum likelihood learns a Gaussian, told by stochastic mirror descent.

Run `python examples/gaussian_mle_mirror.py [OUT.png]`; needs the `plot` extra. One pass of stochastic mirror descent
over the examples, with the log-partition as potential and steps 1 / (n0 + k), is exactly the estimate from n examples
and n0 more of a prior. The theory of mirror descent then bounds how far the estimate is from the truth, without any
smoothness or strong convexity in the Euclidean sense: the noise enters by the variance relative to the mirror map
(Hendrikx, "Investigating variance definitions for mirror descent with relative smoothness", 2024), which stays near 1
for small steps, half the number of parameters.

What to see: without a prior the divergence from estimate to truth is fine from two examples on, while that from truth
to estimate, what the estimate loses in likelihood, is infinite in the mean up to three (top left). One example of a
prior cures it, even a bad one (top right), and the first falls below the bound, which pays a logarithm. The variance
(bottom right) is the depth of the minimum of the stochastic objective below that of the objective (bottom left), per
unit of step.
"""

import sys
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

import jaxopt_thoth as jt


RUNS = 2000
EXAMPLES = 1000
PRIOR_COUNT, PRIOR_MEAN, PRIOR_VARIANCE = 1.0, 3.0, 1.0
STEP_SIZES = (0.75, 0.5, 0.25)
# Okabe and Ito's vermilion, blue and green: told apart by every common kind of color vision.
COLORS = ("#d55e00", "#0072b2", "#009e73")


class GaussianFamily(jt.mirror.AbstractMirrorMap):
    """The log-partition of Gaussians by natural parameters `(m / v, -1 / (2 v))`; duals are the mean parameters."""

    domain: ClassVar[str] = "second natural parameter negative"

    def potential(self, x):
        mean, variance = self.moments(x)
        return (mean**2 / variance + jnp.log(variance)) / 2

    def to_dual(self, x):
        mean, variance = self.moments(x)
        return jnp.stack([mean, mean**2 + variance])

    def from_dual(self, dual):
        return self.natural(dual[0], dual[1] - dual[0] ** 2)

    def divergence(self, x, y):
        """Kullback-Leibler divergence from the Gaussian of y to that of x."""
        (mean, variance), (other_mean, other) = self.moments(x), self.moments(y)
        excess = (other - variance) / variance
        return (excess - jnp.log1p(excess) + (other_mean - mean) ** 2 / variance) / 2

    def contains(self, x):
        return x[1] < 0

    @staticmethod
    def natural(mean, variance) -> Array:
        return jnp.stack([mean / variance, -0.5 / variance])

    @staticmethod
    def moments(x) -> tuple[Array, Array]:
        return -x[0] / (2 * x[1]), -0.5 / x[1]


FAMILY = GaussianFamily()


def negative_log_likelihood(x: Array, example: Array) -> Array:
    return FAMILY.potential(x) - x[0] * example - x[1] * example**2


def estimates(key: Array) -> tuple[Array, Array]:
    """Natural parameters after each example of a standard Gaussian, by mirror descent and by the prior's formula."""
    rule = jt.solvers.HarmonicStep(offset=PRIOR_COUNT)
    solver = jt.StochasticMirrorDescent(FAMILY, rule, key=key)
    problem = jt.Composite(jt.smooth.Expectation(negative_log_likelihood, jax.random.normal))
    start = FAMILY.natural(jnp.array(PRIOR_MEAN), jnp.array(PRIOR_VARIANCE))

    def advance(carry, _):
        params, state = carry
        # The example that the step is about to draw.
        example = problem.smooth.draw(jax.random.split(state.key)[1])[0]
        params, state = solver.step(problem, params, state)
        return (params, state), (params, example)

    _, (path, examples) = jax.lax.scan(advance, (start, solver.init(problem, start)), length=EXAMPLES)
    statistics = jnp.cumsum(jnp.stack([examples, examples**2]), axis=1)
    dual = PRIOR_COUNT * FAMILY.to_dual(start)[:, None] + statistics
    return path.T, FAMILY.from_dual(dual / (PRIOR_COUNT + jnp.arange(1.0, EXAMPLES + 1))[None, :])


def mean_divergences(path: Array) -> tuple[Array, Array]:
    """Means over the runs of the divergences to the truth, and from it."""
    truth = FAMILY.natural(jnp.array(0.0), jnp.array(1.0))
    to_truth = lambda x: FAMILY.divergence(truth, x)
    from_truth = lambda x: FAMILY.divergence(x, truth)
    over = lambda fn: jnp.mean(jax.vmap(jax.vmap(fn, in_axes=1))(path), axis=0)
    return over(to_truth), over(from_truth)


def without_prior(n: Array) -> tuple[Array, Array]:
    """The same means in closed form for maximum likelihood from n examples, 2 and more; the second is finite from 4."""
    drift = jnp.log(n / 2) - jax.scipy.special.digamma((n - 1) / 2)
    loss = ((n + 1) / (n - 3) - 1 - drift) / 2
    return drift / 2, jnp.where(n > 3, loss, jnp.inf)


@jax.jit
def variances(step_sizes: Array) -> jt.solvers.RelativeVariance:
    """The relative variance at each step size, the expectation over the examples by the trapezoidal rule."""
    nodes = jnp.linspace(-9.0, 9.0, 2001)
    term = jt.smooth.FiniteSum(negative_log_likelihood, nodes, weights=jnp.exp(-(nodes**2) / 2))
    start = FAMILY.natural(jnp.array(0.5), jnp.array(2.0))
    # One after another: in a batch each would take as many steps as the slowest.
    return jax.lax.map(lambda step_size: jt.solvers.relative_variance(term, FAMILY, step_size, start), step_sizes)


def stochastic_objective(step_size: float, variance: Array) -> Array:
    """Closed form of `f_eta - min f` at Gaussians of the true mean."""
    nodes = jnp.linspace(-9.0, 9.0, 2001)
    weights = jnp.exp(-(nodes**2) / 2)
    logs = jnp.log1p(step_size * nodes[None, :] ** 2 / variance[:, None]) @ (weights / weights.sum())
    return jnp.log(variance) / 2 + (jnp.log1p(-step_size) + logs) / (2 * step_size)


def bound(variances_at: Array) -> Array:
    """`(n0 D0 + sum_k variance(eta_k) eta_k) / (n0 + n)` with `eta_k = 1 / (n0 + k)`."""
    truth = FAMILY.natural(jnp.array(0.0), jnp.array(1.0))
    start = FAMILY.divergence(truth, FAMILY.natural(jnp.array(PRIOR_MEAN), jnp.array(PRIOR_VARIANCE)))
    counts = PRIOR_COUNT + jnp.arange(1.0, EXAMPLES + 1)
    return (PRIOR_COUNT * start + jnp.cumsum(variances_at / counts)) / counts


def main(picture: str = "gaussian_mle_mirror.png") -> None:
    # Variances at small steps are small differences over small steps.
    jax.config.update("jax_enable_x64", True)
    path, formula = jax.jit(jax.vmap(estimates))(jax.random.split(jax.random.key(0), RUNS))
    means = mean_divergences(path)
    apart = jnp.max(jnp.abs(path - formula) / jnp.abs(formula).max(axis=1, keepdims=True))
    print(f"mirror descent and the estimate with a prior differ by {float(apart):.0e}")
    grid = jnp.concatenate([jnp.geomspace(1e-3, 0.4, 25), jnp.linspace(0.45, 0.9, 10)])
    found = variances(grid)
    steps = 1 / (PRIOR_COUNT + jnp.arange(1.0, EXAMPLES + 1))
    limit = bound(jnp.interp(steps, grid, found.variance))
    for n in (1, 10, 100, 1000):
        print(
            f"n = {n:4d}: to the truth {means[0][n - 1]:.4f}, from it {means[1][n - 1]:.4f}, bound {limit[n - 1]:.4f}"
        )
    for step_size, variance in zip(grid[::8], found.variance[::8]):
        print(f"relative variance at step {float(step_size):.3f}: {float(variance):.4f}")
    draw(means, limit, grid, found).savefig(picture, dpi=110)
    print(f"the picture is {picture}")


def draw(means: tuple[Array, Array], limit: Array, grid: Array, found: jt.solvers.RelativeVariance):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 7.4), facecolor="white")
    panels = figure.subplots(2, 2)
    figure.subplots_adjust(left=0.065, right=0.985, top=0.95, bottom=0.07, hspace=0.33, wspace=0.16)
    (left, right), (low_left, low_right) = panels
    names = ("from the estimate to the truth", "from the truth to the estimate")
    n = jnp.arange(1.0, EXAMPLES + 1)

    closed = without_prior(jnp.arange(2.0, EXAMPLES + 1))
    for color, name, curve in zip(COLORS, names, closed):
        left.loglog(n[1:], curve, color=color, linewidth=1.8, label=name)
    left.axvspan(1, 3, color=COLORS[1], alpha=0.1, linewidth=0)
    left.annotate("infinite\nmean", (1.3, 2e-3), fontsize=8.5, color=COLORS[1])
    left.set_title("Mean divergence after n examples, without a prior", loc="left", fontsize=11)

    for color, name, curve in zip(COLORS, names, means):
        right.loglog(n, curve, color=color, linewidth=1.8, label=name)
    right.loglog(n, limit, color=COLORS[2], linewidth=1.8, linestyle=(0, (5, 2)), label="bound on the first of them")
    right.set_title("With one example's worth of a bad prior, N(3, 1)", loc="left", fontsize=11)
    for axes in (left, right):
        axes.loglog(n, 1 / n, color="0.5", linewidth=0.9, linestyle=(0, (1, 2)), label="1 / n")
        axes.set_xlabel("number n of examples, which is that of steps")
        axes.set_xlim(1, EXAMPLES)
        axes.set_ylim(5e-4, 10)
        axes.legend(fontsize=8.5, frameon=False, loc="upper right")

    inner = jnp.geomspace(0.01, 4, 200)
    objective = (jnp.log(inner) + 1 / inner - 1) / 2
    low_left.semilogx(inner, objective, color="black", linewidth=1.8, label="objective f")
    for color, step_size in zip(COLORS, STEP_SIZES):
        curve = stochastic_objective(step_size, inner)
        best = int(jnp.argmin(curve))
        low_left.semilogx(inner, curve, color=color, linewidth=1.8, label=f"$f_\\eta$, step {step_size}")
        low_left.plot(inner[best], curve[best], "o", color=color, markersize=5)
        low_left.vlines(inner[best], curve[best], 0, color=color, linewidth=0.9, linestyle=(0, (1, 2)))
    low_left.axhline(0, color="0.5", linewidth=0.8)
    low_left.set_ylim(-1.75, 1.25)
    low_left.set_xlim(0.01, 4)
    low_left.set_title("Above the least f: the depth is step times variance", loc="left", fontsize=11)
    low_left.set_xlabel("variance of the Gaussian (its truth is 1)")
    low_left.legend(fontsize=8.5, frameon=False, loc="lower center", ncols=4, columnspacing=1.2, handlelength=1.4)

    low_right.semilogx(grid, found.variance, color="black", linewidth=1.8)
    for color, step_size in zip(COLORS, STEP_SIZES):
        low_right.plot(step_size, jnp.interp(step_size, grid, found.variance), "o", color=color, markersize=6)
    low_right.axhline(1, color="0.5", linewidth=0.9, linestyle=(0, (1, 2)))
    low_right.annotate("half the number of parameters", (1.1e-3, 1.012), fontsize=8.5, color="0.35")
    low_right.set_ylim(0.9, 1.9)
    low_right.set_title("Relative variance", loc="left", fontsize=11)
    low_right.set_xlabel("step size")
    for axes in panels.flat:
        axes.grid(alpha=0.25, linewidth=0.5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:2])
