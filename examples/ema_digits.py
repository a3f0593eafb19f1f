"""Averages of weights against stochastic gradient descent, on handwritten digits of which some have wrong labels.

Run `python examples/ema_digits.py [OUT.png]`; needs the `plot` extra and scikit-learn. A small network is trained on
1200 digits by SGD, with eight step sizes, constant or decaying, with and without wrong labels, from three seeds: 96
trainings in one vmapped call, and each keeps exponential averages of its weights with five decays at once, by
`with_ema`.

What to see, with 30 per cent of the labels replaced by wrong ones: at large constant steps SGD (red) jumps about and
learns wrong labels by heart. The averages of the same runs (blue) do what decaying steps would (green), but at any
time: in the first third of the training they are the best of all, and from there the longest of them hardly overfits.
So accuracy depends far less on the step size, and predictions agree more between seeds. What averages cannot do: at
steps so small that weights still drift a long average lags behind them (on the left), with all labels right there is
little noise to average away, and confidence, which wrong labels make too low, is lower still (the printed
calibration error: shown for what it costs).
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from sklearn.datasets import load_digits

from jaxopt_thoth import gradients


EPOCHS, BATCH, TRAIN, SEEDS, WIDTH = 48, 30, 1200, 3, 64
STEPS = TRAIN // BATCH
EVALUATIONS, WRONG = 16, (0.0, 0.3)
RATES = jnp.geomspace(0.01, 1.28, 8)
DECAYS = jnp.array([0.9, 0.97, 0.99, 0.997, 0.999])


def data() -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images, labels = jnp.asarray(digits.data[order] / 16, jnp.float32), jnp.asarray(digits.target[order])
    return (images[:TRAIN], labels[:TRAIN]), (images[TRAIN:], labels[TRAIN:])


def initial(key: Array) -> list[tuple[Array, Array]]:
    sizes = (64, WIDTH, 10)
    keys = jax.random.split(key, 2)
    return [(jax.random.normal(k, (m, n)) * jnp.sqrt(2 / m), jnp.zeros(n)) for k, m, n in zip(keys, sizes, sizes[1:])]


def logits(params: list[tuple[Array, Array]], images: Array) -> Array:
    (first, shift), (second, bias) = params
    return jax.nn.relu(images @ first + shift) @ second + bias


def loss(params: list[tuple[Array, Array]], images: Array, labels: Array) -> Array:
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits(params, images), labels).mean()


def train(rate: Array, decaying: Array, wrong: Array, key: Array, known: tuple, unseen: tuple) -> Array:
    """Logits on unseen digits of the weights and of their averages, (evaluations, 1 + decays, digits, 10)."""
    start_key, flip_key, label_key, batch_key = jax.random.split(key, 4)
    images, labels = known
    flipped = jax.random.uniform(flip_key, labels.shape) < wrong
    labels = jnp.where(flipped, (labels + jax.random.randint(label_key, labels.shape, 1, 10)) % 10, labels)
    total = EPOCHS * STEPS
    schedule = lambda step: rate * jnp.where(decaying, 0.5 + 0.5 * jnp.cos(jnp.pi * step / total), 1.0)
    optimizer = gradients.with_ema(optax.sgd(schedule), DECAYS)

    def step(carry, key):
        params, state = carry
        rows = jax.random.randint(key, (BATCH,), 0, TRAIN)
        updates, state = optimizer.update(jax.grad(loss)(params, images[rows], labels[rows]), state, params)
        return (optax.apply_updates(params, updates), state), None

    def stretch(carry, keys):
        (params, state), _ = jax.lax.scan(step, carry, keys)
        everyone = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), params, gradients.ema_params(state))
        return (params, state), jax.vmap(logits, (0, None))(everyone, unseen[0])

    keys = jax.random.split(batch_key, (EVALUATIONS, total // EVALUATIONS))
    params = initial(start_key)
    return jax.lax.scan(stretch, (params, optimizer.init(params)), keys)[1]


def accuracy(scores: Array, labels: Array) -> Array:
    return jnp.mean(jnp.argmax(scores, -1) == labels, -1)


def calibration_error(scores: Array, labels: Array, bins: int = 15) -> Array:
    """Mean distance of confidence and accuracy, over bins of confidence."""
    confidence = jax.nn.softmax(scores).max(-1)
    surplus = confidence - (jnp.argmax(scores, -1) == labels)
    place = jnp.clip((confidence * bins).astype(int), 0, bins - 1)
    return jnp.abs(jnp.einsum("...n,...nb->...b", surplus, jax.nn.one_hot(place, bins))).sum(-1) / labels.size


def consistency(scores: Array) -> Array:
    """Share of predictions that agree between two seeds, which are the axis -3."""
    predicted = jnp.argmax(scores, -1)
    pairs = [(i, j) for i in range(SEEDS) for j in range(i)]
    return jnp.mean(jnp.stack([jnp.mean(predicted[..., i, :] == predicted[..., j, :], -1) for i, j in pairs]), 0)


def run() -> tuple[Array, Array]:
    """Logits (wrong labels, schedules, rates, seeds, evaluations, variants, digits, 10), and the labels."""
    known, unseen = data()
    fn = train
    for axes in ((None, None, None, 0), (0, None, None, None), (None, 0, None, None), (None, None, 0, None)):
        fn = jax.vmap(fn, (*axes, None, None))
    keys = jax.random.split(jax.random.key(0), SEEDS)
    scores = jax.jit(fn)(RATES, jnp.array([False, True]), jnp.array(WRONG), keys, known, unseen)
    return scores, unseen[1]


def main(picture: str = "ema_digits.png") -> None:
    scores, labels = run()
    path = accuracy(scores, labels).mean(3)
    last = scores[..., -1, :, :, :]
    table = {
        "accuracy": path[..., -1, :],
        "consistency": consistency(jnp.moveaxis(last, 3, -3)),
        "calibration error": calibration_error(last, labels).mean(3),
    }
    names = ["SGD", *(f"EMA {decay:g}" for decay in np.asarray(DECAYS).round(4))]
    for w, wrong in enumerate(WRONG):
        print(f"{wrong:.0%} of the labels replaced, constant steps (and SGD with decaying ones):")
        for name, values in table.items():
            print(f"  {name}\n    step size  " + "".join(f"{float(rate):8.3f}" for rate in RATES))
            for v, variant in enumerate(names):
                print(f"    {variant:10s} " + "".join(f"{float(x):8.3f}" for x in values[w, 0, :, v]))
            print(f"    {'decaying':10s} " + "".join(f"{float(x):8.3f}" for x in values[w, 1, :, 0]))
    draw(path, table, names).savefig(picture, dpi=110)
    print(f"the picture is {picture}")


def draw(path: Array, table: dict[str, Array], names: list[str]):
    from matplotlib.figure import Figure

    blues = ["#abcfe8", "#7fb6dc", "#4a97c9", "#2171b5", "#08306b"]
    styles = [("SGD", "#d55e00", 1.8), *zip(names[1:], blues, [1.6] * 5)]
    figure = Figure(figsize=(10.5, 6.6), facecolor="white")
    axes = figure.subplots(2, 2)
    figure.subplots_adjust(left=0.07, right=0.86, top=0.94, bottom=0.08, hspace=0.38, wspace=0.22)
    rate = int(jnp.argmin(jnp.abs(RATES - 0.32)))
    epochs = jnp.arange(1, EVALUATIONS + 1) * EPOCHS / EVALUATIONS
    panels = [
        (axes[0, 0], f"30 % wrong labels: accuracy, step size {float(RATES[rate]):.2f}", epochs, path[1, :, rate]),
        (axes[0, 1], "30 % wrong labels: accuracy at the end", RATES, table["accuracy"][1]),
        (axes[1, 0], "30 % wrong labels: agreement between seeds", RATES, table["consistency"][1]),
        (axes[1, 1], "All labels right: accuracy at the end", RATES, table["accuracy"][0]),
    ]
    for ax, title, x, values in panels:
        for v, (name, color, width) in enumerate(styles):
            ax.plot(x, values[0, :, v], color=color, linewidth=width, label=name)
        ax.plot(x, values[1, :, 0], color="#009e73", linewidth=1.8, linestyle=(0, (4, 1.5)), label="SGD, decaying")
        if x is RATES:
            ax.set_xscale("log")
        ax.set_xlabel("step size" if x is RATES else "epochs", fontsize=9)
        ax.set_title(title, loc="left", fontsize=11)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
    axes[0, 1].legend(fontsize=8.5, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:2])
