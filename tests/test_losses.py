"""The relative L2 losses against hand-computed numbers, masks, zero fields and mixed precision."""

import pytest
import torch
from torch import tensor

from fields.metrics.losses import channel_relative_l2, relative_l2, trajectory_relative_l2


def two_steps():
    """One sample, two steps, two points, two channels; step 0 is 10 times larger than step 1."""
    v = tensor([[[[30.0, 0.0], [0.0, 40.0]], [[3.0, 0.0], [0.0, 4.0]]]])
    error = tensor([[[[6.0, 0.0], [0.0, 8.0]], [[0.0, 3.0], [0.0, 4.0]]]])
    return v + error, v, torch.ones(1, 2, dtype=torch.bool)


def test_hand_computed_values():
    v_hat, v, mask = two_steps()
    assert relative_l2(v_hat, v, mask).item() == pytest.approx((10 / 50 + 5 / 5) / 2)
    over_time = ((36 / 909) ** 0.5 + (89 / 1616) ** 0.5) / 2
    assert trajectory_relative_l2(v_hat, v, mask).item() == pytest.approx(over_time)
    per_channel = (6 / 30 + 8 / 40 + 0 / 3 + 5 / 4) / 4
    assert channel_relative_l2(v_hat, v, mask).item() == pytest.approx(per_channel)


@pytest.mark.parametrize("loss", [relative_l2, trajectory_relative_l2, channel_relative_l2])
def test_padded_points_do_not_count(loss):
    torch.manual_seed(0)
    v = torch.randn(3, 2, 5, 2)
    v_hat = torch.randn(3, 2, 5, 2)
    expected = loss(v_hat, v, torch.ones(1, 5, dtype=torch.bool))
    padded_v = torch.cat([v, torch.zeros(3, 2, 4, 2)], dim=2)
    padded_hat = torch.cat([v_hat, torch.full((3, 2, 4, 2), torch.nan)], dim=2).requires_grad_()
    answer = loss(padded_hat, padded_v, torch.arange(9)[None] < 5)
    torch.testing.assert_close(answer, expected)
    answer.sum().backward()
    assert padded_hat.grad.isfinite().all()


@pytest.mark.parametrize("loss", [relative_l2, trajectory_relative_l2, channel_relative_l2])
def test_gradients_stay_finite_at_a_perfect_fit_and_at_a_zero_truth(loss):
    mask = torch.ones(1, 4, dtype=torch.bool)
    v_hat = torch.zeros(2, 1, 4, 1, requires_grad=True)
    value = loss(v_hat, torch.zeros(2, 1, 4, 1), mask)
    value.sum().backward()
    assert value.tolist() == [0, 0]
    assert v_hat.grad.isfinite().all()
    assert loss(torch.ones(2, 1, 4, 1), torch.zeros(2, 1, 4, 1), mask).tolist() == [2, 2]


def test_scale_does_not_matter_and_bfloat16_predictions_are_measured_in_float32():
    torch.manual_seed(0)
    v = torch.randn(2, 1, 50, 1)
    mask = torch.ones(1, 50, dtype=torch.bool)
    v_hat = v + 0.1 * torch.randn_like(v)
    for unit in (1e-9, 1e-30, 1e30):
        torch.testing.assert_close(
            relative_l2(unit * v_hat, unit * v, mask), relative_l2(v_hat, v, mask)
        )
    assert relative_l2(v_hat.bfloat16(), v, mask).dtype == torch.float32


def test_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="shape"):
        relative_l2(
            torch.zeros(2, 4, 1, 1), torch.zeros(2, 1, 4, 1), torch.ones(1, 4, dtype=torch.bool)
        )
