"""Losses as functions: what a prediction costs. Each file's `__all__` is part of flame.nn.functional."""
