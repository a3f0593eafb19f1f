"""Deconvolution against the Fourier transform, dense systems and a known prox."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import restoration
from jaxopt_thoth.restoration import Blur, deconvolve, deconvolve_total_variation, Downsample


KERNEL = jnp.array([[0.05, 0.1, 0.02], [0.1, 0.4, 0.1], [0.03, 0.15, 0.05]])
SIZE = (8, 7)


@pytest.fixture
def data(rng: np.random.Generator) -> jax.Array:
    return jnp.array(rng.uniform(size=(*SIZE, 2)))


def by_fourier(data: jax.Array, strength: jax.Array, power: int, ridge: float) -> jax.Array:
    padded = jnp.zeros(SIZE).at[:3, :3].set(KERNEL)
    transfer = jnp.fft.fft2(jnp.roll(padded, (-1, -1), (0, 1)))[..., None]
    rows, columns = (2 - 2 * np.cos(2 * np.pi * np.arange(n) / n) for n in SIZE)
    rough = jnp.array((rows[:, None] + columns[None, :])[..., None] ** power)
    spectrum = jnp.conj(transfer) * jnp.fft.fft2(data, axes=(0, 1))
    system = jnp.abs(transfer) ** 2 + strength[None, None, :] * rough + ridge
    return jnp.fft.ifft2(spectrum / system.astype(spectrum.dtype), axes=(0, 1)).real


@pytest.mark.parametrize(("prior", "power"), [("identity", 0), ("gradient", 1), ("laplacian", 2)])
def test_on_a_torus_it_is_a_filter_of_frequencies(prior: str, power: int, data: jax.Array) -> None:
    strength = jnp.array([0.03, 0.3])
    found = deconvolve(data, KERNEL, strength=strength, prior=prior, ridge=0.01, boundary="periodic", tol=1e-12)  # type: ignore[arg-type]
    assert found.result == jt.RESULTS.converged
    np.testing.assert_allclose(found.cube, by_fourier(data, strength, power, 0.01), atol=1e-10)


def test_a_batch_of_strengths_and_their_derivative(data: jax.Array) -> None:
    solve = lambda s: deconvolve(data, KERNEL, strength=s, boundary="periodic", tol=1e-12).cube
    strengths = jnp.array([0.05, 0.2])
    cubes = jax.vmap(solve)(strengths)
    for cube, s in zip(cubes, strengths, strict=True):
        np.testing.assert_allclose(cube, by_fourier(data, jnp.array([s, s]), 1, 0.0), atol=1e-10)
    loss = lambda solve: lambda s: jnp.sum(solve(s) ** 3)
    exact = jax.grad(loss(lambda s: by_fourier(data, jnp.stack([s, s]), 1, 0.0)))(0.1)
    np.testing.assert_allclose(jax.grad(loss(solve))(0.1), exact, rtol=1e-8)


def test_coarse_pixels_and_a_kernel_for_each_band_by_a_dense_system(rng: np.random.Generator) -> None:
    kernels = jnp.array(rng.uniform(size=(1, 3, 2)))
    data = jnp.array(rng.normal(size=(3, 2, 2)))
    found = deconvolve(data, kernels, strength=0.1, factor=(1, 2), offset=(0, 1), boundary="edge", tol=1e-12)
    for band in range(2):
        see = lambda x, band=band: Downsample((1, 2), (0, 1))(Blur(kernels[..., band], "edge")(x))
        seen = jax.jacobian(see)(jnp.zeros((3, 4))).reshape(6, 12)
        rows, columns = (np.diff(np.eye(n), axis=0) for n in (3, 4))
        rough = np.kron(rows.T @ rows, np.eye(4)) + np.kron(np.eye(3), columns.T @ columns)
        expected = jnp.linalg.solve(seen.T @ seen + 0.1 * rough, seen.T @ data[..., band].ravel())
        np.testing.assert_allclose(found.cube[..., band].ravel(), expected, atol=1e-9)


def test_single_precision_stays_and_too_few_steps_are_told(data: jax.Array) -> None:
    found = deconvolve(data.astype(jnp.float32), KERNEL, strength=0.1, boundary="periodic")
    assert found.cube.dtype == jnp.float32 and found.result == jt.RESULTS.converged
    np.testing.assert_allclose(found.cube, by_fourier(data, jnp.full(2, 0.1), 1, 0.0), atol=1e-3)
    short = deconvolve(data, KERNEL, strength=1e-4, boundary="periodic", tol=1e-12, max_steps=2)
    assert short.result == jt.RESULTS.max_steps_reached and short.num_steps == 2


def test_total_variation_without_a_blur_is_the_known_prox(data: jax.Array) -> None:
    solve = lambda s, **kwargs: deconvolve_total_variation(
        data, [[1.0]], strength=s, coupled=False, tol=1e-9, max_steps=20_000, **kwargs
    )
    found = solve(0.1)
    assert found.result == jt.RESULTS.converged
    prox = jt.penalties.TotalVariation2D(0.1, isotropic=True).prox
    expected = jax.vmap(lambda band: prox(band, 1.0), in_axes=2, out_axes=2)(data)
    np.testing.assert_allclose(found.cube, expected, atol=1e-5)


def test_total_variation_behind_a_blur_is_optimal_and_differentiable(data: jax.Array) -> None:
    small = data[:5, :4]

    @jax.jit
    def solve(strength: jax.Array) -> jax.Array:
        return deconvolve_total_variation(small, KERNEL, strength=strength, tol=1e-11, max_steps=50_000).cube

    def objective(x: jax.Array) -> jax.Array:
        down, right = jnp.diff(x, axis=0, append=x[-1:]), jnp.diff(x, axis=1, append=x[:, -1:])
        lengths = jnp.sqrt(jnp.sum(down**2 + right**2, axis=2))
        return jnp.sum((Blur(KERNEL, "symmetric")(x) - small) ** 2) / 2 + 0.05 * jnp.sum(lengths)

    x = solve(jnp.array(0.05))
    moves = jax.random.normal(jax.random.key(0), (40, *x.shape))
    sizes = jnp.array([1e-1, 1e-2, 1e-3])[:, None, None, None, None]
    values = jax.jit(jax.vmap(objective))(
        jnp.concatenate([(x[None, None] + sizes * moves[None]).reshape(-1, *x.shape), x[None]])
    )
    assert jnp.all(values[:-1] > values[-1])
    slope = jax.jacfwd(lambda s: jnp.sum(solve(s) ** 3))(jnp.array(0.05))
    change = [jnp.sum(solve(jnp.array(s)) ** 3) for s in (0.0501, 0.0499)]
    np.testing.assert_allclose(slope, (change[0] - change[1]) / 2e-4, rtol=1e-3)


def test_bounds_are_kept(data: jax.Array) -> None:
    sharp = jnp.where(data > 0.5, 1.0, 0.0)
    found = deconvolve_total_variation(Blur(KERNEL, "symmetric")(sharp), KERNEL, strength=1e-4, bounds=(0, 1))
    assert found.cube.min() >= 0 and found.cube.max() <= 1
    np.testing.assert_allclose(found.cube, sharp, atol=0.05)


BAD = {
    "cube": (lambda: deconvolve(jnp.ones((4, 4)), KERNEL, strength=1.0), "cube must be a cube"),
    "nan": (lambda: deconvolve(jnp.full((4, 4, 1), jnp.nan), KERNEL, strength=1.0), "finite"),
    "strength": (lambda: deconvolve(jnp.ones((4, 4, 1)), KERNEL, strength=-1.0), "strength must be nonnegative"),
    "strengths": (lambda: deconvolve(jnp.ones((4, 4, 1)), KERNEL, strength=jnp.ones(2)), "one number for each band"),
    "prior": (lambda: deconvolve(jnp.ones((4, 4, 1)), KERNEL, strength=1.0, prior="tv"), "prior must be one of"),  # type: ignore[arg-type]
    "small": (lambda: deconvolve(jnp.ones((2, 2, 1)), KERNEL, strength=1.0), "not be smaller than the kernel"),
    "kernel": (lambda: Blur(jnp.ones(3)), "kernel must have shape"),
    "boundary": (lambda: Blur(KERNEL, "wrap"), "boundary must be one of"),  # type: ignore[arg-type]
    "factor": (lambda: Downsample(0), "factor must be at least 1"),
    "offset": (lambda: Downsample(2, 2), "offset must be from 0"),
    "sides": (lambda: Downsample(2)(jnp.ones((3, 4))), "multiples of"),
    "steps": (
        lambda: restoration.deconvolve_total_variation(jnp.ones((4, 4, 1)), KERNEL, strength=1.0, max_steps=0),
        "max_steps must be an integer",
    ),
    "bounds": (
        lambda: restoration.deconvolve_total_variation(jnp.ones((4, 4, 1)), KERNEL, strength=1.0, bounds=(1, 0)),
        "lower must not exceed upper",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case: str) -> None:
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
