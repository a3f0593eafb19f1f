"""Weights as functions of hyper-parameters: the layers, what theory says of them, and the tuning."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_thoth import bilevel
from jaxopt_thoth.bilevel import HyperConv2d, HyperLinear, SelfTuning


def layer_of(weight, response, gates):
    """A layer without biases."""
    layer = HyperLinear(weight.shape[1], weight.shape[0], gates.shape[1], key=jax.random.key(0))
    where = lambda layer: (
        layer.base.weight,
        layer.response.weight,
        layer.base.bias,
        layer.response.bias,
        layer.gates,
    )
    zero = jnp.zeros(weight.shape[0])
    return eqx.tree_at(where, layer, (weight, response, zero, zero, jnp.concatenate([gates, jnp.zeros_like(gates)])))


def test_a_linear_layer_is_its_formula_row_by_row(rng):
    layer = HyperLinear(3, 4, 2, key=jax.random.key(0))
    x, h, center = (jnp.asarray(rng.normal(size=shape)) for shape in ((5, 3), (5, 2), (2,)))
    found = jax.jit(lambda: (layer(x, h), layer(x, h, center), jax.vmap(layer)(x, h), layer(x, h[0])))()
    scale, shift = jnp.split(h @ layer.gates.T, 2, axis=1)
    w, r = layer.base, layer.response
    expected = x @ w.weight.T + w.bias[None] + scale * (x @ r.weight.T) + shift * r.bias[None]
    np.testing.assert_allclose(found[0], expected, atol=1e-14)
    np.testing.assert_allclose(found[2], expected, atol=1e-14)
    np.testing.assert_allclose(found[1], layer(x, h - center[None]), atol=1e-14)
    np.testing.assert_allclose(found[3], layer(x, jnp.broadcast_to(h[0], h.shape)), atol=1e-14)
    # At its center the layer is its base.
    np.testing.assert_allclose(layer(x, center, center), jax.vmap(layer.base)(x), atol=1e-14)


def test_a_convolution_of_single_pixels_is_the_linear_layer(rng):
    linear, conv = HyperLinear(3, 4, 2, key=jax.random.key(0)), HyperConv2d(3, 4, 1, 2, key=jax.random.key(1))
    parts = lambda layer: (
        layer.base.weight,
        layer.base.bias,
        layer.response.weight,
        layer.response.bias,
        layer.gates,
    )
    conv = eqx.tree_at(parts, conv, [a.reshape(b.shape) for a, b in zip(parts(linear), parts(conv))])
    x, h = jnp.asarray(rng.normal(size=(5, 3))), jnp.asarray(rng.normal(size=(5, 2)))
    images = jax.jit(lambda x, h: conv(x, h))(x[..., None, None], h)
    np.testing.assert_allclose(images[..., 0, 0], linear(x, h), atol=1e-14)


def test_the_best_response_of_ridge_is_a_sigmoid_gate_that_the_layer_follows_to_first_order(rng):
    n, p = 12, 4
    x, y = rng.normal(size=(n, p)), rng.normal(size=n)
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    gate = lambda h: jax.nn.sigmoid(np.log(s**2 / n) - h)
    exact = lambda h: vt.T @ (gate(h) * (u.T @ y / s))
    # The strength is exp(h), the loss a mean over rows.
    for h in (-2.0, 0.0, 1.5):
        ridge = np.linalg.solve(x.T @ x / n + np.exp(h) * np.eye(p), x.T @ y / n)
        np.testing.assert_allclose(exact(h), ridge, rtol=1e-12)
    # Gates in the basis of the singular vectors: input 1, output the coefficients there.
    center = 0.3
    coefficients = jnp.asarray(u.T @ y / s)
    slope = -gate(center) * (1 - gate(center))
    layer = layer_of((gate(center) * coefficients)[:, None], coefficients[:, None], jnp.asarray(slope)[:, None])
    errors = []
    for distance in (0.2, 0.1, 0.05):
        weights = vt.T @ layer(jnp.ones(1), jnp.array([center + distance]), jnp.array([center]))
        errors.append(np.linalg.norm(weights - exact(center + distance)))
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 4, rtol=0.1)


def test_the_hypergradient_of_the_fitted_response_errs_by_the_square_of_the_scale():
    # Ridge with one weight: w*(h) = target / (1 + exp(h)). The loss is quadratic in what is fitted, so that one Newton
    # step finds it, and the expectation over the perturbation is a quadrature.
    target, valid_target, center = 2.0, 0.2, jnp.array([0.4])
    nodes, shares = np.polynomial.hermite_e.hermegauss(20)

    @jax.jit
    @jax.vmap
    def hypergradient(scale):
        h = center[None] + scale * jnp.asarray(nodes)[:, None]

        def loss(fitted):
            layer = layer_of(fitted[:1][None], jnp.ones((1, 1)), fitted[1:][None])
            w = layer(jnp.ones((20, 1)), h, center)
            each = 0.5 * (w - target) ** 2 + 0.5 * jnp.exp(h) * w**2
            return jnp.sum(jnp.asarray(shares)[:, None] * each) / shares.sum()

        fitted = -jnp.linalg.solve(jax.hessian(loss)(jnp.zeros(2)), jax.grad(loss)(jnp.zeros(2)))
        layer = layer_of(fitted[:1][None], jnp.ones((1, 1)), fitted[1:][None])
        return jax.grad(lambda h: 0.5 * jnp.sum((layer(jnp.ones(1), h, center) - valid_target) ** 2))(center)[0]

    w = target / (1 + np.exp(0.4))
    exact = (w - valid_target) * -w * np.exp(0.4) / (1 + np.exp(0.4))
    scales = 0.2 * 0.5 ** np.arange(4)
    errors = np.abs(hypergradient(jnp.asarray(scales)) - exact)
    np.testing.assert_allclose(np.log2(errors[:-1] / errors[1:]), 2, atol=0.1)
    assert errors[-1] < 1e-3 * abs(exact)


@functools.cache
def ridge():
    rng = np.random.default_rng(5)
    truth = np.array([1.0, -0.5, 0.0, 0.0, 0.0])
    draw = lambda n: (x := rng.normal(size=(n, 5)), x @ truth + 1.5 * rng.normal(size=n))
    return jax.tree.map(jnp.asarray, (draw(16), draw(64)))


def weights_of(model, h, center):
    """Weights (rows, inputs) at each row of the hyper-parameters; there is one output and no bias."""
    count = model.base.weight.shape[1]
    at = lambda h: model(jnp.eye(count, dtype=h.dtype), h, center)[:, 0] - model(jnp.zeros(count, h.dtype), h, center)
    return jax.vmap(at)(h)


def ridge_train_loss(model, h, center, batch, key):
    x, y = batch
    w = weights_of(model, h, center)
    return 0.5 * jnp.mean((jnp.sum(x * w, 1) - y) ** 2 + jnp.sum(jnp.exp(h) * w**2, 1))


def ridge_valid_loss(model, h, center, batch, key):
    x, y = batch
    return 0.5 * jnp.mean((jnp.sum(x * weights_of(model, h, center), 1) - y) ** 2)


@functools.cache
def tuned():
    train, valid = ridge()

    @jax.jit
    @jax.vmap
    def run(keys):
        found = []
        for centered in (True, False):
            method = SelfTuning(
                ridge_train_loss,
                ridge_valid_loss,
                optimizer=optax.sgd(0.05, momentum=0.9),
                hyper_optimizer=optax.adam(0.01),
                initial_scale=0.2,
                tune_scales=False,
                centered=centered,
            )
            # One response direction is enough where there is one hyper-parameter.
            model = HyperLinear(5, 1, 1, key=keys[0])
            state = method.init(model, jnp.array([-1.0]), key=keys[1])
            state, record = method.run(state, train, valid, num_updates=2000, warmup=100)
            found.append((state, jnp.mean(record.h[-500:]), record))
        return found

    keys = jax.random.split(jax.random.key(0), (3, 2))
    (x, y), (x_valid, y_valid) = jax.tree.map(np.asarray, (train, valid))
    grid = np.linspace(-4, 3, 1401)
    ridge_at = lambda h: np.linalg.solve(x.T @ x / 16 + np.exp(h) * np.eye(5), x.T @ y / 16)
    values = [0.5 * np.mean((x_valid @ ridge_at(h) - y_valid) ** 2) for h in grid]
    return run(keys), grid[np.argmin(values)], min(values)


@pytest.mark.parametrize("centered", [True, False])
def test_the_strength_of_ridge_is_tuned_to_its_optimum_for_every_seed(centered):
    found, best, value = tuned()
    state, h, record = found[0 if centered else 1]
    assert abs(best) < 2
    np.testing.assert_allclose(h, best, atol=0.1)
    np.testing.assert_allclose(jnp.mean(record.valid_loss[:, -500:], 1), value, rtol=0.01)
    assert jnp.all(state.count == 4000)
    # No validation during the warm-up.
    assert jnp.all(jnp.isinf(record.valid_loss[:, :100])) and jnp.all(record.h[:, :100] == -1.0)


def test_scales_adapt_to_the_curvature_of_the_validation_loss():
    # The mean of k h^2 / 2 under the perturbation is k (h^2 + s^2) / 2; with the entropy, least at s^2 = weight / k.
    curvature, weight = jnp.array([1.0, 4.0, 25.0]), 0.25
    valid = lambda model, h, center, batch, key: jnp.mean(0.5 * h**2 @ curvature)
    method = SelfTuning(
        lambda model, h, center, batch, key: jnp.mean(model(batch, h, center) ** 2),
        valid,
        hyper_optimizer=optax.sgd(0.02),
        scale_optimizer=optax.adam(0.02),
        entropy_weight=weight,
    )
    state = method.init(HyperLinear(1, 1, 3, key=jax.random.key(0)), jnp.ones(3), key=jax.random.key(1))
    _, record = jax.jit(lambda state: method.run(state, jnp.ones((2, 1)), jnp.ones((256, 1)), num_updates=800))(state)
    np.testing.assert_allclose(jnp.mean(record.scale[-300:], 0), jnp.sqrt(weight / curvature), rtol=0.05)
    np.testing.assert_allclose(jnp.mean(record.h[-300:], 0), 0, atol=0.05)


@jax.custom_jvp
def opaque(h):
    return h


@opaque.defjvp
def _(primals, tangents):
    raise AssertionError("the training loss is differentiated in the hyper-parameters")


@pytest.mark.parametrize("centered", [True, False])
def test_discrete_hyper_parameters_run_and_updates_by_hand_are_the_run(centered):
    count = bilevel.Interval(0.0, 4.0, discrete=True)

    def train(model, h, center, batch, key):
        kept = jnp.arange(3.0)[None] >= count(opaque(h))[:, :1]
        return jnp.mean((model(jnp.where(kept, batch, 0.0), h, center)[:, 0] - jnp.sum(batch, 1)) ** 2)

    def valid(model, h, center, batch, key):
        return jnp.mean((model(batch, h, center)[:, 0] - jnp.sum(batch, 1)) ** 2)

    method = SelfTuning(train, valid, centered=centered)
    data = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)))
    state = method.init(HyperLinear(3, 1, 1, key=jax.random.key(0)), jnp.zeros(1), key=jax.random.key(1))
    ran, record = jax.jit(lambda state: method.run(state, data, data, num_updates=3))(state)
    update = jax.jit(lambda state: method.update(state, jnp.stack([data, data]), data[None]))
    for _ in range(3):
        state = update(state)
    for found, expected in zip(jax.tree.leaves(state), jax.tree.leaves(ran)):
        if jnp.issubdtype(found.dtype, jnp.inexact):
            np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert jnp.all(jnp.isfinite(record.valid_loss)) and jnp.all(state.h != 0)


def test_centered_training_moves_the_base_by_the_unperturbed_loss(rng):
    data, h = jnp.asarray(rng.normal(size=(6, 3))), jnp.array([0.3])
    model = HyperLinear(3, 1, 1, key=jax.random.key(0))

    def train(model, h, center, batch, key):
        predicted = bilevel.linearized_response(lambda h: jnp.tanh(model(batch, h, center)), h, center)
        return jnp.mean((1 + h**2) * (predicted - 1) ** 2)

    method = SelfTuning(train, train, optimizer=optax.sgd(1.0), centered=True)
    new = jax.jit(lambda state: method.train_step(state, data).model)(method.init(model, h, key=jax.random.key(1)))
    plain = lambda base: jnp.mean((1 + h[0] ** 2) * (jnp.tanh(jax.vmap(base)(data)) - 1) ** 2)
    gradient = jax.jit(jax.grad(plain))(model.base)
    np.testing.assert_allclose(new.base.weight, model.base.weight - gradient.weight, atol=1e-14)
    np.testing.assert_allclose(new.base.bias, model.base.bias - gradient.bias, atol=1e-14)
    assert not jnp.allclose(new.gates, model.gates, atol=1e-6)


def test_single_precision_stays():
    model = jax.tree.map(lambda a: a.astype(jnp.float32), HyperLinear(5, 1, 1, key=jax.random.key(0)))
    train, valid = jax.tree.map(lambda a: a.astype(jnp.float32), ridge())
    method = SelfTuning(ridge_train_loss, ridge_valid_loss)
    state = method.init(model, jnp.zeros(1, jnp.float32), key=jax.random.key(0))
    state, record = jax.jit(lambda state: method.run(state, train, valid, num_updates=2, batch_size=8))(state)
    floats = [leaf.dtype for leaf in jax.tree.leaves((state, record)) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    assert set(floats) == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("transform", "values"),
    [
        (bilevel.Interval(-1.0, 3.0), [-0.9, 0.0, 2.9]),
        (bilevel.DropoutRate(), [0.01, 0.5, 0.89]),
        (bilevel.OneSided(2.0), [2.001, 3.0, 50.0]),
    ],
)
def test_maps_are_increasing_and_inverted(transform, values):
    values = jnp.array(values)
    raw = transform.inverse(values)
    np.testing.assert_allclose(transform(raw), values, rtol=1e-10)
    assert jnp.all(jnp.diff(raw) > 0)
    with pytest.raises(ValueError, match="strictly between"):
        transform.inverse(-2.0)


def test_perturbations_have_their_scale_and_entropy():
    raw = jnp.array([-1.0, 2.0])
    draws = bilevel.perturb(jnp.array([1.0, -3.0]), raw, jax.random.key(0), 20_000)
    scale = jax.nn.softplus(raw)
    np.testing.assert_allclose(jnp.mean(draws, 0), [1.0, -3.0], atol=0.05)
    np.testing.assert_allclose(jnp.std(draws, 0), scale, rtol=0.03)
    np.testing.assert_allclose(bilevel.perturbation_entropy(raw), np.sum(np.log(scale * np.sqrt(2 * np.pi * np.e))))


def test_what_does_not_fit_is_named():
    layer = HyperLinear(3, 4, 2, key=jax.random.key(0))
    for h in (jnp.zeros(3), jnp.zeros((4, 2))):
        with pytest.raises(ValueError, match="h must have shape"):
            layer(jnp.zeros((5, 3)), h)
    with pytest.raises(ValueError, match="center must have shape"):
        layer(jnp.zeros((5, 3)), jnp.zeros(2), jnp.zeros(1))
    with pytest.raises(ValueError, match="num_hyper"):
        HyperLinear(3, 4, 0, key=jax.random.key(0))
    with pytest.raises(ValueError, match="vectors of one length"):
        bilevel.perturb(jnp.zeros(2), jnp.zeros(1), jax.random.key(0), 3)
    for settings, message in (
        ({"entropy_weight": -1.0}, "entropy_weight"),
        ({"initial_scale": 0.0}, "initial_scale"),
        ({"train_steps": 0}, "train_steps"),
    ):
        with pytest.raises(ValueError, match=message):
            SelfTuning(ridge_train_loss, ridge_valid_loss, **settings)
    method = SelfTuning(ridge_train_loss, ridge_valid_loss)
    with pytest.raises(ValueError, match="h must be a vector"):
        method.init(layer, 0.0, key=jax.random.key(0))
    state = method.init(layer, jnp.zeros(2), key=jax.random.key(0))
    with pytest.raises(ValueError, match="train_batches must have the number of steps"):
        method.update(state, jnp.zeros((1, 5, 3)), jnp.zeros((1, 5, 3)))
