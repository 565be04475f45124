from __future__ import annotations

import pytest
import torch
from torch.distributions import Categorical

from hepcalib.batch import Batch
from hepcalib.exceptions import ConfigError, ShapeError
from hepcalib.models import PFN, Head, NormalHead
from hepcalib.ragged import Ragged


class TenClasses(Head):
    outputs = 10

    def distribution(self, raw: torch.Tensor) -> Categorical:
        return Categorical(logits=raw)


def test_is_f_of_the_sum_of_phi() -> None:
    torch.manual_seed(1)
    model = PFN(constituents=2, features=1, phi=(8, 8), f=(8,), head=NormalHead())
    rows = [[[1.0, 2.0], [3.0, -1.0]], [], [[0.5, 0.5]]]
    features = torch.tensor([[1.0], [2.0], [3.0]])
    outputs = model.outputs(Batch(features, Ragged.from_rows(rows)))
    for row, x, found in zip(rows, features, outputs, strict=True):
        latent = model.phi(torch.tensor(row).reshape(-1, 2)).sum(0)
        torch.testing.assert_close(found, model.f(torch.cat([latent, x])))


def test_number_of_parameters_of_the_published_network() -> None:
    model = PFN(constituents=17, phi=(128, 128, 128), f=(128, 128, 128), head=TenClasses())
    assert sum(parameter.numel() for parameter in model.parameters()) == 86_154


def test_is_not_collinear_safe() -> None:
    torch.manual_seed(1)
    model = PFN(constituents=2, phi=(8,), f=(8,), head=NormalHead())
    whole = Batch(constituents=Ragged.from_rows([[[10.0, 0.3]]]))
    split = Batch(constituents=Ragged.from_rows([[[4.0, 0.3], [6.0, 0.3]]]))
    assert not torch.allclose(model.outputs(whole), model.outputs(split), rtol=1e-3)


def test_missing_parts_of_a_batch_are_refused() -> None:
    model = PFN(constituents=2, features=1, head=NormalHead())
    constituents = Ragged.from_rows([[[1.0, 2.0]]])
    with pytest.raises(ShapeError, match="PFN: features of the batch: none"):
        model.outputs(Batch(constituents=constituents))
    with pytest.raises(ShapeError, match="PFN: constituents of the batch: none"):
        model.outputs(Batch(torch.zeros(1, 1)))
    with pytest.raises(ShapeError, match="2 rows of features, 1 of constituents"):
        model.outputs(Batch(torch.zeros(2, 1), constituents))


def test_impossible_configurations_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"phi is \[\]"):
        PFN(constituents=2, phi=(), head=NormalHead())
    with pytest.raises(ConfigError, match="features -1"):
        PFN(constituents=2, features=-1, head=NormalHead())
    with pytest.raises(ConfigError, match=r"PFN f: layer widths are \[256, 0\]"):
        PFN(constituents=2, f=(0,), head=NormalHead())
