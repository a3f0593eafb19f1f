"""Pictures of results: every function returns a matplotlib `Figure` and touches no global state.

Needs matplotlib, which the extras `cli` and `plot` install.
"""

from ._path import path_figure as path_figure
from ._report import report_figure as report_figure
