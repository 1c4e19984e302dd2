"""Assay: the checkpoint between the sources of training data and the model that learns from it."""

__version__ = "0.1.0"
