"""The linear systems of Gauss-Newton methods, in the parameters, in the outputs, or matrix-free."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from .. import _tree
from .._types import Params, Scalar
from ..implicit import conjugate_gradient
from ..problems import LeastSquares
from ._settings import count_setting


Form = Literal["dense", "dual", "cg"]
# Beyond this many rows a matrix is neither formed nor factored unless asked for.
_FACTORED_UP_TO = 4096
# Factor on the last direction as the start of the next conjugate gradient (Martens, 2010).
_DECAY = 0.95


class Iteration(NamedTuple):
    """How exactly conjugate gradient solves, and the last direction, which it starts from."""

    last: Params | None
    error: Scalar
    tol: Scalar | None
    max_steps: int | None


def choose_form(problem: LeastSquares, params: Params, form: Form | None, factored: bool) -> Form:
    """The form that was asked for, or the cheapest: the smaller of both matrices, neither where both are large."""
    if form is not None:
        return form
    size = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
    unknowns, outputs = size(params), size(jax.eval_shape(problem.outputs, params))
    if min(unknowns, outputs) > _FACTORED_UP_TO and not factored:
        return "cg"
    return "dense" if unknowns <= outputs else "dual"


def check_form(form: str | None, chunk: int | None, max_linear_steps: int | None) -> None:
    """Raise `ValueError` for an unknown form or a count below one."""
    if form not in (None, "dense", "dual", "cg"):
        raise ValueError(f'form must be "dense", "dual", "cg" or None, got {form!r}.')
    for name, count in (("chunk", chunk), ("max_linear_steps", max_linear_steps)):
        if count is not None:
            count_setting(count, name, 1)


class GaussNewtonSystem:
    """The model `J'W J d = -J'e` of a least-squares problem at `params`, linearized once.

    J is the Jacobian of the outputs, W the Hessian of the loss there and e its gradient. With K = J J' the direction
    damped by eps has three forms: `(J'W J + eps I)^-1 J'e` (dense), `J'(W K + eps I)^-1 e` (dual), and the first by
    conjugate gradient. The undamped one of least norm comes from eigenvectors: `J'R (R K R)^+ R^+ e`, R the
    root of W.
    """

    def __init__(self, problem: LeastSquares, params: Params, form: Form, chunk: int | None = None):
        self.problem, self.params, self.form, self.chunk = problem, params, form, chunk
        self.outputs, self.forward = jax.linearize(problem.outputs, params)
        self.transpose = jax.linear_transpose(self.forward, params)
        self.error = problem.loss_gradient(self.outputs)
        self.gradient: Params = self.backward(self.error)
        self.blocks = problem.loss_hessian(self.outputs)
        self.flat_error, self.unravel_output = ravel_pytree(self.error)
        self.flat_gradient, self.unravel = ravel_pytree(self.gradient)

    def backward(self, v: Any) -> Params:
        """`J'v` of a pytree of outputs."""
        return self.transpose(v)[0]

    def product(self, v: Params) -> Params:
        """`J'W J v`."""
        image, unravel = ravel_pytree(self.forward(v))
        return self.backward(unravel(_weigh(self.blocks, image)))

    def curvature(self, v: Params) -> Scalar:
        """`<J v, W J v>`."""
        image = ravel_pytree(self.forward(v))[0]
        return jnp.vdot(image, _weigh(self.blocks, image), precision=lax.Precision.HIGHEST)

    def damped(
        self,
        eps: Scalar,
        iteration: Iteration | None = None,
        *,
        scale: Float[Array, " p"] | None = None,
        jacobian: Float[Array, "m p"] | None = None,
    ) -> Params:
        """The direction damped by `eps`, or by `eps` times the diagonal `scale` in the dense form.

        `iteration` is for the form "cg" alone, and `jacobian` one that is known already.
        """
        if self.form == "cg" and iteration is not None:
            return self._iterated(eps, iteration)
        if self.form == "dense":
            jacobian = self.jacobian() if jacobian is None else jacobian
            matrix = _matmul(jacobian.T, _weigh(self.blocks, jacobian))
            damping = jnp.full_like(self.flat_gradient, eps) if scale is None else eps * scale
            return self.unravel(-_cholesky_solve(matrix, damping, self.flat_gradient))
        return self._dual(self.problem.gram(self.params, self.chunk), eps)

    def least_damped(self, floor: Scalar) -> tuple[Params, Scalar]:
        """The direction damped by the least eigenvalue of `R K R`, at least `floor`, and that damping."""
        if self.form == "dual":
            kernel = self.problem.gram(self.params, self.chunk)
            root = _root(self.blocks)
            values = jnp.linalg.eigvalsh(_symmetric(_weigh(root, _weigh(root, kernel).T)))
            eps = jnp.maximum(floor, values[0])
            return self._dual(kernel, eps), eps
        jacobian = self.jacobian()
        rows, columns = jacobian.shape
        # With more outputs than unknowns, K is singular; else its spectrum is the upper part of that of J'W J.
        eps = floor
        if rows <= columns:
            values = jnp.linalg.eigvalsh(_symmetric(_matmul(jacobian.T, _weigh(self.blocks, jacobian))))
            eps = jnp.maximum(floor, values[columns - rows])
        return self.damped(eps, jacobian=jacobian), eps

    def least_norm(self, cutoff: Scalar) -> Params:
        """The undamped direction of least norm, eigenvalues below `cutoff` times the largest taken for zero."""
        if self.form == "dense":
            jacobian = self.jacobian()
            matrix = _matmul(jacobian.T, _weigh(self.blocks, jacobian))
            return self.unravel(-_truncated_solve(matrix, self.flat_gradient, cutoff))
        kernel = self.problem.gram(self.params, self.chunk)
        root = _root(self.blocks)
        matrix = _weigh(root, _weigh(root, kernel).T)
        error = self.flat_error
        if root is not None:
            # What the loss does not bend has no curvature, and takes no part.
            rows = error.reshape(root.shape[:2])
            error = jax.vmap(_truncated_solve, in_axes=(0, 0, None))(root, rows, cutoff).reshape(-1)
        return self._from_dual(_weigh(root, _truncated_solve(matrix, error, cutoff)))

    def jacobian(self) -> Float[Array, "m p"]:
        """J as a matrix, by columns or by rows, whichever are fewer."""
        rows, columns = self.flat_error.size, self.flat_gradient.size
        if columns <= rows:
            basis = jnp.eye(columns, dtype=self.flat_gradient.dtype)
            return jax.vmap(lambda v: ravel_pytree(self.forward(self.unravel(v)))[0], out_axes=1)(basis)
        basis = jnp.eye(rows, dtype=self.flat_error.dtype)
        return jax.vmap(lambda v: ravel_pytree(self.backward(self.unravel_output(v)))[0])(basis)

    def diagonal(self, jacobian: Float[Array, "m p"]) -> Float[Array, " p"]:
        """The diagonal of `J'W J`."""
        return jnp.sum(jacobian * _weigh(self.blocks, jacobian), axis=0)

    def _iterated(self, eps: Scalar, iteration: Iteration) -> Params:
        dtype = self.flat_gradient.dtype
        last, error, tol, limit = iteration
        # A forcing term that falls with the error, so that few products are spent far from a solution.
        rtol = jnp.clip(error, 100 * jnp.finfo(dtype).eps, 0.1) if tol is None else tol
        return conjugate_gradient(
            lambda v: _tree.add_scaled(self.product(v), eps, v),
            _tree.scale(-1, self.gradient),
            rtol=rtol,
            max_steps=2 * self.flat_gradient.size + 20 if limit is None else limit,
            start=None if last is None else _tree.scale(jnp.asarray(_DECAY, dtype), last),
        )

    def _dual(self, kernel: Array, eps: Scalar) -> Params:
        if self.blocks is None:
            return self._from_dual(_cholesky_solve(kernel, jnp.full_like(self.flat_error, eps), self.flat_error))
        matrix = _weigh(self.blocks, kernel) + eps * jnp.eye(len(kernel), dtype=kernel.dtype)
        return self._from_dual(jnp.linalg.solve(matrix, self.flat_error))

    def _from_dual(self, dual: Array) -> Params:
        return _tree.scale(-1, self.backward(self.unravel_output(dual)))


def _matmul(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def _symmetric(matrix: Array) -> Array:
    return (matrix + matrix.T) / 2


def _weigh(blocks: Array | None, x: Array) -> Array:
    """The block-diagonal matrix, or the identity, times a vector or the columns of a matrix."""
    if blocks is None:
        return x
    rows, width, _ = blocks.shape
    columns = x.reshape(rows, width, -1)
    return _matmul(blocks, columns).reshape(x.shape)


def _root(blocks: Array | None) -> Array | None:
    """The positive semidefinite root of each block."""
    if blocks is None:
        return None
    if blocks.shape[-1] == 1:
        return _tree.safe_sqrt(jnp.maximum(blocks, 0))
    values, vectors = jnp.linalg.eigh(blocks)
    return _matmul(vectors * _tree.safe_sqrt(jnp.maximum(values, 0))[:, None, :], jnp.swapaxes(vectors, 1, 2))


def _cholesky_solve(matrix: Array, damping: Array, rhs: Array) -> Array:
    factor = jnp.linalg.cholesky(_symmetric(matrix) + jnp.diag(damping))
    return jax.scipy.linalg.cho_solve((factor, True), rhs)


def _truncated_solve(matrix: Array, rhs: Array, cutoff: Scalar) -> Array:
    values, vectors = jnp.linalg.eigh(_symmetric(matrix))
    kept = values > cutoff * jnp.maximum(values[-1], 0)
    coefficients = jnp.where(kept, _matmul(vectors.T, rhs) / jnp.where(kept, values, 1), 0)
    return _matmul(vectors, coefficients)
