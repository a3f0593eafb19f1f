"""MAID on a quadratic problem: the published line search beside the adjoint-corrected one, and both error bounds.

The outer and the inner designs are 1000 x 10, uniform on (0, 1), so that minima and hypergradients have a closed form.
From four first accuracies, each method takes 10 000 outer steps; inner gradients (failed trials included) and steps of
conjugate gradient are counted after 200, 2000 and all of them, and each certificate is held against the closed form.
Half a minute: `python benchmarks/maid.py`.
"""

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from _record import keep

from jaxopt_thoth.bilevel import Bilevel, ErrorBound, MAID


jax.config.update("jax_enable_x64", True)
NUM_ROWS, NUM_FEATURES, NUM_STEPS, AFTER = 1000, 10, 10_000, (200, 2000, 10_000)
ACCURACIES = (10.0, 1e-1, 1e-3, 1e-5)
METHODS = {
    "published": ("interval", "product"),
    "published, operator bound": ("interval", "operator"),
    "corrected, product bound": ("corrected", "product"),
    "corrected": ("corrected", "operator"),
}
EXPAND, ETA, ARMIJO = 10 / 9, 0.5, 0.5


def in_few_rows(targets: np.ndarray, *designs: np.ndarray) -> tuple[jax.Array, ...]:
    """The same sum of squares from as many rows as there are columns, and the constant that is left."""
    q, r = np.linalg.qr(np.column_stack(designs))
    rest = targets @ targets - np.sum((q.T @ targets) ** 2)
    return tuple(map(jnp.asarray, (*np.split(r, len(designs), axis=1), q.T @ targets, rest)))


class Quadratic:
    """|A1 w - b1|^2 / 2 over w minimizing |A2 w + A3 h - b2|^2 / 2."""

    def __init__(self, seed: int = 29):
        rng = np.random.default_rng(seed)
        a1, a2, a3 = (rng.uniform(size=(NUM_ROWS, NUM_FEATURES)) for _ in range(3))
        x1, x2, hyper = (rng.uniform(size=NUM_FEATURES) for _ in range(3))
        noise1, noise2 = (rng.standard_normal(NUM_ROWS) for _ in range(2))
        b1, b2 = a1 @ x1 + 0.01 * noise1, a2 @ x2 + a3 @ hyper + 0.01 * noise2
        inverse = np.linalg.inv(a2.T @ a2)
        self.offset, self.slope = inverse @ a2.T @ b2, -inverse @ a2.T @ a3
        self.design, self.targets = a1, b1
        self.strong_convexity = np.linalg.eigvalsh(a2.T @ a2)[0]
        self.outer_lipschitz = np.linalg.eigvalsh(a1.T @ a1)[-1]
        self.cross_norm = np.linalg.norm(a2.T @ a3, 2)
        best = np.linalg.lstsq(a1 @ self.slope, b1 - a1 @ self.offset)[0]
        self.least = float(self.value(best[None])[0])
        self.problem = Bilevel(
            lambda w, h, a, b, rest: (jnp.sum((a @ w - b) ** 2) + rest) / 2,
            lambda w, h, a, c, b: jnp.sum((a @ w + c @ h - b) ** 2) / 2,
            outer_data=in_few_rows(b1, a1),
            inner_data=in_few_rows(b2, a2, a3)[:-1],
        )

    def residuals(self, hypers: np.ndarray) -> np.ndarray:
        return (self.offset + hypers @ self.slope.T) @ self.design.T - self.targets

    def value(self, hypers: np.ndarray) -> np.ndarray:
        return np.sum(self.residuals(hypers) ** 2, axis=1) / 2

    def gradient(self, hypers: np.ndarray) -> np.ndarray:
        return self.residuals(hypers) @ self.design @ self.slope

    def bound(self, form: Any) -> ErrorBound:
        norm = self.cross_norm if form == "product" else None
        return ErrorBound(self.strong_convexity, self.outer_lipschitz, cross_norm=norm, form=form)


@eqx.filter_jit
def run(problem: Bilevel, bound: ErrorBound, eps: jax.Array, *, value: Any, num_steps: int) -> Any:
    solver = MAID(
        bound, eps=eps, delta=eps, value=value, convex=True, relax=1.25, expand=EXPAND, eta=ETA, armijo=ARMIJO
    )
    point = problem.check((jnp.ones(NUM_FEATURES), jnp.zeros(NUM_FEATURES)))

    def step(carry: Any, _: None) -> tuple[Any, Any]:
        point, state = solver.step(problem, *carry)
        kept = (state.gradient, state.bound, state.lower, state.upper, state.step_size, state.eps)
        return (point, state), (point.hyper, *kept, state.num_inner, state.num_products)

    return jax.lax.scan(step, (point, solver.init(problem, point)), length=num_steps)[1]


def count_violations(quadratic: Quadratic, hypers: np.ndarray, *kept: np.ndarray) -> tuple[dict[str, int], float]:
    """Broken certificates by kind, and the median of bound over error."""
    gradients, bounds, lower, upper, step_sizes = kept
    values = quadratic.value(hypers)
    errors = np.linalg.norm(gradients - quadratic.gradient(hypers), axis=1)
    starts = np.vstack([np.ones((1, NUM_FEATURES)), hypers])
    lengths = np.sum(np.diff(starts, axis=0) ** 2, axis=1)
    decreases = -np.diff(quadratic.value(starts))
    found = {
        "bound": int(np.sum(errors > bounds)),
        "bracket": int(np.sum((values < lower) | (values > upper))),
        "decrease": int(np.sum(decreases < ETA * ARMIJO * lengths * EXPAND / step_sizes)),
        "no move": int(np.sum(lengths == 0)),
    }
    return found, float(np.median(bounds / errors))


def main() -> None:
    quadratic = Quadratic()
    rows, violations, checked = [], 0, 0
    for (name, (value, form)), eps in itertools.product(METHODS.items(), ACCURACIES):
        record = run(quadratic.problem, quadratic.bound(form), jnp.asarray(eps), value=value, num_steps=NUM_STEPS)
        hypers, *certificates, accuracies, num_inner, num_products = map(np.asarray, record)
        broken, looseness = count_violations(quadratic, hypers, *certificates)
        violations += sum(broken.values())
        checked += len(hypers)
        for steps in AFTER:
            at = steps - 1
            rows.append(
                {
                    "method": name,
                    "first eps": eps,
                    "steps": steps,
                    "inner gradients": int(num_inner[at]),
                    "CG steps": int(num_products[at]),
                    "excess": float(quadratic.value(hypers[at : at + 1])[0] - quadratic.least),
                    "eps": float(np.exp(np.mean(np.log(accuracies[at - 49 : at + 1])))),
                    "bound / error": looseness,
                    "violations": sum(broken.values()),
                }
            )
            print(rows[-1], flush=True)
    summary: dict[str, Any] = {"violated certificates": violations, "outer steps checked": checked}
    for steps in AFTER:
        of = {
            name: {r["first eps"]: r for r in rows if r["method"] == name and r["steps"] == steps} for name in METHODS
        }
        ratios = [
            of["published"][eps]["inner gradients"] / of["corrected"][eps]["inner gradients"] for eps in ACCURACIES
        ]
        summary[f"inner gradients after {steps} steps, published over corrected, least"] = min(ratios)
        summary[f"the same after {steps} steps at a first eps of {ACCURACIES[1]}"] = ratios[1]
        final = [row["eps"] for row in of["corrected"].values()]
        summary[f"eps after {steps} steps (corrected), largest over smallest of the four starts"] = max(final) / min(
            final
        )
    columns = [
        "method",
        "first eps",
        "steps",
        "inner gradients",
        "CG steps",
        "excess",
        "eps",
        "bound / error",
        "violations",
    ]
    keep("maid", "MAID on a quadratic problem (designs 1000 x 10)", rows, columns, summary)


if __name__ == "__main__":
    main()
