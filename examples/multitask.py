"""Several regressions that share their columns: a penalty on rows of coefficients against a lasso for each task.

Twenty tasks depend on the same eight of a hundred columns, each with its own coefficients, and have few noisy rows. The
row-group penalty `sum_j |W_j|_2` decides about a column for all tasks at once. Both penalties are tuned by
cross-validation, with the rule of one standard error. In the picture, the true coefficients, those of the row-group
penalty and those of the lassos, with the norms of their columns below: the lassos scatter coefficients over columns
that are not used, and miss more than half of the true ones.

Run `python examples/multitask.py [OUT.png]`; needs the `plot` extra for the picture.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np

import jaxopt_thoth as jt
from jaxopt_thoth import erm


jax.config.update("jax_enable_x64", True)

NUM_ROWS, NUM_COLUMNS, NUM_TASKS, NUM_USED, NOISE = 60, 100, 20, 8, 2.0


def main(picture: str = "multitask.png") -> None:
    keys = jax.random.split(jax.random.key(1), 5)
    used = jnp.sort(jax.random.choice(keys[0], NUM_COLUMNS, (NUM_USED,), replace=False))
    truth = jnp.zeros((NUM_COLUMNS, NUM_TASKS)).at[used].set(jax.random.normal(keys[1], (NUM_USED, NUM_TASKS)))
    design = jax.random.normal(keys[2], (NUM_ROWS, NUM_COLUMNS))
    targets = design @ truth + NOISE * jax.random.normal(keys[3], (NUM_ROWS, NUM_TASKS))
    folds = erm.folds(keys[4], NUM_ROWS, 5)
    squared = jt.losses.Squared()

    rows = jt.penalties.GroupLasso(1.0, groups=np.arange(NUM_COLUMNS))
    joint = erm.cross_validate(erm.Problem(squared, rows, design, targets), folds, num=50, one_standard_error=True)

    # Every task has its own lasso, with its own strength: a batch of the same call.
    def single(target: jax.Array) -> jax.Array:
        lasso = erm.Problem(squared, jt.penalties.L1(1.0), design, target)
        return erm.cross_validate(lasso, folds, num=50, one_standard_error=True).coef

    alone = jax.lax.map(single, targets.T).T

    for name, coef in (("row groups", joint.coef), ("lassos", alone)):
        error = jnp.linalg.norm(coef - truth) / jnp.linalg.norm(truth)
        found = (coef != 0).any(1)
        kept, extra = int(found[used].sum()), int(found.sum() - found[used].sum())
        entries = int((coef[used] != 0).sum())
        print(
            f"{name}: relative error {error:.3f}, {kept} of {NUM_USED} columns found and {extra} too many, "
            f"{entries} of {NUM_USED * NUM_TASKS} coefficients found"
        )
    draw(picture, {"truth": truth, "row groups": joint.coef, "a lasso for each task": alone}, np.asarray(used))


def draw(picture: str, coefs: dict[str, jax.Array], used: np.ndarray) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        2, 3, figsize=(13, 4.5), layout="constrained", sharex=True, height_ratios=(3, 1), sharey="row"
    )
    for (name, coef), (above, below) in zip(coefs.items(), axes.T, strict=True):
        shown = above.imshow(np.asarray(coef).T, cmap="RdBu_r", vmin=-2, vmax=2, aspect="auto", interpolation="nearest")
        above.set_title(name, loc="left", fontsize=10)
        norms = np.linalg.norm(np.asarray(coef), axis=1)
        colors = np.where(np.isin(np.arange(norms.size), used), "#0072b2", "#d55e00")
        below.bar(np.arange(norms.size), norms, color=colors, width=1.0)
        below.set_xlabel("column")
        below.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_yticks([0, 5, 10, 15])
    axes[0, 0].set_ylabel("task")
    axes[1, 0].set_ylabel("norm")
    figure.colorbar(shown, ax=axes[0], label="coefficient", fraction=0.03)
    axes[1, 0].set_title("norms of the columns; blue: used by the tasks, orange: not", loc="left", fontsize=8)
    figure.savefig(picture, dpi=120)
    print(f"the picture is {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
