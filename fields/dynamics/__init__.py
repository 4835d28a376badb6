"""Vector fields on tokens and the energies that drive them."""

from fields.dynamics.attention_ode import AttentionField as AttentionField
from fields.dynamics.base import Context as Context
from fields.dynamics.base import Energy as Energy
from fields.dynamics.base import Law as Law
from fields.dynamics.base import VectorField as VectorField
from fields.dynamics.density import DensityEnergy as DensityEnergy
from fields.dynamics.energies import AttentionEnergy as AttentionEnergy
from fields.dynamics.energies import MLPEnergy as MLPEnergy
from fields.dynamics.energy_transformer import EnergyTransformer as EnergyTransformer
from fields.dynamics.gradient_flow import GradientFlow as GradientFlow
from fields.dynamics.grand import RandomWalk as RandomWalk
from fields.dynamics.grand import SaturatedGrand as SaturatedGrand
from fields.dynamics.grand import SymmetricGrand as SymmetricGrand
from fields.dynamics.graph import DoubleBracket as DoubleBracket
from fields.dynamics.graph import GraphHamiltonian as GraphHamiltonian
from fields.dynamics.graph import Metriplectic as Metriplectic
from fields.dynamics.hamiltonian import CanonicalHamiltonian as CanonicalHamiltonian
from fields.dynamics.hamiltonian import DampedHamiltonian as DampedHamiltonian
from fields.dynamics.memory import PatternEnergy as PatternEnergy
from fields.dynamics.memory import Recall as Recall
from fields.dynamics.metric import MetricHamiltonian as MetricHamiltonian
from fields.dynamics.skew_attention import SkewAttention as SkewAttention
from fields.dynamics.stencil_bracket import StencilBracket as StencilBracket
from fields.dynamics.tangent import TangentBracket as TangentBracket
