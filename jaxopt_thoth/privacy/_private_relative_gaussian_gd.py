from collections.abc import Callable
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Key

from .. import _tree
from .._types import BoolScalar, IntScalar, Params, Scalar
from .._validate import concrete, require_nonnegative, require_positive
from ..solvers._settings import count_setting
from ._calibrate_relative_gaussian import calibrate_relative_gaussian
from ._gaussian_mechanism import require_key
from ._plan_base import rounded_up
from ._private_error import PrivacyError
from ._private_runs import check_runs
from ._rdp_relative_epsilon import relative_gaussian_epsilon
from ._relative_gaussian import relative_gaussian


class RelativeGaussianState(eqx.Module):
    """State of `RelativeGaussianGD`.

    Attributes:
        settings: slope, offset and noise multiplier of the run.
        key: random key of the run; step t draws from `jax.random.fold_in(key, t)`.
        count: number of steps taken.
        finite: whether every gradient was finite; otherwise it had no sensitivity, and the bound is void.
    """

    settings: tuple[Scalar, Scalar, Scalar]
    key: Key[Array, ""]
    count: IntScalar
    finite: BoolScalar


class RelativeGaussianGD(eqx.Module):
    """Private gradient descent without clipping: the noise follows the norm of the gradient.

    Where every f_i has an L-Lipschitz gradient, their mean F is mu-strongly convex, and |grad f_i| <= G at the
    minimizer, exchanging one of n examples moves grad F(w) by at most `slope * |grad F(w)| + offset`, with
    `slope = 2 kappa / (n - kappa)`, `offset = 2 G / (n - kappa)`, kappa = L / mu. That is the noise of the relative
    Gaussian mechanism: large far from the solution, where it does not matter, and small near it. In expectation
    `F(w) - F*` contracts by `1 - step_size mu` a step down to `floor`, which is zero where the model interpolates.

    The constants must hold for every data set that could have come, not for this one alone; the bound is for one
    example replaced. Noise that depends on the data costs `steps * dimension * slope^2` whatever its size, so that
    budgets below that have no solution.

    Slope, offset and floor are derived for this library from smoothness and strong convexity as in Nesterov, "Lectures
    on convex optimization", 2018; what the noise costs is `relative_gaussian_epsilon`.

    Args:
        loss: scalar function `f_i(w) = loss(params, example)`; F is the mean over the examples.
        noise_multiplier: deviation of the noise over the relative sensitivity.
        smoothness: L, of the worst example.
        strong_convexity: mu, of the mean.
        gradient_bound: G.
        num_examples: number of examples n, above kappa.
        dimension: number of all parameters.
        steps: number of steps of the run.
        step_size: by default `1 / (L (1 + 2 dimension noise_multiplier^2 slope^2))`, the largest of the theory.

    Raises:
        TypeError: if `loss` is not callable.
        ValueError: if a number is out of range, or n is not above kappa; from `for_budget`, if no noise is enough;
            when stepping, if data or parameters have another size than planned.

    Example:
        >>> import jax, jax.numpy as jnp, jaxopt_thoth as jt
        >>> constants = dict(smoothness=1.0, strong_convexity=1.0, gradient_bound=0.5, num_examples=2000, dimension=1)
        >>> loss = lambda w, x: (w - x) ** 2 / 2
        >>> method = jt.privacy.RelativeGaussianGD.for_budget(loss, 1.0, 1e-5, steps=20, **constants)
        >>> params, state = method.run(jnp.array(9.0), jnp.linspace(0.0, 1.0, 2000), jax.random.key(0))
        >>> print(f"{params:.1f} {method.epsilon(1e-5, state):.2f}")
        0.5 1.00
    """

    loss: Callable[[Params, Any], Scalar]
    noise_multiplier: Scalar
    smoothness: Scalar
    strong_convexity: Scalar
    gradient_bound: Scalar
    step_size: Scalar
    num_examples: int = eqx.field(static=True)
    dimension: int = eqx.field(static=True)
    steps: int = eqx.field(static=True)

    def __init__(
        self,
        loss: Callable[[Params, Any], Scalar],
        noise_multiplier: ArrayLike,
        *,
        smoothness: ArrayLike,
        strong_convexity: ArrayLike,
        gradient_bound: ArrayLike,
        num_examples: int,
        dimension: int,
        steps: int,
        step_size: ArrayLike | None = None,
    ):
        if not callable(loss):
            raise TypeError(f"loss must be a callable loss(params, example), got {type(loss).__name__}.")
        self.loss = loss
        require_nonnegative(noise_multiplier, "noise_multiplier")
        self.noise_multiplier = _tree.setting(noise_multiplier)
        self.num_examples = count_setting(num_examples, "num_examples", 1)
        self.dimension = count_setting(dimension, "dimension", 1)
        self.steps = count_setting(steps, "steps", 1)
        _sensitivity(smoothness, strong_convexity, gradient_bound, num_examples)
        self.smoothness = _tree.setting(smoothness)
        self.strong_convexity = _tree.setting(strong_convexity)
        self.gradient_bound = _tree.setting(gradient_bound)
        if step_size is None:
            spread = 2 * self.dimension * (self.noise_multiplier * self.slope) ** 2
            step_size = 1 / (self.smoothness * (1 + spread))
        require_positive(step_size, "step_size")
        self.step_size = _tree.setting(step_size)

    @classmethod
    def for_budget(
        cls,
        loss: Callable[[Params, Any], Scalar],
        epsilon: float,
        delta: float,
        *,
        smoothness: ArrayLike,
        strong_convexity: ArrayLike,
        gradient_bound: ArrayLike,
        num_examples: int,
        dimension: int,
        steps: int,
        step_size: ArrayLike | None = None,
    ) -> Self:
        """The method with the least noise whose `epsilon(delta)` is at most `epsilon`."""
        slope, _ = _sensitivity(smoothness, strong_convexity, gradient_bound, num_examples)
        return cls(
            loss,
            rounded_up(calibrate_relative_gaussian(epsilon, delta, slope, dimension, steps)),
            smoothness=smoothness,
            strong_convexity=strong_convexity,
            gradient_bound=gradient_bound,
            num_examples=num_examples,
            dimension=dimension,
            steps=steps,
            step_size=step_size,
        )

    @property
    def slope(self) -> Scalar:
        """Relative sensitivity of the gradient."""
        return _sensitivity(self.smoothness, self.strong_convexity, self.gradient_bound, self.num_examples)[0]

    @property
    def offset(self) -> Scalar:
        """Sensitivity of the gradient where it vanishes."""
        return _sensitivity(self.smoothness, self.strong_convexity, self.gradient_bound, self.num_examples)[1]

    @property
    def floor(self) -> Scalar:
        """Bound of the expected `F(w) - F*` after many steps; infinite where the step size is too long for one."""
        noise = self.dimension * self.noise_multiplier**2
        longest = 1 / (self.smoothness * (1 + 2 * noise * self.slope**2))
        level = self.smoothness * self.step_size * noise * self.offset**2 / self.strong_convexity
        # The default step is the longest one, up to rounding.
        return jnp.where(self.step_size <= longest * (1 + 1e-6), level, jnp.inf)

    def epsilon(self, delta: float, *runs: RelativeGaussianState) -> Scalar:
        """Epsilon of the planned run; or of all the given runs together, if each of them kept to the plan.

        Raises:
            PrivacyError: if a run took more steps than planned, other settings, or a gradient that was not finite, or
                two runs have the same key.
            ValueError: if `delta` is outside (0, 1).
        """
        number = 1
        if runs:
            states = [(run.settings, run.key, run.count, None) for run in runs]
            number = check_runs(self.steps, self._settings, states)
            if not all(bool(np.all(concrete(run.finite))) for run in runs):
                raise PrivacyError(
                    "a gradient was not finite, so that nothing bounds how far an example moves it; take bad examples "
                    "out of the data, or use a method that clips."
                )
        return relative_gaussian_epsilon(self.slope, self.noise_multiplier, self.dimension, self.steps * number, delta)

    @property
    def _settings(self) -> tuple[Scalar, Scalar, Scalar]:
        return self.slope, self.offset, self.noise_multiplier

    def init(self, params: Params, key: Key[Array, ""]) -> RelativeGaussianState:
        """State before the first step; the key serves this run and no other."""
        require_key(key)
        size = sum(jnp.size(leaf) for leaf in jax.tree.leaves(params))
        if size != self.dimension:
            raise ValueError(
                f"params must have the {self.dimension} coordinates that were accounted for, got {size}; pass "
                f"dimension={size}."
            )
        count, finite = jnp.zeros((), jnp.int32), jnp.asarray(True)
        return RelativeGaussianState(settings=self._settings, key=key, count=count, finite=finite)

    def update(self, params: Params, state: RelativeGaussianState, data: Any) -> tuple[Params, RelativeGaussianState]:
        """One step on all examples, a pytree whose leaves have the leading axis `num_examples`."""
        lengths = {leaf.shape[0] if jnp.ndim(leaf) else 0 for leaf in jax.tree.leaves(data)}
        if lengths != {self.num_examples}:
            raise ValueError(
                f"data must have a leading axis of the {self.num_examples} examples that were planned, got lengths "
                f"{sorted(lengths)}."
            )
        gradient = jax.grad(lambda w: jnp.mean(jax.vmap(self.loss, in_axes=(None, 0))(w, data)))(params)
        noisy = relative_gaussian(
            jax.random.fold_in(state.key, state.count),
            gradient,
            slope=self.slope,
            offset=self.offset,
            noise_multiplier=self.noise_multiplier,
        )
        new = RelativeGaussianState(
            settings=state.settings,
            key=state.key,
            count=state.count + 1,
            finite=state.finite & _tree.all_finite(gradient),
        )
        return _tree.add_scaled(params, -self.step_size, noisy), new

    def run(self, params: Params, data: Any, key: Key[Array, ""]) -> tuple[Params, RelativeGaussianState]:
        """All planned steps from `params`; raises what `init` and `update` raise."""
        params = _tree.as_inexact(params)

        def body(
            carry: tuple[Params, RelativeGaussianState], _: None
        ) -> tuple[tuple[Params, RelativeGaussianState], None]:
            return self.update(*carry, data), None

        return jax.lax.scan(body, (params, self.init(params, key)), None, length=self.steps)[0]


def _sensitivity(
    smoothness: ArrayLike, strong_convexity: ArrayLike, gradient_bound: ArrayLike, num_examples: int
) -> tuple[Scalar, Scalar]:
    """Slope and offset of the gradient of a mean under the replacement of one example."""
    require_positive(smoothness, "smoothness")
    require_positive(strong_convexity, "strong_convexity")
    require_nonnegative(gradient_bound, "gradient_bound")
    bound = _tree.setting(gradient_bound)
    condition = _tree.match(smoothness, bound) / _tree.match(strong_convexity, bound)
    known = concrete(condition)
    if known is not None and not np.all((known >= 1) & (known < num_examples)):
        raise ValueError(
            f"smoothness / strong_convexity must be at least 1 and below num_examples={num_examples}, got {known}: one "
            "example could move the solution anywhere; take more examples or a stronger ridge."
        )
    return 2 * condition / (num_examples - condition), 2 * bound / (num_examples - condition)
