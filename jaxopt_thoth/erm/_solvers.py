"""Solvers by name, as they are called in the literature of empirical risk minimization."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import ArrayLike, PRNGKeyArray

from .. import solvers
from ..problems import Composite
from ..solvers import AbstractSolver
from ._auto import auto


class _Entry(NamedTuple):
    """How to build a solver for a number of steps, that number by default, and the steps from one check to the next."""

    build: Callable[..., AbstractSolver]
    max_steps: int
    gap_every: int
    needs_key: bool = False
    takes_tol: bool = False


def _of(name: str, max_steps: int, gap_every: int, **settings: Any) -> _Entry:
    # Looked up when it is asked for.
    return _Entry(lambda **more: getattr(solvers, name)(**settings, **more), max_steps, gap_every)


def _by_rows(name: str) -> _Entry:
    return _of(name, 1000, 5)._replace(needs_key=True)


_SOLVERS = {
    "ista": _of("ProximalGradient", 50_000, 10, accelerated=False),
    "fista": _of("ProximalGradient", 20_000, 10),
    "svrg": _by_rows("SVRG"),
    "acc-svrg": _by_rows("AcceleratedSVRG"),
    "saga": _by_rows("SAGA"),
    "miso": _by_rows("MISO"),
    "prox-newton": _of("ProximalNewton", 100, 1),
    # Its tolerance is a relative gap too, and what it does in one step depends on it.
    "cd": _of("WorkingSetDescent", 200, 1)._replace(takes_tol=True),
    "chambolle-pock": _of("ChambollePock", 50_000, 10),
}
_OUTER = {"catalyst": "Catalyst", "qning": "QNing"}
_INNER = ("ista", "svrg", "saga", "miso")
NAMES = ("auto", *_SOLVERS, *(f"{outer}-{inner}" for outer in _OUTER for inner in _INNER))


def resolve(
    solver: str | AbstractSolver,
    problem: Composite,
    max_steps: int | None,
    gap_every: int | None,
    key: PRNGKeyArray | None,
    tol: ArrayLike | None = None,
) -> tuple[AbstractSolver, int, int]:
    """The solver, how many steps it may take, and how many of them there are between two checks."""
    if isinstance(solver, AbstractSolver):
        return solver, solver.max_steps if max_steps is None else max_steps, 10 if gap_every is None else gap_every
    if not isinstance(solver, str):
        raise TypeError(f"solver must be a name or a solver, got {type(solver).__name__}; pass for example 'fista'.")
    if solver not in NAMES:
        raise ValueError(f"solver must be one of {', '.join(NAMES)}, got {solver!r}.")
    name = auto(problem) if solver == "auto" else solver
    head, _, tail = name.partition("-")
    outer = _OUTER.get(head)
    entry = _SOLVERS[name if outer is None else tail]
    if entry.needs_key and key is None:
        raise ValueError(f"solver={solver!r} draws rows at random; pass key=jax.random.key(0), or another.")
    steps = entry.max_steps if max_steps is None else max_steps
    every = entry.gap_every if gap_every is None else gap_every
    more = ({"key": key} if entry.needs_key else {}) | ({"tol": tol} if entry.takes_tol and tol is not None else {})
    built = entry.build(max_steps=steps, **more)
    return built if outer is None else getattr(solvers, outer)(built, max_steps=steps), steps, every
