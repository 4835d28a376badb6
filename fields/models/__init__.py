"""Complete models: static maps, evolution operators, and ensembles of either."""

from fields.models.base import Operator as Operator
from fields.models.ensemble import Ensemble as Ensemble
from fields.models.evolution import EvolutionOperator as EvolutionOperator
from fields.models.latent import LatentOperator as LatentOperator
from fields.models.propagators import Autoregressive as Autoregressive
from fields.models.propagators import LatentFlow as LatentFlow
from fields.models.propagators import Propagator as Propagator
from fields.models.propagators import TimeConditioned as TimeConditioned
from fields.models.static import FieldOperator as FieldOperator
