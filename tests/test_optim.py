from copy import deepcopy

import torch
from torch import nn

from fields.training.optim import MuonAdamW


def trained(steps: int, model: nn.Module, optimizer: MuonAdamW) -> float:
    generator = torch.Generator().manual_seed(1)
    loss = torch.tensor(0.0)
    for _ in range(steps):
        x = torch.randn(64, 32, generator=generator)
        loss = (model(x) - x.flip(1).relu()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))


def test_learns_and_resumes_exactly():
    model = net()
    optimizer = MuonAdamW(model.parameters())
    start = trained(1, model, optimizer)
    assert trained(60, model, optimizer) < 0.3 * start
    again = net()
    again.load_state_dict(model.state_dict())
    other = MuonAdamW(again.parameters())
    other.load_state_dict(deepcopy(optimizer.state_dict()))
    trained(5, model, optimizer)
    trained(5, again, other)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True)
    )


def test_schedule_reaches_both_parts():
    model = net()
    optimizer = MuonAdamW(model.parameters(), lr=1.0, adamw_lr=1.0)
    before = [p.clone() for p in model.parameters()]
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0)
    trained(1, model, optimizer)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert {tuple(p.shape) for p in optimizer.parts[0].param_groups[0]["params"]} == {
        (64, 32),
        (32, 64),
    }
