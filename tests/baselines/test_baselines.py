"""Properties that every baseline has; baselines are found by walking ``fields.baselines``."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import warnings

import numpy as np
import pytest
import torch
from problems import schema, waves
from safetensors.torch import save

import fields.baselines
from fields.baselines.deeponet import DeepONet
from fields.baselines.grid import GridOperator, NeuralopModel
from fields.baselines.stepwise import Stepwise
from fields.baselines.trivial import MeanValue, Persistence
from fields.core.component import build
from fields.core.sample import collate
from fields.data import FieldDataset
from fields.data.normalizer import Normalizer
from fields.data.statistics import dataset_statistics
from fields.models.base import Operator

SMALL = {"width": 8, "modes": 4, "components": 6, "slices": 5}


def all_baselines() -> list[type[Operator]]:
    modules = [
        importlib.import_module(m.name)
        for m in pkgutil.iter_modules(fields.baselines.__path__, "fields.baselines.")
    ]
    found = {
        c
        for m in modules
        for c in vars(m).values()
        if inspect.isclass(c) and issubclass(c, Operator)
    }
    found -= {MeanValue}  # it reads no points and interpolates nothing
    return sorted((c for c in found if not inspect.isabstract(c)), key=lambda c: c.__name__)


def dataset(periodic: tuple[bool, ...], size: int = 8, samples: int = 6) -> FieldDataset:
    return FieldDataset(waves(samples, (size,) * len(periodic), periodic), schema(periodic))


def make(cls, periodic) -> Operator:
    torch.manual_seed(0)
    data = dataset(periodic)
    s = schema(periodic)
    given = {"schema": s, "normalizer": Normalizer(s, dataset_statistics(data))}
    names = inspect.signature(cls.__init__).parameters
    options = {name: value for name, value in SMALL.items() if name in names}
    return cls.fit(data, **given, **options) if hasattr(cls, "fit") else cls(**given, **options)


IN_TIME = (Persistence, Stepwise)  # tested in tests/models
BASELINES = pytest.mark.parametrize(
    "cls", [c for c in all_baselines() if c not in IN_TIME], ids=lambda c: c.__name__
)
GRIDS = pytest.mark.parametrize(
    "cls", [c for c in all_baselines() if issubclass(c, GridOperator)], ids=lambda c: c.__name__
)
PERIODIC = (False, True)


def batch(periodic=PERIODIC, size: int = 8, samples: int = 6):
    data = dataset(periodic, size, samples)
    return collate([data[i] for i in range(len(data))])


@BASELINES
@pytest.mark.parametrize("periodic", [(True,), (False, True)], ids=["1D", "2D"])
def test_predictions_on_the_training_grid_do_not_depend_on_the_batch(cls, periodic):
    model = make(cls, periodic).eval()
    given = batch(periodic)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error")
        whole = model(given)
        single = model(
            given._replace(u=given.u[1:2], v=given.v[1:2], params=given.params[1:2], t=given.t[1:2])
        )
    assert whole.shape == given.v.shape and whole.std() > 1e-4
    torch.testing.assert_close(single, whole[1:2], atol=1e-5, rtol=0)


@BASELINES
def test_the_order_of_the_points_does_not_matter(cls):
    model = make(cls, PERIODIC).eval()
    given = batch()
    # The first axis is reversed, the second one is the slowest.
    order = torch.arange(64).reshape(8, 8).flip(0).T.reshape(-1)
    moved = given._replace(x=given.x[:, order], u=given.u[:, order], y=given.y[:, order])
    with torch.no_grad():
        torch.testing.assert_close(model(moved), model(given)[:, :, order], atol=1e-5, rtol=0)


@BASELINES
def test_other_queries_are_predicted_with_a_warning_of_interpolation(cls):
    model = make(cls, PERIODIC).eval()
    given = batch()
    queries = torch.cat([given.x[:, ::5], torch.rand(1, 20, 2)], dim=1)
    asked = given._replace(y=queries, y_mask=torch.ones(1, queries.shape[1], dtype=torch.bool))
    with torch.no_grad(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        out = model(asked)
    assert bool(caught) == (cls is not DeepONet)  # a DeepONet has a trunk
    with torch.no_grad():
        torch.testing.assert_close(out[:, :, :13], model(given)[:, :, ::5], atol=1e-5, rtol=0)
    assert torch.isfinite(out).all()


@BASELINES
def test_other_resolutions_are_predicted(cls):
    model = make(cls, PERIODIC).eval()
    fine = batch(size=16)
    coarse = batch()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = model(coarse)
        out = model(fine)
    assert out.shape == fine.v.shape and torch.isfinite(out).all()
    assert out.std() > 0.3 * whole.std()


@GRIDS
def test_models_on_grids_refuse_scattered_points(cls):
    model = make(cls, PERIODIC)
    given = batch()
    with pytest.raises(
        ValueError, match=f"{cls.__name__} needs one regular grid for all samples, got 64 points"
    ):
        model(given._replace(x=given.x + 0.1 * torch.rand_like(given.x)))


@GRIDS
def test_models_on_grids_refuse_unevenly_spaced_points(cls):
    """In one dimension all points form a grid, so that only the spacing can be wrong."""
    model = make(cls, PERIODIC)
    given = batch()
    with pytest.raises(
        ValueError, match=f"{cls.__name__} needs evenly spaced points along `x`, got gaps from"
    ):
        model(given._replace(x=given.x.square()))


@pytest.mark.parametrize(
    "cls", [c for c in all_baselines() if issubclass(c, NeuralopModel)], ids=lambda c: c.__name__
)
def test_models_of_neuraloperator_refuse_sizes_for_which_they_are_wrong(cls):
    with pytest.raises(ValueError, match=r"wrong on .* got \(9, 9\). Use multiples of"):
        make(cls, PERIODIC)(batch(size=9))


@BASELINES
def test_a_checkpoint_restores_the_model(cls):
    model = make(cls, PERIODIC).eval()
    given = batch()
    with torch.no_grad():
        expected = model(given)
        state = model.state_dict()
        assert save({name: value.contiguous() for name, value in state.items()})
        again = build(
            model.describe(),
            schema=model.schema,
            normalizer=Normalizer(model.schema, {"a": (0, 1), "u": (0, 1)}),
        )
        again.load_state_dict(state)
        torch.testing.assert_close(again.eval()(given), expected, atol=1e-6, rtol=0)


@BASELINES
def test_gradients_reach_every_trainable_parameter(cls):
    model = make(cls, PERIODIC)
    given = batch()
    trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if trainable:
        (model(given) - given.v).square().sum().backward()
    dead = [name for name, p in trainable if p.grad is None or not p.grad.abs().max() > 0]
    assert not dead, f"no gradient reaches {dead}"


def test_predict_wraps_a_baseline():
    ds = waves(2, (8, 8), PERIODIC)
    model = make(DeepONet, PERIODIC)
    out = model.predict(ds, at={"x": np.linspace(0, 1, 5), "y": np.arange(7) / 7})
    assert out.u.dims == ("sample", "x", "y") and out.u.shape == (2, 5, 7) and out.u.units == "J"
