"""Differential privacy: mechanisms, accounting, and the methods that use them."""
