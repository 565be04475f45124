from __future__ import annotations

import pytest
import torch

from hepcalib.exceptions import ConfigError
from hepcalib.losses.pinball import pinball


def test_values_are_those_of_the_definition() -> None:
    u = torch.tensor([-2.0, 0.0, 3.0])
    assert pinball(u, probability=0.9).tolist() == pytest.approx([1.8, 0.0, 0.3])


@pytest.mark.parametrize("probability", [0.16, 0.5, 0.84])
def test_minimum_is_the_quantile_of_a_sample(probability: float) -> None:
    sample = torch.arange(1.0, 1000.0, dtype=torch.float64)  # quantile p is 1000 p
    candidates = sample.unsqueeze(1) - sample
    best = int(pinball(candidates, probability=probability).mean(1).argmin())
    assert sample[best].item() == pytest.approx(1000 * probability, abs=1.0)
    wrong = int(pinball(-candidates, probability=probability).mean(1).argmin())
    assert sample[wrong].item() == pytest.approx(1000 * (1 - probability), abs=1.0)


def test_each_column_has_its_own_probability() -> None:
    u = torch.randn(7, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    p = torch.tensor([0.16, 0.5, 0.84], dtype=torch.float64)
    columns = [pinball(u[:, k], probability=p[k].item()) for k in range(3)]
    assert torch.equal(pinball(u, probability=p), torch.stack(columns, 1))


@pytest.mark.parametrize("probability", [0.0, 1.0, float("nan")])
def test_a_probability_out_of_range_is_refused(probability: float) -> None:
    message = f"probability is {probability}; needed: above 0 and below 1"
    with pytest.raises(ConfigError, match=message):
        pinball(torch.zeros(1), probability=probability)
    with pytest.raises(ConfigError, match=message):
        pinball(torch.zeros(1, 3), probability=torch.tensor([0.5, probability, 0.25]))
