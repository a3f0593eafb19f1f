from typing import Any, TYPE_CHECKING

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Int, Key

from .. import _tree
from .._types import IntScalar, Scalar
from .._validate import concrete, require_nonnegative
from ..gradients import AbstractClipping, NeighboringRelation
from ..solvers._settings import count_setting
from ._matrix_mechanism import AbstractMatrixMechanism
from ._private_runs import check_runs
from ._rdp_releases import Accountant


if TYPE_CHECKING:
    from ._private_method import PrivateState


class AbstractPlan(eqx.Module):
    """How a private run draws, clips and adds noise, and therefore what it costs: told once, so that they agree.

    Attributes:
        noise_multiplier: deviation of the noise over the sensitivity.
        clipping: what bounds the contribution of an example.
        num_examples: number of examples in the data set.
        steps: number of steps of the run.
        relation: which data sets are neighbors.
    """

    noise_multiplier: Scalar
    clipping: AbstractClipping
    num_examples: int = eqx.field(static=True)
    steps: int = eqx.field(static=True)
    relation: NeighboringRelation = eqx.field(static=True)

    def __init__(
        self,
        noise_multiplier: ArrayLike,
        clipping: AbstractClipping,
        num_examples: int,
        steps: int,
        relation: NeighboringRelation,
    ):
        require_nonnegative(noise_multiplier, "noise_multiplier")
        self.noise_multiplier = _tree.setting(noise_multiplier)
        if not isinstance(clipping, AbstractClipping):
            raise TypeError(
                f"clipping must be a rule that bounds contributions, got {type(clipping).__name__}; pass for example "
                "gradients.GlobalClip(1.0)."
            )
        if not clipping.nan_safe:
            raise ValueError("clipping must be nan_safe: a contribution that is NaN has no bound.")
        self.clipping = clipping
        self.num_examples = count_setting(num_examples, "num_examples", 1)
        self.steps = count_setting(steps, "steps", 1)
        self.relation = relation
        known = concrete(clipping.sensitivity(relation))
        if known is not None and not np.isfinite(known).all():
            raise ValueError(f"clipping must bound contributions, got the bound {known}; pass a finite level.")

    @property
    def expected_batch(self) -> float:
        """Mean number of examples of a step: what the sum is divided by, since the realized number is private."""
        raise NotImplementedError

    @property
    def mechanism(self) -> AbstractMatrixMechanism:
        """How the noise of the steps hangs together."""
        raise NotImplementedError

    @property
    def noise_scale(self) -> Scalar:
        """Deviation of the white noise, in the units of the sum of clipped gradients."""
        change = self.clipping.sensitivity(self.relation)
        return self.noise_multiplier * _tree.match(change, self.noise_multiplier)

    @property
    def takes_all(self) -> bool:
        """Whether every step takes all examples."""
        return False

    def draw(
        self, key: Key[Array, ""], count: IntScalar, rows: int, shard: IntScalar
    ) -> tuple[Int[Array, " capacity"], Bool[Array, " capacity"], IntScalar]:
        """The examples of step `count` among the `rows` of one shard: where, which are real, how many did not fit."""
        raise NotImplementedError

    def dp_event(self, runs: int = 1) -> Any:
        """The plan, carried out `runs` times, as an event of the package dp-accounting (extra `privacy`)."""
        raise NotImplementedError

    def _epsilon(self, delta: ArrayLike, runs: int, accountant: Accountant) -> Scalar:
        raise NotImplementedError

    def epsilon(self, delta: ArrayLike, *runs: "PrivateState", accountant: Accountant = "rdp") -> Scalar:
        """Epsilon of the planned run; or of all the given runs together, if each of them kept to the plan.

        A run that stopped early costs what was planned, since when to stop may depend on the data. The same goes for a
        batch of runs under `vmap`, which counts one by one: whoever keeps the best has looked at all.

        Args:
            delta: the probability that the bound leaves out, in (0, 1).
            *runs: states that `update` or `run` of a method with this plan gave back.
            accountant: "rdp" (differentiable) or "pld" (tighter; extra `privacy`).

        Raises:
            PrivacyError: if a run took more steps than planned, other settings, or batches that overflowed, or two
                runs have the same key.
            ValueError: if `delta` is outside (0, 1), or the accountant does not cover the relation.
        """
        number = 1
        if runs:
            number = check_runs(self.steps, self, [(run.plan, run.key, run.count, run.dropped) for run in runs])
        return self._epsilon(delta, number, accountant)


def rounded_up(noise: float) -> Scalar:
    """A calibrated noise multiplier as a setting that is not below it."""
    setting = _tree.setting(noise)
    return jnp.where(float(setting) < noise, jnp.nextafter(setting, jnp.asarray(jnp.inf, setting.dtype)), setting)


def import_dp_event() -> Any:
    """The module of events of dp-accounting."""
    try:
        from dp_accounting import dp_event
    except ImportError as error:
        raise ImportError("dp_event needs dp-accounting; pip install 'jaxopt_thoth[privacy]'.") from error
    return dp_event
