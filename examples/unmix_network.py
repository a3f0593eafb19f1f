# %% [markdown]
"""Train an unrolled unmixing network end to end: a few steps of ADMM that learn from simulated scenes to unmix others.

Run `python examples/unmix_network.py [OUT.png]`; needs the `plot` extra. The layers of `networks.ADMMNet` begin as
exact steps of the alternating direction method, whose first steps are far from the solution. Their matrices, thresholds
and rates are then trained on maps of 16 simulated scenes with fresh noise at each step, by Adam. What to see: on scenes
that it never saw, the trained network beats the untrained one of the same depth, and with one layer the untrained one
with four; the exact solver `fclsu` stays ahead of both. The second half differentiates through `fclsu` itself:
endmembers that are 10 degrees off come near the true ones by the gradient of the errors on pixels of known abundances.
"""

# %%
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax
from jax import Array

from jaxopt_thoth import unmixing
from jaxopt_thoth.unmixing import networks


matplotlib.use("Agg")
import matplotlib.pyplot as plt


MATERIALS, BANDS, NOISE = 4, 60, 0.01
DEPTHS = (1, 2, 4)
PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


# %% Scenes of the same materials: the maps differ, and so does the noise.
def draw_maps(key: Array, count: int) -> Array:
    """Abundances (pixels, p) of some simulated scenes."""
    draw = lambda k: unmixing.simulate_scene(k, num_endmembers=MATERIALS, height=24, width=24, num_bands=10).abundances
    return jnp.moveaxis(jax.lax.map(draw, jax.random.split(key, count)), 1, 2).reshape(-1, MATERIALS)


class FromScenes(eqx.Module):
    """Mean squared error of the abundances on a batch of pixels with fresh noise."""

    endmembers: Array
    maps: Array

    def __call__(self, network: networks.ADMMNet, key: Array, done: Array) -> tuple[Array, None]:
        row_key, noise_key = jax.random.split(key)
        truth = self.maps[jax.random.randint(row_key, (256,), 0, self.maps.shape[0])]
        pixels = truth @ self.endmembers.T
        pixels = pixels + NOISE * jax.random.normal(noise_key, pixels.shape)
        return jnp.mean((network(pixels) - truth) ** 2), None


def rmse(estimate: Array, truth: Array) -> float:
    return 100 * float(jnp.sqrt(jnp.mean((estimate - truth) ** 2)))


# %% Endmembers by the gradient through the exact solver.
@eqx.filter_jit
def recover(start: Array, pixels: Array, truth: Array) -> tuple[Array, Array]:
    """Endmembers after each of some steps of Adam on the errors of `fclsu` in abundances and pixels, and the loss."""
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, 300))

    def loss(endmembers: Array) -> Array:
        abundances = unmixing.fclsu(pixels, endmembers)
        return jnp.mean((abundances - truth) ** 2) + jnp.mean((pixels - endmembers @ abundances) ** 2)

    def step(carry: tuple[Array, optax.OptState], _: None) -> tuple[tuple[Array, optax.OptState], tuple[Array, Array]]:
        endmembers, state = carry
        value, gradient = jax.value_and_grad(loss)(endmembers)
        updates, state = optimizer.update(gradient, state)
        return (endmembers + updates, state), (endmembers, value)

    _, (path, losses) = jax.lax.scan(step, (start, optimizer.init(start)), length=300)
    return path, losses


def main(picture: str = "unmix_network.png") -> None:
    scene_key, train_key, test_key, noise_key, start_key = jax.random.split(jax.random.key(0), 5)
    first = unmixing.simulate_scene(scene_key, num_endmembers=MATERIALS, num_bands=BANDS, height=24, width=24)
    endmembers = first.endmembers
    maps, unseen = draw_maps(train_key, 16), draw_maps(test_key, 4)
    pixels = unseen @ endmembers.T
    pixels = pixels + NOISE * jax.random.normal(noise_key, pixels.shape)

    # %% Train a network of each depth, and compare with the same depth untrained at its best penalty.
    exact = rmse(unmixing.fclsu(pixels.T, endmembers).T, unseen)
    objective = FromScenes(endmembers, maps)
    begun, trained = [], []
    for depth in DEPTHS:
        starts = [networks.ADMMNet(endmembers, num_blocks=depth, strength=0.0, penalty=p) for p in PENALTIES]
        errors = [rmse(network(pixels), unseen) for network in starts]
        best = int(np.argmin(errors))
        run = networks.train(
            starts[best],
            objective,
            key=jax.random.fold_in(train_key, depth),
            steps=1000,
            learning_rate=optax.cosine_decay_schedule(3e-3, 1000),
        )
        begun.append(errors[best])
        trained.append(rmse(run.model(pixels), unseen))
        print(
            f"{depth} layers: abundance RMSE {begun[-1]:.2f} % untrained (penalty {PENALTIES[best]:g}), "
            f"{trained[-1]:.2f} % trained"
        )
    print(f"fclsu, to the solution: {exact:.2f} %")

    # %% Differentiate through fclsu.
    wrong = endmembers * (1 + 0.25 * jax.random.normal(start_key, (BANDS // 10, MATERIALS)).repeat(10, axis=0))
    path, losses = recover(wrong, pixels[:576].T, unseen[:576].T)
    angle = jax.jit(jax.vmap(lambda found: jnp.mean(unmixing.metrics.spectral_angle(found, endmembers))))
    angles = np.asarray(angle(path))
    print(f"endmembers by the gradient through fclsu: from {angles[0]:.1f} to {angles[-1]:.2f} degrees of the truth")

    # %% The picture.
    blue, red, ink, soft = "#0072b2", "#d55e00", "#222222", "#6b6b6b"
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.6), layout="constrained")
    left.plot(DEPTHS, begun, "o-", color=red)
    left.plot(DEPTHS, trained, "o-", color=blue)
    left.axhline(exact, color=ink, linewidth=1, dashes=(4, 3))
    left.annotate("untrained ADMM", (DEPTHS[1], begun[1]), (6, 6), textcoords="offset points", color=red)
    left.annotate("trained", (DEPTHS[1], trained[1]), (4, -16), textcoords="offset points", color=blue)
    left.annotate("exact (fclsu)", (DEPTHS[-1], exact), (0, 5), textcoords="offset points", color=ink, ha="right")
    left.set_ylim(0, None)
    left.set_xticks(DEPTHS)
    left.set_xlabel("layers")
    left.set_ylabel("abundance RMSE on unseen scenes, %")
    right.semilogy(angles, color=blue)
    right.set_xlabel("steps of Adam through fclsu")
    right.set_ylabel("mean angle of the endmembers, degrees")
    twin = right.twinx()
    twin.semilogy(np.asarray(losses), color=soft, linewidth=1)
    twin.set_ylabel("mean squared errors", color=soft)
    twin.tick_params(axis="y", colors=soft)
    for axes in (left, right):
        axes.spines["top"].set_visible(False)
    left.spines["right"].set_visible(False)
    figure.savefig(picture, dpi=150)
    print(f"the picture is {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
