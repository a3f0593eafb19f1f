import equinox as eqx
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
import scipy.sparse
from jax.experimental import sparse as jsparse

from jaxopt_thoth import operators


N, P = 7, 5
RNG = np.random.default_rng(0)
MATRIX = RNG.normal(size=(N, P)) * (RNG.uniform(size=(N, P)) < 0.6)
MATRIX[3] = 0


def lineax_matrix(matrix):
    return lx.MatrixLinearOperator(jnp.asarray(matrix))


def lineax_function(matrix):
    array = jnp.asarray(matrix)
    return lx.FunctionLinearOperator(lambda x: array @ x, jax.ShapeDtypeStruct((matrix.shape[1],), array.dtype))


def duplicated_entries(matrix):
    rows, cols = np.nonzero(matrix)
    halves = np.concatenate([matrix[rows, cols] / 2] * 2)
    return scipy.sparse.coo_matrix((halves, (np.tile(rows, 2), np.tile(cols, 2))), matrix.shape)


FORMS = {
    "array": jnp.asarray,
    "numpy": np.asarray,
    "list": lambda m: m.tolist(),
    "csr": scipy.sparse.csr_matrix,
    "csc array": scipy.sparse.csc_array,
    "repeated coo": duplicated_entries,
    "bcoo": lambda m: jsparse.BCOO.fromdense(jnp.asarray(m)),
    "padded bcoo": lambda m: jsparse.BCOO.fromdense(jnp.asarray(m), nse=N * P),
    "lineax matrix": lineax_matrix,
    "lineax function": lineax_function,
}


@pytest.fixture(params=list(FORMS), scope="module")
def operator(request):
    return operators.as_operator(FORMS[request.param](MATRIX))


def test_every_form_acts_like_the_dense_matrix(operator):
    x, u = RNG.normal(size=(P, 3)), RNG.normal(size=(N, 3))
    assert operator.shape == (N, P) and operator.dtype == jnp.float64
    np.testing.assert_allclose(operator.matvec(jnp.asarray(x)), MATRIX @ x, atol=1e-13)
    np.testing.assert_allclose(operator.matvec(jnp.asarray(x[:, 0])), MATRIX @ x[:, 0], atol=1e-13)
    np.testing.assert_allclose(operator.rmatvec(jnp.asarray(u)), MATRIX.T @ u, atol=1e-13)
    np.testing.assert_allclose(operator.rmatvec(jnp.asarray(u[:, 0])), MATRIX.T @ u[:, 0], atol=1e-13)
    np.testing.assert_allclose(operator.columns(jnp.array([4, 0, 0])), MATRIX[:, [4, 0, 0]], atol=1e-13)


def test_every_form_gives_rows_like_the_dense_matrix(operator):
    assert_rows_and_norms(operator, MATRIX)


def assert_rows_and_norms(operator, matrix):
    picks = jnp.array([2, 6, 2, 3])
    rows = matrix[np.asarray(picks)]
    rng = np.random.default_rng(1)
    x, u = jnp.asarray(rng.normal(size=(matrix.shape[1], 3))), jnp.asarray(rng.normal(size=(4, 3)))

    @eqx.filter_jit
    def look(operator, picks):
        return (
            (operator.rows(picks), rows),
            (operator.rows_matvec(picks, x), rows @ x),
            (operator.rows_matvec(picks, x[:, 0]), rows @ x[:, 0]),
            (operator.rows_rmatvec(picks, u), rows.T @ u),
            (operator.rows_rmatvec(picks, u[:, 0]), rows.T @ u[:, 0]),
            (operator.squared_row_norms(), (matrix**2).sum(1)),
            (operator.squared_column_norms(), (matrix**2).sum(0)),
        )

    for found, wanted in look(operator, picks):
        assert found.dtype == jnp.float64
        np.testing.assert_allclose(found, wanted, atol=1e-12)


@pytest.mark.parametrize("form", ["array", "csr", "repeated coo", "lineax matrix"])
def test_rows_and_columns_of_the_forms_made_from_others(form):
    make = FORMS[form]
    made = {
        "intercept": (operators.WithIntercept(make(MATRIX), 0.7), np.column_stack([MATRIX, np.full(N, 0.7)])),
        "standardized": (operators.Standardized.of(make(MATRIX)), (MATRIX - MATRIX.mean(0)) / MATRIX.std(0)),
        "row scaled": (operators.RowScaled(make(MATRIX), np.arange(7.0)), np.arange(7.0)[:, None] * MATRIX),
    }
    for operator, matrix in made.values():
        assert operator.shape == matrix.shape
        x, u = RNG.normal(size=(matrix.shape[1], 2)), RNG.normal(size=(N, 2))
        for part in (..., (slice(None), 0)):
            np.testing.assert_allclose(operator.matvec(jnp.asarray(x[part])), matrix @ x[part], atol=1e-12)
            np.testing.assert_allclose(operator.rmatvec(jnp.asarray(u[part])), matrix.T @ u[part], atol=1e-12)
        picks = np.array([matrix.shape[1] - 1, 0, 0])
        np.testing.assert_allclose(operator.columns(jnp.asarray(picks)), matrix[:, picks], atol=1e-12)
        assert_rows_and_norms(operator, matrix)


def test_standardizing_leaves_constant_columns_alone_and_keeps_to_weights():
    weights = np.array([1.0, 0, 2, 1, 1, 3, 1])
    matrix = np.column_stack([MATRIX + 100, np.full(N, 0.1), np.zeros(N)])
    for form in (jnp.asarray, scipy.sparse.csr_matrix):
        found = operators.Standardized.of(form(matrix), weights).rows(jnp.arange(N))
        share = weights / weights.sum()
        np.testing.assert_allclose(share @ found, 0, atol=1e-12)
        np.testing.assert_allclose(share @ found**2, [1, 1, 1, 1, 1, 0, 0], atol=1e-10)
    with pytest.raises(ValueError, match="means must be a number or have shape"):
        operators.Standardized(MATRIX, jnp.zeros(3))
    with pytest.raises(ValueError, match="factors must have shape"):
        operators.RowScaled(MATRIX, jnp.zeros(3))


def test_rows_of_a_sparse_matrix_with_traced_places():
    def rows(entries):
        return operators.as_operator(entries).rows(jnp.array([2, 6]))

    np.testing.assert_allclose(jax.jit(rows)(jsparse.BCOO.fromdense(jnp.asarray(MATRIX))), MATRIX[[2, 6]], atol=1e-13)


@hypothesis.settings(max_examples=10, deadline=None)
@hypothesis.given(seed=st.integers(0, 2**31))
def test_adjoint_identity(operator, seed):
    rng = np.random.default_rng(seed)
    x, u = jnp.asarray(rng.normal(size=P)), jnp.asarray(rng.normal(size=N))
    left, right = jnp.vdot(operator.matvec(x), u), jnp.vdot(x, operator.rmatvec(u))
    np.testing.assert_allclose(left, right, atol=1e-12)


def test_an_operator_is_returned_as_it_is(operator):
    assert operators.as_operator(operator) is operator


@pytest.mark.parametrize("form", ["array", "csr", "bcoo"])
def test_integer_and_float32_entries(form):
    make = FORMS[form]
    assert operators.as_operator(make(np.arange(6).reshape(2, 3))).dtype == jnp.float64
    single = operators.as_operator(make(MATRIX.astype(np.float32)))
    x = jnp.ones(P, jnp.float32)
    assert single.matvec(x).dtype == single.rmatvec(single.matvec(x)).dtype == jnp.float32


def test_dense_products_ask_for_the_highest_precision():
    dense = operators.as_operator(jnp.ones((2, 3), jnp.float32))
    assert "HIGHEST" in str(jax.make_jaxpr(dense.matvec)(jnp.ones(3, jnp.float32)))
    assert "HIGHEST" in str(jax.make_jaxpr(dense.rmatvec)(jnp.ones(2, jnp.float32)))


@pytest.mark.parametrize("form", ["array", "csr", "bcoo", "lineax matrix"])
def test_products_are_differentiable_in_entries_and_vectors(form):
    operator = operators.as_operator(FORMS[form](MATRIX))
    x, u = jnp.asarray(RNG.normal(size=P)), jnp.asarray(RNG.normal(size=N))
    by_operator = jax.grad(lambda op: jnp.vdot(op.matvec(x), u), allow_int=True)(operator)
    by_transpose = jax.grad(lambda op: jnp.vdot(op.rmatvec(u), x), allow_int=True)(operator)
    floats = lambda tree: [leaf for leaf in jax.tree.leaves(tree) if leaf.dtype == jnp.float64]
    for a, b in zip(floats(by_operator), floats(by_transpose), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-13)
    np.testing.assert_allclose(jax.grad(lambda v: jnp.vdot(operator.matvec(v), u))(x), MATRIX.T @ u, atol=1e-13)


def test_batches_of_sparse_operators():
    batch = operators.as_operator(FORMS["csr"](MATRIX))
    twice = jax.tree.map(lambda a: jnp.stack([a, a]), batch)
    x = jnp.asarray(RNG.normal(size=(2, P)))
    np.testing.assert_allclose(jax.vmap(lambda op, v: op.matvec(v))(twice, x), x @ MATRIX.T, atol=1e-13)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (np.ones(3), ValueError, "two axes"),
        (np.ones((2, 2, 2)), ValueError, "two axes"),
        ("a string", TypeError, "Cannot use str"),
        (None, TypeError, "Cannot use NoneType"),
        (jsparse.BCOO.fromdense(jnp.ones((2, 3, 4))), ValueError, "two sparse axes"),
        (jsparse.BCOO.fromdense(jnp.ones((2, 3)), n_dense=1), ValueError, "two sparse axes"),
    ],
)
def test_bad_matrices_are_refused(bad, error, message):
    with pytest.raises(error, match=message):
        operators.as_operator(bad)


def test_spectral_norm_is_the_largest_singular_value(operator):
    np.testing.assert_allclose(operators.spectral_norm(operator), np.linalg.norm(MATRIX, 2), rtol=1e-5)


@pytest.mark.parametrize("shape", [(300, 20), (20, 300)])
def test_spectral_norm_of_thin_matrices_is_exact(shape):
    matrix = RNG.normal(size=shape)
    np.testing.assert_allclose(operators.spectral_norm(matrix), np.linalg.norm(matrix, 2), rtol=1e-12)


def test_spectral_norm_of_large_matrices_by_power_iteration():
    matrix = RNG.normal(size=(200, 150))
    np.testing.assert_allclose(operators.spectral_norm(matrix), np.linalg.norm(matrix, 2), rtol=1e-4)
    single = operators.spectral_norm(jnp.asarray(matrix, jnp.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, np.linalg.norm(matrix, 2), rtol=1e-4)


@pytest.mark.parametrize("shape", [(4, 3), (130, 129)])
def test_spectral_norm_of_zero_and_its_derivative(shape):
    value, slope = jax.value_and_grad(operators.spectral_norm)(jnp.zeros(shape))
    assert value == 0 and jnp.all(slope == 0)


@pytest.mark.parametrize("shape", [(6, 4), (140, 130)])
def test_derivative_of_the_spectral_norm_is_the_outer_product_of_its_vectors(shape):
    matrix = RNG.normal(size=shape)
    # A leading singular value well apart, so that the power iteration is accurate in its vectors too.
    matrix += 60 * np.outer(np.ones(shape[0]), np.ones(shape[1])) / np.sqrt(shape[0] * shape[1])
    u, _, v = np.linalg.svd(matrix)
    slope = jax.grad(operators.spectral_norm)(jnp.asarray(matrix))
    np.testing.assert_allclose(slope, np.outer(u[:, 0], v[0]), atol=1e-5)


def test_derivative_of_the_spectral_norm_where_singular_values_coincide_is_a_subgradient():
    slope = jax.grad(operators.spectral_norm)(jnp.eye(3))
    assert jnp.all(jnp.isfinite(slope))
    np.testing.assert_allclose(jnp.trace(slope), 1.0)
    np.testing.assert_allclose(jnp.linalg.norm(slope, "nuc"), 1.0)
