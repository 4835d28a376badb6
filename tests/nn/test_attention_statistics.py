"""Statistics of attention weights, and records of them in a model."""

import ast
import math
from pathlib import Path

import pytest
import torch

import fields
from fields import flows, processors
from fields.core.sample import Latent
from fields.dynamics.energies.energy_transformer import EnergyTransformer
from fields.flows.grand import RandomWalkField, Uniformization
from fields.nn.attention.bilinear_forms import GramForm
from fields.nn.attention.capture import capture_attention
from fields.nn.attention.multihead import Attention
from fields.nn.attention.statistics import attention_statistics
from fields.nn.blocks import TransformerBlock

BETAS = [0.2, 1.0, 3.0]
KERNELS = ("softmax", "log_softmax", "scaled_dot_product_attention")


@pytest.mark.parametrize("beta", BETAS)
def test_identities(beta):
    scores = torch.randn(5, 8).double()
    b = torch.tensor(beta, dtype=torch.float64).requires_grad_()
    p = torch.softmax(beta * scores, -1)
    stats = attention_statistics(scores, beta=b)
    assert (stats.log_partition - torch.log(torch.exp(beta * scores).sum(-1))).abs().max() < 1e-12
    assert (stats.entropy + (p * p.log()).sum(-1)).abs().max() < 1e-12
    assert (stats.free_energy - (-stats.mean_score - stats.entropy / beta)).abs().max() < 1e-12
    assert (stats.mean_score - (p * scores).sum(-1)).abs().max() < 1e-12
    slope = torch.stack([torch.autograd.grad(h, b, retain_graph=True)[0] for h in stats.entropy])
    assert (slope - stats.entropy_slope).abs().max() < 1e-12
    variance = (p * (scores - (p * scores).sum(-1, keepdim=True)).square()).sum(-1)
    assert (stats.entropy_slope + beta * variance).abs().max() < 1e-12


def test_limits_of_temperature():
    scores = torch.randn(5, 8).double()
    assert (attention_statistics(scores, beta=1e-9).entropy - math.log(8)).abs().max() < 1e-8
    cold = attention_statistics(scores, beta=1e9)
    assert (
        cold.entropy.abs().max() == 0 and (cold.free_energy + scores.amax(-1)).abs().max() < 1e-12
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_huge_scores_keep_their_digits(dtype):
    small = torch.tensor([[0.0, -1.0, -2.0, -0.5]])
    shifted = attention_statistics(
        (small + 1e4).double() if dtype == torch.float64 else small.to(dtype)
    )
    assert (shifted.entropy - attention_statistics(small.double()).entropy).abs().max() < 1e-5
    scores = (1e4 * torch.randn(6, 9)).to(dtype).requires_grad_()
    mask = torch.rand(6, 9) > 0.5
    mask[2] = False
    stats = attention_statistics(scores, mask=mask)
    assert stats.entropy.isfinite().all() and stats.entropy.min() >= 0
    assert (
        stats.log_partition[2] == -torch.inf and stats.entropy[2] == 0 and stats.mean_score[2] == 0
    )
    some = mask.any(-1)
    total = sum(s[some].sum() for s in stats) + stats.entropy.sum()
    assert torch.autograd.grad(total, scores)[0].isfinite().all()
    large = attention_statistics(torch.tensor([[1e4, 1e4 - 1, 1e4 - 2, 1e4 - 0.5]]))
    assert (large.entropy - attention_statistics(small).entropy).abs().max() < 1e-5


def test_masked_keys_do_not_count():
    scores = torch.randn(5, 8).double()
    mask = torch.arange(8) < 5
    for a, b in zip(
        attention_statistics(scores, mask=mask), attention_statistics(scores[:, :5]), strict=True
    ):
        assert (a - b).abs().max() < 1e-14


@pytest.mark.parametrize("causal", [True, False])
def test_statistics_of_a_layer_are_those_of_its_weights(causal):
    layer = Attention(8, heads=2, lengths=(0.1, 0.4)).double()
    with (
        torch.no_grad()
    ):  # values become indicators of the keys, so that the output shows the weights
        layer.key_value.weight[8:] = torch.eye(8)
        layer.key_value.bias.zero_()
        layer.out.weight.copy_(torch.eye(8))
        layer.out.bias.zero_()
    x = torch.rand(1, 4, 2).double()
    z = torch.eye(4, 8).double()[None]
    z = z + torch.eye(4, 8).roll(4, -1).double()
    kwargs = {"x_q": x, "x_k": x, "periodic": torch.tensor([False, True]), "causal": causal}
    weights = layer(z, z, **kwargs).reshape(1, 4, 2, 4).transpose(1, 2)
    stats = layer.stats(z, z, **kwargs)
    assert (weights.sum(-1) - 1).abs().max() < 1e-12
    assert (layer.weights(z, z, **kwargs) - weights).abs().max() < 1e-12
    assert (stats.entropy - torch.special.entr(weights.clamp_min(0)).sum(-1)).abs().max() < 1e-12


def test_observing_a_model_changes_nothing():
    model = torch.nn.ModuleList(TransformerBlock(8, Attention(8, heads=2)) for _ in range(2))
    z = torch.randn(3, 5, 8)
    plain = model[1](model[0](z))
    with capture_attention(model) as seen:
        watched = model[1](model[0](z))
    model[0](z)
    assert (plain - watched).abs().max() == 0
    assert sorted(seen) == ["0.attention", "1.attention"] and all(
        len(calls) == 1 for calls in seen.values()
    )
    entropy = seen["1.attention"][0].entropy
    assert entropy.shape == (3, 2, 5) and entropy.min() > 0 and entropy.max() <= math.log(5) + 1e-6


@pytest.mark.parametrize("where", ["plain", "located", "masked", "causal"])
def test_results_come_with_their_statistics(where):
    layer = Attention(
        8, heads=2, lengths=(0.1, 0.4) if where == "located" else None, metric=GramForm(4)
    ).double()
    x = torch.rand(1, 5, 2).double()
    z = torch.randn(3, 5, 8).double()
    kwargs = {
        "x_q": x,
        "x_k": x,
        "periodic": torch.tensor([False, True]),
        "causal": where == "causal",
    }
    if where == "masked":
        kwargs["mask"] = torch.tensor([[True] * 3 + [False] * 2])
    out, stats = layer(z, z, return_stats=True, **kwargs)
    assert (out - layer(z, z, **kwargs)).abs().max() == 0
    assert all(s.shape == (3, 2, 5) for s in stats)
    weights = layer.weights(z, z, **kwargs)
    assert (stats.entropy - torch.special.entr(weights).sum(-1)).abs().max() < 1e-12
    with capture_attention(layer) as seen:
        layer(z, z, return_stats=True, **kwargs)
    assert all((a - b).abs().max() == 0 for a, b in zip(seen[""][0], stats, strict=True))


def test_the_normal_path_makes_no_statistics(monkeypatch):
    layer = Attention(8, heads=2)
    z = torch.randn(3, 5, 8)
    for target in (
        "fields.nn.attention.statistics.attention_statistics",
        "fields.nn.attention.multihead.ProjectedTokens.scores",
    ):
        monkeypatch.setattr(
            target,
            lambda *args, **kwargs: pytest.fail("statistics were made without being asked for"),
        )
    layer(z, z)
    with pytest.raises(pytest.fail.Exception):
        layer(z, z, return_stats=True)


@pytest.mark.parametrize(
    "make, layers",
    [
        (lambda: processors.Transformer(16, depth=2), 2),
        (lambda: processors.AttentionODE(16, depth=2), 2),
        (lambda: processors.GAT(16, depth=2), 2),
        (lambda: flows.GraphHamiltonian(16, depth=2), 2),
        (lambda: flows.Metriplectic(16, depth=2), 2),
        (lambda: flows.Hamiltonian(16, depth=2), 2),
        (lambda: flows.Hamiltonian(16, depth=1, energy=EnergyTransformer), 1),
        (lambda: processors.Flow(16, field=RandomWalkField, integrator=Uniformization), 1),
        (lambda: flows.Associative(16), 1),
    ],
)
def test_every_kind_of_attention_can_be_asked(make, layers):
    torch.manual_seed(0)
    processor = make()
    latent = Latent(torch.randn(2, 9, 16), torch.rand(1, 9, 2) - 0.5, torch.tensor([True, False]))
    plain = processor(latent).z
    with capture_attention(processor) as seen:
        watched = processor(latent).z
    assert (plain - watched).abs().max() == 0 and len(seen) == layers
    for name, calls in seen.items():
        for stats in calls:
            assert all(s.isfinite().all() for s in stats), name
            assert stats.entropy.min() >= 0 and (stats.entropy_slope <= 0).all()
            assert stats.entropy.std() > 0, name


def test_one_implementation_serves_all():
    """A softmax elsewhere would be a second attention, which no record shows."""
    allowed = {
        "nn/attention/kernels.py",
        "nn/attention/weights.py",
        "nn/attention/gradients.py",
        "nn/hopfield/modern.py",
    }  # the last: weights of a mixture
    package = Path(fields.__file__).parent
    found = set()
    for path in package.rglob("*.py"):
        text = path.read_text()
        tree = (
            ast.parse(text) if any(word + "(" in text for word in KERNELS) else ast.Module([], [])
        )
        for node in ast.walk(tree):
            call = node.func if isinstance(node, ast.Call) else None
            if (
                isinstance(call, ast.Attribute)
                and call.attr in KERNELS
                and ast.unparse(call.value) != "self"
            ):
                found.add(path.relative_to(package).as_posix())
    assert found == allowed
