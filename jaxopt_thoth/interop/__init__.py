"""Bridges to other libraries; each imports the other library only when it is used."""

from . import jaxopt as jaxopt
from ._as_optimistix_adjoint import as_optimistix_adjoint as as_optimistix_adjoint
from ._as_optimistix_minimiser import as_optimistix_minimiser as as_optimistix_minimiser
from ._fixed_point import as_fixed_point as as_fixed_point
from ._from_optax import from_optax as from_optax
from ._from_optimistix import from_optimistix as from_optimistix
from ._from_prox import from_prox as from_prox
