import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._types import IntScalar, Params, Scalar
from ..solvers._settings import count_setting


class AbstractMatrixMechanism(eqx.Module):
    """Correlated noise for a stream of gradients of which the running sums matter, as a lower triangular matrix C.

    All running sums of the gradients G are A G, A lower triangular with ones; the mechanism releases C G plus white
    noise Z, of which A G + A C^-1 Z is made without another look at the data. What step t adds to its gradient is row t
    of C^-1 Z, streamed. Since C is lower triangular, gradients may depend on all that was released before.

    Denisov, McMahan, Rush, Smith and Thakurta, "Improved differential privacy for SGD via optimal private linear
    operators on adaptive streams", 2022.
    """

    def strategy(self, steps: int) -> Float[Array, "steps steps"]:
        """The matrix C of a run of `steps` steps."""
        raise NotImplementedError

    def sensitivity(self, steps: int, participations: int = 1, separation: int | None = None) -> Scalar:
        """Largest change of C G, in the Frobenius norm, by an example whose contributions have norm at most 1.

        Args:
            steps: number of steps of the run.
            participations: number of steps that an example takes part in at most.
            separation: number of steps from one participation to the next; needed where there are several.

        Raises:
            ValueError: if a count is below 1, or `separation` is needed and missing.
        """
        raise NotImplementedError

    def init(self, like: Params, steps: int) -> Params:
        """Memory of the stream before its first step, for noise in the shapes of `like`."""
        raise NotImplementedError

    def correlate(self, memory: Params, count: IntScalar, white: Params) -> tuple[Params, Params]:
        """The noise of step `count`, counted from 0, out of fresh white noise, and the memory for the next step."""
        raise NotImplementedError

    def error(self, steps: int, participations: int = 1, separation: int | None = None) -> Scalar:
        """Root mean square of the noise in the running sums, for white noise of the deviation of the sensitivity."""
        strategy = self.strategy(steps)
        ones = jnp.tril(jnp.ones_like(strategy))
        # A C^-1, from the system of its transpose.
        decoder = jax.scipy.linalg.solve_triangular(strategy.T, ones.T, lower=False)
        return self.sensitivity(steps, participations, separation) * jnp.sqrt(jnp.sum(decoder**2) / steps)


def starts(steps: int, participations: int, separation: int | None) -> tuple[int, int]:
    """The separation, and how many first participations have to be looked at where no entry of C is negative.

    Whoever starts later than that takes part at a subset of the steps of someone who started earlier.
    """
    count_setting(steps, "steps", 1)
    count_setting(participations, "participations", 1)
    if participations == 1:
        return steps, steps
    if separation is None:
        raise ValueError(
            f"separation is needed for {participations} participations; pass the number of steps between them, for "
            "example the number of batches of one pass over the data."
        )
    count_setting(separation, "separation", 1)
    return separation, min(steps, max(separation, steps - (participations - 1) * separation))


class Toeplitz(AbstractMatrixMechanism):
    """Shared by the mechanisms whose matrix has the same coefficient, none negative, all along each diagonal."""

    def coefficients_of(self, steps: int) -> Float[Array, " bandwidth"]:
        """The first column of C, up to its last entry that is not zero."""
        raise NotImplementedError

    def strategy(self, steps: int) -> Float[Array, "steps steps"]:
        column = self.coefficients_of(steps)
        lag = np.arange(steps)[:, None] - np.arange(steps)[None, :]
        inside = (lag >= 0) & (lag < column.size)
        return jnp.where(inside, column[np.where(inside, lag, 0)], 0)

    def sensitivity(self, steps: int, participations: int = 1, separation: int | None = None) -> Scalar:
        gap, _ = starts(steps, participations, separation)
        column = self.coefficients_of(steps)
        column = jnp.pad(column[:steps], (0, max(0, steps - column.size)))
        # Whoever takes part from the first step on moves most: nobody's share ends later.
        shifts = [k * gap for k in range(participations) if k * gap < steps]
        total = sum((jnp.pad(column[: steps - s], (s, 0)) for s in shifts[1:]), column)
        return jnp.sqrt(jnp.sum(total**2))

    def init(self, like: Params, steps: int) -> Params:
        size = self.coefficients_of(steps).size - 1
        return jax.tree.map(lambda a: jnp.zeros((size, *a.shape), a.dtype), like)

    def correlate(self, memory: Params, count: IntScalar, white: Params) -> tuple[Params, Params]:
        size = jax.tree.leaves(memory)[0].shape[0] if jax.tree.leaves(memory) else 0
        column = self.coefficients_of(size + 1)
        first, rest = column[0], column[1:]

        def substitute(past: Array, z: Array) -> tuple[Array, Array]:
            if not size:
                return z / first.astype(z.dtype), past
            # A ring: the row of lag k was written k steps ago.
            weights = rest[jnp.mod(count - 1 - jnp.arange(size, dtype=count.dtype), size)].astype(z.dtype)
            known = jnp.tensordot(weights, past, axes=1, precision=jax.lax.Precision.HIGHEST)
            noise = (z - known) / first.astype(z.dtype)
            return noise, past.at[jnp.mod(count, size)].set(noise)

        pairs = jax.tree.map(substitute, memory, white)
        return jax.tree.transpose(jax.tree.structure(white), jax.tree.structure((0, 0)), pairs)


def square_root_coefficients(size: int) -> np.ndarray:
    """Coefficients of (1 - x)^(-1/2), whose Toeplitz matrix is the square root of that of running sums."""
    k = np.arange(1, size)
    return np.concatenate([[1.0], np.cumprod((2 * k - 1) / (2 * k))])
