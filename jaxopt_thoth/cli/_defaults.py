"""The simulated scene that both `simulate` and `unmix` make when they are not told otherwise."""

HEIGHT = 64
WIDTH = 64
BANDS = 120
SNR = 35.0
