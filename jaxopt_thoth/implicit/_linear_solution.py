import equinox as eqx

from .._types import BoolScalar, IntScalar, Params, Scalar


class LinearSolution(eqx.Module):
    """What an iterative linear solve found, and how well it solves the system.

    Attributes:
        value: the solution, with the structure of the right-hand side.
        residual_norm: Euclidean norm of `rhs - matvec(value)`, computed afresh at the end.
        num_steps: number of steps taken; zero where the start was good enough.
        converged: whether the residual is below the tolerance. False also tells of a singular or an indefinite system.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import implicit
        >>> solution = implicit.warm_linear_solve(lambda v: -v, jnp.ones(2), rtol=1e-8)  # not positive
        >>> print(solution.converged, solution.num_steps)
        False 0
    """

    value: Params
    residual_norm: Scalar
    num_steps: IntScalar
    converged: BoolScalar
