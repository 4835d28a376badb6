"""Evolution problems: encode once, move the code in time, decode at any time and place."""

from fields.evolution.model import EvolutionOperator
from fields.evolution.objective import Objective
from fields.evolution.propagators import Direct, FlowInTime, Propagator, Step

__all__ = ["Direct", "EvolutionOperator", "FlowInTime", "Objective", "Propagator", "Step"]
