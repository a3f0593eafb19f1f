"""Total variation of images: the prox against other solvers and certificates, its derivative against differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth import penalties as p


SHAPE = (7, 9)
KINDS = pytest.mark.parametrize("isotropic", [True, False], ids=["isotropic", "anisotropic"])


def scene(rng, shape=SHAPE):
    """A bright block and a ramp, with noise."""
    rows, columns = np.indices(shape)
    block = (rows >= 2) & (rows < 5) & (columns >= 3) & (columns < 7)
    return jnp.asarray(2.0 * block + 0.1 * columns + 0.3 * rng.normal(size=shape))


@functools.lru_cache(None)
def program(isotropic, dtype="float64"):
    """The prox and its gap, to a tight tolerance."""
    tol, max_steps = {"float64": (1e-16, 20_000), "float32": (1e-7, 2_000)}[dtype]

    @jax.jit
    def run(x, step, strength):
        penalty = p.TotalVariation2D(strength, isotropic, tol=tol, max_steps=max_steps)
        return penalty.prox_with_gap(x, step)

    return run


def prox(isotropic):
    return lambda *arguments: program(isotropic)(*arguments)[0]


def differences(x):
    return np.stack([np.diff(x, axis=0, append=x[-1:]), np.diff(x, axis=1, append=x[:, -1:])])


def reference(x, t, isotropic, rho=1.0):
    """The prox by the alternating direction method of multipliers, with dense matrices."""
    identity = np.eye(x.size).reshape(-1, *x.shape)
    matrix = np.stack([differences(image).ravel() for image in identity], axis=1)
    inverse = np.linalg.inv(np.eye(x.size) + rho * matrix.T @ matrix)
    split = scaled = np.zeros(2 * x.size)
    for _ in range(30_000):
        z = inverse @ (x.ravel() + rho * matrix.T @ (split - scaled))
        target = (matrix @ z + scaled).reshape(2, -1)
        size = np.sqrt((target**2).sum(0)) if isotropic else np.abs(target)
        split = (target * np.maximum(1 - t / rho / np.maximum(size, 1e-300), 0)).ravel()
        scaled = target.ravel() - split
    return z.reshape(x.shape)


def test_value():
    x = jnp.asarray([[0.0, 3.0], [4.0, 0.0]])
    assert p.TotalVariation2D(2.0).value(x) == 2 * (5 + 3 + 4)
    assert p.TotalVariation2D(2.0, isotropic=False).value(x) == 2 * (7 + 3 + 4)
    assert p.TotalVariation2D(1.0).value(1e30 * x.astype(jnp.float32)) == pytest.approx(12e30)
    np.testing.assert_array_equal(jax.grad(p.TotalVariation2D(1.0).value)(jnp.ones((3, 3))), 0)


@KINDS
@pytest.mark.parametrize("t", [0.05, 0.3, 1.5])
def test_prox_agrees_with_another_algorithm(rng, isotropic, t):
    x = scene(rng)
    z, gap = program(isotropic)(x, 1.0, t)
    assert gap <= 1e-12
    np.testing.assert_allclose(z, reference(np.asarray(x), t, isotropic), atol=1e-5)


@KINDS
def test_the_gap_bounds_the_distance(rng, isotropic):
    x = scene(rng)
    exact = program(isotropic)(x, 0.5, 0.6)[0]
    contrast = np.linalg.norm(x - x.mean())
    for steps in (1, 40):
        penalty = p.TotalVariation2D(0.6, isotropic, tol=0.0, max_steps=steps)
        z, gap = penalty.prox_with_gap(x, 0.5)
        assert 0 <= gap <= 1
        assert np.linalg.norm(z - exact) <= np.sqrt(gap) * contrast + 1e-7


@KINDS
def test_no_other_image_is_better(rng, isotropic):
    x = scene(rng)
    penalty = p.TotalVariation2D(0.4, isotropic)
    z = np.asarray(program(isotropic)(x, 0.5, 0.4)[0])
    cost = jax.jit(jax.vmap(lambda v: penalty.value(v) + jnp.sum((v - x) ** 2)))
    tries = z + rng.normal(size=(300, *SHAPE)) * 10.0 ** rng.uniform(-5, 0, (300, 1, 1))
    excess = cost(jnp.asarray(tries)) - cost(jnp.asarray(z[None])) - np.sum((tries - z) ** 2, (1, 2))
    assert excess.min() >= -1e-6


@KINDS
def test_limits(rng, isotropic):
    x = scene(rng)
    run = program(isotropic)
    np.testing.assert_allclose(run(x, 0.0, 1.0)[0], x, atol=1e-15)
    np.testing.assert_allclose(run(x, 1.0, 0.0)[0], x, atol=1e-15)
    np.testing.assert_allclose(run(x, 1.0, 1e6)[0], jnp.full(SHAPE, x.mean()), atol=1e-14)
    np.testing.assert_allclose(run(x, 1.0, 0.3)[0].mean(), x.mean(), atol=1e-14)
    constant, gap = run(jnp.full(SHAPE, 0.3), 1.0, 0.3)
    np.testing.assert_allclose(constant, 0.3, atol=1e-16)
    assert gap == 0
    penalty = p.TotalVariation2D(0.3, isotropic)
    for shape in ((0, 3), (1, 1), (3, 0)):
        assert penalty.prox(jnp.ones(shape), 1.0).shape == shape
    np.testing.assert_allclose(run(x.T, 1.0, 0.3)[0].shape, x.T.shape)


@pytest.mark.parametrize("column", [False, True])
@KINDS
def test_one_row_is_a_signal(rng, isotropic, column):
    x = jnp.asarray(rng.normal(size=40).cumsum())
    image = x[:, None] if column else x[None]
    z = p.TotalVariation2D(0.8, isotropic, tol=1e-16, max_steps=20_000).prox(image, 1.3)
    np.testing.assert_allclose(
        z.reshape(-1), p.TotalVariation1D(0.8).prox(x, 1.3), atol=1e-12 if not isotropic else 1e-6
    )


@KINDS
def test_symmetries(rng, isotropic):
    x = scene(rng)
    run = program(isotropic)
    z = run(x, 1.0, 0.3)[0]
    tight = 1e-12 if not isotropic else 1e-6
    np.testing.assert_allclose(run(3 * x + 5, 3.0, 0.3)[0], 3 * z + 5, atol=5 * tight)
    np.testing.assert_allclose(run(-x, 0.3, 1.0)[0], -z, atol=tight)


@KINDS
def test_derivative(rng, isotropic):
    x = scene(rng)
    run = prox(isotropic)
    arguments = x, jnp.asarray(0.5), jnp.asarray(0.4)
    direction = jnp.asarray(rng.normal(size=SHAPE)), jnp.asarray(0.3), jnp.asarray(-0.2)
    pull = jnp.asarray(rng.normal(size=SHAPE))

    @jax.jit
    def derivatives(arguments):
        second = jax.jvp(jax.grad(lambda *a: jnp.sum(run(*a) ** 3), (0, 1, 2)), arguments, direction)
        return jax.jvp(run, arguments, direction)[1], jax.vjp(run, *arguments)[1](pull), second

    forward, back, second = derivatives(arguments)
    assert all(jnp.isfinite(part).all() for part in jax.tree.leaves(second))
    np.testing.assert_allclose(jnp.vdot(pull, forward), sum(map(jnp.vdot, back, direction)), rtol=1e-8)

    h = 1e-4
    ahead, behind = (run(*(a + s * h * d for a, d in zip(arguments, direction))) for s in (1, -1))
    slope = (ahead - behind) / (2 * h)
    np.testing.assert_allclose(forward, slope, atol=1e-4 if isotropic else 1e-9)
    # The mean of the prox is the mean of the image.
    np.testing.assert_allclose(forward.mean(), direction[0].mean(), atol=1e-12)


@KINDS
def test_jacobian_is_symmetric_with_eigenvalues_between_zero_and_one(rng, isotropic):
    x = scene(rng)[:5, :5]
    jacobian = np.asarray(jax.jacfwd(prox(isotropic))(x, 0.5, 0.4)).reshape(25, 25)
    np.testing.assert_allclose(jacobian, jacobian.T, atol=1e-9)
    eigenvalues = np.linalg.eigvalsh(jacobian)
    assert eigenvalues.min() >= -1e-9 and eigenvalues.max() <= 1 + 1e-9


@KINDS
@pytest.mark.parametrize("strength", [0.0, 0.4, 1e6])
def test_derivatives_at_ties_are_finite(isotropic, strength):
    slopes = jax.jit(jax.grad(lambda *a: jnp.sum(program(isotropic)(*a)[0] ** 2), (0, 1, 2)))
    for x in (jnp.zeros(SHAPE), jnp.ones(SHAPE), jnp.zeros(SHAPE).at[3, 4].set(1.0)):
        assert all(jnp.isfinite(part).all() for part in slopes(x, 1.0, strength))


@KINDS
def test_float32_batches_and_scales(rng, isotropic):
    @jax.jit
    @jax.vmap
    def run(image, strength):
        z, pull, gap = jax.vjp(lambda x: program(isotropic, "float32")(x, 1.0, strength), image, has_aux=True)
        return z, pull(image)[0], gap

    image = scene(rng)
    scales = np.array([1.0, 100.0, 1e-25, 1e25])
    images = np.multiply.outer(scales, image)
    z, slope, gap = run(jnp.asarray(images, jnp.float32), jnp.asarray(0.3 * scales, jnp.float32))
    assert z.dtype == slope.dtype == gap.dtype == jnp.float32
    assert jnp.isfinite(slope).all() and (gap <= 1e-5).all()
    exact = program(isotropic)(image, 1.0, 0.3)[0]
    np.testing.assert_allclose(np.asarray(z) / scales[:, None, None], jnp.stack(4 * [exact]), atol=2e-3)


def test_settings_compile_once():
    traces = []

    @jax.jit
    def run(penalty, x):
        traces.append(1)
        return penalty.prox(x, 1.0)

    for strength, tol in ((0.1, 1e-6), (0.7, 1e-8), (1, 1e-4)):
        run(p.TotalVariation2D(strength, tol=tol), jnp.eye(4))
    assert len(traces) == 1
    assert p.TotalVariation2D(0.7).prox_with_gap(jnp.eye(4), 1.0)[1] <= 1e-8


def test_bad_input():
    with pytest.raises(ValueError, match="strength must be nonnegative"):
        p.TotalVariation2D(-1.0)
    with pytest.raises(ValueError, match="tol must be nonnegative"):
        p.TotalVariation2D(1.0, tol=-1.0)
    with pytest.raises(ValueError, match="max_steps must be nonnegative"):
        p.TotalVariation2D(1.0, max_steps=-1)
    with pytest.raises(ValueError, match="image"):
        p.TotalVariation2D(1.0).prox(jnp.ones(3), 1.0)
    with pytest.raises(ValueError, match="image"):
        p.TotalVariation2D(1.0).value(jnp.ones((3, 3, 3)))
