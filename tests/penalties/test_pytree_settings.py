"""Settings as pytrees: a strength of its own for each block of the variable, for every entrywise penalty."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_thoth import penalties as p
from jaxopt_thoth.penalties._entrywise import AbstractEntrywise


X = {"w": {"k": jnp.asarray([[1.3, 0.2], [0.4, 2.0]]), "c": jnp.asarray([0.6, 3.0])}, "b": jnp.asarray(0.5)}
GRADIENT = jax.tree.map(jnp.cos, X)
STEP = 0.6
# One number for the block "w", an array for the whole of "b"; and a tree like the variable.
PREFIX = {"w": 0.7, "b": np.asarray(0.3)}
FULL = {"w": {"k": jnp.asarray([[0.1, 0.2], [0.3, 0.4]]), "c": 0.5}, "b": 0.9}
BELOW = {"w": {"k": -0.5, "c": 0.1}, "b": -jnp.inf}

MAKE = {
    "L1": lambda s: p.L1(s),
    "L2Squared": lambda s: p.L2Squared(s),
    "ElasticNet": lambda s: p.ElasticNet(s, 0.4),
    "ElasticNet of two trees": lambda s: p.ElasticNet(s, {"w": 0.4, "b": 0.0}),
    "Huber": lambda s: p.Huber(s, PREFIX),
    "Box": lambda s: p.Box(BELOW, s),
    "Box above": lambda s: p.Box(-1.0, s),
    "LogBarrier": lambda s: p.LogBarrier(s),
    "NegativeEntropy": lambda s: p.NegativeEntropy(s),
    "KullbackLeibler": lambda s: p.KullbackLeibler(s, PREFIX),
    "ReverseKullbackLeibler": lambda s: p.ReverseKullbackLeibler(s, 0.4),
    "Hinge": lambda s: p.Hinge(s),
    "Pinball": lambda s: p.Pinball(0.8, s),
    "MCP": lambda s: p.MCP(s, {"w": 2.0, "b": 3.0}),
    "SCAD": lambda s: p.SCAD(s, 2.5),
    "LogSum": lambda s: p.LogSum(0.3, s),
    "L0": lambda s: p.L0(s),
    "LHalf": lambda s: p.LHalf(s),
    "LTwoThirds": lambda s: p.LTwoThirds(s),
    "CappedL1": lambda s: p.CappedL1(s, PREFIX),
    "Scaled": lambda s: 2.0 * p.L1(s),
    "Tilted": lambda s: p.Tilted(p.L1(s), PREFIX),
    "Translated": lambda s: p.Translated(p.L1(s), PREFIX),
    "Regularized": lambda s: p.Regularized(p.L1(s), 0.5, PREFIX),
    "Conjugate": lambda s: p.Conjugate(p.L1(s)),
}
METHODS = {
    "value": (X,),
    "prox": (X, STEP),
    "conjugate": (X,),
    "dual_scale": (X,),
    "minimal_subgradient": (X, GRADIENT),
    "support": (X,),
    "critical_strength": (GRADIENT,),
    "conjugate_prox": (X, STEP),
    "envelope": (X, STEP),
}


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def leaf_settings(penalty):
    """The penalty of each leaf of X, from settings cut by hand."""

    def at(*path):
        def cut(part):
            for key in path:
                part = part[key] if isinstance(part, dict) else part
            return part

        return jax.tree.map(cut, penalty, is_leaf=lambda node: isinstance(node, dict))

    return {"w": {"k": at("w", "k"), "c": at("w", "c")}, "b": at("b")}


def answer(penalty, method, arguments):
    try:
        return getattr(penalty, method)(*arguments)
    except NotImplementedError:
        return None


@pytest.mark.parametrize("setting", [PREFIX, FULL], ids=["prefix", "full"])
@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE.keys())
def test_settings_of_a_leaf_are_those_of_its_own_penalty(make, setting):
    penalty = make(setting)
    apart = p.SeparableSum(leaf_settings(penalty))
    assert penalty.is_feasible()
    for method, arguments in METHODS.items():
        seen = answer(penalty, method, arguments)
        if seen is not None:
            jax.tree.map(close, seen, getattr(apart, method)(*arguments))


def test_table_is_complete():
    def below(cls):
        return {cls, *(kind for child in cls.__subclasses__() for kind in below(child))}

    public = {cls.__name__ for cls in below(AbstractEntrywise) if cls is getattr(p, cls.__name__, None)}
    assert public <= set(MAKE)


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE.keys())
def test_compiled_batched_and_differentiated(make):
    """One compilation serves all settings; moving that of a block moves what is below it, and nothing else."""
    traces = []
    cubes = lambda tree: sum(jnp.sum(leaf**3) for leaf in jax.tree.leaves(tree))

    @jax.jit
    def observe(setting):
        traces.append(1)
        prox = lambda s: make(s).prox(X, STEP)
        slope = jax.grad(lambda s: cubes(prox(s)))(setting)
        alone = {n: jax.grad(lambda s, n=n: cubes(prox({**setting, n: s})[n]))(setting[n]) for n in setting}
        return prox(setting), slope, alone

    settings = [jax.tree.map(lambda s, f=factor: jnp.asarray(f * s), PREFIX) for factor in (1.0, 1.2)]
    apart = [observe(setting) for setting in settings]
    assert len(traces) == 1
    for _, slope, alone in apart:
        assert all(jnp.isfinite(part) for part in jax.tree.leaves(slope))
        jax.tree.map(close, slope, alone)
    together = jax.vmap(observe)(jax.tree.map(lambda *parts: jnp.stack(parts), *settings))
    jax.tree.map(lambda whole, *parts: close(whole, jnp.stack(parts)), together, *apart)


def test_derivative_in_the_penalty_itself():
    slope = jax.grad(lambda penalty: penalty.value(X))(p.L1(PREFIX)).strength
    assert slope["b"] == 0.5 and slope["w"] == sum(jnp.sum(leaf) for leaf in X["w"].values())


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: p.L1({"w": 1.0}).value(X), "strength must be one number or array, or a pytree like the variable"),
        (lambda: p.L1([1.0, 2.0]).prox(X["w"]["c"], STEP), "a list is a pytree"),
        (lambda: p.ElasticNet(1.0, {"w": 1.0, "c": 2.0}).prox(X, STEP), "l2 must be one number or array"),
        (lambda: p.Translated(p.L1(1.0), {"v": 1.0}).value(X), "offset must be one number or array"),
        (lambda: p.L1({"w": 1.0, "b": -1.0}), "strength must be nonnegative, got -1.0"),
        (lambda: p.Pinball(1.0, {"w": 0.5, "b": 2.0}), "quantile must lie in"),
        (lambda: p.MCP(1.0, {"w": 0.5, "b": 2.0}), "gamma must exceed 1"),
        (lambda: p.Box({"w": 0.0, "b": 1.0}, {"w": 1.0, "b": 0.0}), "lower must not exceed upper"),
        (lambda: p.Box({"w": 0.0, "b": 1.0}, {"v": 1.0}), "lower and upper must be one number or array"),
    ],
)
def test_trees_that_do_not_fit_name_the_mend(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_feasibility_of_traced_trees():
    feasible = jax.jit(lambda low: p.Box(low, {"w": 1.0, "b": 2.0}).is_feasible())
    assert feasible({"w": 0.0, "b": 2.0}) and not feasible({"w": 0.0, "b": 3.0}) and not feasible(1.5)


def test_types_follow_the_variable():
    x = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), X)
    for make in MAKE.values():
        assert {leaf.dtype for leaf in jax.tree.leaves(jax.eval_shape(lambda x: make(PREFIX).prox(x, STEP), x))} == {  # noqa: B023
            jnp.dtype("float32")
        }
