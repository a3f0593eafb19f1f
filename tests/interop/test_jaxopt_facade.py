"""Values, solutions and derivatives of jaxopt itself, from the same calls on `interop.jaxopt`."""

import contextlib
import doctest
import importlib
import warnings

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

from jaxopt_thoth.interop import jaxopt as ours


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    theirs = pytest.importorskip("jaxopt")

N, P = 20, 5
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(N, P)))
Y = jnp.asarray(X @ np.array([1.0, 0, 0, -0.5, 0.2]) + 0.1 * RNG.normal(size=N))
LABELS = jnp.asarray(RNG.integers(0, 3, N))
DATA = (X, Y)
START = jnp.zeros(P)
POINT = jnp.asarray(RNG.normal(size=P))
TIGHT = {"tol": 1e-9, "maxiter": 2000}


@contextlib.contextmanager
def lenient():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def same(a, b, atol=1e-9):
    jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, atol=atol), a, b)


TREE = {"a": POINT, "b": (POINT[:2] + 1, jnp.asarray(-0.3))}
PROX = {
    "prox_none": [(TREE,)],
    "prox_lasso": [(TREE,), (TREE, 0.3, 0.5), (TREE, jax.tree.map(jnp.abs, TREE), 2.0)],
    "prox_non_negative_lasso": [(TREE,), (TREE, 0.3, 0.5)],
    "prox_elastic_net": [(TREE,), (POINT, (0.3, 2.0), 0.5), (POINT, (jnp.abs(POINT), jnp.ones(P)), 0.5)],
    "prox_group_lasso": [(TREE,), (TREE, 0.3, 0.5), (TREE, 30.0)],
    "prox_ridge": [(TREE,), (TREE, 0.3, 0.5)],
    "prox_non_negative_ridge": [(TREE,), (TREE, 0.3, 0.5)],
}


def called(module, calls):
    """The results of all calls, compiled as one program."""
    return jax.jit(lambda: {name: [getattr(module, name)(*args) for args in calls[name]] for name in calls})()


def test_prox():
    with lenient():
        expected = called(theirs.prox, PROX)
    same(called(ours.prox, PROX), expected)


A, B = X[:2], Y[:2]
PROJECTIONS = {
    "projection_non_negative": [(TREE,)],
    "projection_box": [(POINT, (-0.1, 0.2)), (TREE, (jax.tree.map(lambda a: -2 * abs(a), TREE), TREE))],
    "projection_hypercube": [(POINT,), (POINT, 0.3)],
    "projection_simplex": [(POINT,), (POINT, 0.3), (POINT, None)],
    "projection_sparse_simplex": [(POINT, 2), (POINT, 2, True, 0.3)],
    "projection_l1_sphere": [(POINT / 9,), (POINT, 0.3)],
    "projection_l1_ball": [(POINT,), (POINT, 30.0)],
    "projection_l2_sphere": [(TREE,), (TREE, 0.3)],
    "projection_l2_ball": [(TREE,), (TREE, 30.0)],
    "projection_linf_ball": [(POINT, 0.3)],
    "projection_hyperplane": [(TREE, (jax.tree.map(jnp.abs, TREE), 0.3))],
    "projection_halfspace": [(TREE, (jax.tree.map(jnp.abs, TREE), b)) for b in (-3.0, 3.0)],
    "projection_affine_set": [(POINT, (A, B))],
    "projection_box_section": [(POINT, (jnp.zeros(P), jnp.ones(P), jnp.arange(1.0, P + 1), 2.0))],
}
# What jaxopt itself finds by iteration, to its own default tolerances.
LOOSE = {"projection_affine_set": 1e-6, "projection_box_section": 1e-4}


def test_projections():
    with lenient():
        expected = called(theirs.projection, PROJECTIONS)
    found = called(ours.projection, PROJECTIONS)
    for name in PROJECTIONS:
        same(found[name], expected[name], LOOSE.get(name, 1e-9))


def test_objectives():
    W, b = X[:P, :3], Y[:3]
    one_hot = jax.nn.one_hot(LABELS, 3, dtype=X.dtype)
    calls = {
        "least_squares": (POINT, DATA),
        "ridge_regression": (POINT, 0.3, DATA),
        "binary_logreg": (POINT, (X, LABELS > 0)),
        "multiclass_logreg": (W, (X, LABELS)),
        "multiclass_logreg_with_intercept": ((W, b), (X, LABELS)),
        "l2_multiclass_logreg": (W, 0.3, (X, LABELS)),
        "l2_multiclass_logreg_with_intercept": ((W, b), 0.3, (X, LABELS)),
        "multiclass_linear_svm_dual": (one_hot / 2, 0.3, (X, one_hot)),
    }
    outputs = {"least_squares": (W, (X, one_hot))}

    def all_of(library):
        pick = lambda name: getattr(library.objective, name)
        values = {name: jax.value_and_grad(pick(name))(*args) for name, args in calls.items()}
        return values | {"outputs": [pick(name)(*args) for name, args in outputs.items()]}

    with lenient():
        expected = jax.jit(lambda: all_of(theirs))()
    same(jax.jit(lambda: all_of(ours))(), expected)


def lasso(library, **options):
    return library.ProximalGradient(library.objective.least_squares, library.prox.prox_lasso, **{**TIGHT, **options})


def ball(library, **options):
    return library.ProjectedGradient(
        library.objective.least_squares, library.projection.projection_l2_ball, **{**TIGHT, **options}
    )


def sweeps(library, **options):
    prox = library.prox.prox_elastic_net
    return library.BlockCoordinateDescent(library.objective.least_squares, prox, **{**TIGHT, "tol": 1e-12, **options})


def entropic(library, **options):
    fun = lambda x, data: library.objective.least_squares(x, data)
    mapping, project = lambda x: jnp.log(x), lambda dual, _: jax.nn.softmax(dual)
    step = library.MirrorDescent.make_projection_grad(project, mapping)
    return library.MirrorDescent(fun, step, stepsize=0.3, **{**TIGHT, "tol": 1e-10, **options})


RUNS = {
    "proximal gradient": (lasso, START, 0.2),
    "projected gradient": (ball, START, 0.4),
    "block coordinate descent": (sweeps, START, (0.1, 0.5)),
    "mirror descent": (entropic, jnp.full(P, 1 / P), None),
}


@pytest.mark.parametrize("name", RUNS)
def test_solutions_and_their_derivatives(name):
    make, start, hyperparams = RUNS[name]
    hyperparams = jax.tree.map(jnp.asarray, hyperparams)

    def loss(solver, hyperparams, data):
        step = solver.run(start, hyperparams, data=data)
        return jnp.sum(step.params**3), step

    values = jax.value_and_grad(loss, argnums=(1, 2), has_aux=True)
    solver = make(ours)
    (_, step), gradients = jax.jit(lambda h, d: values(solver, h, d))(hyperparams, DATA)
    with lenient():
        (_, expected), expected_gradients = jax.jit(lambda h, d: values(make(theirs), h, d))(hyperparams, DATA)
    assert isinstance(step, ours.OptStep)
    assert step.state.error <= solver.tol
    assert 0 < step.state.iter_num < solver.maxiter
    same(step.params, expected.params, 1e-7)
    same(gradients, expected_gradients, 1e-5)
    assert solver.l2_optimality_error(step.params, hyperparams, DATA) <= 1e-7
    residual = lambda solver: jax.jit(solver.optimality_fun)(start, hyperparams, DATA)
    with lenient():
        expected = residual(make(theirs))
    same(residual(solver), expected)
    if name == "projected gradient":
        return
    # The life cycle by hand takes the same steps.
    params, state = start, solver.init_state(start, hyperparams, DATA)
    for _ in range(3):
        params, state = solver.update(params, state, hyperparams, DATA)
    short = make(ours, maxiter=3).run(start, hyperparams, DATA)
    assert state.iter_num == short.state.iter_num == 3
    same((params, state.error), (short.params, short.state.error), 1e-13)


@pytest.mark.parametrize("stepsize", [0.1, lambda count: jnp.where(count < 3, 0.3, 0.1)])
def test_plain_steps_are_those_of_jaxopt(stepsize):
    options = {"stepsize": stepsize, "maxiter": 7, "tol": 0.0, "acceleration": False}
    found = lasso(ours, **options).run(START, 0.2, DATA)
    with lenient():
        expected = lasso(theirs, **options).run(START, 0.2, DATA)
    same(found.params, expected.params, 1e-14)
    same(found.state.error, expected.state.error, 1e-14)
    assert found.state.iter_num == expected.state.iter_num == 7


def test_a_batch_of_strengths_and_single_precision():
    solver = lasso(ours)
    strengths = jnp.array([0.01, 0.1, 0.5])
    batch = jax.vmap(lambda s: solver.run(START, s, DATA).params)(strengths)
    same(batch, jnp.stack([solver.run(START, s, DATA).params for s in strengths]), 1e-8)
    narrow = lasso(ours, tol=1e-4).run(*jax.tree.map(lambda a: a.astype(jnp.float32), (START, strengths[1], DATA)))
    assert narrow.params.dtype == narrow.state.error.dtype == jnp.float32
    same(narrow.params, batch[1], 1e-3)


def test_auxiliary_outputs_and_gradients_of_your_own():
    def fun(w, offset, *, scale):
        residual = w - offset
        return scale * jnp.sum(residual**2) / 2, {"residual": residual}

    solver = ours.ProximalGradient(fun, ours.prox.prox_lasso, has_aux=True, **TIGHT)
    step = solver.run(START, 0.5, POINT, scale=2.0)
    same(step.params, ours.prox.prox_lasso(POINT, 0.25))
    same(step.state.aux["residual"], step.params - POINT)
    state = solver.init_state(START, 0.5, POINT, scale=2.0)
    same(state.aux["residual"], -POINT)

    def with_gradient(w, offset, *, scale):
        out = fun(w, offset, scale=scale)
        # Not differentiable, as gradients from elsewhere need not be.
        return out, jax.lax.stop_gradient(scale * (w - offset))

    given = ours.ProximalGradient(with_gradient, ours.prox.prox_lasso, value_and_grad=True, has_aux=True, **TIGHT)
    found = given.run(START, 0.5, POINT, scale=2.0)
    same(found.params, step.params, 1e-8)
    same(found.state.aux["residual"], step.state.aux["residual"], 1e-8)


@pytest.mark.slow
def test_unrolled_derivatives_both_ways_and_what_the_function_closes_over():
    def solution(strength, implicit):
        scale = 1 + strength
        fun = lambda w: scale * ours.objective.least_squares(w, DATA)
        solver = ours.ProximalGradient(
            fun, ours.prox.prox_lasso, implicit_diff=implicit, stepsize=0.4, tol=1e-12, maxiter=150
        )
        return solver.run(START, strength).params

    implicit = jax.jit(jax.jacrev(lambda s: solution(s, True)))(0.2)
    assert jnp.any(implicit != 0)
    unrolled = lambda s: solution(s, False)
    forward = jax.jit(lambda s: jax.jvp(unrolled, (s,), (1.0,)))
    same(forward(0.2)[1], implicit, 1e-6)
    same(jax.jit(jax.grad(lambda s: unrolled(s) @ POINT))(0.2), implicit @ POINT, 1e-6)
    direct = ours.ProximalGradient(
        ours.objective.least_squares, ours.prox.prox_lasso, implicit_diff_solve=lx.LU(), jit=False, **TIGHT
    )
    rescaled = jax.jit(jax.jacrev(lambda s: direct.run(START, s / (1 + s), DATA).params))(0.2)
    same(rescaled, implicit, 1e-6)


def test_a_start_of_the_state_without_data():
    solver = ball(ours)
    params, state = START, solver.init_state(START)
    for _ in range(60):
        params, state = solver.update(params, state, hyperparams_proj=0.4, data=DATA)
    same(params, solver.run(START, 0.4, DATA).params, 1e-6)


def test_the_svm_and_its_constants():
    # The rows of the dual are not scaled by the strength in jaxopt, whose sweeps diverge for one below 1.
    one_hot = jax.nn.one_hot(LABELS, 3, dtype=X.dtype)
    prox = ours.prox.make_prox_from_projection(ours.projection.projection_simplex)
    solver = ours.BlockCoordinateDescent(ours.objective.multiclass_linear_svm_dual, prox, tol=1e-8, maxiter=5000)
    step = solver.run(jnp.full((N, 3), 1 / 3), None, l2reg=0.5, data=(X, one_hot))
    assert step.state.error <= 1e-8
    same(jnp.sum(step.params, 1), jnp.ones(N))


def test_what_is_refused():
    fun, prox = ours.objective.least_squares, ours.prox.prox_lasso
    with pytest.raises(TypeError, match=r"implicit_diff_solve must be None or a lineax solver.*got function"):
        ours.ProximalGradient(fun, prox, implicit_diff_solve=lambda matvec, b: b)
    with pytest.raises(TypeError, match="prox must be a function"):
        ours.ProximalGradient(fun, 0.1)
    with pytest.raises(TypeError, match="projection must be a function"):
        ours.ProjectedGradient(fun, None)
    with pytest.raises(ValueError, match="stepsize must be positive"):
        ours.MirrorDescent(fun, prox, stepsize=0.0)
    with pytest.raises(AttributeError, match="subclass it, or use ProximalGradient"):
        ours.BlockCoordinateDescent(lambda w: 0.0, prox)
    with pytest.raises(AttributeError, match=r"jaxopt.LBFGSB is not .* use jt.LBFGSB"):
        _ = ours.LBFGSB
    with pytest.raises(ValueError, match="strength must be nonnegative"):
        prox(POINT, -1.0)
    unmet = lasso(ours, maxiter=2).run(START, 0.2, DATA)
    assert unmet.state.iter_num == 2 and unmet.state.error > 1e-9


@pytest.mark.parametrize("name", ["", ".prox", ".projection", ".objective"])
def test_examples_run(name):
    module = importlib.import_module(f"jaxopt_thoth.interop.jaxopt{name}")
    for key, value in vars(module).items():
        if not key.startswith("_") and getattr(value, "__module__", "").startswith("jaxopt_thoth.interop.jaxopt"):
            finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner(verbose=False)
            examples = finder.find(value, key, globs={})
            assert isinstance(value, ours.objective.CompositeLinearFunction) or sum(len(e.examples) for e in examples)
            for example in examples:
                assert runner.run(example).failed == 0
