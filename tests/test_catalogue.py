"""What every public penalty and projection owes: laws, an example, a source, a naive reference, a line of the docs.

A new operator is found by itself, and fails here until it has them.
"""

import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from jaxopt_thoth import penalties, projections


HERE = Path(__file__).parent


def load(path: Path) -> ModuleType:
    # Tests are imported by path, and the docs are no package.
    name = f"catalogue_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


docs = load(HERE.parent / "docs" / "catalogue.py")
zoo = load(HERE / "penalties" / "conftest.py")
naive = load(HERE / "penalties" / "naive.py")
sets = load(HERE / "projections" / "test_laws.py")

PENALTIES = docs.operators(penalties)
PROJECTIONS = docs.operators(projections)
ALL = {f"penalties.{name}": kind for name, kind in PENALTIES.items()}
ALL |= {f"projections.{name}": project for name, project in PROJECTIONS.items()}

# Laws and references of what no row of a table can say, in a file of their own.
DEDICATED = {
    "penalties.Rank": "penalties/test_calculus.py",
    "penalties.SeparableSum": "penalties/test_values.py",
    "projections.birkhoff": "projections/test_transport.py",
    "projections.birkhoff_kl": "projections/test_transport_kl.py",
    "projections.transport": "projections/test_transport.py",
    "projections.transport_kl": "projections/test_transport_kl.py",
    "projections.low_rank": "projections/test_low_rank.py",
    "projections.sparse_simplex": "projections/test_special_sets.py",
    "projections.sphere": "projections/test_special_sets.py",
    "projections.stiefel": "projections/test_special_sets.py",
    "projections.top_k": "projections/test_special_sets.py",
}
NO_SOURCE = {"penalties.Zero": "its prox is the identity by definition"}


def kinds(penalty: Any) -> set[str]:
    """The class of a penalty of the zoo, seen through the wrappers that only reshape its variable."""
    inner = [penalty.penalty] if type(penalty).__module__ == zoo.__name__ else []
    return {type(penalty).__name__, *(name for part in inner for name in kinds(part))}


IN_TABLES = {f"penalties.{name}" for case in zoo.ZOO + zoo.NOT_CONVEX for name in kinds(case.penalty())}
IN_TABLES |= {f"projections.{name}" for name in sets.CASES}


@pytest.mark.parametrize("name", ALL)
def test_has_laws(name: str) -> None:
    if name not in IN_TABLES:
        assert name in DEDICATED, f"{name} is in no table of laws; add a row, or its own file to DEDICATED"
        assert name.rpartition(".")[2] in (HERE / DEDICATED[name]).read_text()


@pytest.mark.parametrize("name", ALL)
def test_has_an_example_and_a_source(name: str) -> None:
    assert ">>>" in (inspect.getdoc(ALL[name]) or ""), f"{name} has no example"
    assert docs.sources(ALL[name]) or name in NO_SOURCE, f"{name} cites no authors, title and year"


@pytest.mark.parametrize("name", PENALTIES)
def test_penalty_has_a_naive_reference(name: str) -> None:
    """That of a projection is the constraint of its row, or is in its own file."""
    assert name in {key.partition(" ")[0] for key in naive.REFERENCES}, f"{name} has no row in tests/penalties/naive.py"


@pytest.mark.parametrize("room, rows", [(PENALTIES, docs.PENALTIES), (PROJECTIONS, docs.PROJECTIONS)])
def test_documented_table_is_complete(room: dict, rows: dict) -> None:
    assert room.keys() == rows.keys(), "docs/catalogue.py must have one row an operator"


def test_exemptions_are_needed() -> None:
    assert NO_SOURCE.keys() | DEDICATED.keys() <= ALL.keys()
    assert not any(docs.sources(ALL[name]) for name in NO_SOURCE)
    assert not DEDICATED.keys() & IN_TABLES


def test_every_scalar_penalty_is_drawn() -> None:
    separable = {name for name, kind in PENALTIES.items() if kind.is_separable is True} - {"Zero"}
    drawn = {name: row.example() for name, row in docs.PENALTIES.items() if row.example}
    assert separable <= drawn.keys()
    assert "NaN" not in docs.table(penalties, docs.PENALTIES)
    for name, penalty in drawn.items():
        assert type(penalty).__name__ == name
        assert docs.picture(penalty).count("<path") == 4
