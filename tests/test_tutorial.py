"""The code of the tutorials runs, and what it asserts holds."""

import re
from pathlib import Path

import jax
import pytest


ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", ["docs/own_penalty.md", "docs/tune_strengths.md"])
def test_the_code_of_the_tutorial_runs(page: str) -> None:
    code = "\n".join(BLOCK.findall((ROOT / page).read_text()))
    assert code.count("assert ") >= 5
    # A reader has neither 64 bits nor the strictness of our tests.
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exec(compile(code, page, "exec"), {})
