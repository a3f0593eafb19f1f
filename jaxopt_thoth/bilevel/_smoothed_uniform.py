import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr
from jaxtyping import Array, ArrayLike, Float, Key

from .. import _tree
from .._validate import require_positive


class SmoothedUniform(eqx.Module):
    """Uniform magnitudes between 0 and `high` plus normal noise, whose density is differentiable in `high`.

    The density is `[Phi((high - x) / scale) - Phi(-x / scale)] / high`, with Phi the normal distribution function. The
    published code drops the second term: what is left is no density, and the mean of its score is not zero.

    Marrie, Arbel, Larlus and Mairal, "SLACK: stable learning of augmentations with cold-start and KL regularization",
    2023.

    Args:
        high: upper ends (...), positive.
        scale: standard deviation of the noise, positive.
        exact: take the density as it is; otherwise as in the published code.

    Raises:
        ValueError: if `high` or `scale` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxopt_thoth import bilevel
        >>> magnitude = bilevel.SmoothedUniform(jnp.asarray(0.5))
        >>> [f"{jnp.exp(magnitude.log_prob(jnp.asarray(x))):.3f}" for x in (0.0, 0.25, 0.5, 1.0)]
        ['1.000', '1.975', '1.000', '0.000']
    """

    high: Float[Array, "..."]
    scale: Float[Array, "..."]
    exact: bool = eqx.field(static=True)

    def __init__(self, high: Float[ArrayLike, "..."], scale: ArrayLike = 0.1, *, exact: bool = True):
        require_positive(high, "high")
        require_positive(scale, "scale")
        self.high, self.scale, self.exact = _tree.setting(high), _tree.setting(scale), exact

    def sample(self, key: Key[Array, ""]) -> Float[Array, "..."]:
        """Draw magnitudes (...), differentiable in `high` and `scale`."""
        uniform_key, normal_key = jax.random.split(key)
        shape, dtype = self.high.shape, self.high.dtype
        noise = jax.random.normal(normal_key, shape, dtype)
        return self.high * jax.random.uniform(uniform_key, shape, dtype) + _tree.match(self.scale, self.high) * noise

    def log_prob(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """Log-density (...) at magnitudes (...), entry by entry."""
        scale = _tree.match(self.scale, self.high)
        upper = (self.high - x) / scale
        if not self.exact:
            return log_ndtr(upper) - jnp.log(self.high)
        lower = -x / scale
        # Of the two tails the one in which both terms are small: the other one cancels.
        flip = upper + lower > 0
        larger, smaller = jnp.where(flip, -lower, upper), jnp.where(flip, -upper, lower)
        log_larger = log_ndtr(larger)
        return log_larger + jnp.log(-jnp.expm1(log_ndtr(smaller) - log_larger)) - jnp.log(self.high)
