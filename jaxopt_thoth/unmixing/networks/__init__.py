"""Networks that unmix, as equinox modules, and the loop that trains them."""

from ._admmnet import admmnet as admmnet
from ._admmnet_net import ADMMNet as ADMMNet
from ._cnnaeu import cnnaeu as cnnaeu
from ._cnnaeu_net import CNNAEU as CNNAEU
from ._misicnet import misicnet as misicnet
from ._misicnet_net import MiSiCNet as MiSiCNet
from ._msnet import msnet as msnet
from ._msnet_net import MSNet as MSNet
from ._pgmsu import pgmsu as pgmsu
from ._pgmsu_net import PGMSU as PGMSU, PixelSpectra as PixelSpectra
from ._suncnn import suncnn as suncnn
from ._train import train as train, Training as Training
from ._undip import undip as undip
from ._undip_net import UnDIPNet as UnDIPNet
