"""What a fitted model is worth: criteria with derivatives in the strengths, so that gradients tune them."""

from ._aic import aic as aic
from ._bic import bic as bic
from ._degrees_of_freedom import degrees_of_freedom as degrees_of_freedom
from ._gcv import gcv as gcv
from ._held_out_loss import held_out_loss as held_out_loss
from ._sure import sure as sure
