import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_thoth import gradients


RNG = np.random.default_rng(0)
S = jnp.asarray(RNG.normal(size=(6, 4)))
POINTS = jnp.asarray(RNG.normal(size=(40, 6, 4)))
ORACLES = {
    "l2": gradients.L2LMO,
    "linf": gradients.LInfLMO,
    "l1": gradients.L1LMO,
    "rows": gradients.RowLMO,
    "columns": gradients.ColumnLMO,
    "columns as rows": functools.partial(gradients.RowLMO, output_axis=1),
    "spectral": functools.partial(gradients.SpectralLMO, method="svd"),
    "nuclear": gradients.NuclearLMO,
    "nuclear by power": functools.partial(gradients.NuclearLMO, method="power", num_steps=100),
    "rms": functools.partial(gradients.RMSToRMSLMO, method="svd"),
    "rms of (in, out)": functools.partial(gradients.RMSToRMSLMO, method="svd", output_axis=1),
}
NORMS = {
    "l2": lambda x: np.linalg.norm(x),
    "linf": lambda x: np.abs(x).max(),
    "l1": lambda x: np.abs(x).sum(),
    "rows": lambda x: np.linalg.norm(x, axis=1).max(),
    "columns": lambda x: np.linalg.norm(x, axis=0).max(),
    "columns as rows": lambda x: np.linalg.norm(x, axis=0).max(),
    "spectral": lambda x: np.linalg.norm(x, 2),
    "nuclear": lambda x: np.linalg.norm(x, "nuc"),
    "nuclear by power": lambda x: np.linalg.norm(x, "nuc"),
    "rms": lambda x: np.linalg.norm(x, 2) * np.sqrt(4 / 6),
    "rms of (in, out)": lambda x: np.linalg.norm(x, 2) * np.sqrt(6 / 4),
}
SMALL = {"l2": gradients.L2LMO, "spectral": gradients.SpectralLMO}


@functools.cache
def seen(name):
    """What is to be known of an oracle, by one program."""

    @jax.jit
    def look(radius, s):
        oracle = ORACLES[name](radius)
        return {
            "point": oracle(s),
            "dual": oracle.dual_norm(s),
            "norm": oracle.norm(oracle(s)),
            "norms": jax.vmap(oracle.norm)(POINTS),
            "scaled": oracle(1e-3 * s),
            "zero": oracle(0 * s),
            "dual at zero": oracle.dual_norm(0 * s),
            "many": jax.vmap(oracle)(POINTS),
        }

    return look(0.7, S)


@pytest.mark.parametrize("name", ORACLES)
def test_the_minimizer_attains_the_dual_norm(name):
    look = seen(name)
    np.testing.assert_allclose(np.vdot(S, look["point"]), -0.7 * look["dual"], rtol=1e-10)
    np.testing.assert_allclose(look["norm"], 0.7, rtol=1e-10)
    np.testing.assert_allclose(look["norms"], [NORMS[name](x) for x in POINTS], rtol=1e-10)
    # No point of the ball does better.
    others = POINTS / np.asarray(look["norms"])[:, None, None]
    assert np.max(np.tensordot(others, S, 2)) <= look["dual"] * (1 + 1e-12)
    assert look["dual"] == pytest.approx(-np.vdot(S, look["point"]) / 0.7)


@pytest.mark.parametrize("name", ORACLES)
def test_it_is_invariant_under_factors_and_zero_at_zero(name):
    look = seen(name)
    np.testing.assert_allclose(look["scaled"], look["point"], atol=1e-10)
    np.testing.assert_array_equal(look["zero"], 0)
    assert look["dual at zero"] == 0
    np.testing.assert_allclose(look["many"][3], ORACLES[name](0.7)(POINTS[3]), atol=1e-9)


@pytest.mark.parametrize("oracle", [gradients.RowLMO(), gradients.SpectralLMO()])
def test_derivatives_at_zero_are_finite(oracle):
    assert np.all(np.isfinite(jax.jit(jax.grad(lambda s: oracle(s).sum() + oracle.dual_norm(s)))(0 * S)))


def test_closed_forms():
    u, s, vt = np.linalg.svd(S, full_matrices=False)
    np.testing.assert_allclose(seen("spectral")["point"], -0.7 * u @ vt, atol=1e-12)
    np.testing.assert_allclose(seen("spectral")["dual"], s.sum(), rtol=1e-12)
    np.testing.assert_allclose(seen("nuclear")["point"], -0.7 * np.outer(u[:, 0], vt[0]), atol=1e-12)
    np.testing.assert_allclose(seen("nuclear")["dual"], s[0], rtol=1e-12)
    np.testing.assert_allclose(seen("linf")["point"], -0.7 * np.sign(S))
    np.testing.assert_allclose(seen("rms")["point"], -0.7 * np.sqrt(6 / 4) * u @ vt, atol=1e-12)
    np.testing.assert_allclose(seen("columns")["dual"], np.linalg.norm(S, axis=0).sum(), rtol=1e-12)
    low_rank = S[:, :1] @ S[:1]
    point = gradients.SpectralLMO(method="svd")(low_rank)
    np.testing.assert_allclose(point, -low_rank / np.linalg.norm(low_rank), atol=1e-10)


def test_newton_schulz_takes_singular_values_to_those_of_its_polynomial():
    u, _, vt = np.linalg.svd(S, full_matrices=False)
    look = jax.jit(lambda s: (gradients.SpectralLMO()(s), gradients.SpectralLMO().dual_norm(s)))

    def polynomial(x):
        for _ in range(5):
            x = 3.4445 * x - 4.7750 * x**3 + 2.0315 * x**5
        return x

    for values in ([1.0, 0.5, 0.1, 0.01], [1.0, 0.9, 0.003, 0.0]):
        sizes = np.array(values) / np.linalg.norm(values)
        point, dual = look((u * sizes) @ vt)
        np.testing.assert_allclose(point, -(u * polynomial(sizes)) @ vt, atol=1e-6)
        np.testing.assert_allclose(dual, sizes @ polynomial(sizes), rtol=1e-6)


@pytest.mark.parametrize(
    ("least", "low", "high"), [(0.01, 0.6818, 1.1344), (0.003, 0.6818, 1.2024), (0.001, 0.4705, 1.2024)]
)
def test_range_of_newton_schulz(least, low, high):
    # Two singular values of unit norm, of which one passes through the range.
    angles = jnp.arcsin(jnp.geomspace(least, 1, 5001))
    found = -newton_schulz_of_pairs(angles)
    sizes = jnp.stack([jnp.cos(angles), jnp.sin(angles)], 1)
    seen = found[sizes >= least]
    np.testing.assert_allclose([seen.min(), seen.max()], [low, high], atol=2e-4)


@jax.jit
def newton_schulz_of_pairs(angles):
    pairs = jax.vmap(jnp.diag)(jnp.stack([jnp.cos(angles), jnp.sin(angles)], 1))
    return jax.vmap(lambda s: jnp.diag(gradients.SpectralLMO()(s)))(pairs)


def test_newton_schulz_is_equivariant():
    oracle = jax.jit(lambda s: gradients.SpectralLMO()(s))
    q, p = np.linalg.qr(RNG.normal(size=(6, 6)))[0], np.linalg.qr(RNG.normal(size=(4, 4)))[0]
    np.testing.assert_allclose(oracle(q @ S @ p), q @ oracle(S) @ p, atol=1e-10)
    np.testing.assert_allclose(gradients.SpectralLMO()(S.T), oracle(S).T, atol=1e-12)


def test_the_convergent_cubic_of_newton_and_schulz():
    oracle = gradients.SpectralLMO(num_steps=30, coefficients=(1.5, -0.5, 0.0))
    np.testing.assert_allclose(0.7 * oracle(S), seen("spectral")["point"], atol=1e-9)
    value = 0.1
    for _ in range(5):
        value = 1.5 * value - 0.5 * value**3
    np.testing.assert_allclose(value, 0.6587, atol=1e-4)


def test_power_iteration_where_the_largest_row_misleads():
    # The row of largest norm is a singular vector, but not of the largest value.
    s = jnp.zeros((6, 3)).at[0, 0].set(2.0).at[1:, 1].set(1.5)
    oracle = gradients.NuclearLMO(method="power", num_steps=60)
    np.testing.assert_allclose(oracle.dual_norm(s), 1.5 * np.sqrt(5), rtol=1e-9)


def test_kernels_of_convolutions_are_matrices_of_their_outputs():
    kernel = jnp.asarray(RNG.normal(size=(3, 2, 2, 2)))
    for name in ("rows",):
        oracle = ORACLES[name]()
        np.testing.assert_allclose(oracle(kernel), oracle(kernel.reshape(3, 8)).reshape(kernel.shape), atol=1e-12)
        np.testing.assert_allclose(oracle.dual_norm(kernel), oracle.dual_norm(kernel.reshape(3, 8)))
    last = gradients.RMSToRMSLMO(method="svd", output_axis=-1)
    by_hand = last(jnp.moveaxis(kernel, -1, 0).reshape(2, 12).T)
    np.testing.assert_allclose(jnp.moveaxis(last(kernel), -1, 0).reshape(2, 12).T, by_hand, atol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("name", SMALL)
def test_half_and_single_precision(name, dtype):
    oracle = jax.jit(lambda s: SMALL[name]()(s))
    # Squares under- and overflow in the dtype of the gradient.
    for factor in (1e-20, 1.0, 1e20):
        point = oracle((factor * S).astype(dtype))
        assert point.dtype == dtype
        np.testing.assert_allclose(point.astype(float), SMALL[name]()(S), atol=0.02 if dtype == jnp.bfloat16 else 1e-4)


def test_scion_without_constraint_is_muon_without_its_lookahead():
    ours = gradients.scion(0.1, gradients.SpectralLMO())
    theirs = optax.contrib.scale_by_muon(beta=0.9, nesterov=False)
    state, other = ours.init(S), theirs.init(S)
    for gradient in POINTS[:3]:
        found, state = ours.update(gradient, state)
        with jax.numpy_dtype_promotion("standard"):
            expected, other = theirs.update(gradient, other)
        np.testing.assert_allclose(found, -0.1 * expected, atol=1e-6)


def test_momentum_and_lookahead_of_scion():
    oracle, momentum = gradients.L2LMO(), 0.3
    plain, ahead = (gradients.scion(0.5, oracle, momentum=momentum, nesterov=n) for n in (False, True))
    states = plain.init(S), ahead.init(S)
    m = np.zeros_like(S)
    for gradient in np.asarray(POINTS[:4]):
        m = (1 - momentum) * m + momentum * gradient
        found, first = plain.update(gradient, states[0])
        np.testing.assert_allclose(found, -0.5 * m / np.linalg.norm(m), rtol=1e-10)
        found, second = ahead.update(gradient, states[1])
        look = (1 - momentum) * m + momentum * gradient
        np.testing.assert_allclose(found, -0.5 * look / np.linalg.norm(look), rtol=1e-10)
        states = first, second


def test_frank_wolfe_steps_stay_in_the_ball_and_converge():
    center = 3 * S / np.linalg.norm(S, 2)
    oracle = gradients.SpectralLMO(2.0, method="svd")
    optimizer = gradients.scion(lambda t: 2 / (t.astype(float) + 2), oracle, momentum=1.0, constrained=True)

    def step(carry, _):
        weights, state = carry
        updates, state = optimizer.update(weights - center, state, weights)
        weights = optax.apply_updates(weights, updates)
        return (weights, state), oracle.norm(weights)

    (weights, _), norms = jax.lax.scan(step, (0 * S, optimizer.init(S)), None, length=400)
    assert np.all(norms <= 2 + 1e-9)
    u, s, vt = np.linalg.svd(center, full_matrices=False)
    nearest = (u * np.minimum(s, 2)) @ vt
    gap = (np.sum((weights - center) ** 2) - np.sum((nearest - center) ** 2)) / 2
    # Jaggi's bound 2 L diameter^2 / (T + 2), the diameter that of the ball in the Frobenius norm.
    assert 0 <= gap <= 2 * (4 * 4 * 4) / 402


def test_default_oracles_and_prefixes():
    updates = {"layer": (S, S[0]), "head": S.T, "none": None}
    found, _ = gradients.scale_by_lmo().update(updates, optax.EmptyState())
    np.testing.assert_allclose(found["layer"][0], gradients.RMSToRMSLMO()(S))
    np.testing.assert_array_equal(found["layer"][1], -jnp.sign(S[0]))
    prefix = {"layer": gradients.L2LMO(), "head": gradients.ColumnLMO(), "none": None}
    found, _ = gradients.scale_by_lmo(prefix).update(updates, optax.EmptyState())
    np.testing.assert_allclose(found["layer"][1], -S[0] / np.linalg.norm(S[0]))
    np.testing.assert_allclose(found["head"], gradients.ColumnLMO()(S.T))


def noisy(levels, **settings):
    """Factors of the last step, under gradients of the given noise."""
    weights = {f"w{i}": jnp.zeros((3, 2)) for i in range(len(levels))}
    optimizer = gradients.noise_adaptive(optax.sgd(1.0), gradients.L2LMO(), **settings)
    keys = jax.random.split(jax.random.key(0), 200)

    def step(state, key):
        noise = [jax.random.normal(k, (3, 2)) for k in jax.random.split(key, len(levels))]
        gradient = {f"w{i}": 1 + level * n for i, (level, n) in enumerate(zip(levels, noise))}
        updates, state = optimizer.update(gradient, state, weights)
        return state, (gradient, updates)

    state, (given, taken) = jax.lax.scan(step, optimizer.init(weights), keys)
    return state, given, taken


def test_noise_adaptive_rates_follow_their_definition():
    state, given, taken = noisy([0.1, 1.0, 3.0], scale=2.0, decay=0.95)
    noise = np.zeros(3)
    for t in range(1, 200):
        squares = [np.sum((given[f"w{i}"][t] - given[f"w{i}"][t - 1]) ** 2) for i in range(3)]
        noise = 0.95 * noise + 0.05 * np.array(squares)
    np.testing.assert_allclose(state.noise, noise, rtol=1e-9)
    rates = 2 / np.sqrt(4 + noise)
    factors = np.sqrt(rates / rates.max())
    np.testing.assert_allclose(state.factors, factors, rtol=1e-9)
    assert factors[0] == 1 and 1 > factors[1] > factors[2]
    for i in range(3):
        np.testing.assert_allclose(taken[f"w{i}"][-1], -factors[i] * given[f"w{i}"][-1], rtol=1e-9)
        np.testing.assert_array_equal(taken[f"w{i}"][0], -given[f"w{i}"][0])
    # Differences of independent gradients have twice the variance.
    np.testing.assert_allclose(noise[1] / 2, 6, rtol=0.5)


def test_layers_of_equal_noise_keep_their_rates():
    weights = [S, S]
    optimizer = gradients.noise_adaptive(optax.sgd(1.0), gradients.L1LMO())
    state = optimizer.init(weights)
    for gradient in POINTS[:3]:
        updates, state = optimizer.update([gradient, -gradient], state, weights)
        np.testing.assert_array_equal(updates[0], -gradient)
    assert np.all(state.noise > 0)


def test_groups_are_compared_among_themselves():
    state, _, _ = noisy([0.1, 1.0, 3.0], groups={"w0": "a", "w1": "b", "w2": "b"})
    np.testing.assert_array_equal(state.factors[:2], 1)
    assert state.factors[2] < 1
    optimizer = gradients.noise_adaptive(optax.sgd(1.0))
    weights = {"w": S, "b": S[0]}
    _, state = optimizer.update(
        weights, optimizer.init(weights), weights, second_gradient=jax.tree.map(jnp.zeros_like, weights)
    )
    np.testing.assert_array_equal(state.factors, 1)


def test_two_batches_and_muon():
    weights = {"quiet": S, "noisy": S[:, :3]}
    muon = optax.contrib.muon(0.1)
    optimizer = gradients.noise_adaptive(muon, gradients.SpectralLMO(method="svd"), decay=0.0)
    gradient = {"quiet": POINTS[0], "noisy": POINTS[1, :, :3]}
    second = {"quiet": POINTS[0], "noisy": POINTS[2, :, :3]}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        expected, _ = muon.update(gradient, muon.init(weights), weights)
        found, state = jax.jit(optimizer.update)(gradient, optimizer.init(weights), weights, second_gradient=second)
    np.testing.assert_allclose(found["quiet"], expected["quiet"], rtol=1e-6)
    nuclear = np.linalg.norm(POINTS[1, :, :3] - POINTS[2, :, :3], "nuc")
    # Leaves are in the order of their names.
    np.testing.assert_allclose(state.factors, [(1 + nuclear**2) ** -0.25, 1], rtol=1e-9)
    np.testing.assert_allclose(found["noisy"], state.factors[0] * expected["noisy"], rtol=1e-6)


def test_bad_input():
    for radius in (0.0, -1.0, jnp.nan, jnp.ones(2)):
        with pytest.raises(ValueError, match="radius"):
            gradients.L2LMO(radius)
    with pytest.raises(ValueError, match="method"):
        gradients.SpectralLMO(method="qr")
    with pytest.raises(ValueError, match="num_steps"):
        gradients.NuclearLMO(num_steps=0)
    for name in ("rows", "columns", "spectral", "nuclear", "rms"):
        with pytest.raises(ValueError, match="is for matrices"):
            ORACLES[name]()(jnp.ones(3))
    with pytest.raises(TypeError, match="oracles"):
        gradients.scale_by_lmo("spectral").update(S, optax.EmptyState())
    with pytest.raises(ValueError, match="prefix"):
        gradients.scale_by_lmo({"w": gradients.L2LMO()}).update({"v": S}, optax.EmptyState())
    for momentum in (0.0, 1.1):
        with pytest.raises(ValueError, match="momentum"):
            gradients.scion(0.1, momentum=momentum)
    with pytest.raises(ValueError, match=r"learning_rate must be in \[0, 1\]"):
        gradients.scion(1.5, constrained=True)
    optimizer = gradients.scion(0.5, constrained=True)
    with pytest.raises(ValueError, match="needs the weights"):
        optimizer.update(S, optimizer.init(S))
    with pytest.raises(TypeError, match="GradientTransformation"):
        gradients.noise_adaptive(None)
    with pytest.raises(ValueError, match="scale"):
        gradients.noise_adaptive(optax.sgd(0.1), scale=0.0)
    with pytest.raises(ValueError, match="decay"):
        gradients.noise_adaptive(optax.sgd(0.1), decay=1.0)
    with pytest.raises(ValueError, match="groups"):
        gradients.noise_adaptive(optax.sgd(0.1), groups={"v": 1}).init({"w": S})
