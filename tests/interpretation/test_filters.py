from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from hepcalib import bundles
from hepcalib.batch import Batch
from hepcalib.exceptions import ConfigError
from hepcalib.features import Inputs
from hepcalib.interpretation import efn_filters
from hepcalib.models import PFN, Bayesian, BernoulliHead, DeepEnsemble
from hepcalib.models.efn import EFN
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from pathlib import Path


def efn() -> EFN:
    """An EFN whose filters are ReLU(y), ReLU(-y - phi) and one that is never positive."""
    model = EFN(phi=(3,), f=(4,), head=BernoulliHead())
    weight, bias = model.phi.parameters()
    with torch.no_grad():
        weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, -1.0], [0.0, 0.0]]))
        bias.copy_(torch.tensor([0.0, 0.0, -1.0]))
    return model


def test_filters_are_functions_of_rapidity_and_azimuth() -> None:
    found = efn_filters(efn(), extent=0.4, points=5)
    y, phi = np.meshgrid(found.rapidity, found.azimuth, indexing="ij")
    assert found.rapidity.tolist() == pytest.approx([-0.4, -0.2, 0.0, 0.2, 0.4])
    assert found.number == (0, 1)
    assert found.zero == 1
    np.testing.assert_allclose(found.values[0], y.clip(min=0.0), atol=1e-7)
    np.testing.assert_allclose(found.values[1], (-y - phi).clip(min=0.0), atol=1e-7)
    assert not np.allclose(found.values[1], (-y - phi).T.clip(min=0.0)[::-1], atol=1e-3)


def test_the_network_adds_up_its_filters() -> None:
    torch.manual_seed(1)
    model = EFN(phi=(16, 8), f=(4,), head=BernoulliHead())
    found = efn_filters(model, extent=0.5, points=3)
    for row, column in ((0, 2), (1, 1)):
        at = [1.0, float(found.rapidity[row]), float(found.azimuth[column])]
        jet = Batch(constituents=Ragged.from_rows([[at]]))
        summed = torch.zeros(1, 8)
        summed[0, list(found.number)] = torch.tensor(found.values[:, row, column]).float()
        with torch.no_grad():
            torch.testing.assert_close(model.f(summed), model.outputs(jet))


def test_filters_of_bundles_and_of_bayesian_means(tmp_path: Path) -> None:
    keys = list(EFN.leading)
    inputs = Inputs(constituents=keys)
    items = torch.tensor(np.random.default_rng(2).uniform(0.0, 1.0, (50, 3)), dtype=torch.float32)
    inputs.fit(Batch(constituents=Ragged(items, torch.arange(51))))
    plain = efn_filters(efn())
    for number, model in enumerate((efn(), Bayesian(efn(), draws=2))):
        path = tmp_path / str(number)
        bundles.save(path, model, inputs, kind="tagger", object="jet", name="efn")
        np.testing.assert_allclose(efn_filters(path).values, plain.values, atol=1e-6)


def test_what_has_no_filters_is_refused() -> None:
    pfn = PFN(constituents=3, phi=(4,), f=(4,), head=BernoulliHead())
    with pytest.raises(ConfigError, match="PFN has no filters"):
        efn_filters(pfn)
    with pytest.raises(ConfigError, match="DeepEnsemble has several networks; filters are those"):
        efn_filters(DeepEnsemble(efn(), members=2))
    with pytest.raises(ConfigError, match=r"extent 0.0, points 81; needed"):
        efn_filters(efn(), extent=0.0)
    with pytest.raises(ConfigError, match=r"extent 0.8, points 1; needed"):
        efn_filters(efn(), points=1)
