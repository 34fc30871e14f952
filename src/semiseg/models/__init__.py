"""The networks of the suite and the loading of their weights. Each `conf/model/` file names one of these classes."""

from semiseg.models.base import SegmentationModel
from semiseg.models.deeplabv2 import DeepLabV2
from semiseg.models.discriminator import Discriminator
from semiseg.models.lightweight import LightweightDSConv
from semiseg.models.lightweight_original import LightweightOriginal
from semiseg.models.multihead import MultiHeadDeepLabV3Plus
from semiseg.models.pruned import Pruned
from semiseg.models.weights import WeightsReport, load_encoder_weights, load_weights

__all__ = [
    "DeepLabV2",
    "Discriminator",
    "LightweightDSConv",
    "LightweightOriginal",
    "MultiHeadDeepLabV3Plus",
    "Pruned",
    "SegmentationModel",
    "WeightsReport",
    "load_encoder_weights",
    "load_weights",
]
