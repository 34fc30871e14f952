"""Pseudo-labelers: which unlabelled pixels to trust. A new one is a file here and a YAML under conf/pseudo_label."""

from semiseg.pseudo_label.audit import audit, audit_metrics
from semiseg.pseudo_label.base import PseudoLabeler
from semiseg.pseudo_label.discriminator import DiscriminatorGate
from semiseg.pseudo_label.distillation import Distillation
from semiseg.pseudo_label.none import NoPseudoLabels
from semiseg.pseudo_label.softmax import SoftmaxThreshold

__all__ = [
    "DiscriminatorGate",
    "Distillation",
    "NoPseudoLabels",
    "PseudoLabeler",
    "SoftmaxThreshold",
    "audit",
    "audit_metrics",
]
