"""Scenes that a method cannot work on as usual: each method refuses them, or gives finite maps of what can be used."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import unmixing
from jaxopt_thoth.unmixing._method_settings import settings_of
from jaxopt_thoth.unmixing._methods import FITS, METHODS, Plan


SIDE, BANDS, COUNT = 8, 12, 3
NAMES = ["a", "b", "c", "c", "b", "a"]
FEW = {"steps": 2, "width": 4, "patch": 8, "num_draws": 2, "max_steps": 30, "num_steps": 30}
QUICK = ("atgp", "spa", "fclsu", "scls", "ucls", "sclsu", "bundle", "mesma", "nmf")
METHODS_BY_COST = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in METHODS]
# What a case asks of a method that is refused, by the words of the error.
REFUSED = {
    ("spa", "rank"): "must be at most 2",
    ("ucls", "duplicates"): "linearly independent",
    ("scls", "duplicates"): "affinely",
    ("ucls", "zero endmember"): "without zeros",
}


@pytest.fixture(scope="module")
def made() -> unmixing.Scene:
    return unmixing.simulate_scene(jax.random.key(0), height=SIDE, width=SIDE, num_bands=BANDS, snr_db=40.0)


def spoiled(made: unmixing.Scene, case: str) -> tuple[unmixing.Scene, np.ndarray, np.ndarray]:
    """The scene, its endmembers, and the pixels that are unusable under any normalization."""
    pixels, endmembers = np.array(made.pixels), np.array(made.endmembers)
    library = np.concatenate([endmembers, 0.9 * endmembers[:, ::-1]], axis=1)
    lost = np.zeros(SIDE**2, bool)
    if case == "pixels":
        pixels[3, 5], pixels[0, 20], lost[[5, 20]] = np.nan, np.inf, True
        pixels[:, 10:12] = 0
    elif case == "bands":
        for values in (pixels, endmembers, library):
            values[4], values[7] = 0.3, 0
    elif case == "duplicates":
        endmembers[:, 1] = endmembers[:, 0]
        library[:, 1] = library[:, 3] = library[:, 0]
    elif case == "zero endmember":
        endmembers[:, 1] = library[:, 2] = 0
    elif case == "rank":
        share = np.asarray(made.abundances)[:1]
        pixels = endmembers[:, :1] @ share + endmembers[:, 1:2] @ (1 - share)
    elif case == "constant":
        pixels = np.repeat(pixels[:, :1], SIDE**2, axis=1)
    elif case == "negative":
        pixels = pixels - 0.4
    return unmixing.Scene(pixels, SIDE, SIDE, library=library, library_names=NAMES), endmembers, lost


def unmixed(scene: unmixing.Scene, endmembers: np.ndarray, name: str, **more: Any) -> unmixing.Unmixing:
    method = METHODS[name]
    if method.kind == "extraction":
        more["ensemble"] = 2 if method.is_drawn else None
        return unmixing.unmix(scene, COUNT, method=f"{name}+fclsu", key=jax.random.key(0), **more)
    more |= {key: value for key, value in FEW.items() if key in settings_of(Plan(None, method))}
    more |= {"ensemble": 2} if method.is_drawn else {}
    more |= {"endmembers": endmembers} if method.kind in FITS else {}
    return unmixing.unmix(scene, COUNT, method=name, key=jax.random.key(0), **more)


@pytest.mark.parametrize("name", METHODS_BY_COST)
def test_bad_scenes_are_refused_or_give_finite_maps(made: unmixing.Scene, name: str) -> None:
    # One test of all cases: they share the shapes, and so the programs.
    for case in ("pixels", "bands", "duplicates", "zero endmember", "rank", "constant", "negative"):
        scene, endmembers, lost = spoiled(made, case)
        try:
            found = unmixed(scene, endmembers, name)
        except ValueError as error:
            expected = REFUSED.get((name, case), "num_endmembers must be at most")
            assert expected in str(error) and len(str(error)) < 250, (case, str(error))
            assert (name, case) in REFUSED or case in ("rank", "constant"), (case, str(error))
            continue
        assert (name, case) not in REFUSED, case
        values = np.asarray(found.abundances)
        hidden = np.isnan(values).all(axis=0)
        np.testing.assert_array_equal(np.isfinite(values).all(axis=0), ~hidden, err_msg=case)
        assert hidden[lost].all(), case
        dark = ~np.asarray(scene.pixels).any(axis=0)
        if name == "mesma":
            told = ~np.asarray(found.diagnostics["modeled"])
            assert bool(found.result == jt.RESULTS.converged) != hidden.all(), case
        else:
            told = lost | dark
        assert not (hidden & ~told).any(), case
        assert np.isfinite(np.asarray(found.endmembers)).all() and np.abs(values[:, ~hidden]).max(initial=0) < 1e3, case


def test_traced_dependent_endmembers_give_nan_and_not_huge_numbers(made: unmixing.Scene) -> None:
    scene, endmembers, _ = spoiled(made, "zero endmember")
    assert np.isnan(jax.jit(unmixing.ucls)(scene.pixels, jnp.asarray(endmembers))).all()
    scene, endmembers, _ = spoiled(made, "duplicates")
    for fit in (unmixing.ucls, unmixing.scls):
        assert np.isnan(jax.jit(fit)(scene.pixels, jnp.asarray(endmembers))).all()
        with pytest.raises(ValueError, match="independent"):
            fit(scene.pixels, endmembers)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_spectra_that_are_not_finite_are_refused_by_column(made: unmixing.Scene, value: float) -> None:
    pixels, bad = made.pixels, np.array(made.endmembers)
    bad[2, 1] = value
    fits = (unmixing.fclsu, unmixing.ncls, unmixing.ucls, unmixing.scls, unmixing.sclsu, unmixing.Fan().unmix)
    for fit in (*fits, unmixing.sunsal, lambda y, d: unmixing.mesma(y, d, np.arange(3))):
        with pytest.raises(ValueError, match="finite, got NaN or infinity in column 1"):
            fit(pixels, bad)
    for options in ({"method": "fclsu", "endmembers": bad}, {"method": "sunsal", "library": bad}):
        with pytest.raises(ValueError, match="must be finite"):
            unmixing.unmix(made, 3, key=jax.random.key(0), **options)


def test_extractions_refuse_nan_pixels_that_are_not_masked(made: unmixing.Scene) -> None:
    scene, _, lost = spoiled(made, "pixels")
    pixels = np.array(scene.pixels)
    pixels[3, 5] = pixels[0, 20] = np.nan
    for name in ("vca", "atgp", "sivm", "spa"):
        extract, more = METHODS[name].function, {"key": jax.random.key(0)} if name == "vca" else {}
        with pytest.raises(ValueError, match="got 2 with NaN"):
            extract(pixels, 3, **more)
        assert np.isfinite(extract(pixels, 3, mask=jnp.asarray(~lost), **more)[0]).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1)])
def test_scenes_of_one_row_column_or_pixel(made: unmixing.Scene, shape: tuple[int, int]) -> None:
    count = shape[0] * shape[1]
    scene = unmixing.Scene(made.pixels[:, :count], *shape, library=made.library)
    fit = unmixing.unmix(scene, method="fclsu", endmembers=made.endmembers, key=jax.random.key(0))
    assert scene.to_map(fit.abundances).shape == (3, *shape) and np.isfinite(fit.abundances).all()
    if count == 1:
        for method in ("edaa", "nmf", "vca+fclsu"):
            with pytest.raises(ValueError, match="num_endmembers must be between 2 and 1"):
                unmixing.unmix(scene, 3, method=method, key=jax.random.key(0))


def test_integers_are_numbers_and_nothing_valid_is_an_error(made: unmixing.Scene) -> None:
    counts = np.round(1e4 * np.asarray(made.pixels)).astype(np.int16)
    scene, endmembers = unmixing.Scene(counts, SIDE, SIDE), 1e4 * made.endmembers
    fit = unmixing.unmix(scene, method="fclsu", endmembers=endmembers, key=jax.random.key(0))
    np.testing.assert_allclose(fit.abundances, unmixing.fclsu(made.pixels, made.endmembers), atol=1e-2)
    for bad in (np.full((4, 6), np.nan), np.full((4, 6), -np.inf)):
        with pytest.raises(unmixing.SceneError, match="no pixel is valid"):
            unmixing.Scene(bad, 2, 3)
    with pytest.raises(unmixing.SceneError, match=r"library must have shape \(12, any\)"):
        unmixing.Scene(counts, SIDE, SIDE, library=np.zeros((BANDS, 0)))
    with pytest.raises(ValueError, match="library must be a real matrix"):
        unmixing.sunsal(made.pixels, np.zeros((BANDS, 0)))
    dark = unmixing.Scene(np.zeros((BANDS, SIDE**2)), SIDE, SIDE)
    # EDAA is compiled as a whole, where no error can be raised.
    found = unmixing.unmix(dark, 3, method="edaa", key=jax.random.key(0), ensemble=1, num_steps=2)
    assert found.result == jt.RESULTS.nonfinite
    for method in ("auto", "nmf", "vca+fclsu", "spa+fclsu", "sisal+fclsu"):
        with pytest.raises(ValueError, match="no pixel is left: every one is masked or zero"):
            unmixing.unmix(dark, 3, method=method, key=jax.random.key(0))
