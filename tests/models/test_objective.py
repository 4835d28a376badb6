"""Terms of the loss in time, each computed by hand."""

from __future__ import annotations

import pytest
import torch

from fields.metrics.losses import VariableError
from fields.models.evolution import advance_input, input_windows
from fields.models.propagators import TimeConditioned
from fields.training.objective import Objective

BARE = {"consistency": 0.0, "reconstruction": 0.0}
ERROR = VariableError(["u", "w"], {"u": (0.1, 0.7), "w": (0.6, 1.5)}, {"w": 2.0})


def loss(objective, model, batch, *, progress=1.0, queries=None, seed=0):
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        value = objective(
            model, batch, error=ERROR, progress=progress, queries=queries, random=random
        )
        return float(value)


def codes(model, batch, u):
    latent, cond = model.encode(batch.x, u, batch.x_mask, batch.params)
    return model.propagator.start(latent, cond).z


def test_terms_add_up(make, batch_of):
    data, model = make()
    batch = batch_of(data)
    with torch.no_grad():
        later = input_windows(batch.u, batch.v, data.schema)
        true = [codes(model, batch, later[:, s]) for s in range(4)]
        latent, cond = model.encode(batch.x, batch.u, batch.x_mask, batch.params)
        rolled = list(model.propagator.at(latent, cond, model.times(batch.t)))
        plain = ERROR(model(batch), batch.v, batch.y_mask).mean()
        pairs = list(zip(rolled, true, strict=True))
        gap = torch.stack(
            [(a.z - b).flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1) for a, b in pairs]
        ).mean()
        decoded = model.decode([rolled[0]._replace(z=z) for z in true], batch.y, batch.params)
        seen = ERROR(decoded, batch.v, batch.y_mask).mean()
        own = input_windows(batch.u, model(batch), data.schema)
        seen_again = [codes(model, batch, own[:, s]) for s in range(4)]
        pairs = list(zip(seen_again, rolled, strict=True))
        back = [(a - b.z).flatten(1).norm(dim=1) / b.z.flatten(1).norm(dim=1) for a, b in pairs]
        cycle = torch.stack(back).mean()
    assert loss(Objective(**BARE), model, batch) == pytest.approx(float(plain), rel=1e-5)
    assert loss(Objective(consistency=2.0, reconstruction=0.0), model, batch) == pytest.approx(
        float(plain + 2 * gap), rel=1e-5
    )
    assert loss(Objective(consistency=0.0, reconstruction=3.0), model, batch) == pytest.approx(
        float(plain + 3 * seen), rel=1e-5
    )
    assert loss(Objective(**BARE, cycle=0.5), model, batch) == pytest.approx(
        float(plain + cycle / 2), rel=1e-5
    )


def test_changes_between_steps_are_relative_to_their_own_size(make, batch_of):
    data, model = make()
    batch = batch_of(data)
    with torch.no_grad():
        v_hat = model(batch)
    change = v_hat.diff(dim=1)
    true = batch.v.diff(dim=1)
    pairs = [(b, s) for b in range(3) for s in range(3)]
    ratios = [
        ERROR.weights[o]
        * (change[b, s, :, o] - true[b, s, :, o]).norm()
        / (true[b, s, :, o].norm() + 0.01 * batch.v[b, s + 1, :, o].norm())
        for b, s in pairs
        for o in range(2)
    ]
    plain = loss(Objective(**BARE), model, batch)
    with_changes = loss(Objective(**BARE, deltas=2.0), model, batch)
    assert with_changes - plain == pytest.approx(
        2 * float(torch.stack(ratios).sum() / len(pairs)), rel=1e-4
    )
    still = batch._replace(v=batch.v[:, :1].expand(-1, 4, -1, -1))
    assert loss(Objective(**BARE, deltas=1.0), model, still) < 1e3  # a field at rest


def test_time_conditioned_models_have_no_codes_to_compare(make, batch_of):
    data, model = make(propagator=TimeConditioned)
    batch = batch_of(data)
    assert loss(Objective(), model, batch) == loss(Objective(**BARE), model, batch)


def test_the_curriculum_increases_the_horizon(make, batch_of):
    data, model = make()
    batch = batch_of(data)
    short = batch._replace(v=batch.v[:, :2], t=batch.t[:, :2])
    assert loss(Objective(curriculum=0.5), model, batch, progress=0.2) == pytest.approx(
        loss(Objective(), model, short), rel=1e-6
    )
    assert loss(Objective(curriculum=0.5), model, batch, progress=0.6) == loss(
        Objective(), model, batch
    )


def test_pushforward_starts_from_the_models_own_frame(make, batch_of):
    data, model = make()
    batch = batch_of(data)
    with torch.no_grad():
        u = advance_input(batch.u, model(batch)[:, :1], data.schema)
        later = batch._replace(u=u, v=batch.v[:, 1:], t=batch.t[:, :3])
    assert loss(Objective(pushforward=1.0), model, batch) == pytest.approx(
        loss(Objective(), model, later), rel=1e-5
    )


def test_noise_and_random_times_and_queries_change_the_loss_but_not_the_seeded_result(
    make, batch_of
):
    data, model = make()
    batch = batch_of(data)
    plain = loss(Objective(), model, batch)
    for objective, queries in (
        (Objective(noise=0.1), None),
        (Objective(times=2), None),
        (Objective(), 5),
    ):
        first = loss(objective, model, batch, queries=queries, seed=3)
        assert first != plain
        assert first == loss(objective, model, batch, queries=queries, seed=3)
        assert (
            len({loss(objective, model, batch, queries=queries, seed=seed) for seed in range(5)})
            > 1
        )
