"""Private training of a small network on handwritten digits, and an audit of what the runs gave away.

Run `python examples/private_digits.py [OUT.png]`; needs scikit-learn and the `plot` extra. A plan finds the noise for
epsilon 1, 3 and 8 at delta 1e-5, draws the batches and accounts for the run. Each run trains with a thousand canaries
in its data, a fair coin deciding on each whether it takes part: a canary pushes a coordinate of its own as hard as
clipping allows, and whoever sees all that is released guesses from the coordinate whether it was there. Better guesses
prove a larger epsilon; none may prove more than the plan promised.
"""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from sklearn.datasets import load_digits

import jaxopt_thoth as jt


EPSILONS, DELTA, SEEDS = (1.0, 3.0, 8.0), 1e-5, 5
TRAIN, CANARIES, GUESSES = 1437, 1000, 300
SETTINGS = {
    "num_examples": TRAIN + CANARIES,
    "steps": 60,
    "sampling_rate": 0.5,
    "clipping": jt.gradients.NormalizedClip(1.0),
}
# Okabe and Ito's blue and vermilion: told apart by every common kind of color vision.
COLORS = ("#0072b2", "#d55e00")


class Watched(eqx.Module):
    """A network, and a coordinate for each canary."""

    network: eqx.nn.MLP
    canaries: Array


def loss(model: Watched, example: tuple[Array, ...]) -> Array:
    """Cross-entropy of an image; of a canary that takes part, its coordinate."""
    image, label, place, takes_part = example
    entropy = optax.softmax_cross_entropy_with_integer_labels(model.network(image), label)
    return jnp.where(place < 0, entropy, takes_part * model.canaries[place])


def make_optimizer() -> optax.GradientTransformation:
    # The canaries' coordinates add up what is released on them.
    rules = {"network": optax.adam(0.05), "canaries": optax.sgd(1.0)}
    labels = lambda model: Watched(jax.tree.map(lambda _: "network", model.network), "canaries")
    return optax.partition(rules, labels)


def make_data() -> tuple[Array, Array, Array, Array]:
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = images[order].astype(np.float32) / 16, labels[order].astype(np.int32)
    return tuple(map(jnp.asarray, (images[:TRAIN], labels[:TRAIN], images[TRAIN:], labels[TRAIN:])))


def main(picture: str = "private_digits.png") -> None:
    images, labels, test_images, test_labels = make_data()
    pad = lambda a: jnp.concatenate([a, jnp.zeros((CANARIES, *a.shape[1:]), a.dtype)])
    places = jnp.concatenate([jnp.full(TRAIN, -1), jnp.arange(CANARIES)])

    @eqx.filter_jit
    def train(plan: jt.privacy.Plan, key: Array):
        start_key, coin_key, run_key = jax.random.split(key, 3)
        coins = jax.random.bernoulli(coin_key, 0.5, (CANARIES,))
        takes_part = jnp.concatenate([jnp.ones(TRAIN), coins.astype(float)])
        model = Watched(eqx.nn.MLP(64, 10, 32, 1, key=start_key), jnp.zeros(CANARIES))
        method = jt.privacy.DPSGD(loss, plan, make_optimizer(), engine="ghost")
        model, state = method.run(model, (pad(images), pad(labels), places, takes_part), run_key)
        right = jnp.argmax(jax.vmap(model.network)(test_images), axis=1) == test_labels
        return jnp.mean(right), state, coins, -model.canaries

    keys = jax.random.split(jax.random.key(0), SEEDS)
    rows = {}
    for epsilon in (*EPSILONS, np.inf):
        plan = (
            jt.privacy.Plan.for_budget(epsilon, DELTA, **SETTINGS)
            if np.isfinite(epsilon)
            else jt.privacy.Plan(0.0, **SETTINGS)
        )
        accuracies, bounds = [], []
        for key in keys:
            accuracy, state, coins, scores = train(plan, key)
            # Refused if the run had not kept to the plan.
            assert plan.epsilon(DELTA, state) <= epsilon
            accuracies.append(100 * float(accuracy))
            bounds.append(audit(np.asarray(scores), np.asarray(coins)))
        rows[epsilon] = float(plan.noise_multiplier), np.array(accuracies), np.array(bounds)
        if max(bounds) > epsilon:
            raise AssertionError(f"an audit proved epsilon {max(bounds):.2f}, more than the {epsilon} of the plan")
    print("| epsilon | noise multiplier | test accuracy | audit: epsilon at least, median |\n|---|---|---|---|")
    for epsilon, (noise, accuracies, bounds) in rows.items():
        name = f"{epsilon:g}" if np.isfinite(epsilon) else "none"
        print(
            f"| {name} | {noise:.2f} | {accuracies.mean():.1f} % (sd {accuracies.std(ddof=1):.1f}) "
            f"| {np.median(bounds):.2f} (largest {bounds.max():.2f}) |"
        )
    draw(rows).savefig(picture, dpi=110)
    print(f"the picture is {picture}")


def audit(scores: np.ndarray, coins: np.ndarray) -> float:
    """Lower bound on epsilon, of 95 % confidence, from guesses on the most and the least pushed canaries."""
    order = np.argsort(scores)
    out, taken = order[: GUESSES // 2], order[-(GUESSES // 2) :]
    correct = int(np.sum(~coins[out]) + np.sum(coins[taken]))
    return float(jt.privacy.one_run_audit(correct, GUESSES, CANARIES, DELTA))


def draw(rows: dict):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.9), facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2)
    places = np.arange(len(EPSILONS))
    for place, epsilon in zip(places, EPSILONS):
        accuracies = rows[epsilon][1]
        left.plot(np.full(SEEDS, place), accuracies, "o", color=COLORS[0], markersize=5, alpha=0.6)
        left.plot(place, accuracies.mean(), "_", color=COLORS[0], markersize=34, markeredgewidth=2)
        left.annotate(
            f"{accuracies.mean():.1f} %", (place + 0.2, accuracies.mean()), va="center", fontsize=10, color="0.2"
        )
    free = rows[np.inf][1].mean()
    left.axhline(free, color="0.4", linewidth=1.2, linestyle=(0, (4, 2)))
    left.annotate(f"without noise, {free:.1f} %", (-0.4, free), xytext=(0, 5), textcoords="offset points", fontsize=9)
    left.set_xlim(-0.45, len(EPSILONS) - 0.4)
    left.set_ylim(top=100)
    left.set_title("Test accuracy, five runs", loc="left", fontsize=11)
    left.set_ylabel("per cent")
    right.bar(places, EPSILONS, width=0.55, color="0.88", label="promised by the plan")
    for place, epsilon in zip(places, EPSILONS):
        bounds = rows[epsilon][2]
        label = "proved by the audit of a run" if place == 0 else None
        spread = place + np.linspace(-0.15, 0.15, SEEDS)
        right.plot(spread, bounds, "D", color=COLORS[1], markersize=5, label=label)
    right.legend(fontsize=9, frameon=False, loc="upper left")
    right.set_title("Epsilon", loc="left", fontsize=11)
    for axes in (left, right):
        axes.set_xticks(places, [f"epsilon {epsilon:g}" for epsilon in EPSILONS])
        axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:])
