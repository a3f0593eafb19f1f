from collections.abc import Callable
from dataclasses import fields
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from .._loop import match_carry
from .._types import Params, State
from .._validate import concrete
from ..penalties import AbstractPenalty
from ..problems import AbstractProblem, Composite
from ._base import AbstractSolver
from ._settings import count_setting


class UnrolledNetwork(eqx.Module):
    """A fixed number of steps of any solver as a layer, with settings of the solver and of the terms learnt per step.

    Step k uses the k-th of `num_steps` copies of the solver and of `terms`, which start out equal: untrained, the layer
    is `num_steps` steps of the solver. The leaves of the layer are what a training loop (optax and
    `equinox.filter_value_and_grad`) changes: step sizes, strengths and whatever else is a floating-point array there.
    Positive settings of solvers and penalties are kept as logarithms, so that they stay positive.

    Momentum and what else a method keeps between steps is kept here too, but for what is set by a setting of the
    same name (`step_size`, `rho`, `weight`), which step k takes from its own copy; where a solver drives another, the
    inner one goes on with the step size of the first step. A search for step sizes is kept out of the derivative.
    Calls run under `jit`, and over a batch of data under `vmap`.

    Gregor and LeCun, "Learning fast approximations of sparse coding", 2010; Adler and Oktem, "Learned primal-dual
    reconstruction", 2018.

    Args:
        solver: the method, for example `ProximalGradient(step_size, accelerated=False)`.
        terms: a penalty, or any pytree that `problem_of` makes a problem of: several penalties, a network.
        num_steps: number of steps, at least 1.
        problem_of: `problem_of(data, terms)` is the problem of one step; `Composite(smooth, penalty)` by default, so
            that the data are the smooth term. What the problem takes from the data is the same in each step.

    Raises:
        TypeError: if `solver` is none.
        ValueError: if `num_steps` is below 1.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, jaxopt_thoth as jt, optax
        >>> fit, truth = jt.Quadratic(jnp.diag(jnp.array([1.0, 0.2])), jnp.array([-1.0, -0.2])), jnp.array([1.0, 1.0])
        >>> network = jt.solvers.UnrolledNetwork(jt.ProximalGradient(1.0, False), jt.penalties.L1(0.1), num_steps=3)
        >>> loss = lambda network: jnp.sum((network(fit, jnp.zeros(2)) - truth) ** 2)
        >>> before, gradient = eqx.filter_value_and_grad(loss)(network)
        >>> after = loss(eqx.apply_updates(network, jax.tree.map(lambda g: -0.5 * g, gradient)))
        >>> print(f"{before:.2f} {after:.2f}")
        0.58 0.54
    """

    settings: Any
    rest: Any
    is_log: tuple[bool, ...] = eqx.field(static=True)
    problem_of: Callable[[Any, Any], AbstractProblem]
    num_steps: int = eqx.field(static=True)

    def __init__(
        self,
        solver: AbstractSolver,
        terms: Any,
        *,
        num_steps: int,
        problem_of: Callable[[Any, Any], AbstractProblem] = Composite,
    ):
        if not isinstance(solver, AbstractSolver):
            raise TypeError(
                f"solver must be a solver, got {type(solver).__name__}; pass for example ProximalGradient(0.1, False)."
            )
        self.num_steps = count_setting(num_steps, "num_steps", least=1)
        self.problem_of = problem_of
        parts = (solver.for_unrolling(), terms)
        positive = jax.tree.map(_positive_settings, parts, is_leaf=_has_settings)
        settings, self.rest = eqx.partition(parts, eqx.is_inexact_array)
        self.is_log = tuple(jax.tree.leaves(eqx.filter(positive, jax.tree.map(eqx.is_inexact_array, parts))))
        leaves, structure = jax.tree.flatten(settings)
        kept = [jnp.log(leaf) if log else leaf for leaf, log in zip(leaves, self.is_log, strict=True)]
        repeated = [jnp.broadcast_to(leaf, (num_steps, *leaf.shape)) for leaf in kept]
        self.settings = jax.tree.unflatten(structure, repeated)

    def learnt(self) -> tuple[AbstractSolver, Any]:
        """Solver and terms, each floating-point leaf with a leading axis of one entry a step."""
        leaves, structure = jax.tree.flatten(self.settings)
        plain = [jnp.exp(leaf) if log else leaf for leaf, log in zip(leaves, self.is_log, strict=True)]
        return eqx.combine(jax.tree.unflatten(structure, plain), self.rest)

    def iterates(self, data: Any, start: Params) -> Params:
        """The iterate after each step, along a leading axis, for losses that look at all of them."""
        copies, rest = eqx.partition(self.learnt(), eqx.is_inexact_array)
        part = lambda copy: eqx.combine(copy, rest)
        solver, terms = part(jax.tree.map(lambda leaf: leaf[0], copies))
        problem = self.problem_of(data, terms)
        start = problem.check(start)
        solver.check(problem, start)

        def layer(carry: tuple[Params, State], copy: Any) -> tuple[tuple[Params, State], Params]:
            params, state = carry
            solver, terms = part(copy)
            problem = self.problem_of(data, terms)
            params, state = solver.step(problem, params, _renewed(solver, problem, params, state))
            return (params, state), params

        carry = (start, solver.init(problem, start))
        first = jax.tree.map(lambda leaf: leaf[0], copies)
        carry = match_carry(lambda carry: layer(carry, first)[0], carry)
        return lax.scan(layer, carry, copies)[1]

    def __call__(self, data: Any, start: Params) -> Params:
        """The iterate after the last step; `data` goes to `problem_of`, `start` is the starting point."""
        return jax.tree.map(lambda leaf: leaf[-1], self.iterates(data, start))


def _has_settings(node: Any) -> bool:
    return isinstance(node, AbstractSolver | AbstractPenalty)


def _positive_settings(node: Any) -> Any:
    """Which leaves of a solver or penalty are known to be positive; none of the leaves of other trees."""
    if not _has_settings(node):
        return False

    def is_positive(leaf: Any) -> bool:
        known = concrete(leaf) if eqx.is_inexact_array(leaf) else None
        return known is not None and bool((known > 0).all())

    return jax.tree.map(is_positive, node)


def _renewed(solver: AbstractSolver, problem: AbstractProblem, params: Params, state: State) -> State:
    """The state of the steps so far, with what a setting of the solver starts as the solver at hand starts it."""
    names = {field.name for field in fields(solver) if eqx.is_inexact_array(getattr(solver, field.name))}
    shared = [field.name for field in fields(state) if field.name in names]
    if not shared:
        return state
    # Compiled, what else the new state holds is never computed.
    fresh = solver.init(problem, params)
    pick = lambda s: [getattr(s, name) for name in shared]
    return eqx.tree_at(pick, state, pick(fresh))
