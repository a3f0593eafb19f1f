"""Data hyper-cleaning: half of the labels of the digits are wrong, and one learned weight a row finds out which.

The inner problem is a weighted multinomial regression, the outer one its loss on a few hundred rows with right labels;
each of 800 rows has a weight `sigmoid(t_i)`, and HOAG follows the hypergradient with Adam. What to see: the weights of
clean and of corrupted rows part within ten outer steps, and the test accuracy climbs from .88 to that of training on
the clean rows alone. Run `python examples/hyper_cleaning.py [OUT.png]`; needs scikit-learn and the `plot` extra.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxopt_thoth as jt


jax.config.update("jax_enable_x64", True)

NUM_TRAIN, NUM_VALID, NUM_OUTER = 800, 400, 100


def load() -> tuple[tuple, tuple, tuple, np.ndarray, np.ndarray]:
    """Training rows with corrupted labels, validation and test rows, which labels are wrong, and the right ones."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise SystemExit("this example reads the digits of scikit-learn: pip install scikit-learn") from error
    rng = np.random.default_rng(0)
    images, labels = load_digits(return_X_y=True)
    x = np.hstack([images / 16, np.ones((len(images), 1))])
    order = rng.permutation(len(x))
    x, labels = x[order], labels[order]
    clean = labels[:NUM_TRAIN]
    hit = rng.uniform(size=NUM_TRAIN) < 0.5
    noisy = np.where(hit, (clean + rng.integers(1, 10, NUM_TRAIN)) % 10, clean)
    stop = NUM_TRAIN + NUM_VALID
    train = jnp.asarray(x[:NUM_TRAIN]), jnp.asarray(noisy)
    return train, (x[NUM_TRAIN:stop], labels[NUM_TRAIN:stop]), (x[stop:], labels[stop:]), hit, clean


def losses(w: jax.Array, x: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.losses.softmax_cross_entropy_with_integer_labels(x @ w, labels)


def inner(w: jax.Array, t: jax.Array, x: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.mean(jax.nn.sigmoid(t) * losses(w, x, labels)) + 0.005 * jnp.sum(w**2)


def outer(w: jax.Array, t: jax.Array, x: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.mean(losses(w, x, labels))


def area_under_curve(score: np.ndarray, positive: np.ndarray) -> float:
    """Probability that a positive row has a larger score than another."""
    ranks = np.empty(len(score))
    ranks[np.argsort(score)] = np.arange(1, len(score) + 1)
    count = positive.sum()
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(score) - count)))


def main(picture: str = "hyper_cleaning.png") -> None:
    train, valid, test, hit, clean = load()
    problem = jt.bilevel.Bilevel(outer, inner, inner_data=train, outer_data=valid)
    solver = jt.bilevel.HOAG(optax.adam(0.3), jt.ProximalGradient(max_steps=500))
    accuracy = lambda w: jnp.mean(jnp.argmax(test[0] @ w, axis=1) == test[1])

    # The life cycle by hand, to look at every outer step: `jt.solve(problem, solver, start)` does the same.
    @jax.jit
    def run():
        start = problem.check((jnp.zeros(NUM_TRAIN), jnp.zeros((65, 10))))

        def step(carry, _):
            point, state = solver.step(problem, *carry)
            return (point, state), (point.hyper, state.found.value, accuracy(point.params), state.inner_steps)

        first = solver.init(problem, start)
        return first.found.value, jax.lax.scan(step, (start, first), None, length=NUM_OUTER)

    first, ((_, state), (weights, values, accuracies, inner_steps)) = run()
    weights = np.asarray(jax.nn.sigmoid(weights))
    print(f"{hit.mean():.3f} of the labels are wrong; validation loss with all weights one half {float(first):.4f}")
    for k in (0, 9, NUM_OUTER - 1):
        curve = area_under_curve(weights[k], ~hit)
        print(
            f"after {k + 1:3d} outer and {int(inner_steps[k]):5d} inner steps: validation loss {float(values[k]):.4f}, "
            f"test accuracy {float(accuracies[k]):.4f}, area under the curve {curve:.4f}"
        )
    last = weights[-1]
    print(f"mean weight of clean rows {last[~hit].mean():.3f}, of corrupted rows {last[hit].mean():.3f}")

    def alone(t: jax.Array) -> jax.Array:
        term = jt.FunctionTerm(inner, t, *train)
        return accuracy(jt.solve(jt.Composite(term), jt.ProximalGradient(tol=1e-6), jnp.zeros((65, 10))).params)

    oracle = float(alone(jnp.where(jnp.asarray(hit), -30.0, 30.0)))
    print(f"test accuracy with the clean rows alone {oracle:.4f}; inner solves converged: {state.inner_converged}")
    draw(picture, train, weights, np.asarray(accuracies), oracle, hit, clean)
    print(f"wrote {picture}")


def draw(picture, train, weights, accuracies, oracle, hit, clean) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(11, 5.6), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=[1.25, 1])
    steps = np.arange(1, len(accuracies) + 1)
    axis = figure.add_subplot(grid[0, 0])
    axis.plot(steps, accuracies, color="tab:blue")
    axis.axhline(oracle, color="black", linestyle="--", linewidth=1)
    axis.annotate("clean rows alone", (steps[-1], oracle), ha="right", va="bottom", fontsize=9)
    axis.set(xlabel="outer steps", ylabel="test accuracy", xscale="log", title="Accuracy as the weights are learned")
    axis = figure.add_subplot(grid[0, 1])
    bins = np.linspace(0, 1, 41)
    axis.hist(weights[-1][~hit], bins, alpha=0.8, label="right label", color="tab:blue")
    axis.hist(weights[-1][hit], bins, alpha=0.8, label="wrong label", color="tab:orange")
    axis.set(xlabel="weight", ylabel="rows", yscale="log", title="Learned weights")
    axis.legend()
    row = figure.add_subplot(grid[1, :])
    lowest = np.argsort(weights[-1])[:12]
    images = [np.asarray(train[0][i, :64]).reshape(8, 8) for i in lowest]
    row.imshow(np.hstack([np.pad(image, 1, constant_values=1) for image in images]), cmap="gray_r")
    right = sum(bool(hit[i]) for i in lowest)
    row.set_title(f"The twelve rows of least weight, {right} of them corrupted: given label, true label below")
    row.set_xticks(10 * np.arange(12) + 4.5, [f"{int(train[1][i])}\n({clean[i]})" for i in lowest])
    row.set_yticks([])
    figure.savefig(picture, dpi=120)


if __name__ == "__main__":
    main(*sys.argv[1:])
