"""The page "Solvers": what no docstring says in one line, and a hook that fills the page from it at build time.

A public solver without a row fails `tests/test_solver_table.py`.
"""

import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from catalogue import sources

import jaxopt_thoth as jt
from jaxopt_thoth.solvers import AbstractSolver, AbstractStepRule


class Row(NamedTuple):
    """What a method solves, needs, proves and costs; `example` makes one, whose traits fill the other cells."""

    solves: str
    needs: str
    proves: str
    cost: str
    example: Callable[[], AbstractSolver]


class Rule(NamedTuple):
    """The step size, what has to be known for it, and what it promises."""

    size: str
    needs: str
    proves: str


ENTROPY = jt.mirror.NegativeEntropy()

SOLVERS = {
    "ProximalGradient": Row(
        "f + g",
        "gradient, prox",
        "F - F* <= 2 L |x0 - x*|^2 / t^2; linear under strong convexity, with restarts",
        "a gradient, a prox, a product a failed trial",
        lambda: jt.ProximalGradient(),
    ),
    "ProximalNewton": Row(
        "f + g, convex",
        "gradient, Hessian products, prox",
        "values fall; superlinear near the solution",
        "a gradient, the inner steps: a Hessian product and a prox each",
        lambda: jt.ProximalNewton(),
    ),
    "SemismoothNewton": Row(
        "f + g, convex",
        "gradient, Hessian products, prox and its Jacobian",
        "the envelope falls; superlinear near the solution",
        "a gradient, a prox, CG steps: a Hessian product and two products with the Jacobian each",
        lambda: jt.SemismoothNewton(),
    ),
    "LBFGSB": Row(
        "f under bounds, or free",
        "gradient; `Zero`, `NonNegative` or `Box`",
        "values fall; stationary in the limit",
        "a gradient, 4 m p for m pairs, a value a failed trial",
        lambda: jt.LBFGSB(),
    ),
    "GaussNewton": Row(
        "sum_i loss(f(w)_i), loss convex",
        "products with the Jacobian of f, Hessian of the loss",
        "residuals fall by 1 - step up to curvature where J J' is regular; quadratic near a solution of zero residual",
        "a Jacobian and m p min(m, p) for m outputs; structured kernel: m^2 h for h units; or a J and J' a CG step",
        lambda: jt.GaussNewton(),
    ),
    "LevenbergMarquardt": Row(
        "sum_i loss(f(w)_i), loss convex",
        "products with the Jacobian of f, Hessian of the loss",
        "values fall; stationary in the limit; quadratic near a regular solution of zero residual",
        "that of `GaussNewton`, for rejected steps too",
        lambda: jt.LevenbergMarquardt(),
    ),
    "BlockCoordinateDescent": Row(
        "f + a sum over entries or groups",
        "columns of the design, prox of a block",
        "values fall; linear under strong convexity",
        "an epoch: about two products each with A and A'; greedy on a design: a gradient a block",
        lambda: jt.BlockCoordinateDescent(),
    ),
    "WorkingSetDescent": Row(
        "f + g, f a mean over rows, g a sum over columns",
        "columns of a design, prox by column; a conjugate for the gap",
        "values fall; a dual point, and columns that are zero for certain",
        "a gradient, a Gram matrix of the new columns of the set, epochs of m^2 on a set of m",
        lambda: jt.WorkingSetDescent(),
    ),
    "AndersonAcceleration": Row(
        "f + g",
        "a solver without momentum",
        "values never above those of the plain step; that solver's rate",
        "that of the solver, two values, an image, m^2 p for m differences",
        lambda: jt.AndersonAcceleration(),
    ),
    "Catalyst": Row(
        "f + g, convex",
        "a solver of f + g + kappa / 2 |w - y|^2",
        "F - F* of order 1 / t^2, or (1 - sqrt(mu / (mu + kappa)))^t, with inner problems solved well enough",
        "the steps of the solver, a gradient, a prox",
        lambda: jt.Catalyst(jt.ProximalGradient()),
    ),
    "QNing": Row(
        "f + g, convex",
        "a solver of f + g + kappa / 2 |w - y|^2",
        "the envelope falls by |gradient|^2 / (4 kappa); linear under strong convexity, if solved well inside",
        "a trial: the steps of the solver, a gradient; 4 m p for m pairs, a prox",
        lambda: jt.QNing(jt.ProximalGradient()),
    ),
    "FrankWolfe": Row(
        "f over a bounded set",
        "gradient, linear minimizer",
        "gap >= f - f*, falling as 1 / t; linear on polytopes for the away variants",
        "a gradient, a linear minimization, k p for a table of k atoms",
        lambda: jt.FrankWolfe(),
    ),
    "MirrorDescent": Row(
        "f + g in a geometry",
        "gradient, mirror map with the Bregman prox of g",
        "F - F* <= L D(x*, x0) / t, f L-smooth relative to the map; 1 / sqrt(t) with decaying steps",
        "a gradient, a mirror step, an image a failed trial",
        lambda: jt.MirrorDescent(ENTROPY),
    ),
    "AcceleratedBregmanProximalGradient": Row(
        "f + g in a geometry",
        "gradient, mirror map with the Bregman prox of g",
        "`bound` D(x*, x0) >= F - F*, falling as the mean gain / t^2",
        "a gradient and a mirror step a trial",
        lambda: jt.AcceleratedBregmanProximalGradient(ENTROPY),
    ),
    "DualAveraging": Row(
        "f + g in a geometry",
        "gradient, mirror map with the Bregman prox of g, step size",
        "1 / t for smooth f at a step of 1 / L; regret of order sqrt(t)",
        "a gradient, a mirror step",
        lambda: jt.DualAveraging(ENTROPY, 0.1),
    ),
    "ExponentiatedGradient": Row(
        "f on a simplex or an l1 ball",
        "gradient",
        "f - f* <= L log(2 p) / t, L in the l1 norm",
        "a gradient, p exponentials, an image a failed trial",
        lambda: jt.ExponentiatedGradient(),
    ),
    "ADMM": Row(
        "f + g, or f + g + h(K x), f quadratic",
        "Hessian and K as matrices, prox of g and of h",
        "relative residuals, 1 / t; linear where f is strongly convex and smooth",
        "2 p^2, products with K and K', a prox each; p^3 once",
        lambda: jt.ADMM(),
    ),
    "ChambollePock": Row(
        "f + g + h(K x), convex; f + g with a model or a quadratic",
        "gradient, products with K and K', prox of g and of h",
        "KKT residual, gap of order 1 / t; linear for linear programs, with restarts",
        "a gradient, a product each with K and K', a prox each",
        lambda: jt.ChambollePock(),
    ),
    "AcceleratedChambollePock": Row(
        "f + g + h(K x), g strongly convex",
        "gradient, products with K and K', prox of g and of h, gamma",
        "|x - x*|^2 <= C tau_t^2, tau_t about 1 / (gamma t)",
        "a gradient, a product each with K and K', a prox each",
        lambda: jt.solvers.AcceleratedChambollePock(1.0),
    ),
    "DavisYin": Row(
        "f + g + h, or f + g, convex",
        "gradient, prox of g and of h",
        "KKT residual, 1 / t",
        "a gradient, a prox each",
        lambda: jt.DavisYin(),
    ),
    "DouglasRachford": Row(
        "g + h, convex; f + g, f quadratic; a point of two sets",
        "prox of g and of h",
        "KKT residual, 1 / t; linear on polyhedra in the end",
        "a prox each",
        lambda: jt.DouglasRachford(),
    ),
    "OSQP": Row(
        "convex quadratic programs",
        "matrices P and A",
        "KKT residual, near rounding after a polish; certificates of infeasibility",
        "25 pairs of triangular solves; n^3 for each new rho and each polish",
        lambda: jt.OSQP(),
    ),
    "PlugAndPlay": Row(
        "f with a denoiser",
        "gradient, denoiser",
        "residual of the fixed point; a contraction if f is strongly convex and the denoiser near the identity",
        "a gradient and a denoising, or a prox of f and a denoising",
        lambda: jt.solvers.PlugAndPlay(),
    ),
    "StochasticMirrorDescent": Row(
        "f + g in a geometry, f a mean",
        "gradients at examples, mirror map with the Bregman prox of g, step size",
        "E D(x*, x) of order log(t) / t under relative strong convexity; 1 / sqrt(t) for the average without",
        "a gradient at a batch, a mirror step",
        lambda: jt.StochasticMirrorDescent(ENTROPY, 0.1, key=jax.random.key(0)),
    ),
    "SVRG": Row(
        "f + g, f a mean over rows",
        "rows of a design, prox",
        "F - F* falls linearly in n + L / mu gradients of rows",
        "an epoch: a pass over drawn rows, a gradient; n / b proxes for batches of b",
        lambda: jt.SVRG(key=jax.random.key(0)),
    ),
    "AcceleratedSVRG": Row(
        "f + g, f a mean over rows",
        "rows of a design, prox",
        "F - F* falls linearly in n + sqrt(n L / mu) gradients of rows; as 1 / t^2 without mu",
        "that of `SVRG`",
        lambda: jt.AcceleratedSVRG(key=jax.random.key(0)),
    ),
    "SAGA": Row(
        "f + g, f a mean over rows",
        "rows of a design, prox, a table of n numbers",
        "F - F* falls linearly in n + L / mu gradients of rows; as 1 / t without mu",
        "that of `SVRG`, with a product with A' more",
        lambda: jt.SAGA(key=jax.random.key(0)),
    ),
    "MISO": Row(
        "f + g, f a mean over rows, g strongly convex",
        "rows of a design, prox, a table of n numbers",
        "F - F* falls linearly in n + L / mu gradients of rows; a dual point",
        "that of `SVRG`, with a product with A' more",
        lambda: jt.MISO(key=jax.random.key(0)),
    ),
    "MirrorProx": Row(
        "monotone F with g",
        "F, mirror map",
        "gap of the average <= L D / t; linear on matrix games, with restarts",
        "F twice, two mirror steps, a trial",
        lambda: jt.MirrorProx(jt.mirror.Euclidean(), 0.1),
    ),
    "OptimisticMirrorDescent": Row(
        "monotone F with g",
        "F, mirror map, step size",
        "gap of the average <= 2 L D / t",
        "F once, two mirror steps",
        lambda: jt.OptimisticMirrorDescent(jt.mirror.Euclidean(), 0.1),
    ),
}

RULES = {
    "DecayingStep": Rule("a / sqrt(t)", "a scale a", "values of nonsmooth f within order 1 / sqrt(t)"),
    "HarmonicStep": Rule("a / (b + t)", "a scale a, an offset b", "order log(t) / t under relative strong convexity"),
    "PolyakStep": Rule("m (f(x) - f*) / |gradient|^2", "the least value f*", "the divergence from a solution falls"),
    "AdaGradNormStep": Rule("r / sqrt(b + sum |gradient|^2)", "a radius r", "adapts to gradients of any size"),
}

# They drive solvers or tell about them, and are described in their own reference.
FUNCTIONS = {
    "matrix_game",
    "ntk_gram",
    "relative_variance",
    "solve",
    "solve_batched",
    "solve_path",
    "weighted_direction_distance",
}

# The catalogue's pattern takes an initial for the end of a sentence.
_INITIALS = re.compile(r"(?:\b[A-Z]\.-?)+ ")


def citations(method: Any) -> list[str]:
    """What the docstring cites: last names, title, year."""
    without = lambda: None
    without.__doc__ = _INITIALS.sub("", " ".join((inspect.getdoc(method) or "").split()))
    return sources(without)


def public(kind: type) -> dict[str, Any]:
    """The public classes of the room that are of a kind, without the base class."""
    found = {name: value for name, value in vars(jt.solvers).items() if inspect.isclass(value)}
    return {name: value for name, value in found.items() if issubclass(value, kind) and value is not kind}


def functions() -> set[str]:
    """The public functions of the room."""
    return {name for name, value in vars(jt.solvers).items() if inspect.isfunction(value) and not name.startswith("_")}


def problem(solver: AbstractSolver) -> str:
    """Links to the kinds of problem that a solver takes."""
    kinds = [solver.problem_kind]
    if kinds == [jt.problems.AbstractProblem]:
        kinds = [jt.Composite, jt.SaddlePoint]
    return ", ".join(f"[`{kind.__name__}`][jaxopt_thoth.problems.{kind.__name__}]" for kind in kinds)


def unrolls(solver: AbstractSolver) -> bool:
    """Whether reverse mode can pass through its steps."""
    try:
        solver.for_unrolling()
    except ValueError:
        return False
    return True


def _table(head: list[str], lines: list[list[str]]) -> str:
    escaped = lambda cell: cell if cell.startswith("`") else cell.replace("|", "\\|")
    return "\n".join(f"| {' | '.join(map(escaped, line))} |" for line in [head, ["---"] * len(head), *lines])


def _named(name: str) -> str:
    return f"[`{name}`][jaxopt_thoth.solvers.{name}]"


def solver_table() -> str:
    """One line a solver, in the order of the alphabet."""
    lines = []
    for name, method in sorted(public(AbstractSolver).items(), key=lambda item: item[0].lower()):
        if name not in SOLVERS:
            continue
        row = SOLVERS[name]
        solver = row.example()
        lines.append(
            [
                _named(name),
                problem(solver),
                row.solves,
                row.needs,
                row.proves,
                row.cost,
                "yes" if unrolls(solver) else "no",
                "; ".join(citations(method)),
            ]
        )
    return _table(["Name", "Problem", "Solves", "Needs", "Proves", "Cost of a step", "Unrolls", "Source"], lines)


def rule_table() -> str:
    """One line a step-size rule."""
    rules = public(AbstractStepRule)
    lines = [
        [_named(name), f"`{rule.size}`", rule.needs, rule.proves, "; ".join(citations(rules[name]))]
        for name, rule in sorted(RULES.items())
        if name in rules
    ]
    return _table(["Name", "Step size", "Needs", "Promises", "Source"], lines)


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """The hook of MkDocs."""
    if page.file.src_uri != "solvers.md":
        return markdown
    return markdown.replace("<!-- solvers -->", solver_table()).replace("<!-- rules -->", rule_table())
