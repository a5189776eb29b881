"""Layers of the networks that every entry of the speed table trains."""

MAML_SIZES = (1, 40, 40, 1)
BMAML_SIZES = (1, 40, 40, 40, 1)
