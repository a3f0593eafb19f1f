"""The zoo: one row a penalty, and every law of `test_laws.py` applies to it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from jaxopt_thoth import penalties as p, projections


N = 6


@dataclass(frozen=True)
class Case:
    """A family of penalties of one scalar setting on vectors, with draws from the domain of each member.

    Attributes:
        make: the penalty of a setting, on vectors of `n` entries.
        draw: a random point of the domain, `(rng, setting, n) -> (n,)`; None if the domain is the whole space.
        is_smooth: whether g has a gradient in the interior of its domain, maybe ever steeper towards the boundary.
        shrinks_to_zero: whether the setting is a strength that has a critical value.
    """

    name: str
    make: Callable[[Any, int], p.AbstractPenalty]
    draw: Callable[[np.random.Generator, float, int], np.ndarray] | None = None
    shrinks_to_zero: bool = False
    is_smooth: bool = False

    def penalty(self, setting=0.7, n=N):
        return self.make(setting, n)

    def points(self, rng, count, setting=0.7, n=N):
        if self.draw is None:
            return jnp.asarray(rng.normal(size=(count, n)) * rng.choice([0.3, 1.0, 3.0], (count, 1)))
        return jnp.asarray(np.stack([self.draw(rng, setting, n) for _ in range(count)]))


class OnMatrices(p.AbstractPenalty):
    """A penalty on matrices as one on vectors."""

    penalty: p.AbstractPenalty
    rows: int = eqx.field(static=True)

    def _matrix(self, x):
        return x.reshape(self.rows if x.size % self.rows == 0 else 1, -1)

    def value(self, x):
        return self.penalty.value(self._matrix(x))

    def prox(self, x, step):
        return self.penalty.prox(self._matrix(x), step).reshape(-1)

    def conjugate(self, dual):
        return self.penalty.conjugate(self._matrix(dual))

    def dual_scale(self, dual):
        return self.penalty.dual_scale(self._matrix(dual))

    def minimal_subgradient(self, x, gradient):
        return self.penalty.minimal_subgradient(self._matrix(x), self._matrix(gradient)).reshape(-1)

    def support(self, x):
        return self.penalty.support(self._matrix(x)).reshape(-1)

    def critical_strength(self, gradient_at_zero):
        return self.penalty.critical_strength(self._matrix(gradient_at_zero))


class OnSymmetric(p.AbstractPenalty):
    """A penalty on symmetric matrices as one on vectors of `k (k + 1) / 2` entries, by an isometry."""

    penalty: p.AbstractPenalty

    def _places(self, size):
        return np.tril_indices(round((2 * size + 0.25) ** 0.5 - 0.5))

    def _matrix(self, x):
        rows, columns = self._places(x.size)
        half = jnp.asarray(np.where(rows == columns, 0.5, 0.5**0.5), x.dtype) * x
        lower = jnp.zeros((rows[-1] + 1,) * 2, x.dtype).at[rows, columns].set(half)
        return lower + lower.T

    def _vector(self, matrix):
        rows, columns = self._places(matrix.shape[0] * (matrix.shape[0] + 1) // 2)
        return matrix[rows, columns] * jnp.asarray(np.where(rows == columns, 1, 2**0.5), matrix.dtype)

    @property
    def is_indicator(self):
        return self.penalty.is_indicator

    def value(self, x):
        return self.penalty.value(self._matrix(x))

    def prox(self, x, step):
        return self._vector(self.penalty.prox(self._matrix(x), step))

    def conjugate(self, dual):
        return self.penalty.conjugate(self._matrix(dual))

    def dual_scale(self, dual):
        return self.penalty.dual_scale(self._matrix(dual))

    def minimal_subgradient(self, x, gradient):
        return self._vector(self.penalty.minimal_subgradient(self._matrix(x), self._matrix(gradient)))


def weights(n):
    return np.linspace(0.5, 1.5, n)


def groups(n):
    return np.arange(n) // 2


def signed_dirichlet(rng, s, n):
    return s * rng.uniform() * rng.dirichlet(np.ones(n)) * rng.choice([-1, 1], n)


def in_ball(rng, s, n):
    v = rng.normal(size=n)
    return s * rng.uniform() * v / np.linalg.norm(v)


def on_simplex(rng, s, n):
    return s * rng.dirichlet(np.full(n, 0.5))


def on_unit_simplex(rng, s, n):
    return on_simplex(rng, 1.0, n)


def positive(rng, s, n):
    return rng.exponential(size=n) + 1e-3


def positive_definite(rng, s, n):
    rows, columns = np.tril_indices(round((2 * n + 0.25) ** 0.5 - 0.5))
    factor = rng.normal(size=(rows[-1] + 1,) * 2)
    return (factor @ factor.T)[rows, columns] * np.where(rows == columns, 1, 2**0.5)


def density(rng, s, n):
    x = positive_definite(rng, s, n)
    rows, columns = np.tril_indices(round((2 * n + 0.25) ** 0.5 - 0.5))
    return s * x / x[rows == columns].sum()


def below(rng, s, n):
    v = rng.normal(size=n)
    return v - max(v @ weights(n) - s, 0) * weights(n) / (weights(n) @ weights(n))


def gram(n):
    factor = np.vander(weights(n), n)
    return factor.T @ factor + 0.1 * np.eye(n)


def rotation(n):
    reflector = weights(n) / np.linalg.norm(weights(n))
    return 2**0.5 * (np.eye(n) - 2 * np.outer(reflector, reflector))


def pair_sums(n):
    return np.kron(np.eye(n // 2), np.ones((1, 2))) if n > 1 else 2**0.5 * np.eye(1)


def group_weights(n):
    return np.linspace(0.5, 1.5, groups(n).max() + 1)


def tree(n):
    return [np.arange(n), np.arange(1, n // 2 + 1), np.arange(2, n // 2), np.arange(n // 2 + 1, n)]


def tree_group_lasso(norm):
    return lambda s, n: p.TreeGroupLasso(s, tree(n), np.linspace(0.5, 0.8, 4), norm=norm)


ZOO = [
    Case("Zero", lambda s, n: p.Zero()),
    Case("L1", lambda s, n: p.L1(s), shrinks_to_zero=True),
    Case("L1 of weights", lambda s, n: p.L1(s * jnp.asarray(weights(n)))),
    Case("L2Squared", lambda s, n: p.L2Squared(s)),
    Case("L2", lambda s, n: p.L2(s), shrinks_to_zero=True),
    Case("ElasticNet", lambda s, n: p.ElasticNet(s, 0.4), shrinks_to_zero=True),
    Case("ElasticNet without l2", lambda s, n: p.ElasticNet(s, 0.0), shrinks_to_zero=True),
    Case("GroupLasso", lambda s, n: p.GroupLasso(s, groups(n), group_weights(n)), shrinks_to_zero=True),
    Case("NonNegative", lambda s, n: p.NonNegative(), lambda rng, s, n: rng.exponential(size=n)),
    Case("Box", lambda s, n: p.Box(-0.3, s), lambda rng, s, n: rng.uniform(-0.3, s, n)),
    Case("Box of arrays", lambda s, n: p.Box(-s * weights(n), jnp.inf), lambda rng, s, n: rng.exponential(size=n)),
    Case("Simplex", lambda s, n: p.Simplex(s), on_simplex),
    Case("L1Ball", lambda s, n: p.L1Ball(s), signed_dirichlet),
    Case("L2Ball", lambda s, n: p.L2Ball(s), in_ball),
    Case("Scaled L1", lambda s, n: s * p.L1(1.5)),
    Case("Translated L2", lambda s, n: p.Translated(p.L2(0.9), s * jnp.asarray(weights(n)))),
    Case("Translated Box", lambda s, n: p.Translated(p.Box(0.0, 1.0), s), lambda rng, s, n: s + rng.uniform(size=n)),
    Case("Tilted L1", lambda s, n: p.Tilted(p.L1(1.0), s * jnp.asarray(weights(n)))),
    Case("Tilted Simplex", lambda s, n: p.Tilted(p.Simplex(), s * jnp.asarray(weights(n))), on_unit_simplex),
    Case("Regularized L1", lambda s, n: p.Regularized(p.L1(0.8), s, weights(n))),
    Case("Regularized L1Ball", lambda s, n: p.Regularized(p.L1Ball(1.0), s), lambda r, s, n: signed_dirichlet(r, 1, n)),
    Case("ExceptLast L1", lambda s, n: p.ExceptLast(p.L1(s))),
    Case("ExceptLast Box", lambda s, n: p.ExceptLast(p.Box(-0.3, s)), lambda rng, s, n: rng.uniform(-0.3, s, n)),
    Case("Conjugate of L1", lambda s, n: p.Conjugate(p.L1(s)), lambda rng, s, n: rng.uniform(-s, s, n)),
    Case("Conjugate of GroupLasso", lambda s, n: p.Conjugate(p.GroupLasso(s, groups(n))), in_ball),
    Case("Conjugate of Box", lambda s, n: p.Conjugate(p.Box(-0.3, s))),
    Case("Huber", lambda s, n: p.Huber(s, 0.9), is_smooth=True),
    Case("LogBarrier", lambda s, n: p.LogBarrier(s), positive, is_smooth=True),
    Case("NegativeEntropy", lambda s, n: p.NegativeEntropy(s), positive, is_smooth=True),
    Case("KullbackLeibler", lambda s, n: p.KullbackLeibler(s, weights(n)), positive, is_smooth=True),
    Case("ReverseKL", lambda s, n: p.ReverseKullbackLeibler(s, weights(n)), positive, is_smooth=True),
    Case("ReverseKL of zero", lambda s, n: p.ReverseKullbackLeibler(s, 0.0), positive),
    Case("Hinge", lambda s, n: p.Hinge(s)),
    Case("Pinball", lambda s, n: p.Pinball(s, 0.3), shrinks_to_zero=True),
    Case("LInf", lambda s, n: p.LInf(s), shrinks_to_zero=True),
    Case("Max", lambda s, n: p.Max(s)),
    Case("SquaredL1", lambda s, n: p.SquaredL1(s)),
    Case("SparseGroupLasso", lambda s, n: p.SparseGroupLasso(0.3, s, groups(n), 1.2), shrinks_to_zero=True),
    Case("NuclearNorm wide", lambda s, n: OnMatrices(p.NuclearNorm(s), rows=2), shrinks_to_zero=True),
    Case("SpectralNorm", lambda s, n: OnMatrices(p.SpectralNorm(s), rows=3), shrinks_to_zero=True),
    Case("SpectralFunction", lambda s, n: OnMatrices(p.SpectralFunction(p.SquaredL1(s)), rows=3)),
    Case("Spectraplex", lambda s, n: OnSymmetric(p.SpectralFunction(p.Simplex(s), symmetric=True)), density),
    Case("LogDet", lambda s, n: OnSymmetric(p.LogDet(s)), positive_definite, is_smooth=True),
    Case("Quadratic", lambda s, n: p.Quadratic(gram(n), s * jnp.asarray(weights(n))), is_smooth=True),
    Case("LeastSquares", lambda s, n: p.LeastSquares(np.vander(weights(n + 1), n), weights(n + 1), s), is_smooth=True),
    Case("Indicator", lambda s, n: p.Indicator(projections.halfspace, weights(n), s), below),
    Case("Cone", lambda s, n: p.Cone(projections.isotonic), lambda rng, s, n: np.sort(rng.normal(size=n))),
    Case("Composed rotation", lambda s, n: p.Composed(p.L1(s), rotation(n), 2.0), shrinks_to_zero=True),
    Case("Composed sums", lambda s, n: p.Composed(p.L2(s), pair_sums(n), 2.0)),
    Case("Envelope", lambda s, n: p.Envelope(p.GroupLasso(0.8, groups(n)), 0.5 + s), is_smooth=True),
    Case("TotalVariation1D", lambda s, n: p.TotalVariation1D(s)),
    Case("TotalVariation2D", lambda s, n: OnMatrices(p.TotalVariation2D(s, isotropic=False, tol=1e-14), rows=2)),
    Case("FusedLasso", lambda s, n: p.FusedLasso(s, 0.2, 0.4)),
    Case("SumLargest", lambda s, n: p.SumLargest(s, min(2, n))),
    Case("GroupLInf", lambda s, n: p.GroupLInf(s, groups(n), group_weights(n)), shrinks_to_zero=True),
    Case("TreeGroupLasso of l2", tree_group_lasso("l2"), shrinks_to_zero=True),
    Case("TreeGroupLasso of linf", tree_group_lasso("linf"), shrinks_to_zero=True),
    Case("KSupport", lambda s, n: p.KSupport(s, min(2, n))),
    Case("Slope", lambda s, n: p.Slope(s * jnp.asarray(weights(n)[::-1]))),
]  # fmt: skip

# One set of laws holds for these, and only some of those above.
NOT_CONVEX = [
    Case("MCP", lambda s, n: p.MCP(s, 2.0)),
    Case("SCAD", lambda s, n: p.SCAD(s, 2.5)),
    Case("LogSum", lambda s, n: p.LogSum(s, 0.5)),
    Case("L0", lambda s, n: p.L0(s)),
    Case("LHalf", lambda s, n: p.LHalf(s)),
    Case("LTwoThirds", lambda s, n: p.LTwoThirds(s)),
    Case("CappedL1", lambda s, n: p.CappedL1(s, 0.8)),
]


# What has no closed form; a law holds the lists to the penalties.
NO_CONJUGATE = {"Indicator", "TotalVariation2D", "FusedLasso"}
NO_SUPPORT = {"Conjugate of L1", "Conjugate of GroupLasso", "Conjugate of Box", "SpectralFunction", "Spectraplex"}
NO_SUPPORT |= {"Indicator", "Cone", "Composed rotation", "Composed sums"}
NO_SUBGRADIENT = NO_SUPPORT | {"TotalVariation1D", "TotalVariation2D", "FusedLasso"}
NO_SUPPORT |= {"LogDet"}
# No scaling need reach the domain of the conjugate.
UNSCALABLE = {"Tilted L1", "Tilted Simplex", "Conjugate of L1", "Conjugate of GroupLasso", "Conjugate of Box"}
UNSCALABLE |= {"LogBarrier", "LogDet", "Max", "SumLargest"} | NO_CONJUGATE
# The prox commutes with permutations of the entries, and in SYMMETRIC with their signs.
SYMMETRIC = {"L1", "L2Squared", "L2", "ElasticNet", "L1Ball", "L2Ball", "Huber", "LInf", "SquaredL1", "KSupport"}
SYMMETRIC |= {"MCP", "SCAD", "LogSum", "L0", "LHalf", "LTwoThirds", "CappedL1", "Slope"}
PERMUTABLE = SYMMETRIC | {"Simplex", "LogBarrier", "NegativeEntropy", "Hinge", "Pinball", "Max", "SumLargest"}
TAKES_NO_ENTRIES = (SYMMETRIC | {"Simplex", "TotalVariation1D", "Hinge"}) - {"KSupport"}

# The cases of a law, by the name of its argument.
CASES = {
    "any_case": lambda case: True,
    "case": lambda case: case in ZOO,
    "folded": lambda case: case in NOT_CONVEX,
    "with_conjugate": lambda case: case in ZOO and case.name not in NO_CONJUGATE,
    "with_support": lambda case: case in ZOO and case.name not in NO_SUPPORT,
    "with_subgradient": lambda case: case in ZOO and case.name not in NO_SUBGRADIENT,
    "scalable": lambda case: case in ZOO and case.name not in UNSCALABLE,
    "critical": lambda case: case.shrinks_to_zero,
    "indicator": lambda case: case in ZOO and case.penalty().is_indicator,
    # Moreau's difference of infinite entries is none.
    "separable": lambda case: case.penalty().is_separable and not case.name.startswith("Conjugate"),
    "symmetric": lambda case: case.name in SYMMETRIC,
    "permutable": lambda case: case.name in PERMUTABLE,
    "takes_no_entries": lambda case: case.name in TAKES_NO_ENTRIES,
}


def pytest_generate_tests(metafunc):
    for name in CASES.keys() & set(metafunc.fixturenames):
        cases = [case for case in ZOO + NOT_CONVEX if CASES[name](case)]
        metafunc.parametrize(name, cases, ids=[case.name for case in cases])
    if "closed_forms" in metafunc.fixturenames:
        lists = {"conjugate": NO_CONJUGATE, "support": NO_SUPPORT, "minimal_subgradient": NO_SUBGRADIENT}
        metafunc.parametrize("closed_forms", [(ZOO, lists)], ids=["lists"])
