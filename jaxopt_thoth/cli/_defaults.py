"""What the commands share: the scene that `simulate` and `unmix` make by default, and the methods of `unmix`."""

from typing import Literal


HEIGHT = 64
WIDTH = 64
BANDS = 120
SNR = 35.0
Method = Literal[
    "edaa",
    "aa",
    "robust-aa",
    "nmf",
    "mvc-nmf",
    "vca+fclsu",
    "nfindr+fclsu",
    "ppi+fclsu",
    "sivm+fclsu",
    "atgp+fclsu",
    "spa+fclsu",
    "sisal+fclsu",
    "mvsa+fclsu",
]
# The methods that may run several times and choose.
DRAWN = ("edaa", "vca+fclsu", "nfindr+fclsu", "ppi+fclsu")
