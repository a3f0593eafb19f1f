"""What every public solver owes: a row of `docs/solvers.py`, an example and a source.

A new solver is found by itself, and fails here until it has them.
"""

import importlib.util
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from jaxopt_thoth.solvers import AbstractSolver, AbstractStepRule


DOCS = Path(__file__).parents[1] / "docs"


def load(name: str) -> ModuleType:
    # As MkDocs loads a hook: by path, with its folder in sight.
    spec = importlib.util.spec_from_file_location(f"documented_{name}", DOCS / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(DOCS))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(DOCS))
    return module


docs = load("solvers")
SOLVERS, RULES = docs.public(AbstractSolver), docs.public(AbstractStepRule)


def test_every_solver_has_a_row():
    assert SOLVERS.keys() == docs.SOLVERS.keys(), "docs/solvers.py must have one row a solver"
    assert RULES.keys() == docs.RULES.keys(), "docs/solvers.py must have one row a step-size rule"
    assert docs.functions() == docs.FUNCTIONS, "a public function of solvers belongs to FUNCTIONS of docs/solvers.py"


@pytest.mark.parametrize("name", SOLVERS | RULES)
def test_has_an_example_and_a_source(name):
    kind = (SOLVERS | RULES)[name]
    assert ">>>" in (inspect.getdoc(kind) or ""), f"{name} has no example"
    assert docs.citations(kind), f"{name} cites no authors, title and year"


@pytest.mark.parametrize("name", docs.SOLVERS)
def test_row_is_of_its_solver(name):
    row = docs.SOLVERS[name]
    solver = row.example()
    assert type(solver) is SOLVERS[name]
    assert all(row[:4])
    assert "jaxopt_thoth.problems" in docs.problem(solver)


def test_page_is_filled():
    page = type("Page", (), {"file": type("File", (), {"src_uri": "solvers.md"})})
    text = docs.on_page_markdown((DOCS / "solvers.md").read_text(), page=page)
    assert "<!--" not in text
    assert all(text.count(f"| [`{name}`]") == 1 for name in SOLVERS | RULES)
    # A bar in code or behind a backslash does not end a cell.
    widths = {re.sub(r"`[^`]*`|\\\|", "", line).count("|") for line in text.splitlines() if line.startswith("| ")}
    assert widths == {6, 9}
    assert not docs.unrolls(docs.SOLVERS["LBFGSB"].example()) and docs.unrolls(docs.SOLVERS["DavisYin"].example())
