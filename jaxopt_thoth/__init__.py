"""Differentiable optimisation and hyperspectral unmixing in JAX."""
