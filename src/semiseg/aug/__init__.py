"""Augmentations: each a class whose constructor is the schema of its file in `conf/aug/`."""

from semiseg.aug.base import Augment
from semiseg.aug.crop import MultiScaleCrop, RandomCrop
from semiseg.aug.resize import ResizeFlip

__all__ = ["Augment", "MultiScaleCrop", "RandomCrop", "ResizeFlip"]
