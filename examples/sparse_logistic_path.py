"""A sparse logistic regression: its path, its cross-validation, and the strength that gradient descent finds.

Credits, good or bad, are told apart by 24 figures and all their products (`german_scale` of the LIBSVM collection below
`$JAXOPT_THOTH_DATA/erm`; without it, the breast cancer data of scikit-learn). One compiled call fits a hundred
strengths in each of five folds. Left: the coefficients of the path, which leave zero one after the other. Middle: the
loss on held-out rows, its standard error, the best strength and the largest one within an error of it. Right: the loss
on a test set along the path, and the way of gradient descent on the logarithm of the strength, by the exact derivative
of the fit; it ends in the valley.

Run `python examples/sparse_logistic_path.py [OUT.png]`; needs scikit-learn, and the `plot` extra for the picture.
"""

import os
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxopt_thoth as jt
from jaxopt_thoth import erm


jax.config.update("jax_enable_x64", True)


def load() -> tuple[np.ndarray, np.ndarray, str]:
    """Features with all their products, and signs."""
    from sklearn.datasets import load_breast_cancer, load_svmlight_file

    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    file = Path(os.environ.get("JAXOPT_THOTH_DATA", beside)) / "erm" / "german_scale"
    if file.exists():
        features, labels = load_svmlight_file(str(file))
        features, name = features.toarray(), "german credit"
    else:
        features, labels = load_breast_cancer(return_X_y=True)
        labels, name = 2 * labels - 1, "breast cancer"
    features = (features - features.mean(0)) / features.std(0)
    first, second = np.triu_indices(features.shape[1], 1)
    features = np.hstack([features, features[:, first] * features[:, second]])
    features = features[:, features.std(0) > 0]
    return (features - features.mean(0)) / features.std(0), labels.astype(float), name


def main(picture: str = "sparse_logistic_path.png") -> None:
    features, signs, name = load()
    order = np.random.default_rng(1).permutation(len(signs))
    held, kept = order[: len(order) * 3 // 10], order[len(order) * 3 // 10 :]
    problem = erm.Problem(jt.losses.Logistic(), jt.penalties.L1(1.0), features[kept], signs[kept], fit_intercept=True)
    print(f"{name}: {len(kept)} rows, {features.shape[1]} columns, {len(held)} rows for the test")

    folds = erm.folds(jax.random.key(0), len(kept), 5, stratify=signs[kept])
    for _ in range(2):
        begin = time.perf_counter()
        found = jax.block_until_ready(erm.cross_validate(problem, folds, ratio=2e-2))
        seconds = time.perf_counter() - begin
    fits = found.losses.size
    print(f"{fits} fits in {seconds:.2f} s, largest relative gap {jnp.max(found.folds.gap / found.folds.primal):.0e}")
    path = erm.path(problem, found.strengths)
    best, sparse = int(found.best), int(found.best_one_standard_error)
    for label, place in (("best", best), ("one standard error", sparse)):
        count = int(jnp.sum(path.coef[place] != 0))
        print(f"{label}: strength {found.strengths[place]:.4f}, loss {found.mean[place]:.4f}, {count} columns")

    test_loss = lambda fit: erm.criterion.held_out_loss(problem, fit, features[held], signs[held])

    @jax.jit
    @jax.value_and_grad
    def objective(log_strength: jax.Array) -> jax.Array:
        here = erm.Problem(
            problem.loss, jt.penalties.L1(jnp.exp(log_strength)), problem.design, problem.targets, fit_intercept=True
        )
        return test_loss(erm.fit(here, "cd", tol=1e-6))

    visited, log_strength, rate = [], jnp.log(found.strengths[25]), 10.0
    for _ in range(25):
        loss, slope = objective(log_strength)
        if visited and loss > visited[-1][1]:
            rate /= 2
        visited.append((float(jnp.exp(log_strength)), float(loss)))
        log_strength = log_strength - jnp.clip(rate * slope, -0.5, 0.5)
    print(f"gradient descent: strength {visited[-1][0]:.4f}, test loss {visited[-1][1]:.4f}")
    along = jax.vmap(lambda coef, intercept: test_loss((coef, intercept)))(path.coef, path.intercept)
    print(f"best of the path: strength {path.strengths[jnp.argmin(along)]:.4f}, test loss {jnp.min(along):.4f}")
    draw(picture, path, found, along, visited)


def draw(picture: str, path: erm.Path, found: erm.CrossValidation, along: jax.Array, visited: list) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    strengths = np.asarray(path.strengths)
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    ever = np.asarray((path.coef != 0).any(0))
    largest = np.argsort(-np.abs(np.asarray(path.coef[-1])))
    for column in largest[ever[largest]][::-1]:
        ahead = column in largest[:8]
        left.plot(strengths, path.coef[:, column], color=None if ahead else "#cccccc", lw=1.5 if ahead else 0.6)
    left.set_title(f"coefficients, {ever.sum()} of {ever.size} ever in use", loc="left", fontsize=10)
    mean, error = np.asarray(found.mean), np.asarray(found.standard_error)
    middle.fill_between(strengths, mean - error, mean + error, color="#0072b2", alpha=0.2, lw=0)
    middle.plot(strengths, mean, color="#0072b2")
    for place, label in ((int(found.best), "best"), (int(found.best_one_standard_error), "one standard error")):
        middle.plot(strengths[place], mean[place], "o", color="#d55e00" if label == "best" else "#009e73", label=label)
        left.axvline(strengths[place], color="#d55e00" if label == "best" else "#009e73", lw=0.8, ls="--")
    middle.set_title("loss on rows held out, mean of five folds", loc="left", fontsize=10)
    middle.legend(frameon=False)
    right.plot(strengths, along, color="#0072b2", label="along the path")
    right.plot(*zip(*visited, strict=True), ".-", color="#d55e00", lw=0.8, label="gradient descent")
    right.plot(*visited[-1], "*", ms=14, color="#d55e00")
    right.set_title("loss on the test set", loc="left", fontsize=10)
    right.legend(frameon=False)
    for axes in (left, middle, right):
        axes.set_xscale("log")
        axes.invert_xaxis()
        axes.set_xlabel("strength, from strong to weak")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(picture, dpi=120)
    print(f"the picture is {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
