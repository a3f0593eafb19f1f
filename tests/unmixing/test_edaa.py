"""Entropic descent archetypal analysis: the iterates of the published formulas, invariances, and the ensemble."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import unmixing
from jaxopt_thoth.unmixing._archetype_starts import soft_vertices, uniform_start
from jaxopt_thoth.unmixing._archetypes import ArchetypeSteps, entropic_archetypes, pixel_weights
from jaxopt_thoth.unmixing._edaa import EnsemblePlan, run_ensemble
from jaxopt_thoth.unmixing._ensemble_rules import consensus, least_coherent
from jaxopt_thoth.unmixing._scaled_pixels import scale_pixels, ScaledPixels


BANDS, HEIGHT, WIDTH = 12, 9, 10
STEPS = ArchetypeSteps(2, 3, 4)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    rng = np.random.default_rng(1)
    spectra = rng.uniform(0.1, 1, (BANDS, 4))
    return spectra @ rng.dirichlet(np.ones(4) / 2, HEIGHT * WIDTH).T + 0.01 * rng.normal(size=(BANDS, HEIGHT * WIDTH))


def softmax(logits: np.ndarray, axis: int) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return shifted / shifted.sum(axis=axis, keepdims=True)


def published(y: np.ndarray, weights: np.ndarray, factor: float, steps: ArchetypeSteps) -> tuple[np.ndarray, ...]:
    """The published updates as they stand: pixels (L, N), first weights B (N, p), factor on the step sizes."""
    count, p = weights.shape
    abundances = np.full((p, count), 1 / p)
    abundance_step = factor / np.linalg.norm(y @ weights, 2) ** 2
    weight_step = abundance_step * np.sqrt(p / count)
    for _ in range(steps.num_steps):
        endmembers = y @ weights
        for _ in range(steps.abundance_steps):
            slope = -endmembers.T @ (y - endmembers @ abundances)
            abundances = softmax(np.log(abundances) - abundance_step * slope, axis=0)
        for _ in range(steps.endmember_steps):
            slope = -y.T @ ((y - y @ weights @ abundances) @ abundances.T)
            weights = softmax(np.log(weights) - weight_step * slope, axis=0)
    return y @ weights, abundances, weights


@pytest.mark.parametrize("p", [1, 2, 3, 6])
def test_iterates_are_those_of_the_published_formulas(pixels: np.ndarray, p: int) -> None:
    y = jnp.asarray(pixels)
    scaled = ScaledPixels(y, jnp.ones(y.shape[1]))
    start = uniform_start(scaled, p, keys=jax.random.split(jax.random.key(p), 2))
    found = entropic_archetypes(scaled, start, steps=STEPS)
    weights = pixel_weights(scaled, start, found.dual)
    for m in range(2):
        first = softmax(np.asarray(start.offset[m]).T, axis=0)
        endmembers, abundances, last = published(pixels, first, float(start.step_factor[m]), STEPS)
        np.testing.assert_allclose(found.endmembers[:, m], endmembers, rtol=1e-9)
        np.testing.assert_allclose(found.abundances[m], abundances, rtol=1e-7, atol=1e-12)
        np.testing.assert_allclose(weights[m].T, last, rtol=1e-7, atol=1e-12)
        residual = pixels - endmembers @ abundances
        np.testing.assert_allclose(found.loss[-1, m], (residual**2).sum() / 2, rtol=1e-9)


def test_permuting_pixels_permutes_abundances_and_rotating_bands_changes_nothing(pixels: np.ndarray) -> None:
    y = jnp.asarray(pixels)
    ones = jnp.ones(y.shape[1])
    start = uniform_start(ScaledPixels(y, ones), 3, keys=jax.random.split(jax.random.key(0), 1))
    plain = entropic_archetypes(ScaledPixels(y, ones), start, steps=STEPS)
    order = np.random.default_rng(0).permutation(y.shape[1])
    moved = eqx.tree_at(lambda s: s.offset, start, start.offset[:, :, order])
    permuted = entropic_archetypes(ScaledPixels(y[:, order], ones), moved, steps=STEPS)
    np.testing.assert_allclose(permuted.abundances, plain.abundances[:, :, order], rtol=1e-8)
    rotation = jnp.linalg.qr(jax.random.normal(jax.random.key(3), (BANDS, BANDS)))[0]
    rotated = entropic_archetypes(ScaledPixels(rotation @ y, ones), start, steps=STEPS)
    np.testing.assert_allclose(rotated.abundances, plain.abundances, rtol=1e-8)
    np.testing.assert_allclose(rotated.endmembers[:, 0], rotation @ plain.endmembers[:, 0], rtol=1e-8, atol=1e-10)


def test_masked_pixels_are_as_if_they_were_not_there(pixels: np.ndarray) -> None:
    kept = np.arange(pixels.shape[1]) % 7 != 0
    whole = ScaledPixels(jnp.asarray(pixels), jnp.asarray(kept, float))
    part = ScaledPixels(jnp.asarray(pixels[:, kept]), jnp.ones(kept.sum()))
    start = uniform_start(whole, 3, keys=jax.random.split(jax.random.key(0), 1))
    fewer = eqx.tree_at(lambda s: s.offset, start, start.offset[:, :, kept])
    masked, removed = (entropic_archetypes(p, s, steps=STEPS) for p, s in ((whole, start), (part, fewer)))
    np.testing.assert_allclose(masked.endmembers, removed.endmembers, rtol=1e-9)
    np.testing.assert_allclose(masked.abundances[:, :, kept], removed.abundances, rtol=1e-8)
    assert np.all(np.asarray(pixel_weights(whole, start, masked.dual))[:, :, ~kept] == 0)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_factors_stay_on_the_simplex_after_many_steps(pixels: np.ndarray, dtype: Any) -> None:
    found = unmixing.edaa(
        jnp.asarray(pixels, dtype), 3, key=jax.random.key(0), ensemble=2, num_steps=2000, start="uniform"
    )
    assert found.endmembers.dtype == found.abundances.dtype == found.weights.dtype == dtype
    for factor, axis in ((found.abundances, 0), (found.weights, 0)):
        assert bool(jnp.all(jnp.isfinite(factor))) and bool(jnp.all(factor >= 0))
        np.testing.assert_allclose(factor.sum(axis), 1, atol=1e-5)


def test_pure_pixels_are_found(pixels: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    spectra = rng.uniform(0.1, 1, (BANDS, 3))
    fractions = np.concatenate([np.repeat(np.eye(3), 10, axis=1), rng.dirichlet(np.ones(3), 60).T], axis=1)
    found = unmixing.edaa(
        jnp.asarray(spectra @ fractions), 3, key=jax.random.key(0), num_steps=3000, normalization="none", rank=None
    )
    order = unmixing.align(found.abundances, fractions, criterion="abundance")
    assert float(unmixing.metrics.spectral_angle(found.endmembers[:, order], jnp.asarray(spectra)).max()) < 0.2
    assert float(unmixing.metrics.abundance_rmse(found.abundances[order], jnp.asarray(fractions))) < 0.5


def test_endmembers_are_the_weighted_pixels_at_any_rank(pixels: np.ndarray) -> None:
    for rank in (None, "auto", 5):
        found = unmixing.edaa(pixels, 3, key=jax.random.key(2), ensemble=2, num_steps=20, rank=rank)
        unit = pixels / np.asarray(found.pixel_scale)
        np.testing.assert_allclose(found.endmembers, unit @ np.asarray(found.weights), rtol=1e-9)
        rebuilt = np.asarray(found.endmembers @ found.abundances)
        chosen = int(found.diagnostics["chosen"])
        expected = np.sum((unit - rebuilt) ** 2)
        np.testing.assert_allclose(found.diagnostics["fit_l2"][chosen], expected, rtol=1e-8)


def test_a_full_rank_is_a_rotation(pixels: np.ndarray) -> None:
    both = [
        unmixing.edaa(pixels, 3, key=jax.random.key(0), ensemble=1, num_steps=5, start="uniform", rank=rank)
        for rank in (None, BANDS)
    ]
    np.testing.assert_allclose(both[0].abundances, both[1].abundances, rtol=1e-6)


@pytest.mark.slow
def test_a_member_does_not_depend_on_how_members_are_chunked(pixels: np.ndarray) -> None:
    settings: dict[str, Any] = {"key": jax.random.key(4), "ensemble": 4, "num_steps": 6, "selection": "least_coherent"}
    one, two, four = (unmixing.edaa(pixels, 3, chunk=chunk, **settings) for chunk in (1, 2, 4))
    for other in (two, four):
        np.testing.assert_allclose(one.diagnostics["fit_l2"], other.diagnostics["fit_l2"], rtol=1e-8)
        np.testing.assert_allclose(one.abundances, other.abundances, rtol=1e-7)


@pytest.mark.slow
def test_the_chosen_run_is_run_again_where_abundances_of_all_are_not_kept(pixels: np.ndarray) -> None:
    # 24 endmembers of 4 runs are more numbers a pixel than half the 12 bands, 3 of 2 runs are not.
    for ensemble, p in ((4, 6), (2, 3)):
        found = unmixing.edaa(pixels, p, key=jax.random.key(0), ensemble=ensemble, num_steps=6, rank=None)
        chosen = int(found.diagnostics["chosen"])
        unit = pixels / np.asarray(found.pixel_scale)
        residual = unit - np.asarray(found.endmembers @ found.abundances)
        np.testing.assert_allclose((residual**2).sum(), found.diagnostics["fit_l2"][chosen], rtol=1e-6)


@pytest.mark.slow
def test_scale_of_the_scene_and_of_each_pixel_does_not_matter(pixels: np.ndarray) -> None:
    key = jax.random.key(0)
    shade = np.random.default_rng(0).uniform(0.2, 3, pixels.shape[1])
    for normalization in ("pixel_l2", "perspective"):
        settings: dict[str, Any] = {"key": key, "ensemble": 2, "num_steps": 10, "normalization": normalization}
        plain = unmixing.edaa(pixels, 3, **settings)
        shaded = unmixing.edaa(1000 * pixels * shade, 3, **settings)
        np.testing.assert_allclose(plain.abundances, shaded.abundances, rtol=1e-6, atol=1e-9)
    settings["normalization"] = "none"
    np.testing.assert_allclose(
        unmixing.edaa(pixels, 3, **settings).abundances,
        unmixing.edaa(1000 * pixels, 3, **settings).abundances,
        rtol=1e-6,
        atol=1e-9,
    )


def test_perspective_keeps_mixtures_convex_where_unit_norms_do_not() -> None:
    rng = np.random.default_rng(2)
    spectra = rng.uniform(0, 1, (BANDS, 3)) ** 3
    y = jnp.asarray(spectra @ rng.dirichlet(np.ones(3), 50).T)
    valid = jnp.ones(50, bool)
    for normalization, exact in (("perspective", True), ("pixel_l2", False)):
        scaled = scale_pixels(y, normalization, valid)
        corners = scale_pixels(jnp.concatenate([jnp.asarray(spectra), y], axis=1), normalization, jnp.ones(53, bool))
        unit = np.asarray(corners.values) * np.asarray(corners.scale)
        fractions = np.linalg.lstsq(unit[:, :3], unit[:, 3:], rcond=None)[0]
        assert np.allclose(fractions.sum(axis=0), 1, atol=1e-9) is exact
        assert bool(jnp.all(scaled.scale > 0))


def test_cubes_scenes_and_matrices_agree_and_masks_come_back_as_nan(pixels: np.ndarray) -> None:
    settings: dict[str, Any] = {"key": jax.random.key(0), "ensemble": 2, "num_steps": 4}
    holed = pixels.copy()
    holed[:, 3], holed[2, 17] = np.nan, np.inf
    mask = np.ones(pixels.shape[1], bool)
    mask[40] = False
    matrix = unmixing.edaa(holed, 3, mask=mask, **settings)
    cube = unmixing.edaa(np.moveaxis(holed.reshape(BANDS, HEIGHT, WIDTH), 0, -1), 3, mask=mask, **settings)
    scene = unmixing.edaa(unmixing.Scene(holed, HEIGHT, WIDTH, mask=mask), 3, **settings)
    assert matrix.abundances.shape == (3, HEIGHT * WIDTH) and cube.abundances.shape == (3, HEIGHT, WIDTH)
    lost = np.isnan(np.asarray(matrix.abundances)).all(axis=0)
    assert np.flatnonzero(lost).tolist() == [3, 17, 40]
    assert np.isfinite(np.asarray(matrix.abundances)[:, ~lost]).all() and np.isfinite(matrix.endmembers).all()
    np.testing.assert_array_equal(matrix.abundances, cube.abundances.reshape(3, -1))
    np.testing.assert_array_equal(matrix.abundances, scene.abundances)
    assert np.all(np.asarray(matrix.weights)[lost] == 0)


def test_compiles_and_batches_over_keys(pixels: np.ndarray) -> None:
    run = lambda key: unmixing.edaa(pixels, 3, key=key, ensemble=2, num_steps=4).endmembers
    keys = jax.random.split(jax.random.key(0), 2)
    np.testing.assert_allclose(jax.jit(jax.vmap(run))(keys), jnp.stack([run(k) for k in keys]), rtol=1e-7)


def test_progress_counts_runs(pixels: np.ndarray) -> None:
    seen: list[tuple[int, int]] = []
    found = unmixing.edaa(
        jnp.asarray(pixels),
        2,
        key=jax.random.key(0),
        ensemble=5,
        num_steps=2,
        chunk=2,
        progress=lambda done, total: seen.append((int(done), int(total))),
    )
    jax.block_until_ready(found)
    jax.effects_barrier()
    assert sorted(seen) == [(2, 5), (4, 5), (5, 5)]


def test_a_run_cut_short_says_so(pixels: np.ndarray) -> None:
    found = unmixing.edaa(pixels, 3, key=jax.random.key(0), ensemble=1, num_steps=2, start="uniform")
    assert bool(found.result == jt.RESULTS.max_steps_reached)


def test_temporaries_stay_below_the_scene() -> None:
    bands, count = 100, 6000
    compiled = run_ensemble.lower(
        jnp.ones((bands, count), jnp.float32),
        jnp.ones(count, bool),
        jax.random.key(0),
        jnp.zeros((), jnp.float32),
        plan=EnsemblePlan(3, 10, ArchetypeSteps(5, 5, 5), "soft_vertices", None, 2),
        selection="consensus",
        normalization="pixel_l2",
        progress=None,
    ).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < bands * count * 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_endmembers": 1}, "num_endmembers must be between 2"),
        ({"num_endmembers": BANDS + 1}, "num_endmembers must be between 2"),
        ({"ensemble": 0}, "ensemble must be at least 1"),
        ({"num_steps": 0}, "num_steps must be at least 1"),
        ({"chunk": 0}, "chunk must be at least 1"),
        ({"rank": 2}, "rank must be between 3"),
        ({"rank": BANDS + 1}, "rank must be between 3"),
        ({"start": "zeros"}, "start must be one of"),
        ({"selection": "best"}, "selection must be one of"),
        ({"normalization": "l3"}, "normalization must be one of"),
        ({"mask": np.ones(5, bool)}, "mask must have one entry"),
        ({"mask": np.zeros(HEIGHT * WIDTH, bool)}, "no pixel is left"),
        ({"pixels": np.ones(5)}, "pixels must be a matrix"),
    ],
)
def test_bad_settings_are_named(pixels: np.ndarray, changes: dict[str, Any], message: str) -> None:
    settings = {"pixels": pixels, "num_endmembers": 3, "key": jax.random.key(0), **changes}
    with pytest.raises(ValueError, match=message):
        unmixing.edaa(settings.pop("pixels"), settings.pop("num_endmembers"), **settings)


class TestEnsembleRules:
    def test_consensus_ignores_the_order_and_outvotes_a_stranger(self) -> None:
        rng = np.random.default_rng(0)
        truth = rng.uniform(0.1, 1, (BANDS, 3))
        members = [np.roll(truth, m, axis=1) * (1 + 0.01 * rng.normal(size=truth.shape)) for m in range(5)]
        stranger = truth.copy()
        stranger[:, 1] = rng.uniform(0.1, 1, BANDS)
        members = np.stack([stranger, *members, truth])
        # The stranger fits best: consensus looks at fits only to leave out runs that are far behind.
        fits = np.array([1.0, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1])
        chosen, spread = consensus(jnp.asarray(members), jnp.asarray(fits))
        assert int(chosen) == 6 and int(jnp.argmax(spread)) == 0
        chosen, _ = consensus(jnp.asarray(members), jnp.asarray(fits).at[6].set(2.0))
        assert int(chosen) not in (0, 6)

    def test_least_coherent_among_close_fits(self) -> None:
        rng = np.random.default_rng(0)
        members = rng.uniform(size=(6, BANDS, 3))
        fits = np.array([1.0, 1.02, 1.04, 1.2, 1.3, 1.049])
        coherence = [np.max(np.corrcoef(e.T) - 2 * np.eye(3)) for e in members]
        close = [i for i in range(6) if (fits[i] - 1) / fits[i] < 0.05]
        expected = min(close, key=lambda i: coherence[i])
        assert int(least_coherent(jnp.asarray(members), jnp.asarray(fits))) == expected


class TestScaledPixels:
    @pytest.mark.parametrize("count", [5, 512, 1100])
    def test_products_and_blocked_sums(self, count: int) -> None:
        rng = np.random.default_rng(count)
        y, scale = rng.normal(size=(4, count)), rng.uniform(0, 2, count) * (np.arange(count) % 3 > 0)
        scaled, z = ScaledPixels(jnp.asarray(y), jnp.asarray(scale)), y * scale
        spectra, weights = rng.normal(size=(4, 2)), rng.normal(size=(2, count))
        np.testing.assert_allclose(scaled.project(jnp.asarray(spectra)), spectra.T @ z, atol=1e-12)
        np.testing.assert_allclose(scaled.combine(jnp.asarray(weights)), z @ weights.T, atol=1e-10)
        np.testing.assert_allclose(scaled.gram(), z @ z.T, atol=1e-10)
        np.testing.assert_allclose(scaled.squared_norms(), (z**2).sum(axis=0), atol=1e-12)
        l1, l2 = scaled.residual_norms(jnp.asarray(spectra), jnp.asarray(weights))
        residual = (z - spectra @ weights)[:, scale > 0]
        np.testing.assert_allclose((l1, l2), (np.abs(residual).sum(), (residual**2).sum()), rtol=1e-10)


def test_soft_vertices_sit_near_pixels_and_differ_between_runs(pixels: np.ndarray) -> None:
    scaled = scale_pixels(jnp.asarray(pixels), "pixel_l2", jnp.ones(pixels.shape[1], bool))
    start = soft_vertices(scaled, 3, keys=jax.random.split(jax.random.key(0), 8))
    assert set(np.asarray(start.step_factor)) <= {1.0, 2.0, 4.0}
    weights = pixel_weights(scaled, start, start.dual)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-10)
    # The pixel nearest to a vertex, the vertex itself, weighs most.
    nearest = np.asarray(weights.argmax(-1))
    vertices = np.asarray(start.dual / start.sharpness[None])
    np.testing.assert_allclose(vertices, np.asarray(scaled.take(jnp.asarray(nearest))), atol=1e-10)
    assert len({tuple(sorted(row)) for row in nearest.tolist()}) > 1


@pytest.mark.slow
def test_samson_is_unmixed_well_from_every_seed(samson: unmixing.Scene) -> None:
    scene = jax.tree.map(lambda x: x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x, samson)
    for seed in range(3):
        found = unmixing.edaa(scene, 3, key=jax.random.key(seed))
        report = unmixing.evaluate(found.endmembers, found.abundances, scene)
        assert report["mean_spectral_angle"] < 1.5 and report["abundance_rmse"] < 4.2
