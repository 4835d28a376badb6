"""Laws, convergence, symmetries and files of every evolution problem of the catalogue."""

from functools import cache

import numpy as np
import pytest
import torch

from datasets import ks
from datasets.__main__ import catalogue
from datasets.evolution import Evolution, random_field

EVOLUTIONS = {name: p for name, p in catalogue().items() if issubclass(p, Evolution)}
every = pytest.mark.parametrize("problem", [p() for p in EVOLUTIONS.values()], ids=list(EVOLUTIONS))


@cache
def start(problem):
    """States (b c *x) and statics of one sample on the solver's grid."""
    points = (problem.points,) * len(problem.lengths)
    return *problem.start(range(1), points, seed=0), points


@cache
def trajectory(problem):
    """Three frames, for every test that wants some."""
    z, statics, points = start(problem)
    step = problem.stepper(points, statics)
    out = [z]
    for _ in range(2):
        out.append(step(out[-1]))
    return torch.stack(out)


@every
def test_laws_hold_along_the_flow(problem):
    z = trajectory(problem)
    medium = [start(problem)[1][name] for name in problem.statics]
    for name, quantity in problem.conserved().items():
        values = quantity(z, *medium)
        assert values.shape == z.shape[:2]
        scale = values.abs().max() + quantity(z.abs(), *medium).abs().max()
        assert (values - values[0]).abs().max() <= 2e-6 * scale, name
    for name, quantity in problem.dissipated().items():
        values = quantity(z, *medium)
        assert (values.diff(dim=0) <= 1e-12 * values[0]).all() and (values[-1] < values[0]).all(), (
            name
        )


@every
def test_half_the_time_step_changes_nothing_that_is_stored(problem):
    z, statics, points = start(problem)
    fine = problem.stepper(points, statics, refine=2)(z)
    assert (trajectory(problem)[1] - fine).norm() <= 3e-6 * fine.norm()


@every
def test_files_for_training_and_test(problem):
    cls = type(problem)
    assert (
        problem.frames == cls.default_frames[0] and cls.default_frames[1] >= 10 * 10
    )  # windows are at most 10 frames
    train = cls(frames=2).solve(range(1), resolution=problem.resolution, seed=0)
    for name in problem.states:
        assert train[name].dims[:2] == ("sample", "time") and train[name].attrs["role"] == "state"
        assert train.sizes["time"] == 2 and np.isfinite(train[name]).all()
    np.testing.assert_allclose(train["time"].diff("time"), problem.interval)
    test = cls(part="test")
    assert test.frames == cls.default_frames[1] and test.usual_samples() == cls.test_samples
    assert (test.split(5) == 2).all() and not (problem.split(22) == 2).any()
    name = next(iter(problem.states))
    grid = (problem.points,) * len(problem.lengths)
    a, b = (p.initial(p.random(0, 0), grid)[name] for p in (problem, test))
    assert np.abs(a - b).max() > 0


@every
def test_shifts_commute_with_the_flow(problem):
    z, statics, points = start(problem)
    if not any("shift" in s for s in problem.symmetries()):
        pytest.skip("not translation invariant")
    shift = tuple(n // 4 for n in points)
    dims = tuple(range(-len(points), 0))

    def moved(u):
        return u.roll(shift, dims) if u.ndim > 1 else u

    other = problem.stepper(points, {k: moved(v) for k, v in statics.items()})(moved(z))
    assert (other - moved(trajectory(problem)[1])).abs().max() < 1e-9


def test_chaos_starts_from_one_grid_whatever_is_stored(monkeypatch):
    monkeypatch.setattr(ks, "BURN_IN", 3)
    problem = ks.KuramotoSivashinsky(frames=2)
    coarse, fine = (
        problem.solve(range(2), resolution=n, seed=0)["u"].values[:, 0] for n in (32, 96)
    )
    np.testing.assert_allclose(coarse, fine[:, ::3], atol=1e-12)
    before = problem.initial(problem.random(0, 0), (32,))["u"]
    assert np.abs(coarse[0] - before).max() > 0.1


def test_random_fields_are_the_same_on_every_grid():
    fields = [
        random_field(np.random.default_rng(0), (n, n), modes=3, deviation=lambda j: 1 / j)
        for n in (8, 24)
    ]
    np.testing.assert_allclose(fields[0], fields[1][::3, ::3], atol=1e-13)


def test_random_fields_have_the_stated_variance():
    draws = [
        random_field(np.random.default_rng(i), (9,), modes=3, deviation=lambda j: 1 / j)
        for i in range(2000)
    ]
    assert np.var(draws) == pytest.approx(2 * (1 + 1 / 4 + 1 / 9), rel=0.06)


def test_a_single_frame_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        next(iter(EVOLUTIONS.values()))(frames=1)
