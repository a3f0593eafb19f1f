"""Fusion against its normal equations and known scenes, pansharpening where it is exact, and metrics by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import restoration
from jaxopt_thoth.restoration import (
    Blur,
    Downsample,
    ergas,
    fuse,
    fuse_variational,
    pansharpen,
    pansharpen_variational,
    psnr,
    quality_index,
    upsample,
)


KERNEL = jnp.outer(jnp.array([0.2, 0.5, 0.3]), jnp.array([0.25, 0.5, 0.25]))
RESPONSE = jnp.array([[0.5, 0.5, 0.0, 0.0, 0.0], [0.0, 0.0, 0.3, 0.3, 0.4]])
SPECTRA = jnp.array([[1.0, 0.8, 0.6, 0.2, 0.1], [0.1, 0.3, 0.9, 0.5, 0.2], [0.2, 0.2, 0.3, 0.7, 1.0]])


@pytest.fixture
def scene() -> tuple[jax.Array, jax.Array, jax.Array]:
    """Truth, coarse and fine image."""
    maps = jax.random.uniform(jax.random.key(0), (9, 12, 3))
    truth = maps @ SPECTRA
    return truth, Downsample(3, 1)(Blur(KERNEL)(truth)), truth @ RESPONSE.T


def test_the_closed_form_solves_the_normal_equations(scene: tuple) -> None:
    _, coarse, fine = scene
    noisy = coarse + 0.01 * jax.random.normal(jax.random.key(1), coarse.shape)
    fused = fuse(noisy, fine, KERNEL, RESPONSE, factor=3, offset=1, weight=2.0, strength=0.05)
    blur, keep = Blur(KERNEL), Downsample(3, 1)

    def objective(x: jax.Array) -> jax.Array:
        fits = jnp.sum((keep(blur(x)) - noisy) ** 2) + 2.0 * jnp.sum((x @ RESPONSE.T - fine) ** 2)
        return fits / 2 + 0.05 * jnp.sum((x - upsample(noisy, 3, 1)) ** 2) / 2

    np.testing.assert_allclose(jax.grad(objective)(fused), 0, atol=1e-11)


def test_the_closed_form_and_conjugate_gradient_agree_in_a_subspace(scene: tuple) -> None:
    _, coarse, fine = scene
    settings = {"factor": 3, "offset": 1, "rank": 3, "weight": 0.5, "strength": 0.01}
    fused = fuse(coarse, fine, KERNEL, RESPONSE, **settings)  # type: ignore[arg-type]
    by_steps = fuse_variational(
        coarse,
        fine,
        KERNEL,
        RESPONSE,
        prior="identity",
        boundary="periodic",
        tol=1e-13,
        **settings,  # type: ignore[arg-type]
    )
    assert by_steps.result == jt.RESULTS.converged
    np.testing.assert_allclose(by_steps.cube, fused, atol=1e-10)


def test_without_noise_the_scene_comes_back(scene: tuple) -> None:
    truth, coarse, fine = scene
    # Two fine bands for two spectra determine the coordinates.
    truth = truth[..., :2] @ SPECTRA[:2]
    coarse, fine = Downsample(3, 1)(Blur(KERNEL)(truth)), truth @ RESPONSE.T
    fused = fuse(coarse, fine, KERNEL, RESPONSE, factor=3, offset=1, rank=2, strength=1e-9)
    np.testing.assert_allclose(fused, truth, atol=1e-5)


def test_a_batch_of_strengths_and_derivatives_where_eigenvalues_coincide(scene: tuple) -> None:
    _, coarse, fine = scene
    solve = jax.jit(lambda s, y: fuse(coarse, y, KERNEL, RESPONSE, factor=3, offset=1, strength=s))
    strengths = jnp.array([0.01, 0.1])
    for cube, s in zip(jax.vmap(solve, in_axes=(0, None))(strengths, fine), strengths, strict=True):
        np.testing.assert_allclose(cube, solve(s, fine), atol=1e-12)
    loss = jax.jit(lambda s, y: jnp.sum(solve(s, y) ** 3))
    slope, bend = jax.grad(loss, argnums=(0, 1))(jnp.array(0.1), fine)
    near = [loss(jnp.array(s), fine) for s in (0.1001, 0.0999)]
    np.testing.assert_allclose(slope, (near[0] - near[1]) / 2e-4, rtol=1e-6)
    along = jnp.cos(jnp.arange(fine.size, dtype=fine.dtype)).reshape(fine.shape)
    near = [loss(jnp.array(0.1), fine + t * along) for t in (1e-4, -1e-4)]
    np.testing.assert_allclose(jnp.vdot(bend, along), (near[0] - near[1]) / 2e-4, rtol=1e-6)


def test_single_precision_stays(scene: tuple) -> None:
    truth, coarse, fine = (x.astype(jnp.float32) for x in scene)
    fused = fuse(coarse, fine, KERNEL, RESPONSE, factor=3, offset=1, rank=3)
    assert fused.dtype == jnp.float32 and psnr(fused, truth) > 20


def test_total_variation_fuses_flat_regions_better_than_interpolation_and_a_smooth_prior() -> None:
    maps = jnp.zeros((12, 12, 3)).at[2:8, 3:9, 0].set(1.0).at[5:, :4, 1].set(1.0).at[8:, 6:, 2].set(1.0)
    truth = maps @ SPECTRA
    noise = lambda x, seed: x + 0.01 * jax.random.normal(jax.random.key(seed), x.shape)
    coarse = noise(Downsample(3, 1)(Blur(KERNEL, "symmetric")(truth)), 0)
    fine = noise(truth @ RESPONSE[:1].T, 1)
    settings = {"factor": 3, "offset": 1, "rank": 3}
    fused = fuse_variational(coarse, fine, KERNEL, RESPONSE[:1], strength=3e-3, **settings)  # type: ignore[arg-type]
    assert fused.result == jt.RESULTS.converged
    smooth = fuse_variational(
        coarse,
        fine,
        KERNEL,
        RESPONSE[:1],
        strength=3e-3,
        prior="gradient",
        tol=1e-8,
        **settings,  # type: ignore[arg-type]
    )
    assert psnr(fused.cube, truth) > psnr(smooth.cube, truth) + 2 > psnr(upsample(coarse, 3, 1), truth) + 4


def test_pansharpening_is_exact_for_bands_that_are_affine_in_the_fine_image() -> None:
    pan = jax.random.uniform(jax.random.key(0), (9, 12))
    truth = jnp.stack([0.2 + pan, 2 * pan, 1 - 0.5 * pan], -1)
    coarse = Downsample(3, 1)(Blur(KERNEL, "symmetric")(truth))
    np.testing.assert_allclose(pansharpen(coarse, pan, KERNEL, factor=3, offset=1), truth, atol=1e-10)
    flat = pansharpen(jnp.ones((3, 4, 2)), jnp.full((9, 12), 5.0), KERNEL, factor=3)
    np.testing.assert_allclose(flat, 1, atol=1e-10)


def test_variational_pansharpening_beats_interpolation(scene: tuple) -> None:
    truth = scene[0][..., :3]
    pan = truth @ jnp.array([0.5, 0.3, 0.2])
    coarse = Downsample(3, 1)(Blur(KERNEL, "symmetric")(truth))
    found = pansharpen_variational(coarse, pan, KERNEL, factor=3, offset=1, prior="gradient", tol=1e-8)
    assert found.result == jt.RESULTS.converged
    assert psnr(found.cube, truth) > psnr(upsample(coarse, 3, 1), truth) + 2


def test_metrics_by_hand(rng: np.random.Generator) -> None:
    first, second = rng.uniform(0.5, 1, size=(2, 7, 6, 2))
    rmse = np.sqrt(((first - second) ** 2).mean((0, 1)))
    np.testing.assert_allclose(psnr(first, second), np.mean(20 * np.log10(second.max((0, 1)) / rmse)))
    expected = 100 / 4 * np.sqrt(np.mean((rmse / second.mean((0, 1))) ** 2))
    np.testing.assert_allclose(ergas(first, second, factor=4), expected)
    scores = []
    for i in range(5):
        for j in range(4):
            for band in range(2):
                a, b = first[i : i + 3, j : j + 3, band], second[i : i + 3, j : j + 3, band]
                covariance = np.mean((a - a.mean()) * (b - b.mean()))
                light = (2 * a.mean() * b.mean() + 0.01) / (a.mean() ** 2 + b.mean() ** 2 + 0.01)
                scores.append(light * (2 * covariance + 0.02) / (a.var() + b.var() + 0.02))
    found = quality_index(first, second, size=3, stabilizers=(0.01, 0.02))
    np.testing.assert_allclose(found, np.mean(scores), rtol=1e-10)
    assert quality_index(first, first, size=3) == pytest.approx(1)
    assert quality_index(jnp.ones((8, 8)), jnp.ones((8, 8))) == 1


LOW, HIGH = jnp.ones((3, 4, 5)), jnp.ones((9, 12, 2))
BAD = {
    "response": (lambda: fuse(LOW, HIGH, KERNEL, RESPONSE.T, factor=3), "response must have shape"),
    "rank": (lambda: fuse(LOW, HIGH, KERNEL, RESPONSE, factor=3, rank=6), "rank must be at most"),
    "strength": (lambda: fuse(LOW, HIGH, KERNEL, RESPONSE, factor=3, strength=0.0), "strength must be positive"),
    "weight": (lambda: fuse(LOW, HIGH, KERNEL, RESPONSE, factor=3, weight=-1.0), "weight must be nonnegative"),
    "factor": (lambda: fuse(LOW, HIGH, KERNEL, RESPONSE, factor=2), "sizes differ by factor"),
    "kernel": (lambda: fuse(LOW, HIGH, jnp.ones((1, 1, 5)), RESPONSE, factor=3), "one for all bands"),
    "large": (lambda: fuse(LOW, HIGH, jnp.ones((15, 1)), RESPONSE, factor=3), "not be smaller than the kernel"),
    "prior": (
        lambda: fuse_variational(LOW, HIGH, KERNEL, RESPONSE, factor=3, prior="tv"),  # type: ignore[arg-type]
        "prior must be one of",
    ),
    "pan": (lambda: pansharpen(LOW, HIGH, KERNEL, factor=3), "pan must be one image"),
    "metric": (lambda: restoration.psnr(LOW, HIGH), "estimate and reference must both"),
    "window": (lambda: quality_index(LOW, LOW), "size must be at most"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case: str) -> None:
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
