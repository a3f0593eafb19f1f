import re
from pathlib import Path

import jax
import pytest


ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", ["README.md", "docs/tour.md"])
def test_the_code_of_the_page_runs(page):
    blocks = BLOCK.findall((ROOT / page).read_text())
    assert blocks
    names: dict = {}
    # A reader has neither 64 bits nor the strictness of our tests.
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exec(compile("\n".join(blocks), page, "exec"), names)
    assert names["scene"].to_map(names.get("result", names.get("estimate")).abundances).shape[0] == 3


def test_pages_link_only_to_what_is_there():
    for page in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / page).read_text()):
            assert (ROOT / target).exists(), target
