"""The solvers, prox, projections and objectives of jaxopt under its own names and signatures, run by this library.

Code written for jaxopt ports by changing one import, `from jaxopt_thoth.interop import jaxopt`; jaxopt itself is not
needed. Definitions and scalings are jaxopt's; what finds a solution and differentiates it is `solve`.
"""

from typing import Any, NoReturn

from . import objective as objective, projection as projection, prox as prox
from ._block_coordinate_descent import BlockCoordinateDescent as BlockCoordinateDescent
from ._mirror_descent import MirrorDescent as MirrorDescent
from ._opt_step import OptStep as OptStep
from ._projected_gradient import ProjectedGradient as ProjectedGradient
from ._proximal_gradient import ProximalGradient as ProximalGradient


_REPLACEMENTS = {
    "AndersonAcceleration": "jt.AndersonAcceleration(solver)",
    "AndersonWrapper": "jt.AndersonAcceleration(solver)",
    "BFGS": "interop.from_optimistix(optimistix.BFGS(rtol=0.0, atol=0.0))",
    "GradientDescent": "ProximalGradient(fun), whose prox does nothing by default",
    "LBFGS": "jt.LBFGSB() without a penalty, or interop.from_optax(optax.lbfgs())",
    "LBFGSB": "jt.LBFGSB() with the penalty jt.penalties.Box(lower, upper)",
    "NonlinearCG": "interop.from_optimistix(optimistix.NonlinearCG(rtol=0.0, atol=0.0))",
    "OptaxSolver": "interop.from_optax(optimizer)",
    "implicit_diff": "jt.implicit.custom_root, custom_fixed_point, root_jvp and root_vjp",
    "loss": "jt.losses",
}


def __getattr__(name: str) -> NoReturn:
    instead: Any = _REPLACEMENTS.get(name)
    use = "see docs/port_from_jaxopt.md" if instead is None else f"use {instead}"
    raise AttributeError(f"jaxopt.{name} is not among the names that are kept for porting; {use}.")
