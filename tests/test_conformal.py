"""Conformal bands: the rank by hand, and the coverage measured where the truth is known."""

import pytest
import torch
from torch import tensor

from fields.inference.conformal import conformal_quantile, coverage, point_scores, sup_scores


def test_rank_by_hand():
    # n = 9: rank ⌈10 · 0.9⌉ = 9, ⌈10 · 0.75⌉ = 8
    scores = tensor([5.0, 1.0, 4.0, 2.0, 3.0, 9.0, 7.0, 8.0, 6.0])
    assert conformal_quantile(scores, alpha=0.1) == 9
    assert conformal_quantile(scores, alpha=0.25) == 8
    assert conformal_quantile(scores, alpha=0.5) == 5
    # Although 10 · (1 − 0.7) > 3 in floating point.
    assert conformal_quantile(scores, alpha=0.7) == 3
    both = torch.stack([scores, 2 * scores], dim=1)
    assert conformal_quantile(both, alpha=0.5).tolist() == [5, 10]


def test_too_few_samples_are_refused_with_the_number_needed():
    with pytest.raises(ValueError, match="at least 9"):
        conformal_quantile(torch.arange(8.0), alpha=0.1)
    assert conformal_quantile(torch.arange(9.0), alpha=0.1) == 8
    with pytest.raises(ValueError, match="between 0 and 1"):
        conformal_quantile(torch.arange(9.0), alpha=90)


def test_a_prediction_that_is_not_a_number_is_outside():
    scores = torch.cat([torch.arange(18.0), tensor([torch.nan])])
    assert conformal_quantile(scores, alpha=0.05) == torch.inf
    assert conformal_quantile(scores, alpha=0.1) == 17


@pytest.mark.parametrize("n", [19, 100])
@pytest.mark.parametrize("alpha", [0.1, 0.3])
def test_coverage_lies_between_its_two_bounds(n, alpha):
    """Averaged over many splits; heavy tails, so that no Gaussian formula would do."""
    splits = 4000
    tests = 50
    scores = torch.distributions.StudentT(2.0).sample((n + tests, splits)).abs()
    measured = coverage(scores[n:], conformal_quantile(scores[:n], alpha=alpha))
    noise = 4 * measured.std() / splits**0.5
    assert 1 - alpha - noise <= measured.mean() <= 1 - alpha + 1 / (n + 1) + noise


def fields_with_errors(b, m=40):
    """A prediction whose error is ten times larger on the right half, and a spread like it.

    The spread is right up to a factor.
    """
    size = torch.where(torch.arange(m) < m // 2, 0.1, 1.0)[None, None, :, None].expand(b, 1, m, 1)
    v = torch.randn(b, 1, m, 1)
    return v + size * torch.randn(b, 1, m, 1), v, 7 * size


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_whole_fields_are_covered_and_a_spread_narrows_the_band_where_it_can():
    mask = torch.ones(1, 40, dtype=torch.bool)
    valid_hat, valid, spread = fields_with_errors(500)
    test_hat, test, test_spread = fields_with_errors(2000)
    flat = conformal_quantile(sup_scores(valid_hat, valid, mask), alpha=0.1)
    scaled = conformal_quantile(sup_scores(valid_hat, valid, mask, spread), alpha=0.1)
    for q, s in ((flat, torch.ones_like(test_spread)), (scaled, test_spread)):
        inside = ((test_hat - test).abs() <= q[:, None] * s).flatten(1).all(dim=1)
        assert inside.double().mean() == pytest.approx(0.9, abs=0.04)
    width = (scaled * test_spread[0, 0, :, 0]).flatten()
    assert width[0].item() < 0.15 * flat.item() and width[-1].item() < 1.2 * flat.item()


def test_share_of_points_is_covered_with_a_narrower_band():
    mask = torch.ones(1, 40, dtype=torch.bool)
    valid_hat, valid, spread = fields_with_errors(500)
    test_hat, test, test_spread = fields_with_errors(2000)
    q = conformal_quantile(point_scores(valid_hat, valid, mask, spread, inside=0.8), alpha=0.1)
    share = ((test_hat - test).abs() <= q[:, None] * test_spread).double().mean(dim=(1, 2, 3))
    assert (share >= 0.8 - 1e-9).double().mean() == pytest.approx(0.9, abs=0.04)
    assert q < conformal_quantile(sup_scores(valid_hat, valid, mask, spread), alpha=0.1)


def test_point_scores_by_hand_and_without_padding():
    error = tensor([1.0, 4.0, 2.0, 3.0, torch.nan])[None, None, :, None]
    mask = tensor([[True, True, True, True, False]])
    zero = torch.zeros_like(error)
    shares = (0.25, 0.5, 0.6, 1.0)
    scores = [point_scores(error, zero, mask, inside=share).item() for share in shares]
    assert scores == [1, 2, 3, 4]
    assert sup_scores(error, zero, mask).item() == 4


def test_a_spread_of_zero_is_refused():
    one = torch.ones(1, 1, 3, 1)
    with pytest.raises(ValueError, match="floor"):
        sup_scores(one, one, torch.ones(1, 3, dtype=torch.bool), torch.zeros_like(one))
