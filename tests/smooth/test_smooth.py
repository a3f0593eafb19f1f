import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

import jaxopt_thoth as jt
from jaxopt_thoth import _tree, losses


N, P, K = 9, 4, 3
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(N, P)))
SIGNS = np.sign(RNG.normal(size=N))
FLOATS = RNG.normal(size=(N, K))
W = jnp.asarray(RNG.normal(size=(P, K)) / 2)
V = jnp.asarray(RNG.normal(size=(P, K)))
GRAM = X.T @ X


def quadratic_function(w, matrix, vector):
    return jnp.vdot(w, matrix @ w) / 2 + jnp.vdot(vector, w)


SINGLE = {
    "squared": jt.LinearModel(losses.Squared(), X, FLOATS[:, 0]),
    "sparse": jt.LinearModel(losses.Squared(), scipy.sparse.csr_matrix(X), FLOATS[:, 0]),
    "logistic": jt.LinearModel(losses.Logistic(), X, SIGNS),
    "squared hinge": jt.LinearModel(losses.SquaredHinge(), X, SIGNS),
    "smoothed hinge": jt.LinearModel(losses.SmoothedHinge(), X, SIGNS),
    "huber": jt.LinearModel(losses.Huber(0.7), X, FLOATS[:, 0]),
    "poisson": jt.LinearModel(losses.Poisson(), X, RNG.poisson(2.0, N)),
    "quadratic": jt.Quadratic(GRAM, FLOATS[:P, 0], 0.3),
    "function": jt.FunctionTerm(quadratic_function, GRAM, jnp.asarray(FLOATS[:P, 0])),
}
SEVERAL = {
    "multi-task": jt.LinearModel(losses.Squared(), X, FLOATS),
    "multinomial": jt.LinearModel(losses.Multinomial(), X, RNG.integers(0, K, N)),
    "quadratic of columns": jt.Quadratic(GRAM, FLOATS[:P]),
}
TERMS = {
    **{name: (term, W[:, 0], V[:, 0]) for name, term in SINGLE.items()},
    **{name: (term, W, V) for name, term in SEVERAL.items()},
}


@pytest.fixture(params=list(TERMS), scope="module")
def case(request):
    return TERMS[request.param]


def test_gradient_and_products_with_the_hessian_are_those_of_autodiff(case):
    term, w, v = case
    value, gradient = term.value_and_grad(w)
    np.testing.assert_allclose(value, term.value(w), rtol=1e-14)
    np.testing.assert_allclose(gradient, jax.grad(term.value)(w), atol=1e-13)
    np.testing.assert_allclose(term.gradient(w), gradient, rtol=1e-14)
    expected = jax.jvp(jax.grad(term.value), (w,), (v,))[1]
    np.testing.assert_allclose(term.hvp(w, v), expected, atol=1e-13)
    h = 1e-6
    difference = (term.gradient(w + h * v) - term.gradient(w - h * v)) / (2 * h)
    np.testing.assert_allclose(term.hvp(w, v), difference, atol=1e-6)
    slope = (term.value(w + h * v) - term.value(w - h * v)) / (2 * h)
    np.testing.assert_allclose(jnp.vdot(gradient, v), slope, rtol=1e-6)


def test_value_is_the_mean_over_rows():
    residual = X @ W[:, 0] - FLOATS[:, 0]
    np.testing.assert_allclose(SINGLE["squared"].value(W[:, 0]), np.mean(residual**2) / 2, rtol=1e-13)
    np.testing.assert_allclose(SEVERAL["multi-task"].value(W), np.sum((X @ W - FLOATS) ** 2) / (2 * N), rtol=1e-13)


def test_image_is_linear_and_carries_the_value(case):
    term, w, v = case
    combined = jax.tree.map(lambda a, b: 2 * a - b, term.image(w), term.image(v))
    for a, b in zip(jax.tree.leaves(term.image(2 * w - v)), jax.tree.leaves(combined), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-13)
    for a, b in zip(term.value_and_grad_at(w, term.image(w)), term.value_and_grad(w), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14)


def bregman(term, new, old):
    return term.value(new) - term.value(old) - jnp.vdot(term.gradient(old), new - old)


@functools.partial(jax.jit, static_argnums=0)
def divergences(name, new, old):
    term = TERMS[name][0]
    value, gradient = term.value_and_grad(old)
    return *term.divergence(new, term.image(new), old, term.image(old), value, gradient), bregman(term, new, old)


@pytest.mark.parametrize("name", list(TERMS))
@hypothesis.settings(max_examples=15, deadline=None)
@hypothesis.given(seed=st.integers(0, 2**31), size=st.sampled_from([1.0, 1e-3, 1e-6, 1e-9]))
def test_divergence_is_its_definition_where_that_can_be_computed_and_never_negative(name, seed, size):
    w = TERMS[name][1]
    step = jnp.asarray(np.random.default_rng(seed).normal(size=w.shape))
    divergence, noise, definition = divergences(name, w + size * step, w)
    assert noise >= 0
    assert divergence >= -noise
    # The definition cancels: it is right to the rounding of the values only.
    assert abs(divergence - definition) <= 1e-13 + 1e-7 * abs(definition) + noise or divergence >= definition >= -1e-13


def test_hessian_block_is_a_block_of_the_hessian():
    indices = jnp.array([3, 1])
    for name in ("squared", "sparse", "logistic", "poisson", "quadratic"):
        term, w, _ = TERMS[name]
        expected = jax.jit(jax.hessian(term.value))(w)[indices][:, indices]
        np.testing.assert_allclose(term.hessian_block(w, indices), expected, atol=1e-13)


def test_lipschitz_constant_of_a_quadratic_is_its_largest_eigenvalue():
    for name in ("squared", "sparse", "quadratic"):
        term, w, _ = TERMS[name]
        np.testing.assert_allclose(term.lipschitz(), jnp.linalg.eigvalsh(jax.hessian(term.value)(w))[-1], rtol=1e-5)


@pytest.mark.parametrize("name", ["logistic", "squared hinge", "smoothed hinge", "huber", "multinomial"])
def test_lipschitz_constant_bounds_the_hessian_everywhere(name):
    term, w, _ = TERMS[name]
    points = jnp.asarray(RNG.normal(size=(20, *w.shape))) * jnp.logspace(-2, 1, 20).reshape(-1, *[1] * w.ndim)
    hessians = jax.jit(jax.vmap(jax.hessian(term.value)))(points).reshape(20, w.size, w.size)
    largest = jnp.linalg.eigvalsh(hessians).max()
    assert largest <= term.lipschitz() * (1 + 1e-12)


def test_lipschitz_constant_is_none_where_there_is_none():
    assert SINGLE["poisson"].lipschitz() is None and SINGLE["function"].lipschitz() is None
    assert jt.FunctionTerm(jnp.sum, lipschitz_constant=2).lipschitz() == 2


@pytest.mark.parametrize("name", ["squared", "sparse", "multi-task"])
def test_gram_form_is_the_same_function(name):
    term, w, _ = TERMS[name]
    gram = term.as_quadratic()
    np.testing.assert_allclose(gram.value(w), term.value(w), rtol=1e-12)
    np.testing.assert_allclose(gram.gradient(w), term.gradient(w), atol=1e-13)
    with pytest.raises(TypeError, match="Logistic is not quadratic"):
        SINGLE["logistic"].as_quadratic()


class Holder:
    def __init__(self, target):
        self.target = target

    def loss(self, w):
        return jnp.sum((w - self.target) ** 2)

    __call__ = loss


def squared_distance(w, target):
    return jnp.sum((w - target) ** 2)


@pytest.mark.parametrize(
    "function_of",
    [
        lambda t: lambda w: squared_distance(w, t),
        lambda t: lambda w, t=t: squared_distance(w, t),
        lambda t: functools.partial(squared_distance, target=t),
        lambda t: Holder(t).loss,
        lambda t: Holder(t),
        lambda t: jax.jit(lambda w: squared_distance(w, t)),
        lambda t: (lambda holder: lambda w: holder.loss(w))(Holder(t)),
    ],
    ids=["closure", "default", "partial", "method", "object", "jit", "closure over an object"],
)
def test_arrays_that_a_function_holds_become_leaves(function_of):
    w, t = jnp.ones(2), jnp.array([3.0, 5.0])
    closed_at = lambda t: jt.FunctionTerm(function_of(t)).closed(w)
    assert closed_at(t).value(w) == 20.0
    assert jax.jvp(lambda t: closed_at(t).value(w), (t,), (jnp.ones(2),))[1] == 12.0
    # With its leaves held constant nothing hidden is left to differentiate.
    assert jax.jvp(lambda t: _tree.stop_gradient(closed_at(t)).value(w), (t,), (jnp.ones(2),))[1] == 0.0


def test_parameters_take_the_dtype_of_the_data():
    single = jt.LinearModel(losses.Squared(), X.astype(jnp.float32), FLOATS[:, 0])
    assert single.targets.dtype == jnp.float32
    assert single.check(jnp.zeros(P)).dtype == jnp.float32
    assert SINGLE["squared"].check(jnp.zeros(P, jnp.float32)).dtype == jnp.float64
    w = single.check(jnp.zeros(P))
    assert single.value(w).dtype == single.gradient(w).dtype == single.lipschitz().dtype == jnp.float32


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: jt.LinearModel(losses.Squared(), X, FLOATS[:3, 0]), ValueError, "targets must have 9 rows"),
        (lambda: jt.LinearModel(losses.Logistic(), X, FLOATS[:, 0]), ValueError, "must be -1 or"),
        (lambda: jt.LinearModel(losses.Poisson(), X, -np.ones(N)), ValueError, "counts"),
        (lambda: jt.LinearModel(losses.Multinomial(), X, SIGNS), ValueError, "integers"),
        (lambda: jt.Quadratic(X), ValueError, "square"),
        (lambda: jt.Quadratic(GRAM, jnp.ones(3)), ValueError, "4 rows"),
        (lambda: jt.FunctionTerm(3.0), TypeError, "callable"),
    ],
)
def test_terms_that_make_no_sense_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("squared", jnp.zeros(P + 1), r"shape \(4,\)"),
        ("squared", jnp.zeros((P, K)), r"shape \(4,\) for targets"),
        ("squared", {"w": jnp.zeros(P)}, "must be an array"),
        ("multi-task", jnp.zeros(P), r"shape \(4, 3\)"),
        ("multinomial", jnp.zeros(P), "number of classes"),
        ("multinomial", jnp.zeros((P, K - 1)), "targets reach class 2"),
        ("quadratic", jnp.zeros(P - 1), r"shape \(4,\) like vector"),
        ("function", jnp.zeros((2, 2, 4)), None),
    ],
)
def test_parameters_that_do_not_fit_are_refused(name, params, message):
    with pytest.raises((ValueError, TypeError), match=message):
        TERMS[name][0].check(params)


def test_a_function_that_is_not_scalar_is_refused():
    with pytest.raises(ValueError, match="scalar"):
        jt.FunctionTerm(lambda w: w).check(jnp.zeros(2))


def test_a_quadratic_refuses_a_matrix_that_is_not_symmetric():
    with pytest.raises(ValueError, match="matrix must be symmetric"):
        jt.Quadratic(jnp.array([[1.0, 2.0], [0.0, 1.0]]))


def test_a_design_must_be_real():
    with pytest.raises(TypeError, match="must be real"):
        jt.LinearModel(jt.losses.Squared(), jnp.ones((2, 2), complex), jnp.ones(2))


@pytest.mark.parametrize(
    "loss", [losses.Squared(), losses.Logistic(), losses.Poisson()], ids=lambda l: type(l).__name__
)
def test_weights_repeat_rows(loss):
    rng = np.random.default_rng(5)
    weights = np.array([1, 2, 0, 3, 1])
    design, rows = rng.normal(size=(5, 3)), np.repeat(np.arange(5), weights)
    targets = np.array([1.0, -1, 1, -1, 1]) if isinstance(loss, losses.Logistic) else np.arange(5.0)
    weighted = jt.LinearModel(loss, design, targets, 0.1 * weights)
    repeated = jt.LinearModel(loss, design[rows], targets[rows])
    w, v = jnp.asarray(rng.normal(size=3)), jnp.asarray(rng.normal(size=3))

    def look(model):
        value, gradient = model.value_and_grad(w)
        found = [value, gradient, model.hvp(w, v), model.curvature_along(w, v), model.gradient(v)]
        found += [model.hessian_block(w, jnp.array([0, 2])), model.share(jnp.ones(len(model.targets))).sum()]
        found += [model.divergence(v, model.image(v), w, model.image(w), value, gradient)]
        if loss.has_bounded_curvature:
            found.append(model.lipschitz())
        if loss.is_quadratic:
            found.append(model.as_quadratic().value_and_grad(w))
        return found

    for one, other in zip(jax.tree.leaves(look(weighted)), jax.tree.leaves(look(repeated)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(weighted.row_weights, weights / 7, rtol=1e-14)
    np.testing.assert_allclose(repeated.row_weights, 1 / 7, rtol=1e-14)


def test_bad_weights_are_named():
    for weights, message in ((np.ones(2), "shape"), (-np.ones(3), "nonnegative"), (np.zeros(3), "some above zero")):
        with pytest.raises(ValueError, match=f"weights must .*{message}"):
            jt.LinearModel(losses.Squared(), np.eye(3), np.ones(3), weights)
