from collections.abc import Callable
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Float, Shaped

from .. import _tree
from .._types import Params, Scalar
from ..losses import AbstractLoss, Squared
from ._base import AbstractProblem


class LeastSquares(AbstractProblem):
    """Minimize `|r(w)|^2 / 2`, or `sum_i loss(f(w)_i, target_i)` for a convex loss: what Gauss-Newton methods solve.

    The sum is over rows and not their mean, as in other libraries for nonlinear least squares. A ridge is a further
    block of residuals, `(r(w), sqrt(strength) * w)`. A solution is differentiated through `J'e = 0`, J being the
    Jacobian of `fn` and e the gradient of the loss; where there are many, by the change of least norm.

    Args:
        fn: function `fn(params, *args)` to the residuals, an array or a pytree of them; with a loss to the scores, an
            array (n, ...) with a leading axis of rows. Arrays it closes over are differentiated too.
        args: pytrees passed on to `fn`; their arrays are leaves of the problem, to be batched and differentiated.
        loss: a twice differentiable loss of `jaxopt_thoth.losses`; None for half the squares of the residuals.
        targets: the targets (n, ...) of the loss.

    Raises:
        TypeError: if `fn` is not callable, or `loss` no loss.
        ValueError: if only one of `loss` and `targets` is given, or the loss does not accept the targets; when solving,
            if the scores do not fit the targets, or `fn` returns nothing or other numbers than floating-point ones.

    N. N. Schraudolph, "Fast curvature matrix-vector products for second-order gradient descent", 2002.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> x = jnp.array([0.0, 1.0, 2.0])
        >>> problem = jt.problems.LeastSquares(lambda w, x, y: w[0] * jnp.exp(w[1] * x) - y, x, 3 * jnp.exp(-x))
        >>> print(jt.solve(problem, jt.LevenbergMarquardt(), jnp.ones(2)).params.round(3))
        [ 3. -1.]
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    loss: AbstractLoss | None
    targets: Array | None

    def __init__(
        self,
        fn: Callable[..., Any],
        *args: Any,
        loss: AbstractLoss | None = None,
        targets: Shaped[ArrayLike, "n ..."] | None = None,
    ):
        if not callable(fn):
            raise TypeError(f"fn must be a callable fn(params, *args), got {type(fn).__name__}.")
        if loss is not None and not isinstance(loss, AbstractLoss):
            raise TypeError(f"loss must be a loss of jaxopt_thoth.losses, got {type(loss).__name__}; pass Squared().")
        if (loss is None) != (targets is None):
            raise ValueError("loss and targets belong together: pass both, or neither and let fn return residuals.")
        self.fn = fn
        self.args = args
        self.loss = loss
        self.targets = None if targets is None else jnp.asarray(targets)
        if loss is not None and self.targets is not None:
            if self.targets.ndim == 0:
                raise ValueError("targets must have a leading axis of rows, got a scalar; pass an array (n, ...).")
            loss.check_targets(self.targets)

    @property
    def _labels(self) -> Array:
        assert self.targets is not None
        return self.targets

    def outputs(self, params: Params) -> Any:
        """The residuals, or the scores, at `params`."""
        return self.fn(params, *self.args)

    def value(self, params: Params) -> Scalar:
        return self.loss_value(self.outputs(params))

    def loss_value(self, outputs: Any) -> Scalar:
        """The objective as a function of the outputs."""
        if self.loss is None:
            return _tree.squared_norm(outputs) / 2
        return jnp.sum(self.loss(outputs, self._labels))

    def loss_gradient(self, outputs: Any) -> Any:
        """The gradient e of the objective in the outputs."""
        return outputs if self.loss is None else self.loss.derivative(outputs, self._labels)

    def loss_hessian(self, outputs: Any) -> Float[Array, "n k k"] | None:
        """The Hessian W of the objective in the outputs, one block a row of scores; None for the identity."""
        if self.loss is None or isinstance(self.loss, Squared):
            return None
        loss = self.loss
        blocks = jax.vmap(jax.hessian(lambda score, target: jnp.sum(loss(score, target))))(outputs, self.targets)
        width = outputs.size // outputs.shape[0]
        return blocks.reshape(outputs.shape[0], width, width)

    def decrease(self, old: Any, new: Any) -> Scalar:
        """`loss_value(old) - loss_value(new)`, without the cancellation of the difference of two sums."""
        if self.loss is None or isinstance(self.loss, Squared):
            before, after = self.loss_gradient(old), self.loss_gradient(new)
            return _tree.vdot(_tree.sub(before, after), _tree.add(before, after)) / 2
        return jnp.sum(self.loss(old, self._labels) - self.loss(new, self._labels))

    def gram(self, params: Params, chunk: int | None = None) -> Float[Array, "m m"]:
        """`J J'` of the m outputs, the neural tangent kernel of `fn`; from `chunk` rows of J at a time, or from all."""
        outputs, forward = jax.linearize(self.outputs, params)
        flat, unravel = ravel_pytree(outputs)
        backward = jax.linear_transpose(forward, params)
        basis = jnp.eye(flat.size, dtype=flat.dtype)
        rows = lambda v: backward(unravel(v))[0]
        if chunk is None:
            jacobian = jax.vmap(lambda v: ravel_pytree(rows(v))[0])(basis)
            return jnp.matmul(jacobian, jacobian.T, precision=lax.Precision.HIGHEST)
        return lax.map(lambda v: ravel_pytree(forward(rows(v)))[0], basis, batch_size=chunk)

    def fixed_point(self, params: Params, step: ArrayLike) -> Params:
        """A gradient step, `w - step J'e`."""
        return _tree.add_scaled(params, -jnp.asarray(step), jax.grad(self.value)(params))

    def closed(self, params: Params) -> Self:
        # Traced anew at each solve, as by `FunctionTerm`, for what the function reads from its surroundings may change.
        fn = eqx.filter_closure_convert(lambda w, *args: self.fn(w, *args), params, *self.args)
        return eqx.tree_at(lambda p: p.fn, self, fn)

    def check(self, params: Params) -> Params:
        params = _tree.as_inexact(params)
        outputs = jax.eval_shape(self.outputs, params)
        leaves = jax.tree.leaves(outputs)
        if not sum(leaf.size for leaf in leaves):
            raise ValueError("fn must return at least one residual, got none; check its data.")
        kinds = {str(leaf.dtype) for leaf in leaves if not jnp.issubdtype(leaf.dtype, jnp.floating)}
        if kinds:
            raise ValueError(f"fn must return real floating-point numbers, got {', '.join(kinds)}; convert them.")
        if self.loss is not None and self.targets is not None:
            shape = getattr(outputs, "shape", None)
            if shape is None or shape[:1] != self.targets.shape[:1]:
                raise ValueError(
                    f"fn must return one array of scores with the {self.targets.shape[0]} rows of the targets, "
                    f"got {shape if shape is not None else type(outputs).__name__}."
                )
            try:
                jax.eval_shape(self.loss, outputs, self.targets)
            except (ValueError, TypeError) as error:
                raise ValueError(
                    f"scores of shape {shape} do not fit targets of shape {self.targets.shape} under "
                    f"{type(self.loss).__name__}: {error}"
                ) from error
        return params
