"""One iteration of training, and the averaged network that may teach it."""

from semiseg.methods.ema import Ema
from semiseg.methods.semi_supervised import SemiSupervised

__all__ = ["Ema", "SemiSupervised"]
