"""Input functions become tokens."""

from fields.encoders.base import Encoder
from fields.encoders.patches import Patches
from fields.encoders.points import Points

__all__ = ["Encoder", "Patches", "Points"]
