"""Values and hypergradients by other libraries, under the settings that serve each best, for `bilevel.py`."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


# Relative tolerances of the peers' linear solves: an error below 1e-8 in the hypergradient, without waste.
LINEAR_TOL = 1e-9


def import_jaxopt() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import jaxopt
    return jaxopt


def jaxopt_solvers() -> dict[str, Callable]:
    """jaxopt's linear solvers that fit a system without symmetry, the first one its default."""
    solve = import_jaxopt().linear_solve
    return {
        "normal CG (its default)": partial(solve.solve_normal_cg, tol=LINEAR_TOL, maxiter=2000),
        "BiCGStab": partial(solve.solve_bicgstab, tol=LINEAR_TOL, maxiter=2000),
        "GMRES": partial(solve.solve_gmres, tol=LINEAR_TOL, maxiter=2000),
    }


def half_mean_square(w: jax.Array, problem: tuple[jax.Array, jax.Array]) -> jax.Array:
    design, targets = problem
    return jnp.mean((design @ w - targets) ** 2) / 2


def jaxopt_lasso(tol: float, solve: Callable, max_steps: int) -> Callable:
    """FISTA with a line search; the solution as a function of the logarithm of the strength."""
    jaxopt = import_jaxopt()

    def fit(log_strength: jax.Array, design: jax.Array, targets: jax.Array) -> jax.Array:
        solver = jaxopt.ProximalGradient(
            half_mean_square, jaxopt.prox.prox_lasso, tol=tol, maxiter=max_steps, implicit_diff_solve=solve
        )
        start = jnp.zeros(design.shape[1])
        return solver.run(start, hyperparams_prox=jnp.exp(log_strength), problem=(design, targets)).params

    return fit


def jaxopt_lasso_backward(solve: Callable) -> Callable:
    """Derivative in the logarithm of the strength alone, for a cotangent of a solution that is known."""
    jaxopt = import_jaxopt()
    solver = jaxopt.ProximalGradient(half_mean_square, jaxopt.prox.prox_lasso)

    def backward(w, cotangent, step, log_strength, design, targets):
        def optimality(w: jax.Array, log_strength: jax.Array) -> jax.Array:
            return solver.optimality_fun(w, jnp.exp(log_strength), problem=(design, targets))

        return jaxopt.implicit_diff.root_vjp(optimality, w, (log_strength,), cotangent, solve=solve)[0]

    return backward


def jaxopt_logistic(objective: Callable, tol: float, solve: Callable) -> Callable:
    jaxopt = import_jaxopt()

    def fit(log_strengths: jax.Array, design: jax.Array, labels: jax.Array) -> jax.Array:
        solver = jaxopt.LBFGS(objective, tol=tol, maxiter=2000, implicit_diff_solve=solve)
        return solver.run(jnp.zeros(design.shape[1]), log_strengths, design, labels).params

    return fit


def optimistix_solvers(dense: bool) -> dict[str, Any]:
    import lineax as lx

    settings: dict[str, Any] = {"rtol": LINEAR_TOL, "atol": LINEAR_TOL}
    found: dict[str, Any] = {"LU (its default)": None} if dense else {}
    return found | {
        "normal CG": lx.Normal(lx.CG(**settings, max_steps=2000)),
        "BiCGStab": lx.BiCGStab(**settings, max_steps=2000),
        "GMRES": lx.GMRES(**settings, max_steps=2000, restart=50),
    }


def _adjoint(linear_solver: Any) -> Any:
    import optimistix as optx

    return optx.ImplicitAdjoint() if linear_solver is None else optx.ImplicitAdjoint(linear_solver=linear_solver)


def _forward_backward(w: jax.Array, args: tuple[jax.Array, ...]) -> jax.Array:
    strength, step, design, targets = args
    moved = w - step * ((design @ w - targets) @ design) / design.shape[0]
    return jnp.sign(moved) * jnp.maximum(jnp.abs(moved) - step * strength, 0)


def optimistix_lasso(tol: float, linear_solver: Any, max_steps: int) -> Callable:
    """FISTA hosted as a fixed-point solver: the map is forward-backward, momentum lives in the state."""
    import optimistix as optx
    from _optimistix_fista import Fista

    def fit(log_strength: jax.Array, step: jax.Array, design: jax.Array, targets: jax.Array) -> jax.Array:
        return optx.fixed_point(
            _forward_backward,
            Fista(rtol=tol, atol=tol, step_size=step),
            jnp.zeros(design.shape[1]),
            args=(jnp.exp(log_strength), step, design, targets),
            adjoint=_adjoint(linear_solver),
            max_steps=max_steps,
            throw=False,
        ).value

    return fit


def optimistix_lasso_backward(linear_solver: Any) -> Callable:
    """The derivative of a run that starts at the solution: two products with the design more than the derivative."""
    import optimistix as optx

    def backward(w, cotangent, step, log_strength, design, targets):
        def fit(log_strength: jax.Array) -> jax.Array:
            return optx.fixed_point(
                _forward_backward,
                optx.FixedPointIteration(rtol=1.0, atol=1.0),
                w,
                args=(jnp.exp(log_strength), step, design, targets),
                adjoint=_adjoint(linear_solver),
                max_steps=1,
                throw=False,
            ).value

        return jax.vjp(fit, log_strength)[1](cotangent)[0]

    return backward


def optimistix_logistic(objective: Callable, tol: float) -> Callable:
    import lineax as lx
    import optimistix as optx

    cg = lx.CG(rtol=LINEAR_TOL, atol=LINEAR_TOL, max_steps=2000)

    def fit(log_strengths: jax.Array, design: jax.Array, labels: jax.Array) -> jax.Array:
        # The gradient norm at the tolerance is what the others stop at; optimistix asks for steps and values.
        return optx.minimise(
            lambda w, args: objective(w, *args),
            optx.LBFGS(rtol=tol, atol=tol),
            jnp.zeros(design.shape[1]),
            args=(log_strengths, design, labels),
            adjoint=optx.ImplicitAdjoint(linear_solver=cg),
            tags=frozenset({lx.positive_semidefinite_tag}),
            max_steps=2000,
            throw=False,
        ).value

    return fit


def celer_lasso(design: np.ndarray, targets: np.ndarray, validation: np.ndarray, held_out: np.ndarray) -> Any:
    """celer's coordinate descent and a solve on the support in NumPy; None where celer is not installed."""
    try:
        from celer import Lasso
    except ImportError:
        return None
    columns = np.asfortranarray(design)
    num_rows = design.shape[0]

    def both(log_strength: float) -> tuple[float, float]:
        strength = float(np.exp(log_strength))
        w = Lasso(alpha=strength, fit_intercept=False, tol=1e-10, max_iter=1000).fit(columns, targets).coef_
        support = np.flatnonzero(w)
        chosen, signs = columns[:, support], np.sign(w[support])
        residual = validation[:, support] @ w[support] - held_out
        cotangent = 2 * validation[:, support].T @ residual / validation.shape[0]
        adjoint = np.linalg.solve(chosen.T @ chosen / num_rows, cotangent)
        return float(np.mean(residual**2)), float(-strength * signs @ adjoint)

    return both
