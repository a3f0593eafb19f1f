from collections.abc import Callable
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .. import _tree
from .._types import BoolScalar, Params, Scalar
from .._validate import require_positive
from ..smooth import AbstractSmooth, FunctionTerm
from ._base import AbstractProblem
from ._linear_map import norm


class Denoised(AbstractProblem):
    """Find `w = denoiser(w - s grad f(w))`: a smooth term regularized by any denoiser, as plug-and-play methods do.

    Where the denoiser is the prox of `s g` this is the optimality of f + g. Any other map will do, a filter or a
    network; then there is most often no objective that a solution minimizes, and `value` is the norm of the residual.
    The solution depends on the step size s, which sets how much of the data one denoising answers for: unlike the step
    of a solver it is part of the problem, and derivatives flow to it, as to the arrays of the denoiser.

    Venkatakrishnan, Bouman and Wohlberg, "Plug-and-play priors for model based reconstruction", 2013; Meinhardt,
    Moeller, Hazirbas and Cremers, "Learning proximal operators: using denoising networks for regularizing inverse
    imaging problems", 2017.

    Args:
        smooth: the term f; a plain function `fn(params)` is wrapped as a `FunctionTerm`.
        denoiser: function `denoiser(params, *args)` to a pytree like the parameters; an equinox module will do. Arrays
            it closes over are differentiated too.
        step_size: the positive number s.
        args: pytrees passed on to the denoiser.

    Raises:
        TypeError: if `smooth` or `denoiser` is of another kind.
        ValueError: if the step size is not positive; when solving, if the denoiser changes shapes or dtypes.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> smoother = lambda w: (jnp.roll(w, 1) + 2 * w + jnp.roll(w, -1)) / 4
        >>> fit = jt.Quadratic(jnp.eye(4), -jnp.array([0.0, 0.0, 4.0, 0.0]))
        >>> problem = jt.problems.Denoised(fit, smoother, 0.5)
        >>> print(jt.solve(problem, jt.solvers.PlugAndPlay(), jnp.zeros(4)).params.round(3))
        [0.333 1.    1.667 1.   ]
    """

    smooth: AbstractSmooth
    denoiser: Callable[..., Params]
    step_size: Scalar
    args: tuple[Any, ...]

    def __init__(
        self,
        smooth: AbstractSmooth | Callable[[Params], Scalar],
        denoiser: Callable[..., Params],
        step_size: ArrayLike,
        *args: Any,
    ):
        if not isinstance(smooth, AbstractSmooth):
            if not callable(smooth):
                raise TypeError(f"smooth must be a smooth term or a function, got {type(smooth).__name__}.")
            smooth = FunctionTerm(smooth)
        if not callable(denoiser):
            raise TypeError(
                f"denoiser must be a callable denoiser(params, *args), got {type(denoiser).__name__}; "
                "pass for example penalty.prox with the strength of the denoising as its step."
            )
        require_positive(step_size, "step_size")
        self.smooth = smooth
        self.denoiser = denoiser
        self.step_size = _tree.setting(step_size)
        self.args = args

    def denoise(self, params: Params) -> Params:
        """The denoiser at `params`."""
        return self.denoiser(params, *self.args)

    def value(self, params: Params) -> Scalar:
        """Norm of `optimality(params)`, which is zero at a solution and only there."""
        return _tree.norm(self.optimality(params))

    def fixed_point(self, params: Params, step: ArrayLike = 1.0) -> Params:
        """`denoiser(w - s grad f(w))`, with the problem's own s whatever the `step`."""
        return self.denoise(_tree.add_scaled(params, -self.step_size, self.smooth.gradient(params)))

    def optimality(self, params: Params, step: ArrayLike = 1.0) -> Params:
        """Residual `(w - fixed_point(w)) / s`, zero exactly at a solution."""
        residual = _tree.sub(params, self.fixed_point(params))
        return _tree.scale(1 / self.step_size.astype(_tree.dtype_of(params)), residual)

    def contraction(self, params: Params) -> Scalar:
        """Spectral norm of the derivative of the map at `params`, estimated from below by power iteration.

        Below 1 the iteration `fixed_point` converges near there, at least by this factor a step, to a solution that has
        no other near it.
        """
        # Krylov subspaces of a map with a cluster of singular values are slow to tell them apart.
        return norm(jax.linearize(self.fixed_point, params)[1], params, rtol=1e-5, max_steps=500)

    def is_feasible(self, params: Params) -> BoolScalar:
        """Whether f is below infinity at `params`."""
        return ~jnp.isposinf(self.smooth.value(params))

    def closed(self, params: Params) -> Self:
        # Traced anew at each solve, as by `FunctionTerm`, for what the denoiser reads from its surroundings may change.
        fn = eqx.filter_closure_convert(lambda w, *args: self.denoiser(w, *args), params, *self.args)
        return eqx.tree_at(lambda p: (p.smooth, p.denoiser), self, (self.smooth.closed(params), fn))

    def check(self, params: Params) -> Params:
        params = self.smooth.check(_tree.as_inexact(params))
        here, there = jax.eval_shape(lambda w: (w, self.denoise(w)), params)
        kinds = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), tree)
        if kinds(here) != kinds(there):
            raise ValueError(f"denoiser must return a pytree like params, {kinds(here)}, got {kinds(there)}.")
        return params
