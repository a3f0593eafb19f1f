"""How long `jit(vmap(grad(solve)))` takes to compile for each solver, on a small problem that suits it."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxopt_thoth as jt


ENTROPY = jt.mirror.NegativeEntropy()
NUM_ROWS, NUM_FEATURES = 40, 20
Problem = tuple[Any, Any]


def problems() -> dict[str, Callable[[jax.Array], Problem]]:
    """Functions of one strength to a problem and its start, by name."""
    rng = np.random.default_rng(0)
    design = jnp.asarray(rng.normal(size=(NUM_ROWS, NUM_FEATURES)))
    targets = jnp.asarray(rng.normal(size=NUM_ROWS))
    square = design.T @ design / NUM_ROWS
    differences = jnp.diff(jnp.eye(NUM_FEATURES), axis=0)
    zeros, even = jnp.zeros(NUM_FEATURES), jnp.full(NUM_FEATURES, 1 / NUM_FEATURES)
    fit = lambda s: jt.LinearModel(jt.losses.Squared(), design, s * targets)
    p = jt.penalties

    def denoised(s: jax.Array) -> Problem:
        return jt.problems.Denoised(fit(1.0), lambda w, s: p.L1(s).prox(w, 0.1), 0.1, s), zeros

    def game(s: jax.Array) -> Problem:
        return jt.problems.MatrixGame(design + s), (jnp.full(NUM_ROWS, 1 / NUM_ROWS), even)

    def sampled(s: jax.Array) -> Problem:
        loss = lambda w, row: (row[0] @ w - s * row[1]) ** 2 / 2
        return jt.Composite(jt.smooth.FiniteSum(loss, (design, targets)), p.Simplex()), even

    return {
        "lasso": lambda s: (jt.Composite(fit(1.0), p.L1(s)), zeros),
        "nonnegative": lambda s: (jt.Composite(fit(s), p.NonNegative()), zeros),
        "simplex": lambda s: (jt.Composite(fit(s), p.Simplex()), even),
        "fused": lambda s: (jt.SaddlePoint(fit(1.0), p.L1(s), p.L1(0.1), differences), zeros),
        "three terms": lambda s: (jt.SaddlePoint(fit(1.0), p.L1(s), p.Box(-1.0, 1.0)), zeros),
        "two terms": lambda s: (jt.SaddlePoint(None, p.Regularized(p.L1(s), 1.0, even), p.Box(-1.0, 1.0)), zeros),
        "quadratic program": lambda s: (jt.QuadraticProgram(square, -s * square[0], design, -1.0, 1.0), zeros),
        "game": game,
        "denoised": denoised,
        "sampled": sampled,
    }


def solvers() -> dict[str, tuple[str, jt.solvers.AbstractSolver]]:
    """Each solver with the name of its problem."""
    euclidean = jt.mirror.Euclidean()
    return {
        "ProximalGradient": ("lasso", jt.ProximalGradient()),
        "ProximalNewton": ("lasso", jt.ProximalNewton()),
        "SemismoothNewton": ("lasso", jt.SemismoothNewton()),
        "BlockCoordinateDescent": ("lasso", jt.BlockCoordinateDescent()),
        "AndersonAcceleration": ("lasso", jt.AndersonAcceleration()),
        "ADMM": ("lasso", jt.ADMM()),
        "LBFGSB": ("nonnegative", jt.LBFGSB()),
        "FrankWolfe": ("simplex", jt.FrankWolfe("pairwise")),
        "MirrorDescent": ("simplex", jt.MirrorDescent(ENTROPY)),
        "AcceleratedBregmanProximalGradient": ("simplex", jt.AcceleratedBregmanProximalGradient(ENTROPY)),
        "DualAveraging": ("simplex", jt.DualAveraging(ENTROPY, 0.1)),
        "ExponentiatedGradient": ("simplex", jt.ExponentiatedGradient()),
        "StochasticMirrorDescent": (
            "sampled",
            jt.StochasticMirrorDescent(ENTROPY, 0.1, key=jax.random.key(0), check_every=100),
        ),
        "ChambollePock": ("fused", jt.ChambollePock()),
        "DavisYin": ("three terms", jt.DavisYin()),
        "DouglasRachford": ("two terms", jt.DouglasRachford()),
        "OSQP": ("quadratic program", jt.OSQP()),
        "MirrorProx": ("game", jt.MirrorProx(euclidean, restart=True)),
        "OptimisticMirrorDescent": ("game", jt.OptimisticMirrorDescent(euclidean, 0.01)),
        "PlugAndPlay": ("denoised", jt.solvers.PlugAndPlay()),
    }


def seconds(solver: jt.solvers.AbstractSolver, make: Callable[[jax.Array], Problem]) -> tuple[float, float]:
    """To trace and to compile."""

    def loss(strength: jax.Array) -> jax.Array:
        params = jt.solve(*(lambda problem, start: (problem, solver, start))(*make(strength))).params
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))

    jax.clear_caches()
    begin = time.perf_counter()
    lowered = jax.jit(jax.vmap(jax.grad(loss))).lower(jnp.array([0.1, 0.2, 0.3]))
    middle = time.perf_counter()
    lowered.compile()
    return middle - begin, time.perf_counter() - middle


def compile_rows() -> list[dict]:
    """One row a solver; a public solver that is missing here is named."""
    makers, rows = problems(), []
    for name, (problem, solver) in solvers().items():
        trace, compilation = seconds(solver, makers[problem])
        rows.append(
            {
                "part": "compile jit(vmap(grad(solve)))",
                "method": name,
                "problem": problem,
                "trace s": trace,
                "compile s": compilation,
                "total s": trace + compilation,
            }
        )
    kinds = [value for value in vars(jt.solvers).values() if isinstance(value, type)]
    known = {kind.__name__ for kind in kinds if issubclass(kind, jt.solvers.AbstractSolver)} - {"AbstractSolver"}
    for name in sorted(known - solvers().keys()):
        print(f"{name} has no row in the table of compile times")
    return rows
