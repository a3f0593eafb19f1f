"""NeMoS and OTT-JAX run by this library through `interop`, beside the solvers they run by themselves.

NeMoS: Poisson GLMs with a lasso and a group lasso, with our proximal gradient method in its registry of solvers, once
through the jaxopt-shaped facade and once as an optimistix minimizer; `kkt` is the distance from zero to the
subdifferential at the fit, computed in NumPy. OTT-JAX: the h-transforms of concave functions and their gradients for
regularized translation-invariant costs, where the facade takes the place of the module `jaxopt`; errors are those
against a closed form where the function is a parabola, and elsewhere against 2000 proximal gradient steps of a safe
length, in which the strong convexity of the cost leaves rounding alone.

Run it alone on a quiet machine, with both installed: `pip install nemos ott-jax`, then
`python benchmarks/downstream.py`.
"""

import sys
import time
import warnings
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from _record import keep, measure

import jaxopt_thoth as jt
from jaxopt_thoth import interop


try:
    import jaxopt as theirs
    import nemos as nmo
    from nemos.solvers._jaxopt_adapter import JaxoptAdapter
    from nemos.solvers._optimistix_adapter import OptimistixAdapter
    from ott.geometry import costs, regularizers
except ImportError as error:
    sys.exit(f"{error}. This benchmark runs NeMoS and OTT-JAX: pip install nemos ott-jax")

jax.config.update("jax_enable_x64", True)
TOL = 1e-8


class FacadeAdapter(JaxoptAdapter):
    """Our proximal gradient method behind the adapter that NeMoS has for jaxopt's."""

    _solver_cls = interop.jaxopt.ProximalGradient
    _proximal = True


def make_minimiser(atol: float, rtol: float, norm: Any, prox: Callable[..., Any]) -> Any:
    """The same method as an optimistix minimizer, with the prox that NeMoS gives."""
    return interop.as_optimistix_minimiser(jt.ProximalGradient(tol=atol), interop.from_prox(prox))


class MinimiserAdapter(OptimistixAdapter):
    """Our minimizer behind the adapter that NeMoS has for optimistix's."""

    _solver_cls = staticmethod(make_minimiser)
    _proximal = True

    def get_optim_info(self, state: Any) -> Any:
        steps = int(self.stats["num_steps"])
        converged = bool(state.error <= self._solver.solver.tol)
        return nmo.solvers._abstract_solver.OptimizationInfo(None, steps, converged, steps == self.maxiter)


def counts(num_rows: int = 2000, num_features: int = 100, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    design = rng.normal(size=(num_rows, num_features)) @ (np.eye(num_features) + 0.05)
    weights = np.where(np.arange(num_features) < 10, rng.normal(size=num_features) / 5, 0)
    return design, rng.poisson(np.exp(design @ weights - 0.5)).astype(float)


def kkt(
    design: np.ndarray, targets: np.ndarray, strength: float, groups: np.ndarray, w: np.ndarray, intercept: float
) -> float:
    """Norm of the least subgradient of `mean(exp(s) - y s) + strength sum_g sqrt(size of g) |w_g|`."""
    residual = (np.exp(design @ w + intercept) - targets) / len(targets)
    gradient = design.T @ residual
    parts = [residual.sum()]
    for group in np.unique(groups):
        inside = groups == group
        weight, size = strength * np.sqrt(inside.sum()), np.linalg.norm(w[inside])
        if size > 0:
            parts.append(np.linalg.norm(gradient[inside] + weight * w[inside] / size))
        else:
            parts.append(max(np.linalg.norm(gradient[inside]) - weight, 0))
    return float(np.linalg.norm(parts))


def nemos_rows() -> list[dict[str, Any]]:
    for adapter, backend in ((FacadeAdapter, "facade"), (MinimiserAdapter, "minimiser")):
        # NeMoS solves a ridge regression with what registers, with and without auxiliary outputs.
        nmo.solvers.register(
            "ProximalGradient", adapter, backend=backend, test_ridge_with_aux=True, test_ridge_without_aux=True
        )
    design, targets = counts()
    strength = 0.03
    size = design.shape[1]
    of_five = np.arange(size) // 5
    mask = jnp.asarray(of_five == np.arange(size // 5)[:, None], float)
    kinds = {
        "lasso": (nmo.regularizer.Lasso(), np.arange(size)),
        "group lasso": (nmo.regularizer.GroupLasso(mask=mask), of_five),
    }
    backends = {
        "ours, facade": "facade",
        "ours, minimiser": "minimiser",
        "optimistix (default)": "optimistix",
        "jaxopt": "jaxopt",
    }
    rows = []
    for kind, (regularizer, groups) in kinds.items():

        def fit(backend: str, tol: float = TOL, maxiter: int = 20_000, regularizer: Any = regularizer) -> Any:
            return nmo.glm.GLM(
                regularizer=regularizer,
                regularizer_strength=strength,
                solver_name=f"ProximalGradient[{backend}]",
                solver_kwargs={"tol": tol, "maxiter": maxiter},
            ).fit(design, targets)

        reference = np.asarray(fit("optimistix", tol=1e-14).coef_)
        for library, backend in backends.items():
            begin = time.perf_counter()
            model = fit(backend)
            first = time.perf_counter() - begin
            coefficients = np.asarray(model.coef_)
            rows.append(
                {
                    "case": f"NeMoS, Poisson {kind}",
                    "library": library,
                    "first_s": first,
                    **measure(lambda backend=backend, fit=fit: fit(backend), 3),
                    "num_steps": int(model.optim_info_.num_steps),
                    "kkt": kkt(design, targets, strength, groups, coefficients, float(np.asarray(model.intercept_)[0])),
                    "error": float(np.abs(coefficients - reference).max()),
                    "same_zeros": bool(np.all((coefficients == 0) == (reference == 0))),
                }
            )
            print(rows[-1], flush=True)
    return rows


def ott_rows() -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    size, num_points, lam, rho, bend = 20, 500, 0.7, 1.0, 1.5
    points = jnp.asarray(2 * rng.normal(size=(num_points, size)))
    slope = jnp.asarray(rng.normal(size=size))
    weights = jnp.asarray(rng.normal(size=(40, size)) / 3)
    rotation = jnp.asarray(np.linalg.qr(rng.normal(size=(size, 5)))[0].T)
    concave = {
        "parabola": lambda y: slope @ y - bend / 2 * jnp.sum(y**2),
        "soft minimum": lambda y: -jax.nn.logsumexp(weights @ y) - 0.05 * jnp.sum(y**2),
    }
    kinds = {
        "l1": regularizers.L1(),
        "off a subspace": regularizers.SqL2(rotation, is_complement=True, is_orthogonal=True),
        "l1 in a subspace": regularizers.Orthogonal(regularizers.L1(), rotation),
    }
    rows = []
    for kind, regularizer in kinds.items():
        cost = costs.RegTICost(regularizer, lam=lam, rho=rho)
        for name, fn in concave.items():

            def compiled(module: Any, tol: float, cost: Any = cost, fn: Any = fn) -> Callable[[], Any]:
                transform = cost.h_transform(fn)
                run = jax.jit(jax.vmap(jax.value_and_grad(lambda x: transform(x, tol=tol, maxiter=20_000))))

                def in_its_place() -> Any:
                    with mock.patch.object(costs, "jaxopt", module):
                        return jax.block_until_ready(run(points))

                return in_its_place

            if name == "parabola":
                # One prox, as the quadratic part of the cost and the parabola make one parabola.
                best = jax.vmap(lambda x, regularizer=regularizer: regularizer.prox(x, lam / (rho + bend)))(
                    (bend * points - slope) / (rho + bend)
                )
                values = jax.vmap(cost.h)(best) - jax.vmap(fn)(points - best)
                gradients = -jax.vmap(jax.grad(fn))(points - best)
            else:
                # The Hessian of a log-sum-exp is at most the largest squared norm of a row.
                step = float(1 / (jnp.max(jnp.sum(weights**2, 1)) + 0.1))

                def descend(x: Any, cost: Any = cost, fn: Any = fn, step: float = step) -> Any:
                    slope_at = jax.grad(lambda z: -fn(x - z))
                    z = jax.lax.fori_loop(0, 2000, lambda _, z: cost._h.prox(z - step * slope_at(z), step), x)
                    return cost.h(z) - fn(x - z), -jax.grad(fn)(x - z)

                values, gradients = jax.jit(jax.vmap(descend))(points)
            for library, module in (("ours, facade", interop.jaxopt), ("jaxopt (default)", theirs)):
                call = compiled(module, TOL)
                begin = time.perf_counter()
                found, slopes = call()
                first = time.perf_counter() - begin
                rows.append(
                    {
                        "case": f"OTT-JAX, h-transform, {kind}, {name}",
                        "library": library,
                        "first_s": first,
                        **measure(call),
                        "error": float(jnp.abs(found - values).max()),
                        "gradient_error": float(jnp.abs(slopes - gradients).max()),
                    }
                )
                print(rows[-1], flush=True)
    return rows


def main() -> None:
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    rows = nemos_rows() + ott_rows()
    ours = {row["case"]: row for row in rows if row["library"] == "ours, facade"}
    summary: dict[str, Any] = {"tolerance": TOL}
    for case, row in ours.items():
        for other in rows:
            if other["case"] == case and other is not row:
                ratio = other["cpu_s"] / row["cpu_s"]
                summary[f"{case}: CPU time of {other['library']} over ours"] = ratio
    summary["largest kkt of ours"] = max(r["kkt"] for r in rows if "kkt" in r and r["library"].startswith("ours"))
    summary["largest error of ours, h-transforms"] = max(r["error"] for r in ours.values() if "gradient_error" in r)
    summary["largest gradient error of ours, h-transforms"] = max(r.get("gradient_error", 0.0) for r in ours.values())
    columns = ["case", "library", "first_s", "wall_s", "cpu_s", "num_steps", "kkt", "error"]
    columns += ["gradient_error", "same_zeros"]
    keep("downstream", "NeMoS and OTT-JAX through `interop`", rows, columns, summary)


if __name__ == "__main__":
    main()
