"""The bilevel problems with reference values, loaded from the tests of implicit differentiation."""

import importlib.util
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest

import jaxopt_thoth as jt


def _load():
    path = Path(__file__).parents[1] / "implicit" / "reference_problems.py"
    spec = importlib.util.spec_from_file_location("bilevel_reference_problems", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def references():
    """Function of a name: the reference problem, and the same as a `Bilevel` problem with its point."""
    module = _load()

    def find(name):
        row = module.reference(name)
        if row.penalty is None:
            problem = jt.bilevel.Bilevel(row.outer, row.inner)
        else:
            build = lambda theta: jt.Composite(jt.FunctionTerm(row.inner, theta), row.penalty(theta))
            problem = jt.bilevel.Bilevel(row.outer, problem=build)
        return row, problem, (row.theta, jnp.asarray(row.x))

    return find
