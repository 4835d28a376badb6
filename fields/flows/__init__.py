"""Laws, one file each: the equation, the field with its energy, the step, and the processor."""

from fields.flows.associative import Associative as Associative
from fields.flows.associative import HopfieldField as HopfieldField
from fields.flows.associative import HopfieldUpdate as HopfieldUpdate
from fields.flows.associative import PatternEnergy as PatternEnergy
from fields.flows.damped_hamiltonian import DampedHamiltonian as DampedHamiltonian
from fields.flows.damped_hamiltonian import DampedHamiltonianField as DampedHamiltonianField
from fields.flows.damped_hamiltonian import EnergyGuardedStep as EnergyGuardedStep
from fields.flows.double_bracket import CoupledBracket as CoupledBracket
from fields.flows.double_bracket import DoubleBracket as DoubleBracket
from fields.flows.double_bracket import DoubleBracketField as DoubleBracketField
from fields.flows.double_bracket import SplitBracket as SplitBracket
from fields.flows.gradient_flow import BoundedRosenbrock as BoundedRosenbrock
from fields.flows.gradient_flow import GradientFlow as GradientFlow
from fields.flows.gradient_flow import GradientFlowField as GradientFlowField
from fields.flows.grand import ExplicitDiffusion as ExplicitDiffusion
from fields.flows.grand import Grand as Grand
from fields.flows.grand import ImplicitDiffusion as ImplicitDiffusion
from fields.flows.grand import RandomWalkField as RandomWalkField
from fields.flows.grand import SaturatedGrandField as SaturatedGrandField
from fields.flows.grand import SymmetricGrandField as SymmetricGrandField
from fields.flows.grand import Uniformization as Uniformization
from fields.flows.graph_hamiltonian import GraphHamiltonian as GraphHamiltonian
from fields.flows.graph_hamiltonian import GraphHamiltonianField as GraphHamiltonianField
from fields.flows.hamiltonian import Hamiltonian as Hamiltonian
from fields.flows.hamiltonian import HamiltonianField as HamiltonianField
from fields.flows.isometry import Isometry as Isometry
from fields.flows.isometry import SkewAttentionField as SkewAttentionField
from fields.flows.isometry import SkewCayley as SkewCayley
from fields.flows.metric_hamiltonian import MetricHamiltonianField as MetricHamiltonianField
from fields.flows.metriplectic import Metriplectic as Metriplectic
from fields.flows.metriplectic import MetriplecticField as MetriplecticField
from fields.flows.metriplectic import MetriplecticStep as MetriplecticStep
from fields.flows.sphere_transformer import SphereExponential as SphereExponential
from fields.flows.sphere_transformer import SphereTransformer as SphereTransformer
from fields.flows.sphere_transformer import SphereTransformerField as SphereTransformerField
from fields.flows.stencil_port_hamiltonian import (
    ImplicitPortHamiltonianStep as ImplicitPortHamiltonianStep,
)
from fields.flows.stencil_port_hamiltonian import (
    StencilPortHamiltonian as StencilPortHamiltonian,
)
from fields.flows.stencil_port_hamiltonian import (
    StencilPortHamiltonianField as StencilPortHamiltonianField,
)
