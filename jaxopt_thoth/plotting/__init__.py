"""Pictures of results: every `..._figure` returns a matplotlib `Figure`, `report_page` the text of a web page.

Needs matplotlib, which the extras `cli` and `plot` install.
"""

from ._compare import comparison_figure as comparison_figure
from ._html import report_page as report_page
from ._path import path_figure as path_figure
from ._report import report_figure as report_figure
