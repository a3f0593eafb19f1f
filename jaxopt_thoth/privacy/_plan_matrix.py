from typing import Any, Self

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Int, Key

from .. import _tree
from .._types import IntScalar, Scalar
from ..gradients import AbstractClipping, NeighboringRelation
from ..solvers._settings import count_setting
from ._calibrate_noise import calibrate_noise
from ._epsilon import epsilon as accounted_epsilon
from ._matrix_mechanism import AbstractMatrixMechanism
from ._plan_base import AbstractPlan, import_dp_event, rounded_up
from ._rdp_releases import Accountant


class MatrixPlan(AbstractPlan):
    """A run of private gradient descent with correlated noise, which takes its batches in a fixed order.

    The data are passed over in `batches` batches, example i in the batch `i mod batches` of each pass, and nothing is
    sampled: the whole run is one Gaussian mechanism, of the sensitivity that the mechanism has for so many passes.
    Where an example sits is no secret, so that neighbors are told apart in one example at its place: `replace_special`
    (it contributes zero) or `replace_one`.

    Kairouz, McMahan, Song, Thakkar, Thakurta and Xu, "Practical and private (deep) learning without sampling or
    shuffling", 2021; Denisov, McMahan, Rush, Smith and Thakurta, "Improved differential privacy for SGD via optimal
    private linear operators on adaptive streams", 2022.

    Args:
        noise_multiplier: deviation of the white noise over the sensitivity of the whole run.
        mechanism: `Banded(bandwidth)`, `SquareRootToeplitz()`, `BinaryTree()` or `Identity()`.
        num_examples: number of examples n in the data set.
        batch_size: most examples of a batch.
        steps: number of steps of the run.
        clipping: a rule that bounds the contribution of an example, for example `gradients.GlobalClip(1.0)`.
        relation: which data sets are neighbors.

    Raises:
        TypeError: if `mechanism` or `clipping` is none.
        ValueError: if a number is out of range, or `relation` is `add_or_remove_one`, which moves the other examples.

    Example:
        >>> import jaxopt_thoth as jt
        >>> settings = dict(num_examples=1000, batch_size=50, steps=80, clipping=jt.gradients.GlobalClip(1.0))
        >>> plan = jt.privacy.MatrixPlan(4.0, mechanism=jt.privacy.Banded(20), **settings)
        >>> print(plan.batches, plan.participations, f"{plan.epsilon(1e-5):.3f}")
        20 4 1.013
    """

    strategy: AbstractMatrixMechanism
    batches: int = eqx.field(static=True)

    def __init__(
        self,
        noise_multiplier: ArrayLike,
        *,
        mechanism: AbstractMatrixMechanism,
        num_examples: int,
        batch_size: int,
        steps: int,
        clipping: AbstractClipping,
        relation: NeighboringRelation = NeighboringRelation.replace_special,
    ):
        super().__init__(noise_multiplier, clipping, num_examples, steps, relation)
        if not isinstance(mechanism, AbstractMatrixMechanism):
            raise TypeError(
                f"mechanism must be a matrix mechanism, got {type(mechanism).__name__}; pass jt.privacy.Banded(8)."
            )
        if relation is NeighboringRelation.add_or_remove_one:
            raise ValueError(
                "relation=add_or_remove_one moves every later example to another batch; take replace_special or "
                "replace_one."
            )
        self.strategy = mechanism
        self.batches = -(-num_examples // count_setting(batch_size, "batch_size", 1))

    @classmethod
    def for_budget(
        cls,
        epsilon: ArrayLike,
        delta: ArrayLike,
        *,
        mechanism: AbstractMatrixMechanism,
        num_examples: int,
        batch_size: int,
        steps: int,
        clipping: AbstractClipping,
        relation: NeighboringRelation = NeighboringRelation.replace_special,
        accountant: Accountant = "rdp",
    ) -> Self:
        """The plan with the least noise whose `epsilon(delta, accountant=accountant)` is at most `epsilon`."""
        return cls(
            rounded_up(calibrate_noise(epsilon, delta, 1.0, 1, accountant, relation)),
            mechanism=mechanism,
            num_examples=num_examples,
            batch_size=batch_size,
            steps=steps,
            clipping=clipping,
            relation=relation,
        )

    @property
    def expected_batch(self) -> float:
        return self.num_examples / self.batches

    @property
    def mechanism(self) -> AbstractMatrixMechanism:
        return self.strategy

    @property
    def participations(self) -> int:
        """Number of passes over the data, the last one perhaps not to its end."""
        return -(-self.steps // self.batches)

    @property
    def noise_scale(self) -> Scalar:
        change = self.strategy.sensitivity(self.steps, self.participations, self.batches)
        return super().noise_scale * _tree.match(change, self.noise_multiplier)

    def draw(
        self, key: Key[Array, ""], count: IntScalar, rows: int, shard: IntScalar
    ) -> tuple[Int[Array, " capacity"], Bool[Array, " capacity"], IntScalar]:
        first = jnp.mod(count - shard * rows, self.batches)
        index = first + self.batches * jnp.arange(-(-rows // self.batches), dtype=jnp.int32)
        return jnp.minimum(index, rows - 1), index < rows, jnp.zeros((), jnp.int32)

    def dp_event(self, runs: int = 1) -> Any:
        events = import_dp_event()
        return events.SelfComposedDpEvent(events.GaussianDpEvent(float(self.noise_multiplier)), runs)

    def _epsilon(self, delta: ArrayLike, runs: int, accountant: Accountant) -> Scalar:
        return accounted_epsilon(1.0, self.noise_multiplier, runs, delta, accountant, self.relation)
