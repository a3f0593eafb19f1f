"""Functional hypergradients: finite differences, the parametric formula by pseudo-inverse, two-stage least squares."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_thoth.bilevel import (
    ExactDiscrete,
    functional_hypergradient,
    FunctionalBilevel,
    instrumental_regression,
    LinearFeatures,
    NetworkAdjoint,
    two_stage_least_squares,
)


RNG = np.random.default_rng(0)


def toy(n=400, seed=0):
    """Linear effect of 1.5, hidden by a confounder from ordinary least squares."""
    rng = np.random.default_rng(seed)
    z, u, e, f = rng.normal(size=(n, 2)), *rng.normal(size=(3, n))
    x = z[:, 0] - 0.5 * z[:, 1] + u + 0.3 * e
    return jnp.asarray(z), jnp.asarray(x), jnp.asarray(1.5 * x + 2 * u + 0.3 * f)


def fit_inner(w, v, z, x):
    return (v - w * x) ** 2


def fit_outer(w, v, z, o):
    return (v - o) ** 2


def identity_features(model, z):
    return z


# Four inputs, two outputs, a Hessian of the inner loss that is no multiple of the identity; the outer examples visit
# the inputs at other rates than the inner ones.
INNER = (jnp.asarray([0, 0, 0, 1, 1, 2, 3, 3, 3, 3]), jnp.asarray(RNG.normal(size=(10, 2))))
OUTER = (jnp.asarray([0, 1, 1, 1, 2, 2, 3]), jnp.asarray(RNG.normal(size=(7, 2))))
WEIGHTS = jnp.asarray([0.3, -0.4])


def bent_inner(w, v, x, y):
    shift = v - w * y
    return jnp.sum(jnp.log(jnp.cosh(shift))) + jnp.exp(w[0]) * (v[0] + 0.5 * v[1]) ** 2 + 0.1 * jnp.sum(v**2)


def bent_outer(w, v, x, t):
    return jnp.sum((v - t) ** 2) + jnp.sin(w[1]) * v[0] * v[1] + w[0] ** 2


def inner_solution(w):
    """Predictions (4, 2) at the four inputs, by Newton steps."""
    risk = lambda flat: jnp.mean(jax.vmap(lambda v, *row: bent_inner(w, v, *row))(flat.reshape(4, 2)[INNER[0]], *INNER))
    newton = lambda _, flat: flat - jnp.linalg.solve(jax.hessian(risk)(flat), jax.grad(risk)(flat))
    return jax.lax.fori_loop(0, 12, newton, jnp.zeros(8)).reshape(4, 2)


@jax.jit
def true_value(w):
    return jnp.mean(jax.vmap(lambda v, *row: bent_outer(w, v, *row))(inner_solution(w)[OUTER[0]], *OUTER))


@jax.jit
def bent_gradients():
    table = inner_solution(WEIGHTS)
    one_hot = LinearFeatures(lambda model, x: jax.nn.one_hot(x, 4, dtype=table.dtype))
    false_claim = LinearFeatures(one_hot.features, scalar_hessian=True)
    # The second input has no inner examples here.
    lacking = tuple(part[jnp.asarray([0, 1, 2, 5, 6, 7])] for part in INNER)
    solve = lambda inner, adjoint: functional_hypergradient(
        bent_outer, bent_inner, lambda x: table[x], WEIGHTS, inner, OUTER, adjoint=adjoint
    )
    return (
        *(solve(INNER, adjoint) for adjoint in (ExactDiscrete(), one_hot, false_claim)),
        solve(lacking, ExactDiscrete()),
    )


def test_closed_forms_over_finitely_many_inputs_equal_finite_differences():
    exact, one_hot, false_claim, lacking = bent_gradients()
    step = 1e-5
    difference = [(true_value(WEIGHTS + step * e) - true_value(WEIGHTS - step * e)) / (2 * step) for e in jnp.eye(2)]
    np.testing.assert_allclose(exact.value, true_value(WEIGHTS), rtol=1e-13)
    np.testing.assert_allclose(exact.gradient, jnp.stack(difference), rtol=1e-8)
    np.testing.assert_allclose(one_hot.gradient, exact.gradient, rtol=1e-11)
    np.testing.assert_allclose(one_hot.adjoint, exact.adjoint, rtol=1e-10)
    assert max(exact.adjoint_residual, one_hot.adjoint_residual) < 1e-12
    # What was promised and is false, or cannot be known, shows.
    assert false_claim.adjoint_residual > 0.05
    assert lacking.adjoint_residual > 0.05
    assert np.all(np.isfinite(lacking.gradient))


def test_more_weights_than_examples_give_the_parametric_hypergradient_by_pseudo_inverse():
    phi, outer_phi = (jnp.asarray(RNG.normal(size=(n, 20))) for n in (5, 7))
    curvature, targets, outer_targets = (jnp.asarray(RNG.normal(size=s)) for s in ((5,), (5, 2), (7, 2)))
    w = jnp.asarray([0.7, -1.2])
    inner = lambda w, v, x, c, y: jnp.exp(c * w[1]) * jnp.sum((v - jnp.sin(w * y)) ** 2) + 0.1 * jnp.sum(v**2)
    outer = lambda w, v, x, t: jnp.sum((v - w[0] * t) ** 2)
    inner_batch, outer_batch = (phi, curvature, targets), (outer_phi, outer_targets)

    @jax.jit
    def both():
        flat = lambda theta: theta.reshape(20, 2)
        risk = lambda theta, w: jnp.mean(jax.vmap(lambda *r: inner(w, r[0] @ flat(theta), *r))(*inner_batch))
        loss = lambda theta, w: jnp.mean(jax.vmap(lambda *r: outer(w, r[0] @ flat(theta), *r))(*outer_batch))
        zero = jnp.zeros(40)
        hessian = jax.hessian(risk)(zero, w)
        pseudo = jnp.linalg.pinv(hessian, rtol=1e-10)
        theta = -pseudo @ jax.grad(risk)(zero, w)
        cross = jax.jacobian(jax.grad(risk), 1)(theta, w)
        slope, direct = jax.grad(loss, (0, 1))(theta, w)
        parametric = direct - cross.T @ (pseudo @ slope)
        functional = [
            functional_hypergradient(
                outer, inner, lambda x: x @ flat(theta), w, inner_batch, outer_batch, adjoint=adjoint
            ).gradient
            for adjoint in (
                LinearFeatures(identity_features),
                LinearFeatures(identity_features, scalar_hessian=True),
            )
        ]
        return jnp.linalg.matrix_rank(hessian, rtol=1e-10), parametric, *functional

    rank, parametric, general, scalar = both()
    assert rank == 10
    np.testing.assert_allclose(general, parametric, rtol=1e-9)
    np.testing.assert_allclose(scalar, parametric, rtol=1e-9)


def test_linear_instrumental_regression_has_the_exact_gradient_and_dtype():
    z, x, o = toy()

    def projected(w):
        return jnp.mean((z @ jnp.linalg.lstsq(z, w * x)[0] - o) ** 2)

    @jax.jit
    def functional(w, z, x, o):
        first = jnp.linalg.lstsq(z, w * x)[0]
        return functional_hypergradient(
            fit_outer, fit_inner, lambda z: z @ first, w, (z, x), (z, o), adjoint=LinearFeatures(identity_features)
        )

    exact = jax.jit(jax.value_and_grad(projected))
    for w in (0.7, 4.0):
        found, (value, slope) = functional(w, z, x, o), exact(w)
        np.testing.assert_allclose(found.value, value, rtol=1e-12)
        np.testing.assert_allclose(found.gradient, slope, rtol=1e-12)
    single = functional(jnp.float32(0.7), *(a.astype(jnp.float32) for a in (z, x, o)))
    assert {leaf.dtype for leaf in jax.tree.leaves(single)} == {np.dtype("float32")}
    np.testing.assert_allclose(single.gradient, functional(0.7, z, x, o).gradient, rtol=1e-4)


def test_a_ridge_on_the_last_layer_has_the_exact_gradient_too():
    z, x, o = toy(60)
    o = o + 1
    first = two_stage_least_squares(z, x[:, None], o, 0.3)
    weight, fitted = first.first_stage.T, first.fitted[:, 0]
    line = eqx.nn.Linear(2, "scalar", key=jax.random.key(0))
    model = eqx.tree_at(
        lambda m: (m.weight, m.bias), line, (0.7 * weight, 0.7 * (fitted[:1] - weight @ z[0])), is_leaf=eqx.is_array
    )
    exact = 2 * jnp.mean((0.7 * fitted - o) * fitted)
    adjoints = [LinearFeatures(ridge=2 * 0.3, scalar_hessian=scalar) for scalar in (True, False)]
    solve = lambda adjoint: functional_hypergradient(fit_outer, fit_inner, model, 0.7, (z, x), (z, o), adjoint=adjoint)
    for found in jax.jit(lambda: [solve(adjoint) for adjoint in adjoints])():
        np.testing.assert_allclose(found.gradient, exact, rtol=1e-12)
        assert found.adjoint_residual < 1e-13


def test_network_adjoint_reaches_the_linear_one_and_starts_warm():
    z, x, o = toy()
    model = lambda z: z @ jnp.array([0.6, -0.2])
    network = eqx.nn.Linear(2, "scalar", use_bias=False, key=jax.random.key(0))
    adjoint = NetworkAdjoint(network, optax.sgd(0.2), num_steps=15)

    @jax.jit
    def solve(state):
        # The outer batch is smaller than the inner one.
        return functional_hypergradient(
            fit_outer, fit_inner, model, 0.7, (z, x), (z[:90], o[:90]), adjoint=adjoint, adjoint_state=state
        )

    linear = LinearFeatures(identity_features)
    exact = jax.jit(
        lambda: functional_hypergradient(fit_outer, fit_inner, model, 0.7, (z, x), (z[:90], o[:90]), adjoint=linear)
    )()
    state, residuals, errors = adjoint.init(), [], []
    for _ in range(4):
        found = solve(state)
        state = found.adjoint_state
        residuals.append(float(found.adjoint_residual))
        errors.append(abs(float(found.gradient - exact.gradient)))
    # Each step contracts by about 1 - 2 * 0.2, each solve takes 15 of them.
    assert np.all(np.diff(np.log(residuals)) < 10 * np.log(0.7))
    assert errors[-1] < 1e-8 * errors[0] + 1e-12


def test_instrumental_regression_ends_at_two_stage_least_squares():
    z, x, o = toy()
    expected = two_stage_least_squares(z, x[:, None], o)
    structural, first_stage = (
        eqx.nn.Linear(size, "scalar", key=key) for size, key in zip((1, 2), jax.random.split(jax.random.key(0)))
    )
    found = jax.jit(
        lambda: (
            instrumental_regression(
                structural,
                first_stage,
                z,
                x[:, None],
                o,
                key=jax.random.key(1),
                num_steps=150,
                inner_steps=0,
                outer_optimizer=optax.sgd(0.3),
            ).record
        )
    )()
    assert np.all(np.diff(found.value) < 1e-12)
    assert found.gradient_norm[-1] < 1e-9
    least = jnp.mean((expected(expected.fitted) - o) ** 2)
    np.testing.assert_allclose(found.value[-1], least, rtol=1e-12)


def test_the_last_layer_of_a_network_is_refit():
    z, x, o = toy(60)
    structural = eqx.nn.Linear(1, "scalar", key=jax.random.key(0))
    start = eqx.nn.MLP(2, "scalar", 3, 1, key=jax.random.key(1))

    @jax.jit
    def residuals():
        found = instrumental_regression(
            structural,
            start,
            z,
            x[:, None],
            o,
            key=jax.random.key(2),
            num_steps=1,
            inner_steps=0,
            outer_optimizer=optax.sgd(0.1),
        )
        left = jax.vmap(found.first_stage)(z) - jax.vmap(structural)(x[:, None])
        hidden = jax.vmap(lambda z: jax.nn.relu(start.layers[0](z)))(z)
        return left.mean(), left @ hidden / 60

    for found in residuals():
        np.testing.assert_allclose(found, 0, atol=1e-12)


def test_two_stage_least_squares():
    z, x, o = toy(4000)
    found = two_stage_least_squares(z, x[:, None], o)
    np.testing.assert_allclose(found.coefficients, 1.5, atol=0.1)
    ones = np.ones((4000, 1))
    design = np.hstack([z, ones])
    fitted = design @ np.linalg.lstsq(design, np.asarray(x), rcond=None)[0]
    slope, constant = np.linalg.lstsq(np.stack([fitted, ones[:, 0]], 1), np.asarray(o), rcond=None)[0]
    np.testing.assert_allclose([found.coefficients[0], found.intercept], [slope, constant], rtol=1e-10)
    assert np.polyfit(x, o, 1)[0] > 2.2
    ridged = two_stage_least_squares(z, x[:, None], o, 0.2, 0.5)
    centered = (np.asarray(z) - np.asarray(z).mean(0)) @ np.asarray(ridged.first_stage)[:, 0]
    np.testing.assert_allclose(
        ridged.coefficients[0], centered @ np.asarray(o) / 4000 / (centered @ centered / 4000 + 0.5), rtol=1e-9
    )
    # Twice the same treatment: the effect is shared.
    doubled = two_stage_least_squares(z, jnp.stack([x, x], 1), o)
    np.testing.assert_allclose(doubled.coefficients, found.coefficients[0] / 2, rtol=1e-8)


def test_runs_are_batched_updates():
    z, x, o = toy(30)
    hyper = {"weight": 0.2, "link": jnp.tanh}
    method = FunctionalBilevel(
        lambda w, v, z, o: (v - o) ** 2,
        lambda w, v, z, x: (v - w["weight"] * w["link"](x)) ** 2,
        LinearFeatures(ridge=1e-3, scalar_hessian=True),
        outer_optimizer=optax.sgd(0.1, momentum=0.9),
        inner_optimizer=optax.sgd(1e-2, momentum=0.9),
        inner_steps=2,
        inner_batch_size=12,
        outer_batch_size=8,
    )

    def run(key):
        model = eqx.nn.MLP(2, "scalar", 4, 1, key=key)
        return method.run(model, hyper, (z, x), (z, o), key=key, num_steps=3)

    keys = jax.random.split(jax.random.key(0), 2)
    states, records = jax.jit(jax.vmap(run))(keys)
    state = method.init(eqx.nn.MLP(2, "scalar", 4, 1, key=keys[1]), hyper, key=keys[1])
    update = jax.jit(lambda state, scale: method.update(state, (z, x), (z, scale * o)))
    for k in range(3):
        state = update(state, 1.0)
        np.testing.assert_allclose(state.record.value, records.value[1, k], rtol=1e-10)
    np.testing.assert_allclose(state.hyper["weight"], states.hyper["weight"][1], rtol=1e-10)
    assert state.hyper["link"] is jnp.tanh
    assert state.num_steps == 3
    # A step without a finite value changes nothing but the count, the key and the record.
    bad = update(state, jnp.nan)
    assert np.isnan(bad.record.value)
    assert bad.hyper["weight"] == state.hyper["weight"]
    assert eqx.tree_equal(bad.packed_model, state.packed_model)
    assert eqx.tree_equal(bad.outer_memory, state.outer_memory)


def hypergradient(**changes):
    z, x, o = toy(6)
    settings = {
        "outer_loss": fit_outer,
        "inner_loss": fit_inner,
        "model": lambda z: z[0],
        "hyper": 0.5,
        "inner_batch": (z, x),
        "outer_batch": (z, o),
        "adjoint": LinearFeatures(identity_features),
    } | changes
    return functional_hypergradient(**settings)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"inner_batch": (jnp.ones((6, 2)), jnp.ones(5))}, ValueError, "inner_batch must share their first axis"),
        ({"outer_batch": jnp.ones((6, 2))}, ValueError, "outer_batch must be a tuple"),
        ({"outer_batch": (jnp.ones((0, 2)), jnp.ones(0))}, ValueError, "outer_batch has no rows"),
        ({"inner_loss": lambda w, v, z, x: z}, ValueError, "inner_loss must return a scalar"),
        ({"outer_loss": lambda w, v, z, x: z}, ValueError, "outer_loss must return a scalar"),
        ({"model": lambda z: (z,)}, TypeError, "model must map one input to one"),
        ({"adjoint": "exact"}, TypeError, "adjoint must be one of this room"),
        ({"adjoint": LinearFeatures()}, TypeError, "no features are known"),
        ({"adjoint": LinearFeatures(lambda model, z: z[0])}, ValueError, "features must map one input to a vector"),
        ({"adjoint": NetworkAdjoint(lambda z: z)}, ValueError, "network must return 1 numbers"),
        (
            {
                "inner_batch": ({"z": jnp.ones((6, 2))}, jnp.ones(6)),
                "model": lambda z: z["z"][0] if isinstance(z, dict) else z[0],
                "adjoint": ExactDiscrete(),
            },
            TypeError,
            "inputs in one array",
        ),
    ],
)
def test_bad_arguments_of_a_hypergradient(changes, error, message):
    with pytest.raises(error, match=message):
        hypergradient(**changes)


def test_bad_settings():
    line = eqx.nn.Linear(2, "scalar", key=jax.random.key(0))
    z, x, o = toy(6)
    for make, error, message in (
        (lambda: LinearFeatures(ridge=-1.0), ValueError, "ridge must be nonnegative"),
        (lambda: NetworkAdjoint(line, num_steps=-1), ValueError, "num_steps must be nonnegative"),
        (lambda: FunctionalBilevel(fit_outer, fit_inner, "exact"), TypeError, "adjoint must be"),
        (lambda: FunctionalBilevel(fit_outer, fit_inner, ExactDiscrete(), inner_steps=-1), ValueError, "inner_steps"),
        (
            lambda: FunctionalBilevel(fit_outer, fit_inner, ExactDiscrete(), outer_batch_size=0),
            ValueError,
            "outer_batch_size must be positive",
        ),
        (
            lambda: FunctionalBilevel(fit_outer, fit_inner, ExactDiscrete(), inner_batch_size=7).run(
                line, 0.5, (z, x), (z, o), key=jax.random.key(0), num_steps=1
            ),
            ValueError,
            "inner_batch_size is 7",
        ),
        (lambda: two_stage_least_squares(z, x, o), ValueError, "must share n"),
        (lambda: two_stage_least_squares(z[:, :1], z, o), ValueError, "do not determine"),
        (lambda: two_stage_least_squares(z, z, o, ridge1=-1.0), ValueError, "ridge1 must be nonnegative"),
        (
            lambda: instrumental_regression(lambda x: x, line, z, x, o[:, None], key=jax.random.key(0)),
            ValueError,
            "structural must return",
        ),
        (
            lambda: instrumental_regression(lambda x: x, lambda z: z[0], z, x, o, key=jax.random.key(0)),
            TypeError,
            "refit needs",
        ),
    ):
        with pytest.raises(error, match=message):
            make()
