import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ... import _tree
from ..._types import Scalar
from ._layers import along_channels


class _Step(eqx.Module):
    from_pixels: Float[Array, "p L"]
    from_copies: Float[Array, "p p"]
    threshold: Float[Array, " p"]
    rate: Scalar


class ADMMNet(eqx.Module):
    """The network of `admmnet`: steps of ADMM for sparse nonnegative abundances, with matrices that are learned.

    A step is `x = W y + B (z + d)`, `z = relu(x - d - threshold)`, `d = d - rate (x - z)`; it begins as the exact one
    of `min |y - E a|^2 / 2 + strength |a|_1` with penalty parameter `penalty`. The abundances are the last z divided
    by its sum, and equal ones where it is zero.

    Args:
        endmembers: (L, p) to begin with.
        num_blocks: number of steps; static.
        strength: of the l1 norm, at the start.
        penalty: parameter of ADMM, positive, at the start.

    Example:
        >>> import jax.numpy as jnp
        >>> network = ADMMNet(jnp.eye(3), num_blocks=5, strength=0.0, penalty=0.1)
        >>> print(network(jnp.array([[0.2, 0.3, 0.5]])).round(2))
        [[0.2 0.3 0.5]]
    """

    steps: tuple[_Step, ...]
    endmembers: Float[Array, "L p"]

    def __init__(
        self,
        endmembers: Float[Array, "L p"],
        *,
        num_blocks: int = 2,
        strength: ArrayLike = 1e-3,
        penalty: ArrayLike = 0.01,
    ) -> None:
        if num_blocks < 1:
            raise ValueError(f"num_blocks must be at least 1, got {num_blocks}.")
        count, dtype = endmembers.shape[1], endmembers.dtype
        strength, penalty = (_tree.setting(value).astype(dtype) for value in (strength, penalty))
        eye = jnp.eye(count, dtype=dtype)
        gram = jnp.matmul(endmembers.T, endmembers, precision="highest") + penalty * eye
        both = jnp.linalg.solve(gram, jnp.concatenate([endmembers.T, penalty * eye], axis=1))
        pixels, copies = both[:, : endmembers.shape[0]], both[:, endmembers.shape[0] :]
        threshold = jnp.full(count, strength / penalty)
        self.steps = tuple(_Step(pixels, copies, threshold, jnp.ones((), dtype)) for _ in range(num_blocks))
        self.endmembers = endmembers

    def __call__(self, pixels: Float[Array, "N L"]) -> Float[Array, "N p"]:
        """Abundances of each pixel, nonnegative and of sum one."""
        z = jnp.zeros((pixels.shape[0], self.endmembers.shape[1]), pixels.dtype)
        d = z
        for step in self.steps:
            x = jnp.matmul(pixels, step.from_pixels.T) + jnp.matmul(z + d, step.from_copies.T)
            z = jax.nn.relu(x - d - along_channels(step.threshold, x))
            d = d - step.rate * (x - z)
        # Pixels whose z is zero have no direction: equal fractions, as the limit of equal small ones.
        small = float(jnp.finfo(z.dtype).eps)
        return (z + small) / (jnp.sum(z, axis=1, keepdims=True) + small * z.shape[1])
