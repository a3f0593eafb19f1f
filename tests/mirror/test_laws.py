"""Every identity that a mirror map promises, over a table of maps."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxopt_thoth import mirror


RNG = np.random.default_rng(1)


def vectors(n=6):
    return jnp.asarray(RNG.normal(size=(3, 3, n)))


def positive(n=6):
    return jnp.asarray(RNG.uniform(0.2, 2.0, size=(3, 3, n)))


def slices(*shape):
    return jnp.asarray(RNG.dirichlet(np.ones(5), (3, 3, *shape)))


def definite(trace=None, n=4):
    a = RNG.normal(size=(3, 3, n, n + 3))
    x = a @ np.swapaxes(a, -1, -2) / n
    return jnp.asarray(x / np.trace(x, axis1=-2, axis2=-1)[..., None, None] if trace else x)


METRIC = jnp.asarray(np.diag([1.0, 2.0, 3.0, 0.5, 1.0, 4.0]) + 0.3)

# A map, and three by three points of its domain.
MAPS = {
    "euclidean": (mirror.Euclidean(), vectors()),
    "negative entropy": (mirror.NegativeEntropy(axis=0), jnp.swapaxes(slices(2), -1, -2)),
    "unnormalized entropy": (mirror.UnnormalizedEntropy(), positive()),
    "burg": (mirror.BurgEntropy(), positive()),
    "burg on the simplex": (mirror.SimplexBurgEntropy(), slices(2)),
    "fermi dirac": (mirror.FermiDirac(-1.0, jnp.arange(2.0, 8.0)), positive()),
    "hypentropy": (mirror.Hypentropy(0.3), vectors()),
    "power": (mirror.Power(1.5), vectors()),
    "p norm": (mirror.PNorm(1.3), vectors()),
    "quartic": (mirror.Quartic(), vectors()),
    "hellinger ball": (mirror.HellingerBall(), vectors() / 6),
    "tsallis 1.5": (mirror.Tsallis(1.5, axis=0), jnp.swapaxes(slices(2), -1, -2)),
    "mahalanobis": (mirror.Mahalanobis(METRIC), vectors()),
    "mahalanobis diagonal": (mirror.Mahalanobis(jnp.diagonal(METRIC), diagonal=True), vectors()),
    "log det": (mirror.LogDet(), definite()),
    "von neumann": (mirror.VonNeumannEntropy(), definite()),
    "density matrices": (mirror.VonNeumannEntropy(unit_trace=True), definite(trace=1)),
    "product": (
        mirror.Product({"p": mirror.NegativeEntropy(), "v": (mirror.Euclidean(), mirror.BurgEntropy())}),
        {"p": slices(), "v": (vectors(), positive())},
    ),
}
UNBOUNDED = ("burg", "log det", "product")


def inner(x, y):
    return jnp.vdot(ravel_pytree(x)[0], ravel_pytree(y)[0])


def less(x, y):
    return jax.tree.map(jnp.subtract, x, y)


def stack(*trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def split(tree):
    return [jax.tree.map(lambda a, i=i: a[i], tree) for i in range(jax.tree.leaves(tree)[0].shape[0])]


@eqx.filter_jit
@eqx.filter_vmap(in_axes=(None, 0, 0))
def facts(geometry, points, gradient):
    """Pairs that must agree, and numbers that must not be negative."""
    # Each function is traced once, over a batch: what costs time here is to compile.
    x, y, z = split(points)
    center, step_size = geometry.center(x), 0.05
    near = jax.tree.map(lambda a, b: a + 1e-9 * (b - a), x, z)
    move = less(near, x)
    dual_x, dual_y = split(jax.vmap(geometry.to_dual)(stack(x, y)))
    bend, curve = split(
        jax.vmap(lambda v: jax.jvp(geometry.to_dual, (x,), (v,))[1])(stack(less(x, y), move)),
    )
    back, centered = split(
        jax.vmap(geometry.from_dual)(stack(dual_x, geometry.center_dual(dual_x))),
    )
    _, spread = jax.jvp(geometry.from_dual, (dual_x,), (less(dual_x, dual_y),))
    stepped = geometry.step(x, gradient, step_size)
    slope = less(geometry.to_dual(stepped), dual_x)
    values, slopes = jax.vmap(jax.value_and_grad(geometry.potential))(stack(x, y, center))
    conjugates, conjugate_slopes = jax.vmap(jax.value_and_grad(geometry.conjugate))(stack(dual_x, dual_y))
    divergences, by = jax.vmap(jax.value_and_grad(geometry.divergence, (0, 1)))(
        stack(x, x, z, z, near, y), stack(y, x, y, x, x, x)
    )
    far, same, apart, third, close, _ = divergences
    by_first, by_second = split(by[0])[-1], split(by[1])[-1]
    dual_far, (by_dual_x, by_dual_y) = jax.value_and_grad(geometry.dual_divergence, (0, 1))(dual_x, dual_y)
    norms = jax.vmap(geometry.norm)(stack(x, y, less(x, y)))
    equal = {
        "from_dual inverts to_dual": (back, x),
        "to_dual is the gradient along the domain": (inner(less(split(slopes)[0], dual_x), less(y, z)), 0.0),
        "conjugate by Fenchel's equality": (conjugates[0], inner(dual_x, x) - values[0]),
        "from_dual is the gradient of the conjugate": (split(conjugate_slopes)[0], x),
        "divergence by definition": (far, values[0] - values[1] - inner(dual_y, less(x, y))),
        "divergence of a point from itself": (same, 0.0),
        "divergence of duals": (dual_far, far),
        "divergence of duals by the conjugate": (
            dual_far,
            conjugates[1] - conjugates[0] - inner(x, less(dual_y, dual_x)),
        ),
        "three points": (apart, third + far + inner(less(dual_x, dual_y), less(z, x))),
        "derivative of the divergence in x": (inner(by_first, less(x, z)), inner(less(dual_y, dual_x), less(x, z))),
        "derivative of the divergence in y": (inner(by_second, less(z, x)), inner(bend, less(z, x))),
        "derivative of the dual divergence in x": (inner(by_dual_x, gradient), inner(spread, gradient)),
        "derivative of the dual divergence in y": (inner(by_dual_y, gradient), inner(less(y, x), gradient)),
        "step is stationary": (inner(slope, less(y, z)), -step_size * inner(gradient, less(y, z))),
        "project leaves the domain alone": (geometry.project(x), x),
        "center_dual stands for the same point": (centered, x),
    }
    least = {
        "divergence is positive": far,
        "modulus": far * (1 + 1e-10) - geometry.modulus(x, jnp.max(norms[:2])) / 2 * norms[2] ** 2,
        "dual norm": norms[0] * geometry.dual_norm(gradient) * (1 + 1e-10) - jnp.abs(inner(x, gradient)),
        "center": values[0] - values[2],
        "interior": jnp.where(jnp.all(jax.vmap(geometry.contains)(stack(x, center))), 0.0, -1.0),
    }
    return equal, least, (close, inner(move, curve) / 2)


@pytest.fixture(params=list(MAPS), scope="module")
def outcome(request):
    geometry, points = MAPS[request.param]
    gradient = jax.tree.map(lambda a: jnp.asarray(RNG.normal(size=a[:, 0].shape)), points)
    if "det" in request.param or "von" in request.param or "density" in request.param:
        gradient = gradient + jnp.swapaxes(gradient, -1, -2)
    if request.param in ("burg", "log det"):
        gradient = gradient / 5
    return request.param, facts(geometry, points, gradient)


def test_identities(outcome):
    _, (equal, _, _) = outcome
    for name, (left, right) in equal.items():
        for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(jax.tree.map(jnp.asarray, right))):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11, err_msg=name)


def test_inequalities(outcome):
    case, (_, least, _) = outcome
    for name, value in least.items():
        if not (name == "center" and case in UNBOUNDED):
            assert jnp.all(value >= 0), name


def test_divergence_of_near_points_does_not_cancel(outcome):
    _, (_, _, (near, quadratic)) = outcome
    np.testing.assert_allclose(near, quadratic, rtol=1e-5)


@pytest.mark.parametrize("case", MAPS)
def test_dtypes_and_shapes_are_kept(case):
    geometry, points = MAPS[case]
    x = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[2:], jnp.float32), points)
    for name in ("to_dual", "from_dual", "project", "center", "center_dual"):
        assert jax.eval_shape(getattr(geometry, name), x) == x, name
    assert jax.eval_shape(lambda a: geometry.step(a, a, jnp.float64(0.1)), x) == x
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    for name in ("potential", "conjugate", "norm", "dual_norm", "modulus"):
        assert jax.eval_shape(getattr(geometry, name), x) == scalar, name
    assert jax.eval_shape(geometry.divergence, x, x) == scalar
    assert jax.eval_shape(geometry.dual_divergence, x, x) == scalar
