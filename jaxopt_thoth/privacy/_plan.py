from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import scipy.stats
from jaxtyping import Array, ArrayLike, Bool, Int, Key

from .._types import IntScalar, Scalar
from ..gradients import AbstractClipping, NeighboringRelation
from ..solvers._settings import count_setting
from ._calibrate_noise import calibrate_noise
from ._epsilon import epsilon as accounted_epsilon
from ._matrix_mechanism import AbstractMatrixMechanism
from ._matrix_mechanism_identity import Identity
from ._plan_base import AbstractPlan, import_dp_event, rounded_up
from ._rdp_releases import Accountant


# A run of which a batch overflows has no bound; this is how likely the default capacity lets that be.
_OVERFLOW = 1e-9
_DRAWS = 2**32


class Plan(AbstractPlan):
    """A run of private gradient descent on Poisson samples: sampling, clipping, noise and accounting in one object.

    In each of `steps` steps every example is drawn with probability `sampling_rate` and independent of the others, the
    clipped gradients are summed, the sum gets noise of deviation `noise_multiplier * clipping.sensitivity(relation)`,
    and is divided by the expected number of examples. With `sampling_rate=1` all examples are taken, and nothing is
    random but the noise. `DPGD`, `DPSGD` and `PrivateMirrorDescent` draw their batches and their noise by it, and
    `epsilon(delta, state)` is the bound of a run if the run kept to it.

    Batches have the static shape `capacity`, padded and masked. The default capacity overflows in one of 10^9 runs; a
    run in which it does has no bound, and `epsilon` refuses.

    Abadi et al., "Deep learning with differential privacy", 2016; Mironov, Talwar and Zhang, "Renyi differential
    privacy of the sampled Gaussian mechanism", 2019.

    Args:
        noise_multiplier: deviation of the noise over the sensitivity; with 0 epsilon is infinite.
        num_examples: number of examples n in the data set.
        steps: number of steps of the run.
        clipping: a rule that bounds the contribution of an example, for example `gradients.GlobalClip(1.0)`.
        sampling_rate: probability in (0, 1] that an example is in a batch.
        relation: which data sets are neighbors; `replace_one` with sampling needs `accountant="pld"`.
        capacity: most examples that a batch can hold (on each device, where the data are sharded).

    Raises:
        TypeError: if `clipping` is no rule, or `relation` none.
        ValueError: if a number is out of range, or the rule does not bound, or passes NaN on.

    Example:
        >>> import jaxopt_thoth as jt
        >>> rule, rate = jt.gradients.GlobalClip(1.0), 256 / 60_000
        >>> plan = jt.privacy.Plan(1.1, num_examples=60_000, steps=14_062, clipping=rule, sampling_rate=rate)
        >>> print(f"{plan.epsilon(1e-5):.3f}", plan.expected_batch, plan.capacity_of(60_000))
        2.597 256.0 383
    """

    sampling_rate: float = eqx.field(static=True)
    capacity: int | None = eqx.field(static=True)

    def __init__(
        self,
        noise_multiplier: ArrayLike,
        *,
        num_examples: int,
        steps: int,
        clipping: AbstractClipping,
        sampling_rate: float = 1.0,
        relation: NeighboringRelation = NeighboringRelation.add_or_remove_one,
        capacity: int | None = None,
    ):
        super().__init__(noise_multiplier, clipping, num_examples, steps, relation)
        _check_sampling(sampling_rate)
        self.sampling_rate = float(sampling_rate)
        self.capacity = None if capacity is None else count_setting(capacity, "capacity", 1)

    @classmethod
    def for_budget(
        cls,
        epsilon: ArrayLike,
        delta: ArrayLike,
        *,
        num_examples: int,
        steps: int,
        clipping: AbstractClipping,
        sampling_rate: float = 1.0,
        relation: NeighboringRelation = NeighboringRelation.add_or_remove_one,
        capacity: int | None = None,
        accountant: Accountant = "rdp",
    ) -> Self:
        """The plan with the least noise whose `epsilon(delta, accountant=accountant)` is at most `epsilon`."""
        _check_sampling(sampling_rate)
        noise = rounded_up(calibrate_noise(epsilon, delta, sampling_rate, steps, accountant, relation))
        return cls(
            noise,
            num_examples=num_examples,
            steps=steps,
            clipping=clipping,
            sampling_rate=sampling_rate,
            relation=relation,
            capacity=capacity,
        )

    @property
    def expected_batch(self) -> float:
        return self.sampling_rate * self.num_examples

    @property
    def mechanism(self) -> AbstractMatrixMechanism:
        return Identity()

    @property
    def takes_all(self) -> bool:
        return self.sampling_rate == 1

    def capacity_of(self, rows: int) -> int:
        """Most examples that a batch can hold from a shard of `rows` examples."""
        if self.sampling_rate == 1:
            return rows
        if self.capacity is not None:
            return min(self.capacity, rows)
        shards = self.num_examples / rows
        return max(1, int(scipy.stats.binom.isf(_OVERFLOW / (self.steps * shards), rows, self.sampling_rate)))

    def draw(
        self, key: Key[Array, ""], count: IntScalar, rows: int, shard: IntScalar
    ) -> tuple[Int[Array, " capacity"], Bool[Array, " capacity"], IntScalar]:
        capacity = self.capacity_of(rows)
        if self.sampling_rate == 1:
            return jnp.arange(rows), jnp.ones(rows, bool), jnp.zeros((), jnp.int32)
        # Whole bits, since uniform floats are too coarse for small rates; rounded down, which errs on the safe side.
        limit = jnp.asarray(int(self.sampling_rate * _DRAWS), jnp.uint32)
        drawn = jax.random.bits(key, (self.num_examples,), jnp.uint32) < limit
        drawn = jax.lax.dynamic_slice(drawn, (shard * rows,), (rows,))
        number = jnp.sum(drawn, dtype=jnp.int32)
        index = jnp.nonzero(drawn, size=capacity, fill_value=0)[0]
        return index, jnp.arange(capacity, dtype=jnp.int32) < number, jnp.maximum(number - capacity, 0)

    def dp_event(self, runs: int = 1) -> Any:
        events = import_dp_event()
        step = events.GaussianDpEvent(float(self.noise_multiplier))
        if self.sampling_rate < 1:
            step = events.PoissonSampledDpEvent(self.sampling_rate, step)
        return events.SelfComposedDpEvent(step, self.steps * runs)

    def _epsilon(self, delta: ArrayLike, runs: int, accountant: Accountant) -> Scalar:
        steps = self.steps * runs
        return accounted_epsilon(self.sampling_rate, self.noise_multiplier, steps, delta, accountant, self.relation)


def _check_sampling(sampling_rate: float) -> None:
    if not 0 < sampling_rate <= 1:
        raise ValueError(
            f"sampling_rate must be in (0, 1], got {sampling_rate}; pass the expected batch size over num_examples."
        )
