from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import unmixing
from jaxopt_thoth.unmixing import networks
from jaxopt_thoth.unmixing.metrics import abundance_rmse


KEY = jax.random.key(1)
HEIGHT, WIDTH, BANDS, COUNT = 15, 13, 20, 3
_PRIOR = {"steps": 150, "width": 8, "smoothing": 0.9}
_METHODS = {
    "undip": partial(unmixing.undip, num_endmembers=COUNT, **_PRIOR),
    "misicnet": partial(unmixing.misicnet, num_endmembers=COUNT, **_PRIOR),
    "cnnaeu": partial(
        unmixing.cnnaeu, num_endmembers=COUNT, steps=150, width=8, side=3, batch_size=3, patch=9, learning_rate=1e-3
    ),
    "pgmsu": partial(unmixing.pgmsu, num_endmembers=COUNT, steps=200, width=1),
    "admmnet": partial(unmixing.admmnet, num_endmembers=COUNT, steps=300, learning_rate=1e-3),
    "msnet": partial(unmixing.msnet, num_endmembers=COUNT, steps=60, width=4, learning_rate=3e-3),
}


@pytest.fixture(scope="module")
def scene():
    return unmixing.simulate_scene(jax.random.key(0), height=HEIGHT, width=WIDTH, num_bands=BANDS)


@pytest.fixture(scope="module")
def cube(scene):
    return scene.cube().astype(jnp.float32)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in ("cnnaeu", "msnet") else name for name in _METHODS]
)
def test_methods_learn_maps_of_the_simplex_from_the_pixels_in_use(cube, name):
    mask = jnp.ones((HEIGHT, WIDTH), bool).at[2, 3].set(False).at[:, 12].set(False)
    method = partial(_METHODS[name], mask=mask)
    found = method(cube, key=KEY)
    assert found.endmembers.shape == (BANDS, COUNT) and found.abundances.shape == (COUNT, HEIGHT, WIDTH)
    assert found.endmembers.dtype == found.abundances.dtype == jnp.float32
    np.testing.assert_array_equal(jnp.isnan(found.abundances), ~jnp.broadcast_to(mask, found.abundances.shape))
    inside = found.abundances[:, mask]
    assert jnp.all(inside >= 0)
    np.testing.assert_allclose(jnp.sum(inside, axis=0), 1, atol=1e-5)
    assert found.result != jt.RESULTS.nonfinite
    loss = np.asarray(found.diagnostics["loss"])
    assert np.mean(loss[-10:]) < (0.8 if name == "admmnet" else 0.6) * np.mean(loss[:5])
    # The order of the endmembers is that of the maps, and the unit is that of the normalized pixels.
    scale = found.pixel_scale.reshape(HEIGHT, WIDTH)[mask]
    made = jnp.matmul(found.endmembers, inside)
    pixels = cube[mask].T / scale[None, :]
    shuffled = jnp.matmul(found.endmembers[:, jnp.array([1, 2, 0])], inside)
    assert jnp.linalg.norm(made - pixels) < 0.7 * jnp.linalg.norm(shuffled - pixels)

    again = method(cube.at[2, 3].set(7.0).at[0, 12].set(jnp.nan), key=KEY)
    np.testing.assert_array_equal(again.abundances, found.abundances)
    np.testing.assert_array_equal(again.endmembers, found.endmembers)
    other = method(cube, key=jax.random.key(2))
    assert jnp.nanmax(jnp.abs(other.abundances - found.abundances)) > 1e-4


@pytest.mark.slow
def test_undip_with_the_true_endmembers_is_near_least_squares(scene):
    exact = unmixing.fclsu(scene.pixels, scene.endmembers)
    found = unmixing.undip(scene, endmembers=scene.endmembers, key=KEY, steps=600, width=16)
    assert float(abundance_rmse(found.abundances, exact)) < 2
    assert float(abundance_rmse(found.abundances, scene.abundances)) < 2
    np.testing.assert_allclose(found.endmembers, scene.endmembers, rtol=1e-12)


def test_the_fit_does_not_depend_on_the_unit(scene):
    method = partial(unmixing.admmnet, num_endmembers=COUNT, key=KEY, steps=20, normalization="none")
    found, scaled = method(scene.pixels), method(1024 * scene.pixels)
    np.testing.assert_allclose(scaled.abundances, found.abundances, atol=1e-9)
    np.testing.assert_allclose(scaled.endmembers, 1024 * found.endmembers, rtol=1e-9)


@pytest.mark.slow
def test_suncnn_finds_the_atoms_that_are_there(scene):
    rng = np.random.default_rng(0)
    library = jnp.concatenate([jnp.asarray(rng.uniform(0, 1, (BANDS, 5))), scene.endmembers], axis=1)
    mask = jnp.ones(HEIGHT * WIDTH, bool).at[17].set(False)
    found = unmixing.suncnn(scene, library, num_endmembers=3, key=KEY, steps=300, width=16, mask=mask)
    assert found.library_abundances.shape == (8, HEIGHT * WIDTH)
    assert sorted(found.indices.tolist()) == [5, 6, 7]
    np.testing.assert_allclose(jnp.sum(jnp.delete(found.library_abundances, 17, axis=1), axis=0), 1, atol=1e-9)
    assert jnp.all(jnp.isnan(found.library_abundances[:, 17]))


def test_admmnet_begins_as_admm(scene):
    # Before training and with no penalty to speak of, a step is least squares, which is exact without noise.
    pixels = jnp.matmul(scene.endmembers, scene.abundances)
    network = networks.ADMMNet(scene.endmembers, num_blocks=1, strength=0.0, penalty=1e-9)
    np.testing.assert_allclose(network(pixels.T), scene.abundances.T, atol=1e-5)
    with pytest.raises(ValueError, match="num_blocks"):
        networks.ADMMNet(scene.endmembers, num_blocks=0)


@pytest.mark.slow
def test_pgmsu_gives_endmembers_of_each_pixel(scene):
    found = unmixing.pgmsu(scene, COUNT, key=KEY, steps=2, width=1)
    each = found.diagnostics["pixel_endmembers"]
    assert each.shape == (HEIGHT * WIDTH, BANDS, COUNT)
    np.testing.assert_allclose(jnp.mean(each, axis=0), found.endmembers, rtol=1e-9)
    assert float(jnp.min(each)) >= 0


def test_networks_take_sides_of_any_size():
    for size in ((1, 1), (2, 5)):
        image = jnp.ones((*size, 4))
        for network in (
            networks.UnDIPNet(4, 2, key=KEY, width=2),
            networks.MiSiCNet(jnp.ones((4, 2)), key=KEY, width=2),
            networks.CNNAEU(4, 2, key=KEY, width=2, side=11),
        ):
            assert eqx.filter_eval_shape(network, image).shape == (*size, 2)


@pytest.mark.parametrize(
    "name", [name if name == "admmnet" else pytest.param(name, marks=pytest.mark.slow) for name in _METHODS]
)
def test_methods_are_pure_and_have_finite_derivatives(scene, name):
    cube = scene.cube()
    method = partial(_METHODS[name], steps=2)
    keys = jax.random.split(KEY, 2)
    both = jax.jit(jax.vmap(lambda key: method(cube, key=key).abundances))(keys)
    np.testing.assert_allclose(both[1], method(cube, key=keys[1]).abundances, atol=1e-6)
    slope = jax.grad(lambda y: jnp.sum(method(y, key=KEY).abundances[0] ** 2))(cube)
    assert jnp.all(jnp.isfinite(slope)) and jnp.any(slope != 0)


def test_errors(scene):
    pixels = scene.pixels
    for method in (unmixing.undip, unmixing.misicnet, unmixing.cnnaeu, unmixing.msnet):
        with pytest.raises(ValueError, match="image_shape is missing"):
            method(pixels, 3, key=KEY)
        with pytest.raises(ValueError, match="must hold all"):
            method(pixels, 3, key=KEY, image_shape=(2, 2))
        with pytest.raises(ValueError, match="num_endmembers"):
            method(scene, 1, key=KEY)
        with pytest.raises(ValueError, match="width"):
            method(scene, 3, key=KEY, width=0)
    for method in (unmixing.cnnaeu, unmixing.pgmsu, unmixing.admmnet):
        with pytest.raises(ValueError, match="batch_size"):
            method(scene, 3, key=KEY, batch_size=0)
        with pytest.raises(ValueError, match="keep"):
            method(scene, 3, key=KEY, keep="average")
    with pytest.raises(ValueError, match="either num_endmembers or endmembers"):
        unmixing.undip(scene, key=KEY)
    with pytest.raises(ValueError, match="as many rows"):
        unmixing.undip(scene, endmembers=jnp.ones((5, 3)), key=KEY)
    with pytest.raises(ValueError, match="bands"):
        unmixing.suncnn(scene, jnp.ones((5, 3)), key=KEY)
    for method, name in (
        (unmixing.misicnet, "volume"),
        (unmixing.pgmsu, "divergence"),
        (unmixing.admmnet, "strength"),
        (unmixing.msnet, "edges"),
    ):
        with pytest.raises(ValueError, match=name):
            method(scene, 3, key=KEY, **{name: -1.0})
    with pytest.raises(ValueError, match="odd"):
        networks.CNNAEU(4, 2, key=KEY, side=4)
    with pytest.raises(ValueError, match="patch"):
        unmixing.cnnaeu(scene, 3, key=KEY, patch=1)
