from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float

from .. import _tree
from .._types import Scalar
from ._lmo import AbstractLMO, as_matrix, from_matrix, radius_setting
from ._wide import wide


Method = Literal["newton_schulz", "svd"]


class SpectralLMO(AbstractLMO):
    """Linear minimization over matrices of bounded largest singular value, `-radius * U V'`: the step of Muon.

    "newton_schulz" takes the iteration of optax's Muon, matrix products alone. With its five steps it does not
    converge: singular values from 1/100 of the Frobenius norm up end between 0.68 and 1.14, so that the point may lie
    outside of the ball, and `dual_norm`, which takes the same products, is off by as much. "svd" is exact; singular
    values that are zero to rounding stay zero.

    K. Jordan, Y. Jin, V. Boza, J. You, F. Cesista, L. Newhouse and J. Bernstein, "Muon: an optimizer for hidden layers
    in neural networks", 2024; T. Pethick, W. Xie, K. Antonakopoulos, Z. Zhu, A. Silveti-Falls and V. Cevher, "Training
    deep learning models with norm-constrained LMOs", 2025.

    Args:
        radius: of the ball.
        method: "newton_schulz" or "svd".
        num_steps: number of Newton-Schulz steps.
        coefficients: the three of each step, or one row of three a step; Muon's by default.
        output_axis: axis of the outputs, against which all others are one; plays no part for a matrix.

    Raises:
        ValueError: if a setting is out of range; for an array of less than two axes.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> point = jt.gradients.SpectralLMO(method="svd")(jnp.array([[0.0, 3.0], [-4.0, 0.0]]))
        >>> print(point.round(6) + 0.0)
        [[ 0. -1.]
         [ 1.  0.]]
    """

    radius: Scalar
    method: Method = eqx.field(static=True)
    num_steps: int = eqx.field(static=True)
    coefficients: tuple = eqx.field(static=True)
    output_axis: int = eqx.field(static=True)

    def __init__(
        self,
        radius: ArrayLike = 1.0,
        method: Method = "newton_schulz",
        *,
        num_steps: int = 5,
        coefficients: tuple = (3.4445, -4.7750, 2.0315),
        output_axis: int = 0,
    ):
        if method not in ("newton_schulz", "svd"):
            raise ValueError(f'method must be "newton_schulz" or "svd", got {method!r}.')
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {num_steps}.")
        self.radius = radius_setting(radius)
        self.method = method
        self.num_steps = num_steps
        self.coefficients = coefficients
        self.output_axis = output_axis

    def direction(self, s: Array) -> Array:
        matrix = as_matrix(s, self.output_axis, "SpectralLMO")
        return from_matrix(-self._polar(matrix), s, self.output_axis)

    def norm(self, x: Array) -> Scalar:
        return jnp.max(_singular_values(as_matrix(wide(x), self.output_axis, "SpectralLMO")), initial=0)

    def dual_norm(self, s: Array) -> Scalar:
        matrix = as_matrix(wide(s), self.output_axis, "SpectralLMO")
        if self.method == "newton_schulz":
            return _tree.vdot(matrix, self._polar(matrix))
        return jnp.sum(_singular_values(matrix))

    def _polar(self, matrix: Float[Array, "out in"]) -> Float[Array, "out in"]:
        if self.method == "svd":
            left, values, right = jnp.linalg.svd(matrix, full_matrices=False)
            kept = values > jnp.finfo(values.dtype).eps * max(matrix.shape) * values[0]
            return (left * jnp.where(kept, 1, 0).astype(left.dtype)[None, :]) @ right
        # Without momentum what is left of Muon is its orthogonalization, which optax does not export on its own. It
        # divides by the norm plus a constant, which would not be invariant under factors.
        size = _tree.stable_norm(matrix)
        scaled = jnp.where(size > 0, matrix / jnp.where(size > 0, size, 1), 1)
        orthogonalization = optax.contrib.scale_by_muon(self.coefficients, self.num_steps, beta=0.0, nesterov=False)
        # Its powers of the decay are of a count.
        with jax.numpy_dtype_promotion("standard"):
            polar, _ = orthogonalization.update(scaled, orthogonalization.init(scaled))
        return jnp.where(size > 0, polar, 0)


class RMSToRMSLMO(AbstractLMO):
    """Linear minimization over linear maps of bounded gain in root mean squares, `-radius * sqrt(out/in) U V'`.

    The norm is `sqrt(in/out)` times the largest singular value: what a layer can do to the root mean square of its
    inputs, whatever the width, so that one step size serves networks of all widths. It scales a `SpectralLMO`, whose
    limits it shares: with "newton_schulz" the minimizer is approximate.

    J. Bernstein and L. Newhouse, "Modular duality in deep learning", 2024; T. Pethick, W. Xie, K. Antonakopoulos, Z.
    Zhu, A. Silveti-Falls and V. Cevher, "Training deep learning models with norm-constrained LMOs", 2025.

    Args:
        radius: of the ball.
        method: "newton_schulz" or "svd".
        num_steps: number of Newton-Schulz steps.
        output_axis: axis of the outputs: 0 for weights (out, in) as of equinox, 1 for (in, out). The inputs are all
            other axes together.

    Raises:
        ValueError: if a setting is out of range; for an array of less than two axes.

    Example:
        >>> import jax.numpy as jnp, jaxopt_thoth as jt
        >>> oracle = jt.gradients.RMSToRMSLMO(method="svd")
        >>> print(oracle(jnp.array([[3.0], [0.0], [0.0], [4.0]])).round(6).T + 0.0)
        [[-1.2  0.   0.  -1.6]]
    """

    radius: Scalar
    spectral: SpectralLMO

    def __init__(
        self, radius: ArrayLike = 1.0, method: Method = "newton_schulz", *, num_steps: int = 5, output_axis: int = 0
    ):
        self.radius = radius_setting(radius)
        self.spectral = SpectralLMO(method=method, num_steps=num_steps, output_axis=output_axis)

    def direction(self, s: Array) -> Array:
        return self._gain(s) * self.spectral.direction(s)

    def norm(self, x: Array) -> Scalar:
        return self.spectral.norm(x) / self._gain(x)

    def dual_norm(self, s: Array) -> Scalar:
        return self._gain(s) * self.spectral.dual_norm(s)

    def _gain(self, s: Array) -> float:
        outputs = s.shape[self.spectral.output_axis] if s.ndim > 1 else 1
        return float(outputs * outputs / max(s.size, 1)) ** 0.5


def _singular_values(matrix: Array) -> Array:
    return jnp.linalg.svd(matrix, compute_uv=False)
