"""The command line `jaxopt-thoth`: unmix a scene, simulate one, evaluate an estimate.

Needs typer, rich and matplotlib, which the extra `cli` installs.
"""

from ._main import main as main
