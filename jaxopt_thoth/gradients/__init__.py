"""Transformations of gradients: clipping, per-example gradients, averages of weights, optimizers over norm balls."""
