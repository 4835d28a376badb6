"""Names of version 0.1 that have changed: class paths, arguments, weights and keys of cards.

Checkpoints of format 1 and YAML files written for version 0.1 use the old names. These tables are
the only place that translates them; every translated class path gives a warning with the new one.
"""

from __future__ import annotations

import re
import warnings
from typing import Any

# Old argument -> new argument, by the class's present name; "" is for every class of `fields`.
ARGUMENTS = {
    "": {"near": "skip_features"},
    "FieldOperator": {"local": "skip"},
    "LocalEnergy": {"reach": "radius"},
    "StencilPortHamiltonianField": {"reach": "radius"},
    "MetricHamiltonianField": {"neighbours": "neighbors"},
}
# Patterns of tensors' names in checkpoints of format 1.
WEIGHTS = (
    (re.compile(r"(^|\.)local\.(?=log_length)"), r"\1skip."),
    (re.compile(r"(^|\.)decoder\.near\."), r"\1decoder.skip_features."),
    (re.compile(r"(^|\.)normalizer\.centre$"), r"\1normalizer.center"),
)
# Keys of the cards in checkpoints of format 1.
CARD_KEYS = {"breach": "violation", "clamps": "rejected_steps", "licence": "license"}


def current_path(path: str) -> str:
    """Translate the path of a class that has moved, with a warning; return others unchanged.

    Example:
        >>> current_path("fields.flows.Hamiltonian")
        'fields.flows.Hamiltonian'
    """
    moved: dict[str, str] = {}
    path = _translate(path, moved)
    _warn(moved)
    return path


def current_description(value: Any) -> Any:
    """Translate a description of components, with one warning for each class that has moved.

    Args:
        value: nested mappings with ``class_path`` or ``factory``, and ``init_args``; a class path
            may also stand on its own where YAML abbreviates it. Everything else is returned as it
            is.

    Example:
        >>> current_description({"class_path": "fields.flows.Hamiltonian", "init_args": {"dim": 8}})
        {'class_path': 'fields.flows.Hamiltonian', 'init_args': {'dim': 8}}
    """
    moved: dict[str, str] = {}
    out = _translate(value, moved)
    _warn(moved)
    return out


def current_weight(name: str) -> str:
    """Translate the name of a tensor in a checkpoint of format 1.

    Example:
        >>> current_weight("normalizer.centre")
        'normalizer.center'
    """
    for pattern, new in WEIGHTS:
        name = pattern.sub(new, name)
    return name


def current_record(value: Any) -> Any:
    """Translate the keys of a card of format 1.

    Example:
        >>> current_record({"findings": [{"breach": 1e-9}]})
        {'findings': [{'violation': 1e-09}]}
    """
    if isinstance(value, list):
        return [current_record(item) for item in value]
    if isinstance(value, dict):
        return {CARD_KEYS.get(key, key): current_record(item) for key, item in value.items()}
    return value


def _translate(value: Any, moved: dict[str, str]) -> Any:
    """Translate a description, and note in ``moved`` which class paths had changed."""
    if isinstance(value, str):
        if value in MOVED:
            moved[value] = MOVED[value]
        return MOVED.get(value, value)
    if isinstance(value, list):
        return [_translate(item, moved) for item in value]
    if not isinstance(value, dict):
        return value
    out = {key: _translate(item, moved) for key, item in value.items()}
    path = str(out.get("class_path", out.get("factory")))
    if path.startswith("fields.") and isinstance(out.get("init_args"), dict):
        renamed = ARGUMENTS[""] | ARGUMENTS.get(path.rsplit(".", 1)[-1], {})
        out["init_args"] = {renamed.get(key, key): item for key, item in out["init_args"].items()}
    return out


def _warn(moved: dict[str, str]) -> None:
    for old, new in moved.items():
        message = f"`{old}` is now called `{new}`. Please use the new name."
        warnings.warn(message, FutureWarning, stacklevel=3)


MOVED = {
    "fields.decoders.DeepONet": "fields.decoders.BranchTrunk",
    "fields.decoders.Trigonometric": "fields.decoders.FourierInterpolation",
    "fields.decoders.deeponet.DeepONet": "fields.decoders.branch_trunk.BranchTrunk",
    "fields.decoders.trigonometric.Trigonometric": (
        "fields.decoders.fourier_interpolation.FourierInterpolation"
    ),
    "fields.dynamics.AttentionField": "fields.processors.attention_ode.AttentionField",
    "fields.dynamics.CanonicalHamiltonian": "fields.flows.HamiltonianField",
    "fields.dynamics.DampedHamiltonian": "fields.flows.DampedHamiltonianField",
    "fields.dynamics.DensityEnergy": "fields.dynamics.LocalEnergy",
    "fields.dynamics.DoubleBracket": "fields.flows.DoubleBracketField",
    "fields.dynamics.GradientFlow": "fields.flows.GradientFlowField",
    "fields.dynamics.GraphHamiltonian": "fields.flows.GraphHamiltonianField",
    "fields.dynamics.Law": "fields.dynamics.Invariant",
    "fields.dynamics.MetricHamiltonian": "fields.flows.MetricHamiltonianField",
    "fields.dynamics.Metriplectic": "fields.flows.MetriplecticField",
    "fields.dynamics.PatternEnergy": "fields.flows.PatternEnergy",
    "fields.dynamics.RandomWalk": "fields.flows.RandomWalkField",
    "fields.dynamics.Recall": "fields.flows.HopfieldField",
    "fields.dynamics.SaturatedGrand": "fields.flows.SaturatedGrandField",
    "fields.dynamics.SkewAttention": "fields.flows.SkewAttentionField",
    "fields.dynamics.StencilBracket": "fields.flows.StencilPortHamiltonianField",
    "fields.dynamics.SymmetricGrand": "fields.flows.SymmetricGrandField",
    "fields.dynamics.TangentBracket": "fields.flows.SphereTransformerField",
    "fields.dynamics.attention_ode.AttentionField": (
        "fields.processors.attention_ode.AttentionField"
    ),
    "fields.dynamics.base.Law": "fields.dynamics.base.Invariant",
    "fields.dynamics.base.LawfulField": "fields.dynamics.base.EnergyField",
    "fields.dynamics.density.DensityEnergy": "fields.dynamics.energies.local.LocalEnergy",
    "fields.dynamics.density.LogCosh": "fields.dynamics.energies.local.LogCosh",
    "fields.dynamics.energies.AttentionEnergy": (
        "fields.dynamics.energies.attention.AttentionEnergy"
    ),
    "fields.dynamics.energies.BoundedFeatures": (
        "fields.dynamics.energies.attention.BoundedFeatures"
    ),
    "fields.dynamics.energies.Features": "fields.dynamics.energies.attention.Features",
    "fields.dynamics.energies.MLPEnergy": "fields.dynamics.energies.mlp.MLPEnergy",
    "fields.dynamics.energies.Memory": "fields.dynamics.energies.attention.Memory",
    "fields.dynamics.energy_transformer.EnergyTransformer": (
        "fields.dynamics.energies.energy_transformer.EnergyTransformer"
    ),
    "fields.dynamics.gradient_flow.GradientFlow": "fields.flows.gradient_flow.GradientFlowField",
    "fields.dynamics.grand.Diffusion": "fields.flows.grand.DiffusionField",
    "fields.dynamics.grand.LinearDiffusion": "fields.flows.grand.LinearDiffusionField",
    "fields.dynamics.grand.RandomWalk": "fields.flows.grand.RandomWalkField",
    "fields.dynamics.grand.SaturatedGrand": "fields.flows.grand.SaturatedGrandField",
    "fields.dynamics.grand.SymmetricGrand": "fields.flows.grand.SymmetricGrandField",
    "fields.dynamics.graph.DoubleBracket": "fields.flows.double_bracket.DoubleBracketField",
    "fields.dynamics.graph.Friction": "fields.flows.metriplectic.Friction",
    "fields.dynamics.graph.GraphField": "fields.flows.graph_hamiltonian.GraphWaveField",
    "fields.dynamics.graph.GraphHamiltonian": (
        "fields.flows.graph_hamiltonian.GraphHamiltonianField"
    ),
    "fields.dynamics.graph.Metriplectic": "fields.flows.metriplectic.MetriplecticField",
    "fields.dynamics.hamiltonian.CanonicalHamiltonian": "fields.flows.hamiltonian.HamiltonianField",
    "fields.dynamics.hamiltonian.DampedHamiltonian": (
        "fields.flows.damped_hamiltonian.DampedHamiltonianField"
    ),
    "fields.dynamics.hamiltonian.Damping": "fields.nn.damping.Damping",
    "fields.dynamics.memory.PatternEnergy": "fields.flows.associative.PatternEnergy",
    "fields.dynamics.memory.Recall": "fields.flows.associative.HopfieldField",
    "fields.dynamics.metric.Metric": "fields.flows.metric_hamiltonian.EdgeMetric",
    "fields.dynamics.metric.MetricHamiltonian": (
        "fields.flows.metric_hamiltonian.MetricHamiltonianField"
    ),
    "fields.dynamics.pairwise.Pairs": "fields.nn.attention.pairwise.EnergyAttention",
    "fields.dynamics.pairwise.Pairwise": "fields.nn.attention.pairwise.EnergyAttentionFunction",
    "fields.dynamics.skew.WaveField": "fields.dynamics.wave.WaveField",
    "fields.dynamics.skew_attention.SkewAttention": "fields.flows.isometry.SkewAttentionField",
    "fields.dynamics.stencil_bracket.StencilBracket": (
        "fields.flows.stencil_port_hamiltonian.StencilPortHamiltonianField"
    ),
    "fields.dynamics.tangent.TangentBracket": (
        "fields.flows.sphere_transformer.SphereTransformerField"
    ),
    "fields.encoders.Patches": "fields.encoders.WindowedMoments",
    "fields.encoders.Points": "fields.encoders.CrossAttentionEncoder",
    "fields.encoders.Sensors": "fields.encoders.BranchNet",
    "fields.encoders.Tokens": "fields.encoders.PointwiseEncoder",
    "fields.encoders.Trigonometric": "fields.encoders.FourierSampling",
    "fields.encoders.patches.Patches": "fields.encoders.windowed_moments.WindowedMoments",
    "fields.encoders.points.Channels": "fields.encoders.cross_attention_encoder.InputChannels",
    "fields.encoders.points.Points": (
        "fields.encoders.cross_attention_encoder.CrossAttentionEncoder"
    ),
    "fields.encoders.sensors.Sensors": "fields.encoders.branch_net.BranchNet",
    "fields.encoders.tokens.Tokens": "fields.encoders.pointwise.PointwiseEncoder",
    "fields.encoders.trigonometric.Trigonometric": (
        "fields.encoders.fourier_sampling.FourierSampling"
    ),
    "fields.evolution.Direct": "fields.models.TimeConditioned",
    "fields.evolution.EvolutionOperator": "fields.models.EvolutionOperator",
    "fields.evolution.FlowInTime": "fields.models.LatentFlow",
    "fields.evolution.Objective": "fields.training.objective.Objective",
    "fields.evolution.Propagator": "fields.models.Propagator",
    "fields.evolution.Step": "fields.models.Autoregressive",
    "fields.evolution.model.EvolutionOperator": "fields.models.evolution.EvolutionOperator",
    "fields.evolution.objective.Objective": "fields.training.objective.Objective",
    "fields.evolution.propagators.Direct": "fields.models.propagators.TimeConditioned",
    "fields.evolution.propagators.FlowInTime": "fields.models.propagators.LatentFlow",
    "fields.evolution.propagators.Propagator": "fields.models.propagators.Propagator",
    "fields.evolution.propagators.Step": "fields.models.propagators.Autoregressive",
    "fields.evolution.rollouts.Rollouts": "fields.evaluation.rollouts.Rollouts",
    "fields.integrators.BoundedRosenbrock": "fields.flows.BoundedRosenbrock",
    "fields.integrators.CoupledBracket": "fields.flows.CoupledBracket",
    "fields.integrators.ExplicitDiffusion": "fields.flows.ExplicitDiffusion",
    "fields.integrators.Gonzalez": "fields.integrators.DiscreteGradient",
    "fields.integrators.GreatCircle": "fields.flows.SphereExponential",
    "fields.integrators.GuardedDescent": "fields.flows.EnergyGuardedStep",
    "fields.integrators.ImplicitBracket": "fields.flows.ImplicitPortHamiltonianStep",
    "fields.integrators.ImplicitDiffusion": "fields.flows.ImplicitDiffusion",
    "fields.integrators.KineticProjection": "fields.integrators.EnergyProjectedVerlet",
    "fields.integrators.MetriplecticStep": "fields.flows.MetriplecticStep",
    "fields.integrators.RadialLeapfrog": "fields.integrators.EnergyScaledLeapfrog",
    "fields.integrators.RetrievalStep": "fields.flows.HopfieldUpdate",
    "fields.integrators.SkewCayley": "fields.flows.SkewCayley",
    "fields.integrators.SplitBracket": "fields.flows.SplitBracket",
    "fields.integrators.Uniformisation": "fields.flows.Uniformization",
    "fields.integrators.descent.BoundedRosenbrock": "fields.flows.gradient_flow.BoundedRosenbrock",
    "fields.integrators.diffusion.ExplicitDiffusion": "fields.flows.grand.ExplicitDiffusion",
    "fields.integrators.diffusion.ImplicitDiffusion": "fields.flows.grand.ImplicitDiffusion",
    "fields.integrators.diffusion.Uniformisation": "fields.flows.grand.Uniformization",
    "fields.integrators.learned.Gonzalez": "fields.integrators.discrete_gradient.DiscreteGradient",
    "fields.integrators.learned.GuardedDescent": (
        "fields.flows.damped_hamiltonian.EnergyGuardedStep"
    ),
    "fields.integrators.recall.RetrievalStep": "fields.flows.associative.HopfieldUpdate",
    "fields.integrators.skew.Cayley": "fields.integrators.cayley.Cayley",
    "fields.integrators.skew.CoupledBracket": "fields.flows.double_bracket.CoupledBracket",
    "fields.integrators.skew.Gram": "fields.nn.linear_solve.GramMatrix",
    "fields.integrators.skew.MetriplecticStep": "fields.flows.metriplectic.MetriplecticStep",
    "fields.integrators.skew.RadialLeapfrog": "fields.integrators.cayley.EnergyScaledLeapfrog",
    "fields.integrators.skew.SkewCayley": "fields.flows.isometry.SkewCayley",
    "fields.integrators.skew.SplitBracket": "fields.flows.double_bracket.SplitBracket",
    "fields.integrators.skew.SymmetricSolve": "fields.nn.linear_solve.SymmetricSolve",
    "fields.integrators.stencils.ImplicitBracket": (
        "fields.flows.stencil_port_hamiltonian.ImplicitPortHamiltonianStep"
    ),
    "fields.integrators.symplectic.ImplicitMidpoint": (
        "fields.integrators.midpoint.ImplicitMidpoint"
    ),
    "fields.integrators.symplectic.KineticProjection": (
        "fields.integrators.verlet.EnergyProjectedVerlet"
    ),
    "fields.integrators.symplectic.Orbit": "fields.integrators.verlet.Orbit",
    "fields.integrators.symplectic.Verlet": "fields.integrators.verlet.Verlet",
    "fields.integrators.tangent.GreatCircle": "fields.flows.sphere_transformer.SphereExponential",
    "fields.model.FieldOperator": "fields.models.static.FieldOperator",
    "fields.model.LatentOperator": "fields.models.latent.LatentOperator",
    "fields.nn.attention.Attention": "fields.nn.attention.multihead.Attention",
    "fields.nn.attention.Projected": "fields.nn.attention.multihead.ProjectedTokens",
    "fields.nn.basis.Basis": "fields.nn.interpolation.pod.PODBasis",
    "fields.nn.binary.Classical": "fields.nn.hopfield.binary.HopfieldNetwork",
    "fields.nn.binary.Dense": "fields.nn.hopfield.binary.DenseAssociativeMemory",
    "fields.nn.binary.Exponential": "fields.nn.hopfield.binary.ExponentialMemory",
    "fields.nn.binary.Polynomial": "fields.nn.hopfield.binary.PolynomialMemory",
    "fields.nn.blocks.Block": "fields.nn.blocks.TransformerBlock",
    "fields.nn.fold.Folded": "fields.nn.attention.fused.FusedCrossAttention",
    "fields.nn.gat.GraphAttention": "fields.nn.graph.graph_attention.GraphAttention",
    "fields.nn.gibbs.Gibbs": "fields.nn.attention.statistics.AttentionStatistics",
    "fields.nn.gradients.AttentionReference": "fields.nn.attention.gradients.AttentionReference",
    "fields.nn.gradients.BilinearGrad": "fields.nn.attention.gradients.BilinearGrad",
    "fields.nn.graph.Graph": "fields.nn.graph.calculus.Graph",
    "fields.nn.graph.Hodge": "fields.nn.graph.calculus.HodgeDecomposition",
    "fields.nn.hopfield.PatternDensity": "fields.nn.hopfield.modern.PatternDensity",
    "fields.nn.hopfield.Retrieval": "fields.nn.hopfield.modern.HopfieldLayer",
    "fields.nn.incidence.Coboundary": "fields.nn.graph.incidence.Coboundary",
    "fields.nn.incidence.Differences": "fields.nn.graph.incidence.NormalizedDifferences",
    "fields.nn.incidence.SoftIncidence": "fields.nn.graph.incidence.SoftIncidence",
    "fields.nn.local.LocalMoments": "fields.nn.skip.SkipMoments",
    "fields.nn.metric.Diagonal": "fields.nn.attention.bilinear_forms.DiagonalForm",
    "fields.nn.metric.Gram": "fields.nn.attention.bilinear_forms.GramForm",
    "fields.nn.metric.Metric": "fields.nn.attention.bilinear_forms.BilinearForm",
    "fields.nn.nearest.NearestAttention": "fields.nn.attention.nearest.NearestAttention",
    "fields.nn.pool.Pool": "fields.nn.attention.pool.AttentionPooling",
    "fields.nn.sensors.SensorArray": "fields.nn.sensor_array.SensorArray",
    "fields.nn.weighted.WeightedAttention": "fields.nn.attention.quadrature.WeightedAttention",
    "fields.nn.weights.Attentive": "fields.nn.attention.weights.AttentionLayer",
    "fields.nn.weights.Partition": "fields.nn.attention.weights.LogSumExp",
    "fields.nn.weights.Softmax": "fields.nn.attention.weights.Softmax",
    "fields.operator.Operator": "fields.models.base.Operator",
    "fields.optim.MuonAdamW": "fields.training.optim.MuonAdamW",
    "fields.processors.Associative": "fields.flows.Associative",
    "fields.processors.DoubleBracket": "fields.flows.DoubleBracket",
    "fields.processors.Grand": "fields.flows.Grand",
    "fields.processors.GraphHamiltonian": "fields.flows.GraphHamiltonian",
    "fields.processors.Hamiltonian": "fields.flows.Hamiltonian",
    "fields.processors.Isometry": "fields.flows.Isometry",
    "fields.processors.Metriplectic": "fields.flows.Metriplectic",
    "fields.processors.TangentBracket": "fields.flows.SphereTransformer",
    "fields.processors.associative.Associative": "fields.flows.associative.Associative",
    "fields.processors.block.Block": "fields.processors.block.FlowBlock",
    "fields.processors.double_bracket.DoubleBracket": "fields.flows.double_bracket.DoubleBracket",
    "fields.processors.grand.Grand": "fields.flows.grand.Grand",
    "fields.processors.graph_hamiltonian.GraphHamiltonian": (
        "fields.flows.graph_hamiltonian.GraphHamiltonian"
    ),
    "fields.processors.hamiltonian.Hamiltonian": "fields.flows.hamiltonian.Hamiltonian",
    "fields.processors.isometry.Isometry": "fields.flows.isometry.Isometry",
    "fields.processors.metriplectic.Metriplectic": "fields.flows.metriplectic.Metriplectic",
    "fields.processors.tangent_bracket.TangentBracket": (
        "fields.flows.sphere_transformer.SphereTransformer"
    ),
    "fields.processors.trace.Moment": "fields.processors.trace.FlowState",
    "fields.processors.trace.Trace": "fields.processors.trace.FlowTrace",
    "fields.scaling.Log": "fields.data.scaling.Log",
    "fields.scaling.Map": "fields.data.scaling.AffineMap",
    "fields.scaling.MinMax": "fields.data.scaling.MinMax",
    "fields.scaling.PerParameter": "fields.data.scaling.PerParameter",
    "fields.scaling.Scaling": "fields.data.scaling.Scaling",
    "fields.scaling.Standard": "fields.data.scaling.Standard",
    "fields.scaling.Statistics": "fields.data.scaling.Statistics",
    "fields.uncertainty.Ensemble": "fields.models.ensemble.Ensemble",
}
