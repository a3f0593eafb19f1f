"""A naive reference for the prox of every penalty: from its definition alone, slowly, by one method a family.

Entrywise penalties by a dense search in extended precision; sums of norms and polyhedral functions as smooth programs
with constraints, solved by SciPy; functions of singular values through factorizations. No formula of the package
is used.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations, product

import jax.numpy as jnp
import numpy as np
import scipy.optimize

from jaxopt_thoth import penalties as p, projections


@dataclass(frozen=True)
class Reference:
    """A penalty, and `solve(x, step)`, its prox on points of `shape`."""

    penalty: p.AbstractPenalty
    solve: Callable[[np.ndarray, float], np.ndarray]
    shape: tuple[int, ...] = (4,)
    tolerance: float = 1e-7


def entrywise(
    height: Callable, low: float = -np.inf, high: float = np.inf, kinks: Sequence[float] = (0.0,)
) -> Callable:
    """The best of a grid, refined by golden sections, and of the kinks, of `height(z) + (z - x)^2 / (2 step)`."""

    def solve(x, step):
        x, step = np.asarray(x, np.longdouble)[..., None], np.longdouble(step)
        cost = lambda z: height(z) + (z - x) ** 2 / (2 * step)
        left = np.maximum(x - 8, low)
        right = np.minimum(np.maximum(x, left) + 8, high)
        with np.errstate(all="ignore"):
            grid = left + (right - left) * np.linspace(0, 1, 20001, dtype=np.longdouble)
            best = np.take_along_axis(grid, np.nanargmin(cost(grid), -1, keepdims=True), -1)
            a, b = (np.clip(best + sign * (right - left) / 20000, left, right) for sign in (-1, 1))
            ratio = (np.sqrt(np.longdouble(5)) - 1) / 2
            for _ in range(90):
                c, d = b - ratio * (b - a), a + ratio * (b - a)
                lower = cost(c) < cost(d)
                a, b = np.where(lower, a, c), np.where(lower, d, b)
            kept = [np.full_like(x, k) for k in kinks if low <= k <= high]
            candidates = np.concatenate([(a + b) / 2, *kept], -1)
            chosen = np.nanargmin(cost(candidates), -1, keepdims=True)
        return np.take_along_axis(candidates, chosen, -1)[..., 0].astype(float)

    return solve


def program(cost, start, **options):
    """A smooth program by SciPy, to its last digits."""
    found = scipy.optimize.minimize(cost, start, method="SLSQP", options={"ftol": 1e-16, "maxiter": 2000}, **options)
    return found.x


def sum_of_norms(*parts: tuple[np.ndarray, float]) -> Callable:
    """`sum_i w_i |K_i z|_2`, by its dual: `z = x - step sum_i K_i' v_i` of least norm over the balls `|v_i| <= w_i`."""

    def solve(x, step):
        rows = np.concatenate([matrix for matrix, _ in parts])
        ends = np.cumsum([len(matrix) for matrix, _ in parts])
        limits = np.array([weight for _, weight in parts])
        back = lambda v: x.ravel() - step * (rows.T @ v)

        def room(v):
            return np.array([w**2 - part @ part for part, w in zip(np.split(v, ends[:-1]), limits)])

        def room_slope(v):
            slope = np.zeros((len(parts), v.size))
            for i, (start, end) in enumerate(zip(np.r_[0, ends[:-1]], ends)):
                slope[i, start:end] = -2 * v[start:end]
            return slope

        v = program(
            lambda v: 0.5 * back(v) @ back(v) / step,
            np.zeros(len(rows)),
            jac=lambda v: -rows @ back(v),
            constraints={"type": "ineq", "fun": room, "jac": room_slope},
        )
        return back(v).reshape(x.shape)

    return solve


def sum_of_maxima(*parts: np.ndarray, curvature: float = 0.0, square: bool = False) -> Callable:
    """`sum_i max_k (A_i z)_k + curvature/2 |z|^2` (or half the square of each maximum), as a quadratic program."""

    def solve(x, step):
        n, count = x.size, len(parts)
        matrix = np.concatenate([np.c_[-a, np.tile(np.eye(count)[i], (len(a), 1))] for i, a in enumerate(parts)])

        def cost(v):
            z, s = v[:n], v[n:]
            outer = 0.5 * s @ s if square else s.sum()
            return outer + 0.5 * curvature * z @ z + (z - x.ravel()) @ (z - x.ravel()) / (2 * step)

        def slope(v):
            z, s = v[:n], v[n:]
            return np.r_[curvature * z + (z - x.ravel()) / step, s if square else np.ones(count)]

        start = np.r_[x.ravel(), [(a @ x.ravel()).max() for a in parts]]
        constraints = {"type": "ineq", "fun": lambda v: matrix @ v, "jac": lambda v: matrix}
        return program(cost, start, jac=slope, constraints=constraints)[:n].reshape(x.shape)

    return solve


def nearest(start: np.ndarray, equal=None, at_least=None, bounds=None) -> Callable:
    """The projection onto the set of what is zero and what is nonnegative."""

    def solve(x, step):
        constraints = [{"type": k, "fun": f} for k, f in (("eq", equal), ("ineq", at_least)) if f]
        cost = lambda z: 0.5 * (z - x.ravel()) @ (z - x.ravel())
        z = program(cost, start, jac=lambda z: z - x.ravel(), constraints=constraints, bounds=bounds)
        return z.reshape(x.shape)

    return solve


def envelope_of_l1(strength: float, smoothing: float) -> Callable:
    """Point and minimizer of the envelope at once, the latter as a difference of nonnegative parts."""

    def solve(x, step):
        def cost(v):
            up, down, z = np.split(v, 3)
            inner, outer = (up - down - z) / smoothing, (z - x) / step
            value = strength * (up + down).sum() + smoothing * inner @ inner / 2 + step * outer @ outer / 2
            return value, np.r_[strength + inner, strength - inner, outer - inner]

        bounds = [(0, None)] * (2 * x.size) + [(None, None)] * x.size
        return program(cost, np.r_[np.ones(2 * x.size), x], jac=True, bounds=bounds)[-x.size :]

    return solve


def half_squared_gauge(strength: float, supports: Sequence[Sequence[int]]) -> Callable:
    """By the dual `x - step u`, whose norm is the largest of `|u_S|` over the supports."""

    def solve(x, step):
        masks = np.array([np.isin(np.arange(x.size), support) for support in supports], float)

        def cost(v):
            z = x - step * v[:-1]
            return z @ z / (2 * step) + v[-1] / (2 * strength), np.r_[-z, 1 / (2 * strength)]

        room = {
            "type": "ineq",
            "fun": lambda v: v[-1] - masks @ v[:-1] ** 2,
            "jac": lambda v: np.c_[-2 * masks * v[:-1], np.ones(len(masks))],
        }
        return x - step * program(cost, np.zeros(x.size + 1), jac=True, constraints=room)[:-1]

    return solve


def log_det(strength: float) -> Callable:
    """Over the Cholesky factors."""

    def solve(x, step):
        lower = np.tril_indices(len(x))
        symmetric = (x + x.T) / 2

        def cost(v):
            factor = np.zeros_like(x)
            factor[lower] = v
            diagonal = np.diag(factor)
            residual = factor @ factor.T - symmetric
            value = -strength * np.log(diagonal**2).sum() + (residual**2).sum() / (2 * step)
            return value, (2 * residual @ factor / step - 2 * strength * np.diag(1 / diagonal))[lower]

        v = np.eye(len(x))[lower]
        for _ in range(3):
            v = scipy.optimize.minimize(cost, v, jac=True, method="BFGS", options={"gtol": 1e-13}).x
        factor = np.zeros_like(x)
        factor[lower] = v
        return factor @ factor.T

    return solve


def rank_penalty(strength: float) -> Callable:
    """The best of every rank, each by alternating least squares."""

    def solve(x, step):
        candidates = [np.zeros_like(x), x]
        for rank in range(1, min(x.shape)):
            right = np.random.default_rng(0).normal(size=(x.shape[1], rank))
            for _ in range(2000):
                left = np.linalg.lstsq(right, x.T)[0].T
                right = np.linalg.lstsq(left, x)[0].T
            candidates.insert(-1, left @ right.T)
        costs = [strength * rank + ((z - x) ** 2).sum() / (2 * step) for rank, z in enumerate(candidates)]
        return candidates[int(np.argmin(costs))]

    return solve


def factors(v: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    rank = min(shape)
    return v[: shape[0] * rank].reshape(shape[0], rank), v[shape[0] * rank :].reshape(shape[1], rank)


def nuclear(strength: float, square: bool = False) -> Callable:
    """`|Z|_*`, or half its square: it is the least `(|U|^2 + |V|^2) / 2` of all `Z = U V'`.

    The program has no bad local minimum.
    """

    def solve(x, step):
        def cost(v):
            left, right = factors(v, x.shape)
            residual = left @ right.T - x
            norm = v @ v / 2
            outer, weight = (norm**2 / 2, norm) if square else (norm, 1)
            slope = strength * weight * v + np.r_[(residual @ right).ravel(), (residual.T @ left).ravel()] / step
            return strength * outer + (residual**2).sum() / (2 * step), slope

        v = np.random.default_rng(0).normal(size=sum(x.shape) * min(x.shape))
        for _ in range(3):
            v = scipy.optimize.minimize(cost, v, jac=True, method="BFGS", options={"gtol": 1e-13, "maxiter": 5000}).x
        left, right = factors(v, x.shape)
        return left @ right.T

    return solve


def spectral_norm(strength: float) -> Callable:
    """By its dual, over the ball of the nuclear norm in its factors."""

    def solve(x, step):
        def cost(v):
            left, right = factors(v, x.shape)
            residual = step * left @ right.T - x
            slope = np.r_[(residual @ right).ravel(), (residual.T @ left).ravel()]
            return (residual**2).sum() / (2 * step), slope

        room = {"type": "ineq", "fun": lambda v: 2 * strength - v @ v, "jac": lambda v: -2 * v}
        v = program(cost, np.random.default_rng(0).normal(size=sum(x.shape) * min(x.shape)), jac=True, constraints=room)
        left, right = factors(v, x.shape)
        return x - step * left @ right.T

    return solve


def signs(n: int) -> np.ndarray:
    return np.array(list(product([-1.0, 1.0], repeat=n)))


def differences(n: int) -> np.ndarray:
    return np.diff(np.eye(n), axis=0)


def picks(n: int, *groups: Sequence[int]) -> list[np.ndarray]:
    return [np.eye(n)[list(group)] for group in groups]


def image_differences(m: int, n: int) -> dict[tuple[int, int], np.ndarray]:
    """The one or two differences of every pixel of an image, as rows over its entries."""
    places = np.arange(m * n).reshape(m, n)
    rows = {}
    for i, j in product(range(m), range(n)):
        after = [places[k] for k in ((i + 1, j), (i, j + 1)) if k[0] < m and k[1] < n]
        if after:
            rows[i, j] = np.eye(m * n)[after] - np.eye(m * n)[places[i, j]]
    return rows


def xlogx(z):
    return np.where(z > 0, z * np.log(np.where(z > 0, z, 1)), 0)


PAIRS = picks(4, [0, 1], [2, 3])
ENTRIES = picks(4, *[[i] for i in range(4)])
MATRIX = np.array([[1.0, -2.0, 0.5, 0.3], [0.2, 1.0, 0.0, -0.7], [0.4, 0.1, 0.3, 2.0]])
# Orthogonal rows of squared length two.
TURN = 2**0.5 * (np.eye(4) - 0.5 * np.ones((4, 4)))
IMAGE = image_differences(2, 3)
NESTED = [[0, 1, 2, 3], [1, 2], [2]]
SORTED = np.array([1.2, 0.7, 0.1])
POSITIVE = {"low": 0.0, "kinks": ()}

REFERENCES: dict[str, Reference] = {
    "Zero": Reference(p.Zero(), entrywise(lambda z: 0 * z)),
    "L1": Reference(p.L1(0.7), entrywise(lambda z: 0.7 * abs(z))),
    "L2Squared": Reference(p.L2Squared(0.7), entrywise(lambda z: 0.35 * z**2)),
    "ElasticNet": Reference(p.ElasticNet(0.7, 0.4), entrywise(lambda z: 0.7 * abs(z) + 0.2 * z**2)),
    "Huber": Reference(
        p.Huber(0.7, 0.9), entrywise(lambda z: 0.7 * np.where(abs(z) <= 0.9, z**2 / 2, 0.9 * abs(z) - 0.405))
    ),
    "NonNegative": Reference(p.NonNegative(), entrywise(lambda z: 0 * z, low=0.0)),
    "Box": Reference(p.Box(-0.3, 0.7), entrywise(lambda z: 0 * z, low=-0.3, high=0.7, kinks=(-0.3, 0.7))),
    "LogBarrier": Reference(p.LogBarrier(0.7), entrywise(lambda z: -0.7 * np.log(z), **POSITIVE)),
    "NegativeEntropy": Reference(p.NegativeEntropy(0.7), entrywise(lambda z: 0.7 * xlogx(z), **POSITIVE)),
    "KullbackLeibler": Reference(
        p.KullbackLeibler(0.7, 1.3), entrywise(lambda z: 0.7 * (xlogx(z) - z * np.log(1.3) - z + 1.3), **POSITIVE)
    ),
    "ReverseKullbackLeibler": Reference(
        p.ReverseKullbackLeibler(0.7, 1.3), entrywise(lambda z: 0.7 * (z - 1.3 * np.log(z)), **POSITIVE)
    ),
    "Hinge": Reference(p.Hinge(0.7), entrywise(lambda z: 0.7 * np.maximum(1 - z, 0), kinks=(1.0,))),
    "Pinball": Reference(p.Pinball(0.7, 0.3), entrywise(lambda z: 0.7 * np.maximum(0.3 * z, -0.7 * z))),
    "MCP": Reference(
        p.MCP(0.7, 2.0), entrywise(lambda z: np.where(abs(z) < 1.4, 0.7 * abs(z) - z**2 / 4, 0.49), kinks=(0.0,))
    ),
    "SCAD": Reference(
        p.SCAD(0.7, 2.5),
        entrywise(
            lambda z: np.where(
                abs(z) <= 0.7,
                0.7 * abs(z),
                np.where(abs(z) <= 1.75, (3.5 * abs(z) - z**2 - 0.49) / 3, 0.49 * 3.5 / 2),
            )
        ),
    ),
    "LogSum": Reference(p.LogSum(0.7, 0.5), entrywise(lambda z: 0.7 * np.log1p(abs(z) / 0.5))),
    "L0": Reference(p.L0(0.7), entrywise(lambda z: 0.7 * (z != 0))),
    "LHalf": Reference(p.LHalf(0.7), entrywise(lambda z: 0.7 * np.sqrt(abs(z)))),
    "LTwoThirds": Reference(p.LTwoThirds(0.7), entrywise(lambda z: 0.7 * np.cbrt(z * z))),
    "CappedL1": Reference(p.CappedL1(0.7, 0.8), entrywise(lambda z: 0.7 * np.minimum(abs(z), 0.8))),
    "Scaled": Reference(0.7 * p.L1(1.5), entrywise(lambda z: 1.05 * abs(z))),
    "Translated": Reference(p.Translated(p.L1(0.7), 0.4), entrywise(lambda z: 0.7 * abs(z - 0.4), kinks=(0.4,))),
    "Tilted": Reference(p.Tilted(p.L1(0.7), 0.4), entrywise(lambda z: 0.7 * abs(z) + 0.4 * z)),
    "ExceptLast": Reference(
        p.ExceptLast(p.L1(0.7)),
        lambda x, step: np.append(entrywise(lambda z: 0.7 * abs(z))(x[:-1], step), x[-1]),
    ),
    "Regularized": Reference(
        p.Regularized(p.L1(0.7), 0.5, 0.3), entrywise(lambda z: 0.7 * abs(z) + 0.25 * (z - 0.3) ** 2)
    ),
    "Conjugate": Reference(
        p.Conjugate(p.Huber(0.7, 0.9)), entrywise(lambda z: z**2 / 1.4, low=-0.63, high=0.63, kinks=(-0.63, 0.63))
    ),
    "SeparableSum": Reference(
        p.SeparableSum((p.L1(0.7), p.L2Squared(0.7))),
        lambda x, step: np.stack(
            [
                entrywise(lambda z: 0.7 * abs(z))(x[0], step),
                entrywise(lambda z: 0.35 * z**2)(x[1], step),
            ]
        ),
        shape=(2, 3),
    ),
    "L2": Reference(p.L2(0.7), sum_of_norms((np.eye(4), 0.7))),
    "GroupLasso": Reference(
        p.GroupLasso(0.7, [0, 0, 1, 1], jnp.array([1.0, 2.0])), sum_of_norms((PAIRS[0], 0.7), (PAIRS[1], 1.4))
    ),
    "SparseGroupLasso": Reference(
        p.SparseGroupLasso(0.3, 0.7, [0, 0, 1, 1]),
        sum_of_norms(*[(k, 0.3) for k in ENTRIES], *[(k, 0.7) for k in PAIRS]),
    ),
    "TotalVariation1D": Reference(p.TotalVariation1D(0.7), sum_of_norms(*[(row[None], 0.7) for row in differences(4)])),
    "FusedLasso": Reference(
        p.FusedLasso(0.7, 0.2, 0.4), sum_of_maxima(0.7 * signs(3) @ differences(4), 0.2 * signs(4), curvature=0.4)
    ),
    "LInf": Reference(p.LInf(0.7), sum_of_maxima(0.7 * np.r_[np.eye(4), -np.eye(4)])),
    "Max": Reference(p.Max(0.7), sum_of_maxima(0.7 * np.eye(4))),
    "SquaredL1": Reference(p.SquaredL1(0.7), sum_of_maxima(0.7**0.5 * signs(4), square=True)),
    "Slope": Reference(
        p.Slope(SORTED),
        sum_of_maxima(np.array([s * np.array(w) for w in permutations(SORTED) for s in signs(3)])),
        shape=(3,),
    ),
    "Simplex": Reference(p.Simplex(0.7), nearest(np.full(4, 0.1), lambda z: z.sum() - 0.7, bounds=[(0, None)] * 4)),
    "L1Ball": Reference(p.L1Ball(0.7), nearest(np.zeros(4), at_least=lambda z: 0.7 - signs(4) @ z)),
    "L2Ball": Reference(p.L2Ball(0.7), nearest(np.full(4, 0.1), at_least=lambda z: 0.49 - z @ z)),
    "NuclearNorm": Reference(p.NuclearNorm(0.7), nuclear(0.7), shape=(2, 3)),
    "SpectralNorm": Reference(p.SpectralNorm(0.7), spectral_norm(0.7), shape=(2, 3)),
    "Composed": Reference(p.Composed(p.L1(0.7), TURN, 2.0), sum_of_maxima(0.7 * signs(4) @ TURN)),
    "Cone": Reference(p.Cone(projections.isotonic), nearest(np.zeros(4), at_least=np.diff)),
    "Indicator": Reference(
        p.Indicator(projections.halfspace, MATRIX[0], 0.7),
        nearest(np.zeros(4), at_least=lambda z: 0.7 - MATRIX[:1] @ z),
    ),
    "Envelope": Reference(p.Envelope(p.L1(0.7), 0.5), envelope_of_l1(0.7, 0.5)),
    "GroupLInf": Reference(
        p.GroupLInf(0.7, [0, 0, 1, 1], jnp.array([1.0, 2.0])),
        sum_of_maxima(0.7 * np.r_[PAIRS[0], -PAIRS[0]], 1.4 * np.r_[PAIRS[1], -PAIRS[1]]),
    ),
    "TreeGroupLasso": Reference(
        p.TreeGroupLasso(0.7, NESTED, jnp.array([1.0, 2.0, 0.5])),
        sum_of_norms(*[(k, 0.7 * w) for k, w in zip(picks(4, *NESTED), (1.0, 2.0, 0.5))]),
    ),
    "TreeGroupLasso of linf": Reference(
        p.TreeGroupLasso(0.7, NESTED, jnp.array([1.0, 2.0, 0.5]), norm="linf"),
        sum_of_maxima(*[0.7 * w * np.r_[k, -k] for k, w in zip(picks(4, *NESTED), (1.0, 2.0, 0.5))]),
    ),
    "KSupport": Reference(p.KSupport(0.7, k=2), half_squared_gauge(0.7, list(combinations(range(4), 2)))),
    "SumLargest": Reference(
        p.SumLargest(0.7, k=2),
        sum_of_maxima(0.7 * np.array([np.eye(4)[list(s)].sum(0) for s in combinations(range(4), 2)])),
    ),
    "Quadratic": Reference(
        p.Quadratic(MATRIX.T @ MATRIX, MATRIX[0]),
        lambda x, step: np.linalg.solve(MATRIX.T @ MATRIX + np.eye(4) / step, x / step - MATRIX[0]),
    ),
    "LeastSquares": Reference(
        p.LeastSquares(MATRIX, SORTED, 0.7),
        lambda x, step: np.linalg.lstsq(
            np.r_[0.7**0.5 * MATRIX, np.eye(4) / step**0.5], np.r_[0.7**0.5 * SORTED, x / step**0.5]
        )[0],
    ),
    "LogDet": Reference(p.LogDet(0.7), log_det(0.7), shape=(3, 3)),
    "Rank": Reference(p.Rank(0.7), rank_penalty(0.7), shape=(2, 3)),
    "SpectralFunction": Reference(p.SpectralFunction(p.SquaredL1(0.7)), nuclear(0.7, square=True), shape=(2, 3)),
    "TotalVariation2D": Reference(
        p.TotalVariation2D(0.7, isotropic=False),
        sum_of_norms(*[(row[None], 0.7) for rows in IMAGE.values() for row in rows]),
        shape=(2, 3),
    ),
    "TotalVariation2D isotropic": Reference(
        p.TotalVariation2D(0.7, tol=1e-14, max_steps=20000),
        sum_of_norms(*[(rows, 0.7) for rows in IMAGE.values()]),
        shape=(2, 3),
        tolerance=1e-6,
    ),
}
