"""Every identity that a mirror map promises, over a table of maps."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxopt_thoth import mirror, penalties, projections
from jaxopt_thoth.mirror import _stable


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


def quick(fn):
    """`filter_jit` without the optimizations of the compiler, which take longer here than they save."""
    options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}

    def call(*args):
        arrays, rest = eqx.partition(args, eqx.is_array)
        run = jax.jit(lambda arrays: fn(*eqx.combine(arrays, rest)), compiler_options=options)
        return run(arrays)

    return call


@quick
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


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="needs extended precision")
def test_stable_functions_are_exact_to_rounding():
    r = RNG.choice([-1, 1], 4000) * 10.0 ** RNG.uniform(-3, -0.01, 4000)
    long = r.astype(np.longdouble)
    expected = [
        long - np.log1p(long),
        (1 + long) * np.log1p(long) - long,
        np.expm1(long) / long - 1,
        np.log1p(long) / long,
    ]
    functions = (_stable.less_log1p, _stable.kl_term, _stable.exprel_less_one, _stable.log1prel)
    values = quick(lambda r: [fn(r) for fn in functions])(jnp.asarray(r))
    for value, reference in zip(values, expected):
        # The compiler's own log1p is off by hundreds of units in places.
        np.testing.assert_allclose(value, reference.astype(float), rtol=3e-13)


SIMPLEX, ORTHANT, LINE = slices()[0, 0], positive()[0, 0], vectors()[0, 0]
OTHERS = {5: slices(4).reshape(-1, 5), 6: vectors(6).reshape(-1, 6), -6: positive(6).reshape(-1, 6)}
WEIGHTS = jnp.asarray(RNG.uniform(0.1, 1.0, 6))
PROXES = [
    (mirror.NegativeEntropy(), penalties.NegativeEntropy(0.7), SIMPLEX),
    (mirror.NegativeEntropy(), penalties.L1(WEIGHTS[:5]), SIMPLEX),
    (mirror.NegativeEntropy(), penalties.Simplex(axis=-1), SIMPLEX),
    (mirror.SimplexBurgEntropy(), penalties.L1(WEIGHTS[:5]), SIMPLEX),
    (mirror.UnnormalizedEntropy(), 2.0 * penalties.L1(WEIGHTS), ORTHANT),
    (mirror.UnnormalizedEntropy(), penalties.NegativeEntropy(0.7), ORTHANT),
    (mirror.UnnormalizedEntropy(), penalties.L2Squared(WEIGHTS), ORTHANT),
    (mirror.UnnormalizedEntropy(), penalties.Box(-1.0, 0.8), ORTHANT),
    (mirror.BurgEntropy(), penalties.L1(WEIGHTS), ORTHANT),
    (mirror.BurgEntropy(), penalties.L2Squared(WEIGHTS), ORTHANT),
    (mirror.BurgEntropy(), penalties.NonNegative(), ORTHANT),
    (mirror.FermiDirac(-1.0, 3.0), penalties.L1(0.4), LINE / 3),
    (mirror.Hypentropy(0.3), penalties.L1(2.0), LINE),
    (mirror.Hypentropy(0.3), penalties.NonNegative(), LINE),
    (mirror.Power(1.5), penalties.L1(0.5), LINE),
    (mirror.PNorm(1.3), penalties.L1(0.3), LINE),
    (mirror.Quartic(), penalties.L1(0.5), LINE),
    (mirror.HellingerBall(), penalties.L2Ball(0.4), LINE / 6),
    (mirror.Mahalanobis(WEIGHTS, diagonal=True), penalties.L1(0.5), LINE),
    (mirror.Euclidean(), penalties.FusedLasso(0.1, 0.2), LINE),
]


@pytest.mark.parametrize(
    ("geometry", "penalty", "x"), PROXES, ids=lambda part: None if eqx.is_array(part) else type(part).__name__
)
def test_composite_step_minimizes(geometry, penalty, x):
    step = 0.8
    dual = geometry.to_dual(x) + jnp.linspace(-0.3, 0.1, x.size)
    z = quick(lambda dual: geometry.prox(dual, penalty, step))(dual)
    moved = OTHERS[-6 if isinstance(geometry, mirror.BurgEntropy | mirror.UnnormalizedEntropy) else x.size]
    others = jax.vmap(lambda p: penalty.prox(p, 1.0))(moved) if penalty.is_indicator else moved
    if isinstance(geometry, mirror.FermiDirac | mirror.HellingerBall):
        others = others / 8
    # Toward points of the domain, near and far.
    shares = jnp.asarray(10.0 ** RNG.uniform(-4, 0, (len(others), 1)))
    others = z[None] + 0.99 * shares * (others - z[None])

    @quick
    @jax.vmap
    def model(p):
        return step * penalty.value(p) + geometry.potential(p) - jnp.vdot(dual, p)

    least, *values = np.asarray(model(jnp.concatenate([z[None], others])))
    assert np.isfinite(least)
    assert np.sum(np.isfinite(values)) > 4
    assert np.all(values >= least - 1e-13)


def test_simplex_penalty_makes_the_orthant_a_simplex():
    penalty = penalties.Simplex(jnp.array([1.0, 2.0]), axis=-1)
    dual = vectors()[0, :2]
    z = quick(lambda t: mirror.UnnormalizedEntropy().prox(t, penalty, 1.0))(dual)
    np.testing.assert_allclose(z, jnp.array([[1.0], [2.0]]) * jax.nn.softmax(dual, -1), rtol=1e-12)


def test_density_matrices_and_their_penalties():
    dual = definite()[0, 0]
    states = penalties.SpectralFunction(penalties.Simplex(), symmetric=True)
    cone = penalties.SpectralFunction(penalties.NonNegative(), symmetric=True)
    density = mirror.VonNeumannEntropy(unit_trace=True)
    orthant = mirror.VonNeumannEntropy()
    x, y = quick(lambda t: (density.prox(t, states, 1.0), orthant.prox(t, states, 1.0)))(dual)
    np.testing.assert_allclose(y, x, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(jnp.trace(x), 1.0, rtol=1e-14)
    assert density.prox_dual(dual, cone, 1.0) is dual
    assert mirror.LogDet().prox_dual(dual, cone, 1.0) is dual


def test_product_takes_penalties_block_by_block():
    maps = mirror.Product({"p": mirror.NegativeEntropy(), "v": mirror.Hypentropy(0.5)})
    dual = {"p": LINE[:5], "v": LINE}
    apart = penalties.SeparableSum({"p": penalties.Zero(), "v": penalties.L1(0.3)})
    z = maps.prox(dual, apart, 0.5)
    np.testing.assert_array_equal(z["p"], mirror.NegativeEntropy().from_dual(LINE[:5]))
    np.testing.assert_array_equal(z["v"], mirror.Hypentropy(0.5).prox(LINE, penalties.L1(0.3), 0.5))
    shared = maps.prox(dual, penalties.L1(0.3), 0.5)
    np.testing.assert_allclose(shared["p"], z["p"], rtol=1e-12)
    np.testing.assert_array_equal(shared["v"], z["v"])
    settings = {"a": jnp.array(0.1), "b": jnp.array(0.4)}
    by_leaf = mirror.Hypentropy(1.0).prox({"a": LINE, "b": LINE}, penalties.L1(settings), 1.0)
    for name, strength in settings.items():
        expected = mirror.Hypentropy(1.0).prox(LINE, penalties.L1(strength), 1.0)
        np.testing.assert_allclose(by_leaf[name], expected, rtol=1e-12)


@quick
@jax.vmap
def tsallis(a, dual):
    geometry = mirror.Tsallis(a)
    x = geometry.from_dual(dual)
    slope = jax.jvp(lambda a, t: mirror.Tsallis(a).from_dual(t), (a, dual), (jnp.ones_like(a), jnp.cos(dual)))[1]
    return x, slope, geometry.to_dual(x), jax.jacrev(geometry.from_dual)(dual)


def test_tsallis_limits_brackets_and_derivatives():
    exponents = jnp.array([0.01, 0.3, 0.5, 1.0 - 1e-7, 1.0, 1.0 + 1e-7, 1.5, 2.0, 2.5, 3.0])
    dual = jnp.asarray(RNG.normal(size=12))
    rows = jnp.broadcast_to(dual, (10, 12))
    eps = 1e-6
    shifts = [rows + t * jnp.cos(rows) for t in (0, eps, -eps)]
    outcomes = tsallis(
        jnp.concatenate([exponents, exponents + eps, exponents - eps, exponents]),
        jnp.concatenate([*shifts, 1e4 * rows]),
    )
    x, slope, back, jacobian = (part[:10] for part in outcomes)
    ahead, behind, far = (outcomes[0][k : k + 10] for k in (10, 20, 30))
    np.testing.assert_allclose(x.sum(1), 1.0, rtol=1e-14)
    # Duals are recovered up to a constant where the point is positive.
    gap = jnp.where(x > 0, rows - back, jnp.nan)
    assert jnp.nanmax(jnp.nanmax(gap, 1) - jnp.nanmin(gap, 1)) < 1e-9
    np.testing.assert_allclose(x[3:6], jnp.broadcast_to(jax.nn.softmax(dual), (3, 12)), atol=1e-6)
    np.testing.assert_allclose(x[4], jax.nn.softmax(dual), rtol=1e-12)
    np.testing.assert_allclose(x[7], projections.simplex(dual), atol=1e-14)
    # At a = 0 it is the Burg entropy, whose root is the same.
    np.testing.assert_allclose(x[0], mirror.SimplexBurgEntropy().from_dual(dual), atol=5e-3)
    np.testing.assert_allclose(slope, (ahead - behind) / (2 * eps), atol=2e-8)
    np.testing.assert_allclose(jacobian, jnp.swapaxes(jacobian, 1, 2), atol=1e-14)
    np.testing.assert_allclose(jacobian.sum(2), jnp.zeros((10, 12)), atol=1e-14)
    assert jnp.all(jnp.isfinite(far))
    np.testing.assert_allclose(far.sum(1), 1.0, rtol=1e-14)


def test_tsallis_in_single_precision_with_a_mask():
    dual = jnp.asarray(RNG.normal(size=(4, 300)), jnp.float32).at[:, 7].set(-jnp.inf)
    x = quick(jax.vmap(lambda a: mirror.Tsallis(a).from_dual(dual)))(jnp.array([0.5, 1.0, 1.5], jnp.float32))
    assert x.dtype == jnp.float32
    np.testing.assert_allclose(x.sum(-1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(x[..., 7], 0)


def test_p_norm_is_euclidean_at_two_and_nearly_entropic_near_one():
    x, y = vectors(40)[0, :2]
    dual, divergence = quick(lambda x, y: (mirror.PNorm(2.0).to_dual(x), mirror.PNorm(2.0).divergence(x, y)))(x, y)
    np.testing.assert_allclose(dual, x, rtol=1e-12)
    np.testing.assert_allclose(divergence, jnp.sum((x - y) ** 2) / 2, rtol=1e-12)
    divergence = quick(mirror.PNorm(1 + 1 / np.log(40)).divergence)(x, y)
    assert divergence >= np.exp(-2) / np.log(40) / 2 * jnp.sum(jnp.abs(x - y)) ** 2


def test_hypentropy_is_between_gradient_descent_and_exponentiated_gradient():
    gradients = jnp.asarray(RNG.normal(size=(50, 4)))
    x = LINE[:4]
    np.testing.assert_allclose(
        mirror.Hypentropy(1e7).step(x, gradients[0], 0.3 / 1e7), x - 0.3 * gradients[0], rtol=1e-9
    )
    geometry, plus_minus, beta = mirror.Hypentropy(0.2), mirror.UnnormalizedEntropy(), 0.2

    def both(carry, gradient):
        dual, parts = carry
        dual = geometry.dual_step(dual, gradient, 0.1)
        parts = plus_minus.dual_step(parts, jnp.stack([gradient, -gradient]), 0.1)
        return (dual, parts), (geometry.from_dual(dual), plus_minus.from_dual(parts))

    start = (jnp.zeros(4), jnp.log(jnp.full((2, 4), beta / 2)))
    iterates, weights = quick(lambda gradients: jax.lax.scan(both, start, gradients)[1])(gradients)
    np.testing.assert_allclose(iterates, weights[:, 0] - weights[:, 1], rtol=1e-11, atol=1e-15)
    np.testing.assert_allclose(2 * jnp.sqrt(weights[:, 0] * weights[:, 1]), beta, rtol=1e-12)
    large = mirror.Hypentropy(1e-20).from_dual(jnp.array([60.0, -60.0]))
    np.testing.assert_allclose(large, jnp.array([1.0, -1.0]) * 1e-20 * np.sinh(60.0), rtol=1e-12)


def test_matrix_exponential_steps_are_differentiable_at_repeated_eigenvalues():
    geometry = mirror.VonNeumannEntropy(unit_trace=True)
    a, b = (m + m.T for m in np.asarray(RNG.normal(size=(2, 3, 3))))
    flat, eps = jnp.eye(3) * 0.4, 1e-5
    value = lambda t: jnp.vdot(a, geometry.from_dual(t)) + geometry.divergence(geometry.from_dual(t), flat)
    slope = jnp.vdot(quick(jax.grad(value))(flat), b)
    ahead, behind = quick(jax.vmap(value))(jnp.stack([flat + eps * b, flat - eps * b]))
    difference = (ahead - behind) / (2 * eps)
    np.testing.assert_allclose(slope, difference, rtol=1e-7)
    huge = geometry.from_dual(jnp.diag(jnp.array([1e4, 0.0, -1e4])))
    np.testing.assert_array_equal(huge, np.diag([1.0, 0.0, 0.0]))


def test_extreme_duals_stay_finite():
    dtype = jnp.float32
    orthant, box = mirror.UnnormalizedEntropy(), mirror.FermiDirac(0.0, 1.0)
    start, gradient = jnp.array([0, 0, -jnp.inf], dtype), jnp.array([-1e6, 1e6, 1.0], dtype)
    x = quick(lambda t, g: orthant.from_dual(orthant.dual_step(t, g, 1.0)))(start, gradient)
    assert jnp.all(jnp.isfinite(x))
    assert x[2] == 0
    assert x[1] > 0
    logits = jnp.array([1e3, -1e3, 40.0], dtype)
    assert jnp.all(jnp.isfinite(box.from_dual(logits)))
    value, slope = quick(jax.value_and_grad(box.dual_divergence))(logits, -logits)
    assert jnp.isfinite(value)
    assert jnp.all(jnp.isfinite(slope))
    assert jnp.isinf(mirror.BurgEntropy().step(jnp.ones(2, dtype), jnp.array([-2.0, 0.0], dtype), 1.0)[0])


def test_zeros_have_their_limits():
    x, y = jnp.array([0.0, 0.5, 0.5]), jnp.array([0.25, 0.25, 0.5])
    divergence = quick(jax.vmap(lambda a, x, y: mirror.Tsallis(a).divergence(x, y)))
    first, second = jnp.stack([x, x, y, y]), jnp.stack([y, y, x, x])
    values = divergence(jnp.array([1.0, 2.0, 1.5, 0.5]), first, second)
    lone = 0.25**1.5 / 0.75 + (0.25**1.5 / 0.75 - 0.5**1.5 / 0.75 + 2 * 0.5**0.5 * 0.25)
    np.testing.assert_allclose(values, [0.5 * np.log(2), 0.0625, lone, np.inf], rtol=1e-12)
    entropy = quick(jax.vmap(mirror.UnnormalizedEntropy().divergence))(first, second)
    np.testing.assert_allclose(entropy[1:3], [0.5 * np.log(2), np.inf], rtol=1e-12)
    for geometry in (mirror.PNorm(1.5), mirror.Hypentropy(1.0)):
        points = jnp.array([[0.0, 1.0, -1.0], [0.0, 0.0, 0.0]])
        values, slopes = quick(jax.vmap(jax.value_and_grad(geometry.divergence)))(jnp.zeros((2, 3)), points)
        assert jnp.all(jnp.isfinite(slopes))
        assert values[1] == 0


def test_settings_are_leaves():
    count = 0

    @jax.jit
    def step(geometry, x):
        nonlocal count
        count += 1
        return geometry.step(x, x, 0.1)

    results = [step(mirror.Hypentropy(beta), LINE) for beta in (0.5, 1, 2.0)]
    assert count == 1
    assert not np.allclose(results[0], results[2])
    slope = jax.grad(lambda metric: mirror.Mahalanobis(metric).step(LINE, LINE, 0.1).sum())(METRIC)
    solved = jnp.linalg.solve(METRIC, jnp.ones(6))
    outer = 0.1 * jnp.outer(solved, jnp.linalg.solve(METRIC, LINE))
    np.testing.assert_allclose(slope, (outer + outer.T) / 2, rtol=1e-9)


@pytest.mark.parametrize(
    ("geometry", "x"),
    [
        (mirror.NegativeEntropy(), jnp.zeros(3)),
        (mirror.NegativeEntropy(), jnp.ones(3)),
        (mirror.UnnormalizedEntropy(), jnp.zeros(3)),
        (mirror.BurgEntropy(), jnp.array([1.0, -1.0])),
        (mirror.SimplexBurgEntropy(), jnp.array([1.0, 0.0])),
        (mirror.FermiDirac(0.0, 1.0), jnp.array([0.5, 1.0])),
        (mirror.HellingerBall(), jnp.ones(2)),
        (mirror.Tsallis(0.5), jnp.array([1.0, 0.0])),
        (mirror.LogDet(), jnp.zeros((2, 2))),
        (mirror.VonNeumannEntropy(unit_trace=True), jnp.eye(2)),
        (mirror.Euclidean(), jnp.array([jnp.nan])),
    ],
)
def test_points_outside_are_refused(geometry, x):
    with pytest.raises(ValueError, match=r"params must be in the interior .* start at mirror_map.center"):
        geometry.check(x)
    jax.eval_shape(geometry.check, x)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: mirror.FermiDirac(1.0, 1.0), "lower must be below upper"),
        (lambda: mirror.FermiDirac(0.0, jnp.inf), "both finite"),
        (lambda: mirror.Hypentropy(0.0), "beta must be positive"),
        (lambda: mirror.PNorm(1.0), "q must be above 1"),
        (lambda: mirror.Tsallis(0.0), "a must be positive"),
        (lambda: mirror.Mahalanobis(jnp.ones(3)), "square matrix"),
        (lambda: mirror.Mahalanobis(-jnp.eye(3)), "positive definite"),
        (lambda: mirror.Mahalanobis(jnp.zeros(3), diagonal=True), "metric must be positive"),
        (lambda: mirror.Product({"a": 1.0}), "mirror maps only"),
        (lambda: mirror.LogDet().to_dual(jnp.ones(3)), "square matrix"),
        (lambda: mirror.Tsallis(1.5).prox(SIMPLEX, penalties.Simplex(2.0), 1.0), "radius 1"),
        (lambda: mirror.NegativeEntropy(axis=0).prox(slices()[0], penalties.Simplex(axis=1), 1.0), "axis"),
    ],
)
def test_bad_settings_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_unknown_prox_says_what_to_do():
    for geometry in (mirror.NegativeEntropy(), mirror.BurgEntropy(), mirror.PNorm(1.5), mirror.Mahalanobis(METRIC)):
        with pytest.raises(NotImplementedError, match=r"no closed-form prox of FusedLasso; take mirror.Euclidean\(\)"):
            geometry.prox(LINE, penalties.FusedLasso(1.0, 1.0), 1.0)
    traced = jax.jit(lambda r: mirror.NegativeEntropy().prox(SIMPLEX, penalties.Simplex(r), 1.0))
    assert jnp.all(jnp.isnan(traced(2.0)))
    np.testing.assert_allclose(traced(1.0), jax.nn.softmax(SIMPLEX), rtol=1e-12)
