"""Figures show the right values at the right positions and change no settings of matplotlib."""

import shutil
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from fields.core.sample import Sample, Schema
from fields.plot import (
    Curve,
    PredictedSample,
    animate,
    frames_figure,
    png,
    resolution_figure,
    sample_figure,
    space_time_figure,
    time_figure,
)
from fields.plot.field import middle_plane, plot_axes, symmetric_limits, triangulate
from fields.plot.samples import title_at_step
from fields.plot.style import save_figure


def grid_points(*axes):
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))


def predicted(y, *, steps=1):
    t = np.arange(steps) / 4
    v = np.sin(3 * y.sum(axis=1)) + t[:, None]
    return PredictedSample(
        "median",
        y,
        v[0],
        y,
        v,
        v + 0.1 * np.cos(y[:, 0]),
        t,
        ("x [m]", "y", "z")[: y.shape[1]],
        "a",
        "u [K]",
    )


def test_a_shuffled_grid_of_uneven_spacing_is_recognized():
    x = np.array([0.0, 0.1, 0.5, 2.0])
    y = np.array([-1.0, 0.0, 7.0])
    points = np.random.default_rng(0).permutation(grid_points(x, y))
    (found_x, found_y), order = plot_axes(points)
    np.testing.assert_array_equal(found_x, x)
    np.testing.assert_array_equal(found_y, y)
    np.testing.assert_array_equal(points[order], grid_points(x, y))


def test_scattered_points_are_not_a_grid():
    assert plot_axes(np.random.default_rng(0).random((12, 2))) is None
    assert plot_axes(np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])) is None


def test_images_show_values_at_their_points_with_one_scale_for_truth_and_prediction():
    points = np.random.default_rng(0).permutation(grid_points(np.arange(4.0), np.arange(3.0)))
    shown = predicted(points)
    panels = [
        axes.collections[0] for axes in sample_figure([shown]).axes if axes.get_title(loc="left")
    ]
    _, truth, prediction, error = panels
    where = int(np.flatnonzero((points == [3.0, 1.0]).all(axis=1))[0])
    assert truth.get_array().reshape(3, 4)[1, 3] == shown.v[0, where]
    assert error.get_array().reshape(3, 4)[1, 3] == pytest.approx(
        shown.v_hat[0, where] - shown.v[0, where]
    )
    assert prediction.get_clim() == truth.get_clim() == (shown.v.min(), shown.v.max())
    assert error.get_clim()[0] == -error.get_clim()[1]


def test_error_scale_ignores_values_that_are_not_finite():
    assert symmetric_limits(np.array([0.5, -2.0, np.nan, np.inf])) == (-2, 2)
    low, high = symmetric_limits(np.zeros(3))
    assert low < 0 < high


def test_only_triangles_that_span_holes_are_dropped():
    line = np.linspace(0, 1, 21)
    points = grid_points(line, line) + 1e-3 * np.random.default_rng(0).random((441, 2))
    points = points[np.hypot(*(points - 0.5).T) > 0.25]
    mesh = triangulate(points)
    inside = mesh.get_trifinder()(
        *(0.5 + 0.1 * np.random.default_rng(1).standard_normal((2, 100)).clip(-1, 1))
    )
    assert (inside == -1).all()
    scattered = triangulate(np.random.default_rng(0).random((3000, 2)))
    assert (
        scattered.get_trifinder()(*np.random.default_rng(1).uniform(0.1, 0.9, (2, 1000))) >= 0
    ).all()
    assert (mesh.get_trifinder()(*grid_points(line[1:4], line[1:-1]).T + 0.01) >= 0).all()


def test_middle_plane_of_three_dimensions():
    points = grid_points(np.arange(3.0), np.arange(4.0), np.arange(5.0))
    flat, values, note = middle_plane(points, points[:, 2])
    assert flat.shape == (12, 2) and set(values) == {2.0} and "2" in note
    scattered = np.random.default_rng(0).random((1000, 3))
    assert np.abs(middle_plane(scattered, scattered[:, 2])[1] - 0.5).max() < 0.1


def test_predicted_sample_has_the_latest_frame_of_the_same_name_without_padding():
    schema = Schema(
        ("x",),
        ("a", "u"),
        ("u",),
        units={"u": "K", "x": "m"},
        periodic=(False,),
        bounds=((0.0, 1.0),),
        history=2,
    )
    mask = torch.tensor([True, True, False])
    u = torch.arange(12.0).reshape(3, 4)  # channels: a, u of the old frame, a, u of the latest
    sample = Sample(
        torch.rand(3, 1),
        u,
        mask,
        torch.rand(3, 1),
        torch.ones(1, 3, 1),
        mask,
        torch.zeros(1),
        torch.zeros(0),
    )
    made = PredictedSample.from_sample(sample, torch.zeros(1, 3, 1).numpy(), schema, title="worst")
    assert made.u.tolist() == [3.0, 7.0]
    assert made.v.shape == made.v_hat.shape == (1, 2)
    assert (made.input, made.output, made.coords) == ("u [K]", "u [K]", ("x [m]",))
    for inputs, chosen in (
        (("a", "u_seen"), 1),
        (("a", "v_seen"), 0),
    ):  # the latest frame's columns are 2 and 3
        made = PredictedSample.from_sample(
            sample, torch.zeros(1, 3, 1).numpy(), replace(schema, inputs=inputs), title=""
        )
        assert made.input.startswith(inputs[chosen]) and made.u.tolist() == [
            2.0 + chosen,
            6.0 + chosen,
        ]


def test_every_figure_is_drawn_and_leaves_the_settings_of_matplotlib(tmp_path):
    before = dict(matplotlib.rcParams)
    line = np.linspace(0, 1, 9)[:, None]
    flat = np.random.default_rng(0).random((40, 2))
    errors = {
        "ours": Curve(np.array([16, 32]), np.array([0.1, 0.2])),
        "zero": Curve(np.array([16, 32]), np.zeros(2)),
    }
    figures = [
        sample_figure([predicted(line), predicted(line)]),
        sample_figure([predicted(flat, steps=2)]),
        space_time_figure(predicted(line, steps=3), trained_to=0.3),
        frames_figure(predicted(flat, steps=3), [0, 2]),
        resolution_figure(errors, trained_at=16),
        time_figure({"energy": Curve(np.arange(3), np.zeros(3))}, y_label="drift", trained_to=1.0),
    ]
    assert all(png(figure).startswith(b"\x89PNG") for figure in figures)
    assert dict(matplotlib.rcParams) == before
    assert save_figure(figures[0], tmp_path / "new" / "a.svg").read_text().startswith("<?xml")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.svg"]


def test_the_title_has_time_and_unit():
    assert (
        title_at_step(replace(predicted(np.zeros((3, 1)), steps=3), time="time [s]"), -1)
        == "median, time 0.5 s"
    )


@pytest.mark.parametrize(
    "y", [np.linspace(0, 1, 9)[:, None], grid_points(np.arange(4.0), np.arange(3.0))]
)
def test_animation_has_one_frame_per_time_and_the_field_moves(tmp_path, y):
    path = animate(predicted(y, steps=3), tmp_path / "a.gif")
    animation = Image.open(path)
    assert animation.n_frames == 3
    first = np.asarray(animation.convert("RGB"), dtype=int)[
        animation.height // 4 :
    ]  # below the title
    animation.seek(2)
    assert (
        np.abs(
            np.asarray(animation.convert("RGB"), dtype=int)[animation.height // 4 :] - first
        ).max()
        > 50
    )
    assert [p.name for p in tmp_path.iterdir()] == ["a.gif"]


def test_messages_of_wrong_uses_name_the_alternative(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ValueError, match="ffmpeg"):
        animate(predicted(np.zeros((3, 1)), steps=2), tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="frames_figure"):
        space_time_figure(predicted(np.random.default_rng(0).random((5, 2)), steps=2))
