"""Time-stepping methods for abstract kinds of field, and what each of them preserves exactly."""

from fields.integrators.adaptive import DormandPrince as DormandPrince
from fields.integrators.base import Integrator as Integrator
from fields.integrators.cayley import Cayley as Cayley
from fields.integrators.cayley import EnergyScaledLeapfrog as EnergyScaledLeapfrog
from fields.integrators.discrete_gradient import DiscreteGradient as DiscreteGradient
from fields.integrators.explicit import RK4 as RK4
from fields.integrators.explicit import Euler as Euler
from fields.integrators.explicit import Heun as Heun
from fields.integrators.midpoint import ImplicitMidpoint as ImplicitMidpoint
from fields.integrators.verlet import EnergyProjectedVerlet as EnergyProjectedVerlet
from fields.integrators.verlet import Verlet as Verlet
