"""Input functions become tokens."""

from fields.encoders.base import Encoder
from fields.encoders.multi_input import MultiInput
from fields.encoders.patches import Patches
from fields.encoders.points import Points
from fields.encoders.sensors import Sensors
from fields.encoders.tokens import Tokens
from fields.encoders.trigonometric import Trigonometric

__all__ = ["Encoder", "MultiInput", "Patches", "Points", "Sensors", "Tokens", "Trigonometric"]
