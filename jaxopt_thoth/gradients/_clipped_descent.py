import optax
from jaxtyping import ArrayLike

from ._clip_transform import clip_transform
from ._global_clip import GlobalClip


def clipped_descent(
    step_size: optax.ScalarOrSchedule, max_norm: ArrayLike, *, nan_safe: bool = True
) -> optax.GradientTransformation:
    """Clipped gradient descent, `x - step_size * clip(gradient, max_norm)`, as an optax optimizer.

    On exact gradients it converges at the rate of `clipped_descent_bound`; on stochastic ones it stops short of a
    stationary point, by up to `clipping_floor`. `interop.from_optax` makes it a solver.

    Args:
        step_size: a number, or an optax schedule. At most 1 / L for gradients of Lipschitz constant L, and
            1 / (L0 + max_norm * L1) where the constant is L0 + L1 times the norm of the gradient.
        max_norm: scalar, the level.
        nan_safe: whether a gradient that is not finite is skipped; otherwise it is passed on.

    Raises:
        ValueError: for a known negative `max_norm`.

    Zhang et al., "Why gradient clipping accelerates training: a theoretical justification for adaptivity", 2020.

    Example:
        >>> import jax.numpy as jnp, optax, jaxopt_thoth as jt
        >>> from jaxopt_thoth import gradients, interop
        >>> problem = jt.Composite(jt.FunctionTerm(lambda x: jnp.cosh(x).sum()), jt.penalties.Zero())
        >>> solver = interop.from_optax(gradients.clipped_descent(0.5, max_norm=1.0))
        >>> print(jt.solve(problem, solver, jnp.array([20.0])).params.round(3))
        [0.]
    """
    return optax.chain(clip_transform(GlobalClip(max_norm, nan_safe=nan_safe)), optax.scale_by_learning_rate(step_size))
