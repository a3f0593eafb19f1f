"""Nonlinear mixing models: their closed forms, recovery, the linear model they contain, and derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth.unmixing import awgn, Fan, fclsu, GeneralizedBilinear, Hapke, Multilinear, PolynomialPostNonlinear
from jaxopt_thoth.unmixing.metrics import abundance_rmse


BANDS, SIZE, PIXELS = 20, 3, 30
# The model, its linear form, the range of its parameters in the test, and how well these are determined without noise.
MODELS = [
    (Fan(), Fan(0.0), (0, 0, 0.0)),
    (GeneralizedBilinear(), GeneralizedBilinear(0.0), (3, 0.0, 1.0)),
    (PolynomialPostNonlinear(), PolynomialPostNonlinear(0.0), (1, -0.3, 0.3)),
    (Multilinear(), Multilinear(0.0, 0.0), (1, 0.0, 0.6)),
]
NAMES = [type(model).__name__ for model, *_ in MODELS]
models = pytest.mark.parametrize(("model", "linear", "own"), MODELS, ids=NAMES)


@pytest.fixture(scope="module")
def spectra():
    return jnp.asarray(np.random.default_rng(0).uniform(0.05, 0.95, (BANDS, SIZE)))


@pytest.fixture(scope="module")
def truth():
    # All materials in each pixel, so that every parameter matters.
    return jnp.asarray(0.7 * np.random.default_rng(1).dirichlet(np.ones(SIZE), PIXELS).T + 0.1)


def _pixels(model, own, spectra, truth):
    count, low, high = own
    parameters = jnp.asarray(np.random.default_rng(2).uniform(low, high, (count, PIXELS)))
    return model.mix(spectra, truth, parameters), parameters


@models
def test_abundances_and_parameters_are_recovered(model, linear, own, spectra, truth):
    pixels, parameters = _pixels(model, own, spectra, truth)
    found = model.unmix(pixels, spectra)
    bilinear = isinstance(model, GeneralizedBilinear)
    np.testing.assert_allclose(found.abundances, truth, atol=1e-3 if bilinear else 1e-5)
    np.testing.assert_allclose(found.diagnostics["parameters"], parameters, atol=0.1 if bilinear else 1e-4)
    assert found.result == jt.RESULTS.converged and bool(found.diagnostics["converged"].all())
    # The linear model is off by far, and noise of 35 dB costs little.
    assert float(abundance_rmse(fclsu(pixels, spectra), truth)) > 1.5
    noisy = awgn(pixels, 35.0, key=jax.random.key(0))
    again = model.unmix(noisy, spectra)
    assert float(abundance_rmse(again.abundances, truth)) < (1.5 if bilinear else 0.8)
    np.testing.assert_allclose(jnp.sum(again.abundances, axis=0), 1, atol=1e-12)
    assert float(again.abundances.min()) >= 0
    # No worse than the linear model, which it contains or starts from, in its own fit.
    least = jnp.linalg.norm(model.mix(spectra, fclsu(noisy, spectra)) - noisy, axis=0)
    assert np.all(np.asarray(again.diagnostics["residual"]) <= np.asarray(least) * (1 + 1e-7))


@models
def test_neutral_parameters_are_the_linear_model(model, linear, own, spectra, truth):
    noisy = awgn(spectra @ truth, 20.0, key=jax.random.key(3))
    np.testing.assert_allclose(linear.unmix(noisy, spectra).abundances, fclsu(noisy, spectra), atol=1e-6)
    np.testing.assert_allclose(linear.mix(spectra, truth), spectra @ truth, rtol=1e-12)


def test_closed_forms(spectra, truth):
    linear = np.asarray(spectra @ truth)
    e, a = np.asarray(spectra), np.asarray(truth)
    pairs = [(0, 1), (0, 2), (1, 2)]
    products = [(e[:, i] * e[:, j])[:, None] * (a[i] * a[j])[None, :] for i, j in pairs]
    np.testing.assert_allclose(Fan().mix(spectra, truth), linear + sum(products), rtol=1e-12)
    own = np.linspace(0, 1, 3 * PIXELS).reshape(3, PIXELS)
    expected = linear + sum(g[None, :] * x for g, x in zip(own, products, strict=True))
    np.testing.assert_allclose(GeneralizedBilinear().mix(spectra, truth, own), expected, rtol=1e-12)
    np.testing.assert_allclose(
        PolynomialPostNonlinear().mix(spectra, truth, own[:1] / 2), linear + own[0] / 2 * linear**2, rtol=1e-12
    )
    # Light that meets a material n times with probability (1 - P) P^(n - 1) comes back with x^n.
    p = 0.9 * own[:1]
    pixels = Multilinear().mix(spectra, truth, p)
    series = sum((1 - p[0]) * p[0] ** (n - 1) * linear**n for n in range(1, 400))
    np.testing.assert_allclose(pixels, series, rtol=1e-10)
    np.testing.assert_allclose(np.asarray(pixels) / (1 - p[0] + p[0] * np.asarray(pixels)), linear, rtol=1e-10)


@pytest.mark.parametrize("case", [pytest.param(0, marks=pytest.mark.slow), 2], ids=[NAMES[0], NAMES[2]])
def test_derivatives_are_those_of_the_solution(case, spectra, truth):
    model, _, own = MODELS[case]
    pixels = awgn(_pixels(model, own, spectra, truth)[0], 30.0, key=jax.random.key(1))
    rng = np.random.default_rng(5)
    move, along = rng.normal(size=spectra.shape), rng.normal(size=pixels.shape)

    @jax.jit
    def fit(t):
        return model.unmix(pixels + t * along, spectra + t * move, tol=1e-11).abundances

    value, slope = jax.jvp(fit, (0.0,), (1.0,))
    size = 1e-5
    np.testing.assert_allclose(slope, (fit(size) - fit(-size)) / (2 * size), atol=2e-4)
    cotangent = jax.grad(lambda t: jnp.sum(fit(t) * truth))(0.0)
    np.testing.assert_allclose(cotangent, jnp.sum(slope * truth), rtol=1e-6)
    assert np.all(np.isfinite(value))


def test_cubes_masks_and_single_precision(spectra, truth):
    model, pixels = Fan(), Fan().mix(spectra, truth)
    cube = np.array(pixels.T.reshape(5, 6, BANDS))
    cube[2, 3, 4] = np.nan
    found = model.unmix(cube, spectra)
    assert found.abundances.shape == (SIZE, 5, 6)
    hole = np.zeros((5, 6), bool)
    hole[2, 3] = True
    np.testing.assert_array_equal(np.isnan(found.abundances), np.broadcast_to(hole, (SIZE, 5, 6)))
    np.testing.assert_allclose(found.abundances[:, ~hole], truth[:, ~hole.ravel()], atol=1e-5)
    assert found.result == jt.RESULTS.converged
    # In chunks of which the last one is not full.
    single = model.unmix(pixels.astype(jnp.float32), spectra.astype(jnp.float32), chunk=7)
    assert single.abundances.dtype == single.diagnostics["parameters"].dtype == jnp.float32
    np.testing.assert_allclose(single.abundances, truth, atol=2e-3)


def test_hapke_converts_both_ways():
    model = Hapke(0.8, 0.6)
    albedo = jnp.linspace(0, 1, 51)
    root = np.sqrt(1 - np.asarray(albedo))
    expected = np.asarray(albedo) / ((1 + 1.6 * root) * (1 + 1.2 * root))
    np.testing.assert_allclose(model.reflectance(albedo), expected, rtol=1e-14)
    np.testing.assert_allclose(model.albedo(expected), albedo, atol=1e-13)
    single = model.albedo(jnp.asarray(expected, jnp.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, albedo, atol=1e-5)
    assert np.all(np.diff(model.reflectance(albedo)) > 0)
    # A derivative at the borders too, and with cosines of zero.
    slopes = jax.jit(jax.vmap(lambda c, r: jax.grad(Hapke(c, c).albedo)(r)))
    assert np.all(np.isfinite(slopes(jnp.asarray([1.0, 1.0, 1.0, 0.0, 0.0]), jnp.asarray([-0.01, 0.0, 1.0, 0.0, 1.0]))))
    back = jax.jit(jax.grad(lambda r: model.reflectance(model.albedo(r))))(0.4)
    np.testing.assert_allclose(back, 1, rtol=1e-10)


def test_hapke_unmixes_in_albedo(spectra, truth):
    model = Hapke()
    pixels = model.mix(spectra, truth)
    np.testing.assert_allclose(model.unmix(pixels, spectra).abundances, truth, atol=1e-10)
    assert float(abundance_rmse(fclsu(pixels, spectra), truth)) > 3
    noisy = awgn(pixels, 35.0, key=jax.random.key(0))
    assert float(abundance_rmse(model.unmix(noisy, spectra).abundances, truth)) < 2
    # At grazing angles nothing is scattered twice.
    np.testing.assert_allclose(Hapke(0.0, 0.0).mix(spectra, truth), spectra @ truth, rtol=1e-12)
    np.testing.assert_allclose(Hapke(0.0, 0.0).unmix(noisy, spectra).abundances, fclsu(noisy, spectra), atol=1e-10)
    at = jax.jit(lambda c: jnp.sum(Hapke(c, 1.0).unmix(noisy, spectra).abundances * truth))
    slope = jax.jit(jax.grad(at))(1.0)
    np.testing.assert_allclose(slope, (at(1 + 1e-5) - at(1 - 1e-5)) / 2e-5, rtol=1e-5)


def test_errors(spectra, truth):
    pixels = spectra @ truth
    for model in (*(m for m, *_ in MODELS), Hapke()):
        with pytest.raises(ValueError, match="as many bands"):
            model.unmix(pixels[1:], spectra)
        with pytest.raises(ValueError, match="as many materials"):
            model.mix(spectra, truth.T)
        with pytest.raises(ValueError, match="one dtype"):
            model.unmix(pixels.astype(jnp.float32), spectra)
    with pytest.raises(ValueError, match="parameters must have shape"):
        Multilinear().mix(spectra, truth, jnp.zeros((2, PIXELS)))
    for bad in ({"max_steps": 0}, {"chunk": 0}, {"tol": -1.0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            Fan().unmix(pixels, spectra, **bad)
    with pytest.raises(ValueError, match="reflectances between 0 and 1"):
        Hapke().unmix(pixels, 2 * spectra)
    for make in (
        lambda: Fan(-1.0),
        lambda: GeneralizedBilinear(-1.0),
        lambda: PolynomialPostNonlinear(-1.0),
        lambda: Multilinear(0.0, 1.0),
        lambda: Multilinear(0.5),
        lambda: Hapke(-1.0),
    ):
        with pytest.raises(ValueError, match="must be"):
            make()
