"""Metrics against values computed by hand, and properties that batch means do not have."""

from functools import partial
from math import pi, sqrt

import pytest
import torch
from torch import tensor

from fields.metrics import (
    THE_WELL_WINDOWS,
    BlowUps,
    Correlation,
    CorrelationTime,
    RelativeL2,
    correlation_time,
    median_and_worst,
    pdebench,
    the_well,
    window,
)
from fields.metrics.losses import channel_relative_l2, trajectory_relative_l2

GRID = (5, 6)
ALL = {
    "RelativeL2": RelativeL2,
    "RelativeL2 trajectory": partial(RelativeL2, trajectory_relative_l2),
    "RelativeL2 channel": partial(RelativeL2, channel_relative_l2),
    "BlowUps": partial(BlowUps, 1.0),
    "Correlation": Correlation,
    "CorrelationTime": partial(CorrelationTime, [0.5, 1.0], 0.95),
    "RMSE": pdebench.RMSE,
    "pdebench.NRMSE": pdebench.NRMSE,
    "ConservedRMSE": pdebench.ConservedRMSE,
    "BoundaryRMSE": partial(pdebench.BoundaryRMSE, GRID),
    "FourierRMSE": partial(pdebench.FourierRMSE, GRID),
    "MaxError": pdebench.MaxError,
    "VRMSE": the_well.VRMSE,
    "the_well.WellNRMSE": the_well.WellNRMSE,
    "SpectralError": partial(the_well.SpectralError, GRID),
    "SpectralError relative": partial(the_well.SpectralError, GRID, relative=True),
}
NEED_GRID = {"BoundaryRMSE", "FourierRMSE", "SpectralError", "SpectralError relative"}


def all_real(m):
    return torch.ones(1, m, dtype=torch.bool)


def one_sample(metric, v_hat, v):
    """The value of a metric for one sample, step and channel, given as lists of point values."""
    v_hat = tensor(v_hat, dtype=torch.float32).flatten()
    v = tensor(v, dtype=torch.float32).flatten()
    metric.update(v_hat[None, None, :, None], v[None, None, :, None], all_real(len(v)))
    return metric.compute().flatten().tolist()


def fields_of(b, *, seed=0, m=30):
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(b, 2, m, 3, generator=generator)
    return v + 0.3 * torch.randn(b, 2, m, 3, generator=generator), v


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("sizes", [(7,), (3, 3, 1), (1,) * 7])
def test_batch_size_does_not_matter(name, sizes):
    v_hat, v = fields_of(7)
    whole = ALL[name]()
    parts = ALL[name]()
    whole.update(v_hat, v, all_real(30))
    for some_hat, some in zip(v_hat.split(sizes), v.split(sizes), strict=True):
        parts.update(some_hat, some, all_real(30))
    torch.testing.assert_close(parts.compute(), whole.compute(), equal_nan=True)


@pytest.mark.parametrize("name", ALL)
def test_uneven_processes_give_the_same_answer(name):
    v_hat, v = fields_of(7)
    whole = ALL[name]()
    first = ALL[name]()
    second = ALL[name]()
    whole.update(v_hat, v, all_real(30))
    first.update(v_hat[:5], v[:5], all_real(30))
    second.update(v_hat[5:], v[5:], all_real(30))
    first.merge_state(second)
    torch.testing.assert_close(first.compute(), whole.compute(), equal_nan=True)


@pytest.mark.parametrize("name", sorted(ALL.keys() - NEED_GRID))
def test_padded_points_do_not_count(name):
    v_hat, v = fields_of(4)
    padded_hat = torch.cat([v_hat, torch.full((4, 2, 5, 3), torch.nan)], dim=2)
    padded = torch.cat([v, torch.full((4, 2, 5, 3), 1e9)], dim=2)
    plain = ALL[name]()
    masked = ALL[name]()
    plain.update(v_hat, v, all_real(30))
    masked.update(padded_hat, padded, torch.arange(35).expand(4, 35) < 30)
    torch.testing.assert_close(masked.compute(), plain.compute())


@pytest.mark.parametrize("name", sorted(NEED_GRID))
def test_grid_metrics_refuse_scattered_points(name):
    v_hat, v = fields_of(2, m=29)
    with pytest.raises(ValueError, match="full grid"):
        ALL[name]().update(v_hat, v, all_real(29))


def test_a_batch_of_another_shape_is_refused():
    metric = pdebench.RMSE()
    v_hat, v = fields_of(2)
    metric.update(v_hat, v, all_real(30))
    with pytest.raises(ValueError, match=r"shape \(2, 3\), got \(1, 3\)"):
        metric.update(v_hat[:, :1], v[:, :1], all_real(30))
    metric.reset()
    metric.update(v_hat[:, :1], v[:, :1], all_real(30))
    assert metric.compute().shape == (1, 3)


def test_relative_l2_keeps_every_sample():
    metric = RelativeL2()
    v = torch.ones(3, 1, 4, 1)
    metric.update(v * tensor([1.5, 1.1, 4.0])[:, None, None, None], v, all_real(4))
    torch.testing.assert_close(
        metric.per_sample(), tensor([0.5, 0.1, 3.0], dtype=torch.float64), rtol=1e-6, atol=0
    )
    assert metric.compute().item() == pytest.approx(1.2)
    assert median_and_worst(metric.per_sample()) == (0, 2)
    assert median_and_worst(tensor([1.0, torch.nan, torch.inf])) == (2, 1)


def test_pdebench_pointwise():
    # e = 1, 0, 3, 0
    v_hat = [1.0, 2.0, 5.0, 4.0]
    v = [0.0, 2.0, 2.0, 4.0]
    assert one_sample(pdebench.RMSE(), v_hat, v) == pytest.approx([sqrt(10 / 4)])
    assert one_sample(pdebench.NRMSE(), v_hat, v) == pytest.approx([sqrt(10 / 24)])
    assert one_sample(pdebench.ConservedRMSE(), v_hat, v) == pytest.approx([4 / 4])
    assert one_sample(pdebench.MaxError(), v_hat, v) == [3]
    assert one_sample(pdebench.NRMSE(), [1.0, 1.0], [0.0, 0.0]) == [float("inf")]


def test_conserved_rmse_is_the_root_of_the_mean_over_samples():
    metric = pdebench.ConservedRMSE()
    v_hat = tensor([[1.0, 1.0], [3.0, 3.0]])[:, None, :, None]  # mean errors 1 and 3
    metric.update(v_hat, torch.zeros_like(v_hat), all_real(2))
    assert metric.compute().item() == pytest.approx(sqrt((1 + 9) / 2))


def test_pdebench_boundary():
    error = [3.0, 100.0, 4.0]
    assert one_sample(pdebench.BoundaryRMSE((3,)), error, [0.0] * 3) == pytest.approx(
        [sqrt((9 + 16) / 2)]
    )
    error = [
        [1.0, 2.0, 0.0],
        [0.0, 100.0, 3.0],
    ]  # edges: row 0: 1+4+0, row 1: 100²+9, column 0: 1+0, column 2: 0+9
    expected = sqrt((5 + 10009 + 1 + 9) / (2 * 2 + 2 * 3))
    assert one_sample(pdebench.BoundaryRMSE((2, 3)), error, [[0.0] * 3] * 2) == pytest.approx(
        [expected]
    )
    metric = pdebench.BoundaryRMSE((3, 3, 3))
    error = torch.zeros(1, 1, 27, 2)
    error[0, 0, 0, 0] = 2.0  # a corner lies on three faces
    error[0, 0, 13, 1] = 50.0  # the middle point on none
    metric.update(error, torch.zeros_like(error), all_real(27))
    assert metric.compute().flatten().tolist() == pytest.approx([sqrt(3 * 4 / 54)] * 2)


def test_pdebench_fourier_1d():
    x = torch.arange(32) / 32
    error = 1.0 + 2 * torch.cos(2 * pi * 5 * x)  # |F|/N = 1 at k = 0 and 1 at k = 5
    low, middle, high = one_sample(
        pdebench.FourierRMSE((32,), lengths=(2.0,)), error.tolist(), [0.0] * 32
    )
    assert (low, middle) == pytest.approx((2 / 4, 2 / 8), rel=1e-6)
    assert high == pytest.approx(0, abs=1e-6)


def test_pdebench_fourier_2d_counts_the_positive_quadrant_only():
    n = 32
    x, y = torch.meshgrid(torch.arange(n) / n, torch.arange(n) / n, indexing="ij")
    inside = 2 * torch.cos(
        2 * pi * (3 * x + 4 * y)
    )  # ±(3, 4): one of the two modes is in the quadrant, shell 5
    outside = 2 * torch.cos(2 * pi * (3 * x - 4 * y))  # neither is
    corner = 2 * torch.cos(2 * pi * (14 * x + 14 * y))  # shell 19 ≥ 16 is dropped
    zero = torch.zeros(n, n).tolist()
    bands = one_sample(pdebench.FourierRMSE((n, n)), inside.tolist(), zero)
    assert bands == pytest.approx([0, 1 / 8, 0], abs=1e-6)
    for error in (outside, corner):
        assert one_sample(pdebench.FourierRMSE((n, n)), error.tolist(), zero) == pytest.approx(
            [0, 0, 0], abs=1e-6
        )


def test_the_well_vrmse_and_nrmse():
    # mean 2, unbiased variance 8/3, mean square 6
    v_hat = [1.0, 2.0, 5.0, 4.0]
    v = [0.0, 2.0, 2.0, 4.0]
    assert one_sample(the_well.VRMSE(), v_hat, v) == pytest.approx([sqrt(2.5 / (8 / 3 + 1e-7))])
    assert one_sample(the_well.WellNRMSE(), v_hat, v) == pytest.approx([sqrt(2.5 / (6 + 1e-7))])
    assert one_sample(the_well.VRMSE(), [1.0, 1.0], [0.0, 0.0]) == pytest.approx([sqrt(1 / 1e-7)])


def test_vrmse_of_the_mean_predictor_is_one():
    v = torch.randn(4, 1, 1000, 1, generator=torch.Generator().manual_seed(0))
    metric = the_well.VRMSE()
    metric.update(v.mean(dim=2, keepdim=True).expand_as(v), v, all_real(1000))
    assert metric.compute().item() == pytest.approx(sqrt(999 / 1000), rel=1e-4)


@pytest.mark.parametrize("grid", [(16,), (15,), (6, 8), (5, 5), (4, 4, 4)])
def test_spectral_bins_sum_to_the_mean_squared_error(grid):
    m = torch.Size(grid).numel()
    v_hat, v = fields_of(3, m=m)
    metric = the_well.SpectralError(grid)
    metric.update(v_hat, v, all_real(m))
    torch.testing.assert_close(
        metric.compute().sum(0), ((v_hat - v).double() ** 2).mean(dim=(0, 2))
    )


def test_spectral_error_of_single_waves():
    n = 64  # edges in modes per domain: 0, 64^(1/3)·0.5^(1/3)… = 0, 3.17, 10.08, 32
    x = torch.arange(n) / n
    truth = torch.cos(2 * pi * 3 * x) + 2 * torch.cos(2 * pi * 4 * x)
    error = (
        0.1 * torch.cos(2 * pi * 3 * x)
        + 0.4 * torch.cos(2 * pi * 10 * x)
        + torch.cos(2 * pi * 11 * x)
    )
    energies = one_sample(the_well.SpectralError((n,)), (truth + error).tolist(), truth.tolist())
    assert energies == pytest.approx([0.01 / 2, 0.16 / 2, 1 / 2], rel=1e-5)
    relative = one_sample(
        the_well.SpectralError((n,), relative=True), (truth + error).tolist(), truth.tolist()
    )
    assert relative[:2] == pytest.approx([0.01, 0.04], rel=1e-5)


def test_windows_are_one_based_and_inclusive():
    steps = torch.arange(1.0, 31.0)[:, None]
    assert [window(steps, *ends).item() for ends in THE_WELL_WINDOWS] == [9.0, 21.5]
    assert window(steps, 1, 1).item() == 1
    with pytest.raises(ValueError, match="at least 31 steps"):
        window(steps, 13, 31)
    with pytest.raises(ValueError, match="one-based"):
        window(steps, 0, 3)


def test_correlation():
    assert one_sample(Correlation(), [1.0, 2.0, 3.0], [2.0, 4.0, 6.0]) == pytest.approx([1])
    assert one_sample(Correlation(), [1.0, 2.0, 3.0], [1.0, 0.0, 1.0]) == pytest.approx(
        [0], abs=1e-7
    )
    # centered: (−1, 0, 1) and (−4, −1, 5)/3; covariance 1, variances 2/3 and 14/9
    assert one_sample(Correlation(), [1.0, 2.0, 3.0], [0.0, 1.0, 3.0]) == pytest.approx(
        [1 / sqrt(2 / 3 * 14 / 9)]
    )
    assert one_sample(Correlation(), [1.0, 1.0], [0.0, 1.0]) == [0]


def test_correlation_time():
    times = tensor([0.5, 1.0, 1.5, 2.0])
    assert correlation_time(tensor([1.0, 0.85, 0.7, 0.9]), times) == 1.5
    assert correlation_time(tensor([1.0, 0.85, 0.7, 0.9]), times, 0.9) == 1.0
    assert correlation_time(tensor([1.0, 0.9, 0.9, 0.8]), times) == 2.0
    assert correlation_time(tensor([1.0, torch.nan, 0.9, 0.8]), times) == 1.0


def test_blow_ups():
    v = torch.ones(4, 2, 3, 1)
    v_hat = v.clone()
    v_hat[1, 1, 2] = torch.nan
    v_hat[2, 0, 0] = -10.5
    v_hat[3, 0, 0] = 9.5
    metric = BlowUps()
    metric.update(v_hat, v, all_real(3))
    assert metric.compute() == 2
