import doctest
import inspect

import pytest

import jaxopt_thoth.unmixing as unmixing


_PUBLIC = [
    value
    for room in (unmixing, unmixing.metrics)
    for name, value in vars(room).items()
    if not name.startswith("_") and callable(value)
]


@pytest.mark.parametrize("public", _PUBLIC, ids=lambda public: public.__name__)
def test_every_public_name_has_an_example_that_runs(public):
    module = inspect.getmodule(public)
    examples = doctest.DocTestFinder(recurse=False).find(public, public.__name__, module=module, globs=vars(module))
    assert sum(len(example.examples) for example in examples) > 0
    runner = doctest.DocTestRunner(verbose=False)
    for example in examples:
        assert runner.run(example).failed == 0
