import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from .. import _tree
from .._types import Scalar
from ._lmo import AbstractLMO, radius_setting, unit
from ._wide import wide


class L2LMO(AbstractLMO):
    """Linear minimization over a Euclidean ball, `-radius * s / |s|`: the step of normalized gradient descent.

    The ball is that of one array, the Frobenius norm of a matrix. Raises `ValueError` for a radius that is not
    positive.

    T. Pethick, W. Xie, K. Antonakopoulos, Z. Zhu, A. Silveti-Falls and V. Cevher, "Training deep learning models with
    norm-constrained LMOs", 2025.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> print(jt.gradients.L2LMO(2.0)(jnp.array([3.0, -4.0])))
        [-1.2  1.6]
    """

    radius: Scalar

    def __init__(self, radius: ArrayLike = 1.0):
        self.radius = radius_setting(radius)

    def direction(self, s: Array) -> Array:
        return -unit(s, _tree.stable_norm(s))

    def norm(self, x: Array) -> Scalar:
        return _tree.stable_norm(wide(x))

    def dual_norm(self, s: Array) -> Scalar:
        return self.norm(s)


class LInfLMO(AbstractLMO):
    """Linear minimization over a cube, `-radius * sign(s)`: the step of sign descent.

    Raises `ValueError` for a radius that is not positive.

    J. Bernstein, Y.-X. Wang, K. Azizzadenesheli and A. Anandkumar, "signSGD: compressed optimisation for non-convex
    problems", 2018.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> print(jt.gradients.LInfLMO(0.5)(jnp.array([3.0, -4.0])))
        [-0.5  0.5]
    """

    radius: Scalar

    def __init__(self, radius: ArrayLike = 1.0):
        self.radius = radius_setting(radius)

    def direction(self, s: Array) -> Array:
        return -jnp.sign(s)

    def norm(self, x: Array) -> Scalar:
        return jnp.max(jnp.abs(wide(x)), initial=0)

    def dual_norm(self, s: Array) -> Scalar:
        return jnp.sum(jnp.abs(wide(s)))


class L1LMO(AbstractLMO):
    """Linear minimization over a cross-polytope: all of the radius against the entry of s of largest size.

    The step of greedy coordinate descent. Raises `ValueError` for a radius that is not positive.

    J. Bernstein and L. Newhouse, "Old optimizer, new norm: an anthology", 2024.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> print(jt.gradients.L1LMO(2.0)(jnp.array([3.0, -4.0])))
        [0. 2.]
    """

    radius: Scalar

    def __init__(self, radius: ArrayLike = 1.0):
        self.radius = radius_setting(radius)

    def direction(self, s: Array) -> Array:
        flat = s.reshape(-1)
        place = jnp.argmax(jnp.abs(flat))
        return jnp.zeros_like(flat).at[place].set(-jnp.sign(flat[place])).reshape(s.shape)

    def norm(self, x: Array) -> Scalar:
        return jnp.sum(jnp.abs(wide(x)))

    def dual_norm(self, s: Array) -> Scalar:
        return jnp.max(jnp.abs(wide(s)), initial=0)
