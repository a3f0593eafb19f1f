"""Bridges to other libraries; each imports the other library only when it is used."""

from ._fixed_point import as_fixed_point as as_fixed_point
