import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._types import IntScalar, Params, Scalar
from ._matrix_mechanism import AbstractMatrixMechanism, starts


class BinaryTree(AbstractMatrixMechanism):
    """Tree aggregation: each running sum is put together from at most log2(steps) + 1 noisy sums over dyadic intervals.

    Row t of C sums the gradients of the interval that ends at step t and is as long as the largest power of two that
    divides t. These are all the nodes that the running sums take before later steps are known: a node that would
    average over its children's noise as well is not available to a stream. The squared sensitivity is
    `floor(log2(steps)) + 1`, the memory as many copies of the parameters.

    Dwork, Naor, Pitassi and Rothblum, "Differential privacy under continual observation", 2010; Kairouz, McMahan, Song,
    Thakkar, Thakurta and Xu, "Practical and private (deep) learning without sampling or shuffling", 2021.

    Example:
        >>> import jaxopt_thoth as jt
        >>> print(jt.privacy.BinaryTree().strategy(4).astype(int))
        [[1 0 0 0]
         [1 1 0 0]
         [0 0 1 0]
         [1 1 1 1]]
        >>> print(f"{jt.privacy.BinaryTree().sensitivity(1024) ** 2:.3f}")
        11.000
    """

    def strategy(self, steps: int) -> Float[Array, "steps steps"]:
        end = np.arange(1, steps + 1)[:, None]
        place = np.arange(1, steps + 1)[None, :]
        return jnp.asarray((place <= end) & (place > end - (end & -end)), jnp.result_type(float))

    def sensitivity(self, steps: int, participations: int = 1, separation: int | None = None) -> Scalar:
        gap, number = starts(steps, participations, separation)
        if participations == 1:
            return jnp.sqrt(jnp.asarray(float(steps.bit_length())))
        end = np.arange(1, steps + 1)
        begin = end - (end & -end)
        most = 0
        for first in range(number):
            taken = np.zeros(steps, int)
            taken[first : first + participations * gap : gap] = 1
            before = np.concatenate([[0], np.cumsum(taken)])
            most = max(most, int(np.sum((before[end] - before[begin]) ** 2)))
        return jnp.sqrt(jnp.asarray(float(most)))

    def init(self, like: Params, steps: int) -> Params:
        return jax.tree.map(lambda a: jnp.zeros((steps.bit_length(), *a.shape), a.dtype), like)

    def correlate(self, memory: Params, count: IntScalar, white: Params) -> tuple[Params, Params]:
        step = count + 1
        level = jax.lax.population_count((step & -step) - 1)

        def replace(nodes: Array, z: Array) -> tuple[Array, Array]:
            # The new interval takes the place of all the shorter ones, whose noise leaves the running sum.
            shorter = (jnp.arange(nodes.shape[0], dtype=count.dtype) < level).astype(z.dtype)
            noise = z - jnp.tensordot(shorter, nodes, axes=1, precision=jax.lax.Precision.HIGHEST)
            return noise, nodes.at[level].set(z)

        pairs = jax.tree.map(replace, memory, white)
        return jax.tree.transpose(jax.tree.structure(white), jax.tree.structure((0, 0)), pairs)
