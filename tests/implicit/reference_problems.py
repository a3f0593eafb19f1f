"""Small bilevel problems with reference values of the outer value F and its gradient, to ten digits.

`outer(x, theta)` is to be lowered over theta, where x minimizes `inner(x, theta)` plus the penalty of `penalty(theta)`,
if there is one, or over a simplex. The references agree with central differences to 1e-9 and better.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_thoth import penalties


class Reference(NamedTuple):
    """A problem, its point of evaluation, and what comes out there."""

    inner: Callable  # (x, theta) -> the smooth part of the inner objective
    outer: Callable  # (x, theta) -> value
    theta: Any
    x: np.ndarray  # the inner solution, to rounding
    value: float
    norm: float  # of the gradient
    total: float  # sum of the gradient
    penalty: Callable | None = None  # theta -> the simple part of the inner objective

    def check(self, value, gradient, rtol=1e-9):
        """Assert that a value and a gradient are those of the reference: its ten decimals, or `rtol`."""
        leaves = np.concatenate([np.ravel(g) for g in jax.tree.leaves(gradient)])
        found = np.array([value, np.linalg.norm(leaves), leaves.sum()])
        # Half a unit of the tenth decimal is all that the table knows of a value.
        np.testing.assert_allclose(found, [self.value, self.norm, self.total], rtol=rtol, atol=6e-11)


def regression(seed=0):
    """Design and targets, for training and for validation; eight of thirty coefficients are not zero."""
    rng = np.random.default_rng(seed)
    design, validation = rng.standard_normal((60, 30)), rng.standard_normal((40, 30))
    w = np.zeros(30)
    w[:8] = np.linspace(1, 2, 8) * np.array([1, -1] * 4)
    targets = design @ w + 0.5 * rng.standard_normal(60)
    return design, targets, validation, validation @ w + 0.5 * rng.standard_normal(40)


def classification(seed=1):
    """As `regression`, with labels -1 and 1."""
    rng = np.random.default_rng(seed)
    design, validation = rng.standard_normal((60, 30)), rng.standard_normal((40, 30))
    w = np.zeros(30)
    w[:8] = np.linspace(1, 2, 8) * np.array([1, -1] * 4)
    labels = np.sign(design @ w + rng.standard_normal(60))
    return design, labels, validation, np.sign(validation @ w + rng.standard_normal(40))


X, Y, X_VAL, Y_VAL = regression()
Z, LABELS, Z_VAL, LABELS_VAL = classification()
LAMBDA_MAX = np.abs(X.T @ Y / 60).max()  # 1.9866444842
_RNG = np.random.default_rng(2)
POINT, COST = _RNG.standard_normal(6), _RNG.standard_normal(6)
_FACTOR, LINEAR = _RNG.standard_normal((6, 6)), _RNG.standard_normal(6)
QUADRATIC = _FACTOR @ _FACTOR.T / 6
A_NNLS, B_NNLS, C_NNLS = _RNG.standard_normal((12, 8)), _RNG.standard_normal(12), _RNG.standard_normal(8)
CLEAN = np.repeat([0.0, 1.0, 0.3, 0.8], 16)
NOISY = CLEAN + 0.1 * np.random.default_rng(3).standard_normal(64)


def logistic(x, labels, w):
    return jax.nn.softplus(-labels * (x @ w))


def half_squares(w):
    return jnp.mean((X @ w - Y) ** 2) / 2


def half_validation(w, theta):
    return jnp.mean((X_VAL @ w - Y_VAL) ** 2) / 2


def validation(w, theta):
    return jnp.mean((X_VAL @ w - Y_VAL) ** 2)


def logistic_validation(w, theta):
    return jnp.mean(logistic(Z_VAL, LABELS_VAL, w))


def ridge(w, theta):
    return half_squares(w) + jnp.sum(jnp.exp(theta) * w**2) / 2


def logistic_ridge(w, theta):
    return jnp.mean(logistic(Z, LABELS, w)) + jnp.sum(jnp.exp(theta) * w**2) / 2


def cleaning(w, theta):
    return jnp.mean(jax.nn.sigmoid(theta) * logistic(Z, LABELS, w)) + 0.005 * jnp.sum(w**2)


def smoothed_tv(x, theta):
    return jnp.sum((x - NOISY) ** 2) / 2 + jnp.exp(theta[0]) * jnp.sum(
        jnp.sqrt((x[1:] - x[:-1]) ** 2 + jnp.exp(2 * theta[1]))
    )


def entropic(x, theta):
    b, strength = theta
    return x @ QUADRATIC @ x / 2 - b @ x + strength * jnp.sum(x * jnp.log(x))


def _newton(inner, theta, x, damped):
    """Newton's method with halved steps, in NumPy arithmetic around compiled derivatives."""
    parts = jax.jit(lambda x: (inner(x, theta), jax.grad(inner)(x, theta), jax.hessian(inner)(x, theta)))
    for _ in range(100):
        value, gradient, hessian = (np.asarray(part) for part in parts(x))
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while damped and parts(x - size * step)[0] > value and size > 1e-4:
            size /= 2
        x = x - size * step
        if np.linalg.norm(step) < 1e-15 * (1 + np.linalg.norm(x)):
            break
    return x


def _sparse(gram, linear, shrink):
    """The minimizer of `x gram x / 2 - linear x` plus a penalty with the prox `shrink(z, step)`."""
    size = 1 / np.linalg.eigvalsh(gram)[-1]
    x = np.zeros(len(linear))
    for _ in range(3000):
        x = shrink(x - size * (gram @ x - linear), size)
    return x


def _lasso(strength, ridge=0.0):
    soft = lambda z, step: np.sign(z) * np.maximum(np.abs(z) - step * strength, 0)
    return _sparse(X.T @ X / 60 + ridge * np.eye(30), X.T @ Y / 60, soft)


def _entropic_solution(b, strength):
    """Newton on the equality-constrained system, from the center of the simplex."""
    x, ones = np.full(6, 1 / 6), np.ones(6)
    for _ in range(100):
        gradient = QUADRATIC @ x - b + strength * (np.log(x) + 1)
        hessian = QUADRATIC + np.diag(strength / x)
        free, pull = np.linalg.solve(hessian, gradient), np.linalg.solve(hessian, ones)
        step = free - pull * (ones @ free) / (ones @ pull)
        x = x - min(1.0, 0.9 / max(np.max(step / x), 1e-300)) * step
    return x / x.sum()


def _simplex(z):
    ordered = np.sort(z)[::-1]
    sums = (np.cumsum(ordered) - 1) / np.arange(1, len(z) + 1)
    return np.maximum(z - sums[np.nonzero(ordered > sums)[0][-1]], 0)


_LOG_WEIGHTS = np.log(LAMBDA_MAX / 10) + np.linspace(-0.5, 0.5, 30)
_SOFT = jnp.exp


def references():
    """The problems of the table by name; each is solved when it is asked for, once."""
    spread = np.linspace(-3, 1, 30)
    steep = np.linspace(-6, -2, 30)
    weights = np.zeros(60)
    noisy = np.array([-2.0, -4.0])
    level = np.log(LAMBDA_MAX / 10)
    two = np.array([level, np.log(LAMBDA_MAX / 20)])
    smooth = lambda inner, theta, size, damped=False: _newton(inner, theta, np.zeros(size), damped)
    l1 = lambda theta: penalties.L1(_SOFT(theta))
    rows = {
        "ridge_scalar": (
            ridge, half_validation, -1.0, lambda: smooth(ridge, -1.0, 30), 2.0497444506, 1.3359517210, 1.3359517210,
        ),
        "ridge_per_feature": (
            ridge, half_validation, spread, lambda: smooth(ridge, spread, 30), 0.4801053687, 0.1757396195, 0.2705505597,
        ),
        "logistic_scalar": (
            logistic_ridge, logistic_validation, -4.0, lambda: smooth(logistic_ridge, -4.0, 30),
            0.5227666115, 0.0295624016, -0.0295624016,
        ),
        "logistic_per_feature": (
            logistic_ridge, logistic_validation, steep, lambda: smooth(logistic_ridge, steep, 30),
            0.4477014016, 0.0831032767, -0.0469736138,
        ),
        "hypercleaning": (
            cleaning, logistic_validation, weights, lambda: smooth(cleaning, weights, 30),
            0.5203455157, 0.0266721671, 0.0127360965,
        ),
        "tv1d_denoise": (
            smoothed_tv, lambda x, theta: jnp.sum((x - CLEAN) ** 2) / 2, noisy,
            lambda: _newton(smoothed_tv, noisy, NOISY, True), 0.0561081854, 0.0492530991, -0.0359611839,
        ),
        "lasso_scalar": (
            lambda w, theta: half_squares(w), validation, level, lambda: _lasso(LAMBDA_MAX / 10),
            1.0171776728, 0.9059441261, 0.9059441261, l1,
        ),
        "wlasso": (
            lambda w, theta: half_squares(w), validation, _LOG_WEIGHTS, lambda: _lasso(np.exp(_LOG_WEIGHTS)),
            0.7173523457, 0.3235592342, 0.4161526329, l1,
        ),
        "enet": (
            lambda w, theta: half_squares(w), validation, two, lambda: _lasso(LAMBDA_MAX / 10, LAMBDA_MAX / 20),
            1.9393967779, 1.4471959545, 2.0459348498, lambda theta: penalties.ElasticNet(*jnp.exp(theta)),
        ),
        "simplex_projection": (
            lambda x, theta: jnp.sum((x - theta) ** 2) / 2, lambda x, theta: COST @ x, POINT, lambda: _simplex(POINT),
            0.7557148280, 0.9108412138, 0.0, lambda theta: penalties.Simplex(),
        ),
        "entropic_simplex_qp": (
            entropic, lambda x, theta: COST @ x, (LINEAR, 0.3), lambda: _entropic_solution(LINEAR, 0.3),
            0.2483680622, 0.7279846247, 0.1896465864, lambda theta: penalties.Simplex(),
        ),
        "nnls_vjp_b": (
            lambda x, b: jnp.sum((A_NNLS @ x - b) ** 2) / 2 + 0.05 * jnp.sum(x**2), lambda x, b: C_NNLS @ x, B_NNLS,
            lambda: _sparse(
                A_NNLS.T @ A_NNLS + 0.1 * np.eye(8), A_NNLS.T @ B_NNLS, lambda z, step: np.maximum(z, 0)
            ),
            0.2193805063, 0.3186131169, -0.2807848221, lambda b: penalties.NonNegative(),
        ),
    }  # fmt: skip
    return rows


_ROWS = references()
_FOUND: dict[str, Reference] = {}
NAMES = tuple(_ROWS)


def reference(name):
    """The problem of that name, with its solution."""
    if name not in _FOUND:
        inner, outer, theta, solution, value, norm, total, *penalty = _ROWS[name]
        theta = jax.tree.map(jnp.asarray, theta)
        _FOUND[name] = Reference(inner, outer, theta, solution(), value, norm, total, *penalty)
    return _FOUND[name]
