"""Every row of the table of references through every route that applies to it, forward and reverse."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import implicit


_spec = importlib.util.spec_from_file_location("reference_problems", Path(__file__).with_name("reference_problems.py"))
ref = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(ref)

KRYLOV = {"rtol": 1e-12, "atol": 1e-12}
SIMPLEX = ("simplex_projection", "entropic_simplex_qp")
# Steps of the fixed-point maps: about the inverse of the Lipschitz constant, and far from it.
STEP = 0.1


def smooth_routes(row, found):
    gradient = jax.grad(row.inner)
    return {
        "argmin": implicit.custom_argmin(row.inner)(found),
        "fixed point": implicit.custom_fixed_point(lambda x, t: x - STEP * gradient(x, t))(found),
        "prox": implicit.custom_prox_fixed_point(row.inner, lambda z, step, theta: z)(found),
        "mirror": implicit.custom_mirror_fixed_point(row.inner, jt.mirror.Euclidean())(found),
        "kkt": first_of_three(implicit.custom_kkt(row.inner)(lambda x, t: (found(x, t), None, None))),
    }


def penalized_routes(row, found, name):
    def prox(z, step, theta):
        return row.penalty(theta).prox(z, step)

    def mapping(x, theta):
        return prox(x - STEP * jax.grad(row.inner)(x, theta), STEP, theta)

    routes = {
        "prox": implicit.custom_prox_fixed_point(row.inner, prox)(found),
        "penalty": implicit.custom_prox_fixed_point(row.inner, penalty=row.penalty, step=10 * STEP)(found),
        "fixed point": implicit.custom_fixed_point(mapping)(found),
    }
    if name not in SIMPLEX:
        routes["gathered"] = implicit.custom_prox_fixed_point(row.inner, penalty=row.penalty, max_support=16)(found)
    return routes


def iterative_routes(row, found):
    """The linear solvers of lineax, through a decorator each."""
    gradient = jax.grad(row.inner)
    if row.penalty is None:
        residual = gradient
        routes = {"CG": implicit.custom_argmin(row.inner, linear_solver=lx.CG(**KRYLOV))(found)}
    else:
        residual = lambda x, t: x - row.penalty(t).prox(x - STEP * gradient(x, t), STEP)
        routes = {
            "prox by LU": implicit.custom_prox_fixed_point(row.inner, penalty=row.penalty, linear_solver=lx.LU())(
                found
            ),
            "short": implicit.custom_prox_fixed_point(row.inner, penalty=row.penalty, step=STEP / 10)(found),
        }
    for solver in (lx.GMRES(**KRYLOV, restart=64), lx.BiCGStab(**KRYLOV), lx.Normal(lx.CG(**KRYLOV))):
        routes[type(solver).__name__] = implicit.custom_root(residual, linear_solver=solver)(found)
    return routes


def first_of_three(solve):
    return lambda start, theta: solve(start, theta)[0]


def constrained_routes(row, found, name):
    """KKT systems and mirror maps of the rows with constraints; multipliers from the gradient at the solution."""
    equality = (lambda x, theta: jnp.sum(x) - 1) if name in SIMPLEX else None

    def multipliers(start, theta):
        x = found(start, theta)
        slope = jax.grad(row.inner)(x, theta)
        nu = -jnp.max(jnp.where(x > 0, slope, -jnp.inf)) if name in SIMPLEX else None
        return x, nu, jnp.where(x > 0, 0, slope + (0 if nu is None else nu))

    kkt = implicit.custom_kkt(row.inner, equality, lambda x, theta: -x)
    routes = {"kkt": first_of_three(kkt(multipliers))}
    if name in SIMPLEX:
        entropy = jt.mirror.NegativeEntropy()
        routes["mirror"] = implicit.custom_mirror_fixed_point(row.inner, entropy)(found)
    return routes


def adjoint_gradients(row, theta):
    """Gradients of rows without penalty through the explicit products, and cold and warm steps of the adjoint."""
    x = jnp.asarray(row.x)
    inner = jax.grad(row.inner)
    cotangent, direct = jax.grad(row.outer, (0, 1))(x, theta)
    plain = implicit.root_vjp(inner, x, (theta,), cotangent)[0]
    (cold,), adjoint = implicit.warm_root_vjp(inner, x, (theta,), cotangent, method="cg", rtol=1e-12)
    warm = implicit.warm_root_vjp(inner, x, (theta,), cotangent, adjoint.value, method="cg", rtol=1e-12)[1]
    return {"vjp": plain + direct, "warm vjp": cold + direct}, (adjoint, warm)


def attached_routes(row):
    adjoints = {
        "implicit": implicit.Implicit(tol=1e-14),
        "implicit by LU": implicit.Implicit(lx.LU()),
    }

    def route(adjoint):
        def solve(start, theta):
            problem = jt.Composite(
                jt.FunctionTerm(row.inner, theta), jt.penalties.Zero() if row.penalty is None else row.penalty(theta)
            )
            return implicit.attach(adjoint, problem, start, jnp.asarray(STEP), jnp.asarray(1e-13))

        return solve

    return {name: route(adjoint) for name, adjoint in adjoints.items()}


# What is left out of the quick runs repeats another row with one hyper-parameter or more.
SLOW = ("ridge_scalar", "logistic_scalar", "lasso_scalar", "enet", "hypercleaning")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in ref.NAMES])
def test_every_route_gives_the_reference(name):
    row = ref.reference(name)
    found = lambda start, theta: jnp.asarray(row.x)
    routes = attached_routes(row)
    if row.penalty is None:
        routes |= smooth_routes(row, found)
    else:
        routes |= penalized_routes(row, found, name)
        if row.penalty(row.theta).is_indicator:
            routes |= constrained_routes(row, found, name)
    check_routes(row, routes, row.penalty is None)


# One row in every run: compiled Krylov loops take their time.
@pytest.mark.parametrize("name", [n if n == "wlasso" else pytest.param(n, marks=pytest.mark.slow) for n in ref.NAMES])
def test_every_linear_solver_gives_the_reference(name):
    row = ref.reference(name)
    check_routes(row, iterative_routes(row, lambda start, theta: jnp.asarray(row.x)))


def check_routes(row, routes, with_products=False):
    x = jnp.asarray(row.x)

    direction = jax.tree.map(lambda t: jnp.cos(jnp.arange(t.size, dtype=t.dtype)).reshape(t.shape), row.theta)

    @jax.jit
    def run(theta):
        parts = {}
        for key, solve in routes.items():
            outer = lambda theta, solve=solve: row.outer(solve(x, theta), theta)
            value, push = jax.linearize(outer, theta)
            parts[key] = value, jax.linear_transpose(push, theta)(jnp.ones_like(value))[0], push(direction)
        extra = adjoint_gradients(row, theta) if with_products else ({}, ())
        return parts, extra

    parts, (gradients, adjoints) = run(row.theta)
    for key, (value, gradient, forward) in parts.items():
        row.check(value, gradient)
        along = sum(np.vdot(g, d) for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True))
        np.testing.assert_allclose(forward, along, rtol=1e-9, atol=1e-12, err_msg=key)
    exact = jax.tree.leaves(next(iter(parts.values()))[1])
    for other in [gradient for _, gradient, _ in parts.values()] + list(gradients.values()):
        for left, right in zip(jax.tree.leaves(other), exact, strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-11)
    if adjoints:
        cold, warm = adjoints
        assert cold.converged and cold.num_steps > 0
        assert warm.converged and warm.num_steps == 0
