"""Hyperspectral unmixing: scenes, endmember extraction, abundances, and how far they are from the truth."""

from . import metrics as metrics
from ._align import align as align, permute as permute
from ._atgp import atgp as atgp
from ._cube import cube_to_pixels as cube_to_pixels, pixels_to_cube as pixels_to_cube
from ._edaa import edaa as edaa
from ._evaluate import evaluate as evaluate
from ._fclsu import fclsu as fclsu, fclsu_gram as fclsu_gram
from ._load import load_scene as load_scene
from ._noise import awgn as awgn
from ._normalize import (
    bandwise_minmax as bandwise_minmax,
    global_minmax as global_minmax,
    pixel_l1 as pixel_l1,
    pixel_l2 as pixel_l2,
)
from ._save import save_scene as save_scene
from ._scene import Scene as Scene
from ._scene_error import SceneError as SceneError
from ._simulate import simulate_scene as simulate_scene
from ._sivm import sivm as sivm
from ._unmix import unmix as unmix
from ._unmixing import Unmixing as Unmixing
from ._vca import vca as vca
