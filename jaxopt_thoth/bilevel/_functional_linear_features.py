from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._types import Scalar, State
from .._validate import require_nonnegative
from ._functional_adjoint import AbstractFunctionalAdjoint, FunctionalAdjoint, FunctionalSystem
from ._functional_rows import flat_rows, relative_residual


class LinearFeatures(AbstractFunctionalAdjoint):
    """Adjoint function linear in features, `q(x) = W phi(x)`, in closed form.

    W minimizes the adjoint objective plus `ridge / 2 |W|^2`: `(E_in[H kron phi phi'] + ridge I) vec W =
    vec E_out[d phi']`, one system of V k unknowns for V outputs and k features, or k unknowns for V right-hand sides
    where each Hessian is a multiple of the identity. With no ridge and dependent features it is the solution of least
    norm, so that a model with more weights than examples is no trouble.

    Petrulionyte, Mairal and Arbel, "Functional bilevel optimization for machine learning", 2024.

    Args:
        features: maps the model and one input to features (k,). By default those in which the model is linear, and a
            constant: `model.features(x)` if the model has such a method, the last hidden layer of an
            `equinox.nn.MLP`, the input of an `equinox.nn.Linear`.
        ridge: strength of the penalty, beside means over examples; it spares the constant of the default features, as
            ridge regressions do.
        scalar_hessian: whether the Hessian of the inner loss in the prediction is a multiple of the identity at each
            example, as that of a squared error. Where this is false, `residual` shows it.
        linear_solver: any solver of lineax; by default the singular value decomposition.

    Raises:
        ValueError: if `ridge` is negative; when solving, if the features of an input are not a vector.
        TypeError: when solving, if `features` is None and the model has none that are known.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> z, x = jnp.array([-1.0, 0.0, 1.0]), jnp.array([-1.5, 0.0, 2.5])
        >>> inner, outer = lambda w, v, z, x: (v - w * x) ** 2, lambda w, v, z: v**2
        >>> adjoint = jt.bilevel.LinearFeatures(lambda model, z: z[None])
        >>> found = jt.bilevel.functional_hypergradient(
        ...     outer, inner, lambda z: 2.0 * z, 1.0, (z, x), (z,), adjoint=adjoint)  # the slope of w x on z is 2 w
        >>> print(found.gradient.round(3))  # of 8/3 w^2
        5.333
    """

    features: Callable[[Any, Any], Array] | None
    ridge: Scalar
    scalar_hessian: bool = eqx.field(static=True)
    linear_solver: lx.AbstractLinearSolver

    def __init__(
        self,
        features: Callable[[Any, Any], Array] | None = None,
        ridge: ArrayLike = 0.0,
        *,
        scalar_hessian: bool = False,
        linear_solver: lx.AbstractLinearSolver | None = None,
    ):
        require_nonnegative(ridge, "ridge")
        self.features = features
        self.ridge = _tree.setting(ridge)
        self.scalar_hessian = scalar_hessian
        self.linear_solver = lx.AutoLinearSolver(well_posed=False) if linear_solver is None else linear_solver

    def solve(self, system: FunctionalSystem, state: State) -> FunctionalAdjoint:
        dtype = system.outer_slopes.dtype
        inner, outer = (self._features(system.model, x, dtype) for x in (system.inner_inputs, system.outer_inputs))
        n = inner.shape[0]
        ridge = jnp.full(inner.shape[1], self.ridge.astype(dtype))
        if self.features is None:
            ridge = ridge.at[-1].set(0)
        with jax.default_matmul_precision("highest"):
            right = outer.T @ system.outer_slopes / outer.shape[0]
            weights = self._weights(system, inner, right, ridge)
            values = inner @ weights
            left = inner.T @ system.product(values) / n + ridge[:, None] * weights
        return FunctionalAdjoint(values, None, relative_residual(left - right, right))

    def _weights(self, system: FunctionalSystem, inner: Array, right: Array, ridge: Array) -> Array:
        n, num_features = inner.shape
        num_outputs = right.shape[1]
        if self.scalar_hessian:
            curvatures = jnp.mean(system.product(jnp.ones((n, num_outputs), right.dtype)), axis=1)
            gram = (inner * curvatures[:, None]).T @ inner / n
            return jax.vmap(lambda b: self._solve(gram, b, ridge), in_axes=1, out_axes=1)(right)
        gram = jnp.einsum("ik,iab,il->kalb", inner, system.hessian(), inner) / n
        size = num_features * num_outputs
        return self._solve(gram.reshape(size, size), right.reshape(-1), jnp.repeat(ridge, num_outputs)).reshape(
            right.shape
        )

    def _solve(self, gram: Array, right: Array, ridge: Array) -> Array:
        matrix = gram + jnp.diag(ridge)
        operator = lx.MatrixLinearOperator(matrix, lx.positive_semidefinite_tag)
        return lx.linear_solve(operator, right, self.linear_solver, throw=False).value

    def _features(self, model: Any, inputs: Any, dtype: Any) -> Array:
        features = _default_features if self.features is None else self.features
        rows = jax.vmap(lambda x: features(model, x))(inputs)
        if rows.ndim != 2:
            raise ValueError(f"features must map one input to a vector, got shape {rows.shape[1:]}; make it flat.")
        return rows.astype(dtype)


def _default_features(model: Any, x: Any) -> Array:
    found = last_hidden_layer(model, x)
    return jnp.append(found, jnp.ones((), found.dtype))


def last_hidden_layer(model: Any, x: Any) -> Array:
    """The features in which a model of a known kind is linear, of one input; else `TypeError`."""
    if callable(getattr(model, "features", None)):
        found = model.features(x)
    elif isinstance(model, eqx.nn.Linear):
        found = x
    elif isinstance(model, eqx.nn.MLP):
        identity = lambda value: value
        found = eqx.tree_at(lambda m: (m.layers[-1], m.final_activation), model, (identity, identity))(x)
    else:
        raise TypeError(
            f"no features are known of {type(model).__name__}; pass LinearFeatures(lambda model, x: ...), or "
            "give the model a method `features`."
        )
    return flat_rows(found[None])[0]
