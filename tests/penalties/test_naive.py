"""Every prox against a naive reference: see `naive.py`."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest


# Tests are imported by path, so that what they share is too.
_spec = importlib.util.spec_from_file_location("naive", Path(__file__).with_name("naive.py"))
naive = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(naive)


@pytest.mark.parametrize("name", naive.REFERENCES)
def test_prox_is_that_of_the_naive_reference(name):
    reference = naive.REFERENCES[name]
    points = np.random.default_rng(3).normal(size=(4, *reference.shape)) * np.array([0.4, 1, 2, 4]).reshape(
        -1, *[1] * len(reference.shape)
    )
    prox = jax.jit(jax.vmap(reference.penalty.prox, (0, None)))
    for step in (0.6, 1.7):
        argument = tuple(jnp.moveaxis(jnp.asarray(points), 1, 0)) if name == "SeparableSum" else jnp.asarray(points)
        found = prox(argument, step)
        found = np.stack(found, 1) if name == "SeparableSum" else found
        expected = np.stack([reference.solve(x, step) for x in points])
        np.testing.assert_allclose(found, expected, atol=reference.tolerance)
