"""The energy of the energy transformer in Hamiltonian and damped flows, chosen in YAML."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser

from fields.core.sample import Latent
from fields.dynamics.base import Context, Invariant
from fields.dynamics.energies.attention import AttentionEnergy
from fields.dynamics.energies.energy_transformer import EnergyTransformer
from fields.evaluation.verify import verify
from fields.processors.base import Processor

CONFIGS = Path(__file__).parents[2] / "configs" / "processor"
DIM = 16


def built(lines):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--processor", type=Callable[[int], Processor])
    settings = yaml.safe_dump({"processor": yaml.safe_load("\n".join(lines))["model"]["processor"]})
    return parser.instantiate(parser.parse_string(settings)).processor(DIM)


@pytest.mark.parametrize(
    "name, law",
    [("energy_transformer", Invariant.ENERGY), ("damped_energy_transformer", Invariant.DECAY)],
    ids=["hamiltonian", "bracket"],
)
def test_one_line_chooses_the_energy_and_the_law_holds(name, law):
    lines = (CONFIGS / f"{name}.yaml").read_text().splitlines()
    others = [
        x.replace(
            "energy: fields.dynamics.EnergyTransformer", "energy: fields.dynamics.AttentionEnergy"
        )
        for x in lines
    ]
    assert sum(a != b for a, b in zip(lines, others, strict=True)) == 1

    def energies(processor):
        kinds = EnergyTransformer | AttentionEnergy
        return {type(m) for m in processor.modules() if isinstance(m, kinds)}

    assert energies(built(others)) == {AttentionEnergy}
    torch.manual_seed(0)
    processor = built(lines)
    assert energies(processor) == {EnergyTransformer} and processor.law is law
    with torch.no_grad():
        for p in processor.parameters():
            p += 0.1 * torch.randn_like(p)
    latent = Latent(torch.randn(2, 6, DIM), torch.rand(1, 6, 2) - 0.5, torch.tensor([True, False]))
    certificate = verify(processor, latent, steps=40)
    assert certificate.passed, str(certificate)
    assert min(f.moved for f in certificate.findings) > 0.1


def test_no_token_predicts_itself_and_near_ones_count_more():
    energy = EnergyTransformer(8, heads=2).double()
    z = torch.randn(1, 3, 8).double()
    x = torch.tensor([[[0.0], [0.05], [0.45]]]).double()
    context = Context.of(Latent(z, x, torch.tensor([False])))
    seen = []
    hook = energy.partition.register_forward_hook(lambda layer, args, out: seen.append(out[1]))
    energy(z * 0, context)
    hook.remove()
    assert seen[0].diagonal(dim1=-2, dim2=-1).abs().max() == 0
    assert (seen[0][:, :, 0, 1] > seen[0][:, :, 0, 2]).all()
