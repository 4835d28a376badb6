"""Time-stepping methods, and what each of them keeps exactly."""

from fields.integrators.adaptive import DormandPrince as DormandPrince
from fields.integrators.base import Integrator as Integrator
from fields.integrators.descent import BoundedRosenbrock as BoundedRosenbrock
from fields.integrators.diffusion import ExplicitDiffusion as ExplicitDiffusion
from fields.integrators.diffusion import ImplicitDiffusion as ImplicitDiffusion
from fields.integrators.diffusion import Uniformisation as Uniformisation
from fields.integrators.explicit import RK4 as RK4
from fields.integrators.explicit import Euler as Euler
from fields.integrators.explicit import Heun as Heun
from fields.integrators.learned import Gonzalez as Gonzalez
from fields.integrators.learned import GuardedDescent as GuardedDescent
from fields.integrators.recall import RetrievalStep as RetrievalStep
from fields.integrators.skew import Cayley as Cayley
from fields.integrators.skew import CoupledBracket as CoupledBracket
from fields.integrators.skew import MetriplecticStep as MetriplecticStep
from fields.integrators.skew import RadialLeapfrog as RadialLeapfrog
from fields.integrators.skew import SkewCayley as SkewCayley
from fields.integrators.skew import SplitBracket as SplitBracket
from fields.integrators.stencils import ImplicitBracket as ImplicitBracket
from fields.integrators.symplectic import ImplicitMidpoint as ImplicitMidpoint
from fields.integrators.symplectic import KineticProjection as KineticProjection
from fields.integrators.symplectic import Verlet as Verlet
from fields.integrators.tangent import GreatCircle as GreatCircle
