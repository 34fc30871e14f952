"""Experiment suite for semi-supervised semantic segmentation of aerial imagery."""

__version__ = "0.1.0"
