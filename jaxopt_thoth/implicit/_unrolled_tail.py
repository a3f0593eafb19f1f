import functools
from collections.abc import Callable
from typing import Any

import jax

from .. import _tree
from .._loop import match_carry
from .._types import Params
from ._structures import require_same_structure


def unrolled_tail(
    mapping: Callable[..., Params], num_steps: int, *, has_aux: bool = False
) -> Callable[[Callable], Callable]:
    """Differentiate a solver of your own through `num_steps` last applications of a map, from its result held fixed.

    The decorated `solver(start, *arguments)` may be anything; `mapping(x, *arguments)` is applied to its result, which
    is thereby improved. No linear system is solved, so that solutions need not be isolated; the relative error is
    about the contraction factor of the map to the power `num_steps`. Reverse mode keeps `num_steps` iterates.

    Args:
        mapping: function of x and the arguments, with the structure of x.
        num_steps: number of applications; 1 is the one-step derivative.
        has_aux: whether the solver returns `(x, aux)`; aux comes back without derivatives.

    Raises:
        ValueError: if `num_steps` is not positive; at a call, if the map changes the structure or the shapes of x.

    Shaban et al., "Truncated back-propagation for bilevel optimization", 2019.

    Example:
        >>> import jax, jaxopt_thoth as jt
        >>> halve = lambda x, a: x / 2 + a
        >>> solve = jt.implicit.unrolled_tail(halve, 3)(lambda start, a: 2 * a)
        >>> print(jax.grad(solve, 1)(0.0, 3.0))  # of 2
        1.75
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}.")

    def decorate(solver: Callable) -> Callable:
        @functools.wraps(solver)
        def solve(start: Params, *arguments: Any) -> Any:
            found = _tree.stop_gradient(solver(*_tree.stop_gradient((start, *arguments))))
            x, aux = found if has_aux else (found, None)
            x = _tree.as_inexact(x)
            step = lambda x: mapping(x, *arguments)
            require_same_structure(jax.eval_shape(step, x), x, "the result of mapping", "x")
            x = jax.lax.scan(lambda x, _: (step(x), None), match_carry(step, x), None, length=num_steps)[0]
            return (x, aux) if has_aux else x

        return solve

    return decorate
