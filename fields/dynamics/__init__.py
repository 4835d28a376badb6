"""Abstract vector fields on tokens, and learned energies. Laws are in :mod:`fields.flows`."""

from fields.dynamics.base import Context as Context
from fields.dynamics.base import Energy as Energy
from fields.dynamics.base import EnergyField as EnergyField
from fields.dynamics.base import Invariant as Invariant
from fields.dynamics.base import SeparableHamiltonian as SeparableHamiltonian
from fields.dynamics.base import VectorField as VectorField
from fields.dynamics.energies import AttentionEnergy as AttentionEnergy
from fields.dynamics.energies import EnergyTransformer as EnergyTransformer
from fields.dynamics.energies import LocalEnergy as LocalEnergy
from fields.dynamics.energies import MLPEnergy as MLPEnergy
from fields.dynamics.wave import WaveField as WaveField
