import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from jaxopt_thoth import gradients


KEYS = jax.random.split(jax.random.key(0), 12)
TOKENS = jax.random.randint(KEYS[0], (5, 6), 0, 9)
SIGNALS = jax.random.normal(KEYS[1], (5, 8))
IMAGES = jax.random.normal(KEYS[2], (5, 2, 9, 8))
LABELS = jnp.arange(5) % 3


def cross_entropy(scores, label):
    return -jax.nn.log_softmax(scores)[label]


def multilayer():
    return eqx.nn.MLP(8, 3, 10, 2, activation=jax.nn.gelu, key=KEYS[3]), cross_entropy_of, (SIGNALS, LABELS)


def cross_entropy_of(model, x, label):
    return cross_entropy(model(x), label)


class Convolutional(eqx.Module):
    layers: list
    norm: eqx.nn.GroupNorm
    line: eqx.nn.Conv1d
    head: eqx.nn.Linear

    def __init__(self):
        self.layers = [
            eqx.nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding="SAME", key=KEYS[0]),
            eqx.nn.Conv2d(4, 6, 3, groups=2, dilation=(1, 2), padding=((1, 0), (2, 1)), key=KEYS[1]),
            eqx.nn.Conv2d(6, 40, 3, padding=1, padding_mode="CIRCULAR", use_bias=False, key=KEYS[2]),
        ]
        self.norm = eqx.nn.GroupNorm(2, 40)
        self.line = eqx.nn.Conv1d(40, 3, 2, stride=2, key=KEYS[3])
        self.head = eqx.nn.Linear(3, 3, key=KEYS[4])

    def __call__(self, x):
        for layer in self.layers:
            x = jnp.tanh(layer(x))
        x = self.line(self.norm(x).mean(axis=1))
        return self.head(x.max(axis=1))


def convolutional():
    return Convolutional(), cross_entropy_of, (IMAGES, LABELS)


class Transformer(eqx.Module):
    embedding: eqx.nn.Embedding
    positions: jax.Array
    attention: eqx.nn.MultiheadAttention
    norms: list
    feed: eqx.nn.MLP

    def __init__(self, size=8):
        self.embedding = eqx.nn.Embedding(9, size, key=KEYS[5])
        self.positions = jax.random.normal(KEYS[6], (7, size))
        self.attention = eqx.nn.MultiheadAttention(2, size, use_query_bias=True, key=KEYS[7])
        self.norms = [eqx.nn.LayerNorm(size), eqx.nn.RMSNorm(size)]
        self.feed = eqx.nn.MLP(size, size, 30, 1, key=KEYS[8])

    def __call__(self, tokens):
        h = jax.vmap(self.embedding)(tokens) + self.positions[: len(tokens)]
        a = jax.vmap(self.norms[0])(h)
        h = h + self.attention(a, a, a)
        h = h + jax.vmap(jax.checkpoint(lambda row: self.feed(row)))(jax.vmap(self.norms[1])(h))
        # Tied: the rows that are looked up are also the output layer.
        return h @ self.embedding.weight.T


def next_token(model, tokens):
    scores = jax.nn.log_softmax(model(tokens[:-1]))
    return -jnp.mean(jnp.take_along_axis(scores, tokens[1:, None], axis=1))


def transformer():
    return Transformer(), next_token, (TOKENS,)


def tied():
    """One matrix in two places, along the same and along opposite axes, at few and at many positions."""
    w = {name: jax.random.normal(key, (8, 8)) / 3 for name, key in zip("abcd", KEYS[3:7], strict=True)}

    def loss(w, x, label):
        h = jnp.tanh(w["a"] @ jnp.tanh(w["a"] @ x))
        h = w["b"].T @ jnp.tanh(w["b"] @ h)
        h = jnp.stack([h, 2 * h, x]) @ jnp.reshape(w["c"], (8, 1, 8))[:, 0] @ w["c"]
        h = h @ w["d"][label] + w["d"][label + 1, 0] * w["d"][2].sum()
        return jnp.sum(jnp.sin(h))

    return w, loss, (SIGNALS, LABELS)


def shared():
    class Shared(eqx.Module):
        shared: eqx.nn.Shared

        def __call__(self, tokens):
            embedding, linear = self.shared()
            return linear(jnp.sum(jax.vmap(embedding)(tokens) ** 2, axis=0))

    parts = (eqx.nn.Embedding(9, 4, key=KEYS[2]), eqx.nn.Linear(4, 9, key=KEYS[3]))
    return (
        Shared(eqx.nn.Shared(parts, lambda p: p[1].weight, lambda p: p[0].weight)),
        cross_entropy_of,
        (TOKENS, LABELS),
    )


def unusual():
    """Uses without a rule, and calls that hide the ones that have one."""
    names = ("scan", "custom", "penalty", "heads", "take", "branch", "wide", "scale", "unused", "index")
    w = {name: jax.random.normal(key, (4, 4)) for name, key in zip(names, KEYS, strict=False)}
    w |= {"heads": w["heads"].reshape(2, 2, 4), "scale": jnp.asarray(1.5), "ids": jnp.arange(3), "name": None}

    @jax.custom_vjp
    def custom(w, x):
        return w @ x

    custom.defvjp(lambda w, x: (w @ x, (w, x)), lambda res, d: (2 * jnp.outer(d, res[1]), res[0].T @ d))

    @jax.jit
    def loss(w, x, label):
        x = x.reshape(2, 4)
        h = jax.lax.scan(lambda h, row: (jnp.tanh(w["scan"] @ h + row), h), x[0], x)[0]
        h = custom(w["custom"], h) + 0.1 * jnp.sum(w["penalty"] * w["penalty"])
        h = h + jnp.einsum("hk,hkd->d", h.reshape(2, 2), w["heads"])
        h = (
            h
            + jnp.take(w["take"], jnp.stack([label, label, label - 1, label + 7]), axis=1, mode="fill", fill_value=0)[1]
        )
        h = jax.lax.cond(label > 0, lambda h: w["branch"] @ h, lambda h: h, h)
        h = jnp.where(w["index"][0] > 0, h, -h) * w["index"][label]
        h = jnp.broadcast_to(w["wide"][None], (3, 4, 4)).sum(axis=0) @ h
        return w["scale"] + jnp.sum(h**2) * w["scale"]

    return w, loss, (SIGNALS, LABELS)


MODELS = [multilayer, convolutional, transformer, tied, shared, unusual]


@pytest.mark.parametrize("build", MODELS)
def test_ghost_norms_and_sums_are_those_of_the_gradients(build):
    params, loss, batch = build()
    rule = gradients.PerLayerClip.uniform(0.5, params)
    mask = jnp.arange(5) != 1

    @eqx.filter_jit
    def everything(params, batch):
        found = []
        for engine in ("vmap", "ghost"):
            every = gradients.per_example(loss, engine)
            clipped = gradients.per_example(loss, engine, clipping=rule)(params, *batch, mask=mask)
            found.append((every(params, *batch), every.norms(params, *batch), clipped))
        return found

    expected, found = everything(params, batch)
    assert jax.tree.structure(expected) == jax.tree.structure(found)
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-11)


def sizes(jaxpr):
    for eqn in jaxpr.eqns:
        yield from (var.aval.size for var in eqn.outvars)
        for inner in jaxprs_in_params(eqn.params):
            yield from sizes(inner)


@pytest.mark.parametrize("kind", ["linear", "positions", "lookup", "tied", "convolution"])
def test_no_array_of_all_gradients_is_formed(kind):
    number, tokens = 64, jnp.ones((64, 3), int)
    linear = eqx.nn.Linear(50, 40, key=KEYS[0])
    table = eqx.nn.Embedding(50, 40, key=KEYS[0])
    model, loss, batch = {
        "linear": (linear, lambda m, x: jnp.sum(m(x) ** 2), (jnp.ones((number, 50)),)),
        "positions": (linear, lambda m, x: jnp.sum(jax.vmap(m)(x) ** 2), (jnp.ones((number, 3, 50)),)),
        "lookup": (table, lambda m, t: jnp.sum(jax.vmap(m)(t) ** 2), (tokens,)),
        "tied": (table, lambda m, t: jnp.sum((jax.vmap(m)(t) @ m.weight.T) ** 2), (tokens,)),
        "convolution": (
            eqx.nn.Conv2d(20, 30, 3, key=KEYS[0]),
            lambda m, x: jnp.sum(m(x) ** 2),
            (jnp.ones((number, 20, 4, 4)),),
        ),
    }[kind]
    arrays, static = eqx.partition(model, eqx.is_array)

    def most(engine):
        run = gradients.per_example(loss, engine, clipping=gradients.GlobalClip(1.0))
        traced = jax.make_jaxpr(lambda m, b: run(eqx.combine(m, static), *b).norms)(arrays, batch)
        return max(sizes(traced.jaxpr))

    assert most("vmap") >= number * model.weight.size > 2 * most("ghost")


def test_cost_of_ghost_norms_is_close_to_that_of_a_gradient():
    model = eqx.nn.MLP(784, 10, 256, 2, dtype=jnp.float32, key=KEYS[0])
    arrays, static = eqx.partition(model, eqx.is_array)
    shapes = (jax.ShapeDtypeStruct((256, 784), jnp.float32), jax.ShapeDtypeStruct((256,), jnp.int32))

    def cost(fn):
        program = jax.jit(lambda m, *batch: fn(eqx.combine(m, static), *batch)).lower(arrays, *shapes).compile()
        return program.cost_analysis()["flops"], program.memory_analysis().temp_size_in_bytes

    mean = lambda m, *batch: jnp.sum(jax.vmap(lambda x, y: cross_entropy_of(m, x, y))(*batch))
    flops, memory = cost(lambda m, *batch: eqx.filter(eqx.filter_grad(mean)(m, *batch), eqx.is_array))
    run = gradients.per_example(cross_entropy_of, "ghost", clipping=gradients.GlobalClip(1.0))
    ghost_flops, ghost_memory = cost(lambda m, *batch: eqx.filter(run(m, *batch).total, eqx.is_array))
    assert ghost_flops <= 1.3 * flops
    assert ghost_memory <= 4 * memory


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_single_and_half_precision_agree_to_their_rounding(dtype):
    model, loss, batch = transformer() if dtype == jnp.float32 else shared()
    narrow = jax.tree.map(lambda a: a.astype(dtype) if eqx.is_inexact_array(a) else a, model)
    clipped = lambda engine: gradients.per_example(loss, engine, clipping=gradients.GlobalClip(0.1))
    expected, found = eqx.filter_jit(lambda m: (clipped("vmap")(m, *batch), clipped("ghost")(m, *batch)))(narrow)
    tolerance = 1e-5 if dtype == jnp.float32 else 3e-2
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(found.total))
    difference = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), expected.total, found.total)
    assert sum(map(float, jax.tree.leaves(difference))) ** 0.5 < tolerance * 0.5
    np.testing.assert_allclose(found.norms, expected.norms, rtol=tolerance)


def test_positions_that_cancel_do_not_pass_the_level():
    # The squared norm is 1e-10 of its terms, far below their rounding.
    x = jax.random.normal(KEYS[0], (50,), jnp.float32)
    pairs = jnp.stack([x, -x])[None] + 1e-5 * jax.random.normal(KEYS[1], (64, 2, 50), jnp.float32)
    scale = 1e5 * jax.random.normal(KEYS[2], (40,), jnp.float32)
    loss = lambda w, x: jnp.sum(x @ w @ scale)
    run = jax.vmap(gradients.per_example(loss, "ghost", clipping=gradients.GlobalClip(1.0)), in_axes=(None, 0))
    total = jax.jit(run)(jnp.zeros((50, 40), jnp.float32), pairs[:, None]).total
    assert jnp.linalg.norm(total, axis=(1, 2)).max() < 1 + 1e-5


def test_keys_are_given_to_each_example():
    drop = eqx.nn.Dropout(0.5)
    linear = eqx.nn.Linear(8, 3, key=KEYS[0])
    loss = lambda m, x, key: jnp.sum(m(drop(x, key=key)) ** 2)
    keys = jax.random.split(KEYS[1], 5)
    run = lambda engine: gradients.per_example(loss, engine)(linear, SIGNALS, keys)
    every = [jax.tree.leaves(run(engine)) for engine in ("vmap", "microbatch", "ghost")]
    for a, b, c in zip(*every, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-12)
        np.testing.assert_allclose(c, a, atol=1e-12)


def test_batch_normalization_is_refused_unless_it_is_frozen():
    class Normalized(eqx.Module):
        norm: eqx.nn.BatchNorm

    model = Normalized(eqx.nn.BatchNorm(4, axis_name="batch", mode="ema"))
    for engine in ("vmap", "ghost"):
        run = gradients.per_example(lambda m, x: jnp.sum(m.norm.weight * x), engine)
        with pytest.raises(ValueError, match="BatchNorm"):
            run(model, jnp.ones((2, 4)))
        assert run(eqx.nn.inference_mode(model), jnp.ones((2, 4))).norm.weight.shape == (2, 4)
