"""Make the checkpoints of format 1 beside this file; runs with version 0.1 of this library only.

Each `NAME.safetensors` is an untrained model, or an ensemble of several, with perturbed weights.
Each `NAME.case` holds, also as safetensors, the tensors of one batch and the model's prediction,
and in its header the software and processor that computed it:

    git worktree add ../before a567aaa
    cd ../before && python PATH/make.py
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, ".")

import torch
from fields.evolution import Direct, EvolutionOperator, FlowInTime, Step
from fields.nn.local import LocalMoments
from fields.normalizer import Normalizer
from fields.sample import Sample, Schema
from fields.scaling import Log, PerParameter, Statistics
from safetensors.torch import save_file

import fields  # version 0.1
from fields import decoders, dynamics, encoders, integrators, processors
from fields.baselines.deeponet import DeepONet
from fields.baselines.kernel_ridge import KernelRidge
from fields.baselines.pca_net import PCANet
from fields.baselines.transolver import Transolver
from fields.baselines.trivial import MeanField, MeanValue
from fields.baselines.unet import UNet

FOLDER = Path(__file__).parent
DIM = 8
ENERGY = partial(dynamics.AttentionEnergy, heads=2)
torch.set_num_threads(1)

STATIC = Schema(
    coords=("x",), inputs=("a",), outputs=("u",), periodic=(True,), homogeneous=(True,),
    bounds=((0.0, 1.0),), grid=(8,),
)  # fmt: skip
GIVEN = Schema(
    coords=("x",), inputs=("a", "w"), outputs=("u",), params=("nu",), units={"u": "K"},
    bounds=((0.0, 2.0),), grid=(8,), weight="w",
)  # fmt: skip
MOVING = Schema(
    coords=("x",), inputs=("u", "p"), outputs=("u", "p"), periodic=(True,), homogeneous=(True,),
    bounds=((0.0, 1.0),), grid=(16,), dt=0.1,
)  # fmt: skip


def normalizer(schema: Schema) -> Normalizer:
    statistics = dict.fromkeys((*schema.inputs, *schema.outputs, *schema.params), (0.1, 1.3))
    if schema.params:
        groups = ((0.5, 0.1, 1.1), (1.5, 0.2, 1.4))
        statistics["u"] = Statistics(0.1, 1.3, groups=groups, scaling=PerParameter("nu"))
        logarithm = Statistics(1.0, 0.3, low=0.5, high=1.5, log_mean=0.0, log_std=0.3)
        statistics["nu"] = logarithm._replace(scaling=Log())
    return Normalizer(schema, statistics)


def static(schema, encoder, processor, decoder, local=None):
    return fields.FieldOperator(
        schema=schema, normalizer=normalizer(schema), dim=DIM, encoder=encoder,
        processor=processor, decoder=decoder, local=local,
    )  # fmt: skip


def moving(dim, encoder, propagator, decoder):
    return EvolutionOperator(
        schema=MOVING, normalizer=normalizer(MOVING), dim=dim, encoder=encoder,
        propagator=propagator, decoder=decoder,
    )  # fmt: skip


def of_processors(first, last):
    p = processors
    small = {"depth": 1, "heads": 2}
    made = (
        p.Transformer(DIM, **small), p.GAT(DIM, **small), p.AttentionODE(DIM, **small),
        p.Associative(DIM, heads=2, patterns=8, steps=1), p.DoubleBracket(DIM, **small),
        p.GraphHamiltonian(DIM, **small), p.GraphHamiltonian(DIM, **small, metric="frozen"),
        p.Grand(DIM, depth=1), p.Hamiltonian(DIM, depth=1, energy=ENERGY), p.Isometry(DIM, **small),
        p.Metriplectic(DIM, **small), p.TangentBracket(DIM, **small),
    )  # fmt: skip
    tokens = encoders.Tokens
    decoder = decoders.CPWL
    return [
        static(STATIC, tokens(DIM, STATIC), one, decoder(DIM, STATIC)) for one in made[first:last]
    ]


def of_flows(first, last):
    d = dynamics
    i = integrators
    pairs = (
        (partial(d.CanonicalHamiltonian, energy=ENERGY), i.Verlet),
        (partial(d.CanonicalHamiltonian, energy=d.MLPEnergy), i.Gonzalez),
        (
            partial(d.CanonicalHamiltonian, energy=partial(d.EnergyTransformer, heads=2)),
            i.ImplicitMidpoint,
        ),
        (partial(d.DampedHamiltonian, energy=ENERGY), i.GuardedDescent),
        (partial(d.Recall, heads=2, patterns=8), i.RetrievalStep),
        (partial(d.SkewAttention, heads=2), i.SkewCayley),
        (partial(d.SymmetricGrand, heads=2), i.ImplicitDiffusion),
        (partial(d.RandomWalk, heads=2), i.Uniformisation),
        (partial(d.SaturatedGrand, heads=2), i.ExplicitDiffusion),
        (partial(d.GraphHamiltonian, heads=2), i.RadialLeapfrog),
        (partial(d.MetricHamiltonian, heads=2, neighbours=3), i.Cayley),
        (partial(d.DoubleBracket, heads=2), i.SplitBracket),
        (partial(d.AttentionField, heads=2), i.DormandPrince),
        (partial(d.CanonicalHamiltonian, energy=partial(d.PatternEnergy, heads=2)), i.Verlet),
        (partial(d.DoubleBracket, heads=2), i.CoupledBracket),
        (partial(d.Metriplectic, heads=2), i.MetriplecticStep),
        (partial(d.TangentBracket, heads=2), i.GreatCircle),
    )
    models = []
    for field, integrator in pairs[first:last]:
        flow = processors.Flow(DIM, field=field, integrator=integrator, depth=1, steps=2)
        decoder = decoders.CPWL(DIM, STATIC)
        models.append(static(STATIC, encoders.Tokens(DIM, STATIC), flow, decoder))
    return models


def of_decoders(first, last):
    local = lambda: LocalMoments(1, lengths=(0.05, 0.2))  # noqa: E731
    d = decoders
    near = {"near": local().features, "seeds": 1}
    made = (
        d.Concat(DIM, GIVEN, depth=1, **near), d.CPWL(DIM, GIVEN, near=near["near"]),
        d.DeepONet(DIM, GIVEN, **near),
        d.FiLM(DIM, GIVEN, depth=1, **near), d.Galerkin(DIM, GIVEN, near=near["near"]),
        d.Hyper(DIM, GIVEN, width=4, **near), d.PCA(DIM, GIVEN, components=4, **near),
    )  # fmt: skip
    models = []
    for decoder in made[first:last]:
        processor = processors.GAT(DIM, depth=1, heads=2)
        models.append(static(GIVEN, encoders.Tokens(DIM, GIVEN), processor, decoder, local()))
    return models


def of_encoders():
    e = encoders
    made = (
        e.Patches(DIM, GIVEN, tokens=(4,)), e.Points(DIM, GIVEN, tokens=(4,), heads=2),
        e.Sensors(DIM, GIVEN, tokens=(4,), count=8), e.Tokens(DIM, GIVEN),
        e.MultiInput(DIM, GIVEN, tokens=(4,), heads=2, groups=(("a",),)),
    )  # fmt: skip
    gat = lambda: processors.GAT(DIM, depth=1, heads=2)  # noqa: E731
    return [static(GIVEN, one, gat(), decoders.CPWL(DIM, GIVEN)) for one in made]


def of_propagators():
    models = []
    for kind, options in ((Direct, {}), (Step, {"longest": 2.0}), (FlowInTime, {})):
        encoder = encoders.Tokens(DIM, MOVING)
        propagator = kind(DIM, processors.Hamiltonian(DIM, depth=1, energy=ENERGY), **options)
        decoder = decoders.CPWL(DIM, MOVING)
        models.append(moving(DIM, encoder, propagator, decoder))
    return models


def of_fields():
    """Flows of the field itself: the code holds samples of it, u and p in its two channels."""
    tokens = {"tokens": (8,)}
    energy = partial(dynamics.DensityEnergy, **tokens, patterns=8, reach=2, hidden=8)
    stencils = partial(dynamics.StencilBracket, **tokens, patterns=4, reach=2, hidden=8)
    pairs = (
        (partial(dynamics.CanonicalHamiltonian, energy=energy), integrators.KineticProjection),
        (partial(dynamics.GradientFlow, energy=energy), integrators.BoundedRosenbrock),
        (stencils, integrators.ImplicitBracket),
    )
    models = []
    for field, integrator in pairs:
        flow = processors.Flow(2, field=field, integrator=integrator, steps=2)
        encoder = encoders.Trigonometric(2, MOVING, **tokens)
        decoder = decoders.Trigonometric(2, MOVING, **tokens)
        models.append(moving(2, encoder, FlowInTime(2, flow), decoder))
    return models


def of_baselines():
    problem = {"schema": STATIC, "normalizer": normalizer(STATIC)}
    return [
        MeanField(**problem, count=8), MeanValue(**problem),
        DeepONet(**problem, count=8, width=8, depth=1),
        KernelRidge(**problem, count=8, samples=4),
        PCANet(**problem, count=8, components=3, width=8, depth=1),
        Transolver(**problem, width=8, depth=1, heads=2, slices=4),
        UNet(**problem, width=4, levels=1),
    ]  # fmt: skip


def single():
    encoder = encoders.Points(DIM, STATIC, tokens=(4,), heads=2)
    decoder = decoders.CrossAttention(DIM, STATIC, near=2, heads=2, nearest=3)
    local = LocalMoments(1, lengths=(0.1,))
    return static(STATIC, encoder, processors.Transformer(DIM, depth=1, heads=2), decoder, local)


def batch_of(schema: Schema) -> Sample:
    random = torch.Generator().manual_seed(1)
    low, high = schema.bounds[0]
    n = schema.grid[0]
    x = low + (high - low) * torch.arange(n)[None, :, None] / (n if schema.periodic[0] else n - 1)
    u = torch.randn(2, n, schema.in_channels, generator=random)
    if schema.weight is not None:
        u[..., schema.inputs.index(schema.weight)] = (high - low) / n
    t = torch.zeros(2, 1) if schema.dt is None else torch.tensor([[0.1, 0.3]]).repeat(2, 1)
    mask = torch.ones(1, n, dtype=torch.bool)
    params = torch.ones(2, len(schema.params))
    return Sample(
        x, u, mask, x, torch.zeros(2, t.shape[1], n, len(schema.outputs)), mask, t, params
    )


def perturb(model: torch.nn.Module) -> None:
    """Move every weight away from its initial value, so that a misplaced one shows."""
    random = torch.Generator().manual_seed(2)
    for name, tensor in model.state_dict().items():
        fitted = any(word in name for word in ("basis", "mean", "coefficients", "weights"))
        learned = name in dict(model.named_parameters())
        if tensor.is_floating_point() and "normalizer" not in name and (learned or fitted):
            tensor.add_(0.05 * torch.randn(tensor.shape, generator=random))


MODELS = {
    "baselines": of_baselines,
    "decoders": partial(of_decoders, 0, 4),
    "decoders_2": partial(of_decoders, 4, 7),
    "encoders": of_encoders,
    "fields": of_fields,
    "flows": partial(of_flows, 0, 6),
    "flows_2": partial(of_flows, 6, 12),
    "flows_3": partial(of_flows, 12, 17),
    "processors": partial(of_processors, 0, 6),
    "processors_2": partial(of_processors, 6, 12),
    "propagators": of_propagators,
    "single": single,
}
for name, make in MODELS.items():
    torch.manual_seed(0)
    made = make()
    models = made if isinstance(made, list) else [made]
    for one in models:
        perturb(one)
    model = (fields.Ensemble(models) if isinstance(made, list) else made).eval()
    batch = batch_of(model.schema)
    with torch.no_grad():
        predictions = torch.stack([one.evaluate(batch, 1e9) for one in models])
    assert predictions.isfinite().all(), (name, [p.abs().max() for p in predictions])
    card = {"licence": "MIT", "certificate": {"findings": [{"breach": 0.0, "clamps": 0}]}}
    fields.save(model, FOLDER / f"{name}.safetensors", card=card)
    case = {key: value.clone() for key, value in batch._asdict().items()}
    computed = {"torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability()}
    save_file(case | {"predictions": predictions}, FOLDER / f"{name}.case", metadata=computed)
    sizes = [(FOLDER / f"{name}.{end}").stat().st_size for end in ("safetensors", "case")]
    print(name, sizes, predictions.std(dim=(1, 2, 3, 4)).tolist())
