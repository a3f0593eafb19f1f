"""Value and gradient of a validation loss along a lasso path: this library beside jaxopt and optimistix.

100 strengths, X 200 x 300 in float64. Every method returns, for each strength, the validation loss of the solution and
its derivative in the strength; errors are those against the closed form on the exact support. Run it alone on a quiet
machine: `python benchmarks/lasso_path.py` (needs the `bench` extra).
"""

import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _record import keep, measure

import jaxopt_thoth as jt


jax.config.update("jax_enable_x64", True)
LIBRARIES = ("ours", "jaxopt", "optimistix")
NUM_ROWS, NUM_FEATURES, NUM_VALIDATION, NUM_STRENGTHS, NUM_NONZERO = 200, 300, 200, 100, 15


def make_problem(noise: float, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    design = rng.normal(size=(NUM_ROWS, NUM_FEATURES))
    truth = np.zeros(NUM_FEATURES)
    truth[:NUM_NONZERO] = rng.normal(size=NUM_NONZERO)
    targets = design @ truth + noise * rng.normal(size=NUM_ROWS)
    validation = rng.normal(size=(NUM_VALIDATION, NUM_FEATURES))
    held_out = validation @ truth + noise * rng.normal(size=NUM_VALIDATION)
    critical = np.abs(design.T @ targets).max() / NUM_ROWS
    strengths = np.geomspace(0.95 * critical, 0.01 * critical, NUM_STRENGTHS)
    arrays = {
        "design": design,
        "targets": targets,
        "validation": validation,
        "held_out": held_out,
        "strengths": strengths,
    }
    return {name: jnp.asarray(array) for name, array in arrays.items()}


def validation_loss(data: dict[str, Any], w: jax.Array) -> jax.Array:
    return jnp.mean((data["validation"] @ w - data["held_out"]) ** 2) / 2


def closed_form(data: dict[str, Any], strength: float, w: np.ndarray) -> tuple[float, float]:
    """Loss and derivative on the support and signs of `w`, exact once these are right."""
    support = np.flatnonzero(w)
    signs = np.sign(w[support])
    columns = np.asarray(data["design"])[:, support]
    hessian = columns.T @ columns / NUM_ROWS
    exact = np.linalg.solve(hessian, columns.T @ np.asarray(data["targets"]) / NUM_ROWS - strength * signs)
    slope = -np.linalg.solve(hessian, signs)
    rows = np.asarray(data["validation"])[:, support]
    residual = rows @ exact - np.asarray(data["held_out"])
    return float(np.mean(residual**2) / 2), float(residual @ (rows @ slope) / NUM_VALIDATION)


def reference(data: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, int]:
    model = jt.LinearModel(jt.losses.Squared(), data["design"], data["targets"])
    path = jt.solve_path(
        lambda s: jt.Composite(model, jt.penalties.L1(s)),
        data["strengths"],
        jt.ProximalGradient(tol=1e-13, max_steps=100_000),
        jnp.zeros(NUM_FEATURES),
        adjoint=jt.implicit.Implicit(polish=True),
    )
    weights = np.asarray(path.params)
    # The optimality conditions certify the support: a strict margin off it, and equality on it.
    for w, strength in zip(weights, np.asarray(data["strengths"]), strict=True):
        slope = np.abs(np.asarray(model.gradient(jnp.asarray(w))))
        assert np.all(slope[w == 0] < strength * (1 - 1e-9)) and np.allclose(slope[w != 0], strength, rtol=1e-9)
    pairs = [closed_form(data, float(s), w) for s, w in zip(data["strengths"], weights, strict=True)]
    values, slopes = map(np.array, zip(*pairs, strict=True))
    return values, slopes, max(int((w != 0).sum()) for w in weights)


Method = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


def ours(data: dict[str, Any], tol: float, *, path: bool, chunk: int, gram: bool, **adjoint: Any) -> Method:
    model: Any = jt.LinearModel(jt.losses.Squared(), data["design"], data["targets"])
    smooth = model.as_quadratic() if gram else model
    drive = jt.solve_path if path else jt.solve_batched

    def losses(strengths: jax.Array) -> tuple[jax.Array, jax.Array]:
        solution = drive(
            lambda s: jt.Composite(smooth, jt.penalties.L1(s)),
            strengths,
            jt.ProximalGradient(tol=tol),
            jnp.zeros(NUM_FEATURES),
            chunk=chunk,
            adjoint=jt.implicit.Implicit(**adjoint),
        )
        values = jax.vmap(lambda w: validation_loss(data, w))(solution.params)
        return jnp.sum(values), values

    def method(strengths: jax.Array) -> tuple[jax.Array, jax.Array]:
        slopes, values = jax.grad(losses, has_aux=True)(strengths)
        return values, slopes

    return method


def over_strengths(fit: Callable[[jax.Array], jax.Array], data: dict[str, Any], batch: int | None) -> Method:
    """Value and gradient of each strength by `vmap` (batch None) or `lax.map` in batches."""
    both = jax.value_and_grad(lambda s: validation_loss(data, fit(s)))
    return jax.vmap(both) if batch is None else lambda strengths: jax.lax.map(both, strengths, batch_size=batch)


def with_jaxopt(data: dict[str, Any], tol: float, *, line_search: bool, batch: int | None) -> Method:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import jaxopt

    def objective(w: jax.Array, problem: tuple[jax.Array, jax.Array]) -> jax.Array:
        design, targets = problem
        return jnp.mean((design @ w - targets) ** 2) / 2

    step = float(NUM_ROWS / jnp.linalg.norm(data["design"], 2) ** 2)
    solver = jaxopt.ProximalGradient(
        objective, jaxopt.prox.prox_lasso, tol=tol, maxiter=5000, stepsize=0.0 if line_search else step, jit=True
    )

    def fit(strength: jax.Array) -> jax.Array:
        problem = (data["design"], data["targets"])
        return solver.run(jnp.zeros(NUM_FEATURES), hyperparams_prox=strength, problem=problem).params

    return over_strengths(fit, data, batch)


def with_optimistix(data: dict[str, Any], tol: float, *, linear_solver: Any, batch: int | None) -> Method:
    """FISTA hosted as an optimistix fixed-point solver: the map is forward-backward, momentum lives in the state."""
    import lineax as lx
    import optimistix as optx
    from _optimistix_fista import Fista

    design, targets = data["design"], data["targets"]
    step = float(NUM_ROWS / jnp.linalg.norm(design, 2) ** 2)

    def forward_backward(w: jax.Array, strength: jax.Array) -> jax.Array:
        moved = w - step * (design.T @ (design @ w - targets)) / NUM_ROWS
        return jnp.sign(moved) * jnp.maximum(jnp.abs(moved) - step * strength, 0)

    solvers = {
        "default (LU)": optx.ImplicitAdjoint(),
        "Normal(CG)": optx.ImplicitAdjoint(linear_solver=lx.Normal(lx.CG(rtol=1e-10, atol=1e-10))),
    }

    def fit(strength: jax.Array) -> jax.Array:
        return optx.fixed_point(
            forward_backward,
            Fista(rtol=tol, atol=tol, step_size=step),
            jnp.zeros(NUM_FEATURES),
            args=strength,
            adjoint=solvers[linear_solver],
            max_steps=20_000,
            throw=False,
        ).value

    return over_strengths(fit, data, batch)


def methods(data: dict[str, Any], tol: float, support: int) -> dict[str, tuple[str, Method]]:
    bound = -(-(support + 8) // 8) * 8
    return {
        "path, Gram": ("ours", ours(data, tol, path=True, chunk=1, gram=True)),
        "path, Gram, polished": ("ours", ours(data, tol, path=True, chunk=1, gram=True, polish=True)),
        "path, Gram, tol 1e-5, polished": ("ours", ours(data, 1e-5, path=True, chunk=1, gram=True, polish=True)),
        f"path, Gram, tol 1e-5, polished, support {bound}": (
            "ours",
            ours(data, 1e-5, path=True, chunk=1, gram=True, polish=True, max_support=bound),
        ),
        "path, design": ("ours", ours(data, tol, path=True, chunk=1, gram=False)),
        "path, chunk 10, Gram": ("ours", ours(data, tol, path=True, chunk=10, gram=True)),
        "batched, chunk 25, Gram": ("ours", ours(data, tol, path=False, chunk=25, gram=True)),
        "vmap, Gram": ("ours", ours(data, tol, path=False, chunk=NUM_STRENGTHS, gram=True)),
        "vmap, line search": ("jaxopt", with_jaxopt(data, tol, line_search=True, batch=None)),
        "vmap, fixed step": ("jaxopt", with_jaxopt(data, tol, line_search=False, batch=None)),
        "lax.map 10, line search": ("jaxopt", with_jaxopt(data, tol, line_search=True, batch=10)),
        "lax.map 10, fixed step": ("jaxopt", with_jaxopt(data, tol, line_search=False, batch=10)),
        "vmap, default adjoint (LU)": (
            "optimistix",
            with_optimistix(data, tol, linear_solver="default (LU)", batch=None),
        ),
        "vmap, Normal(CG)": ("optimistix", with_optimistix(data, tol, linear_solver="Normal(CG)", batch=None)),
        "lax.map 10, default adjoint (LU)": (
            "optimistix",
            with_optimistix(data, tol, linear_solver="default (LU)", batch=10),
        ),
        "lax.map 10, Normal(CG)": ("optimistix", with_optimistix(data, tol, linear_solver="Normal(CG)", batch=10)),
    }


def _blocking(compiled: Method, strengths: jax.Array) -> None:
    jax.block_until_ready(compiled(strengths))


def main() -> None:
    tol, rows = 1e-8, []
    for noise in (0.1, 1.0):
        data = make_problem(noise)
        values, slopes, support = reference(data)
        for name, (library, method) in methods(data, tol, support).items():
            begin = time.perf_counter()
            compiled = jax.jit(method).lower(data["strengths"]).compile()
            compile_s = time.perf_counter() - begin
            value, slope = map(np.asarray, compiled(data["strengths"]))
            rows.append(
                {
                    "noise": noise,
                    "library": library,
                    "method": name,
                    "compile_s": compile_s,
                    **measure(partial(_blocking, compiled, data["strengths"]), 7),
                    "value_error": float(np.max(np.abs(value / values - 1))),
                    "gradient_error": float(np.max(np.abs(slope - slopes) / np.abs(slopes))),
                    "largest_support": support,
                }
            )
            print(rows[-1])
    summary: dict[str, Any] = {"tolerance where none is named": tol}
    for noise in (0.1, 1.0):
        of = {library: [r for r in rows if r["library"] == library and r["noise"] == noise] for library in LIBRARIES}
        exact = [r for r in of["ours"] if max(r["gradient_error"], r["value_error"]) <= 1e-8]
        for peer in ("jaxopt", "optimistix"):
            best = min(r["wall_s"] for r in of[peer])
            summary[f"noise {noise}, best of {peer} over ours at the same tolerance"] = best / of["ours"][0]["wall_s"]
            summary[f"noise {noise}, best of {peer} over our best with error <= 1e-8"] = best / min(
                r["wall_s"] for r in exact
            )
            summary[f"noise {noise}, gradient error of {peer}"] = min(r["gradient_error"] for r in of[peer])
        summary[f"noise {noise}, gradient error of our best with error <= 1e-8"] = min(
            exact, key=lambda r: r["wall_s"]
        )["gradient_error"]
    columns = ["noise", "library", "method", "compile_s", "wall_s", "cpu_s", "value_error", "gradient_error"]
    keep("lasso_path", "Lasso path, value and gradient of a validation loss (100 strengths)", rows, columns, summary)


if __name__ == "__main__":
    main()
