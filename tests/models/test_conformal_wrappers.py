from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.distributions import Normal

from hepcalib.batch import Batch
from hepcalib.calibration import pooled
from hepcalib.exceptions import ConfigError
from hepcalib.models import MLP, PFN, MixtureHead, Model, NormalHead
from hepcalib.models.conformal import Conformal
from hepcalib.models.dropout import Dropout
from hepcalib.models.evidential import Evidential, EvidentialHead
from hepcalib.models.laplace import Laplace
from hepcalib.models.model import Labelled
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 24
ROUNDING = 1e-5  # of a probability, a hundred units of the last place in single precision


def mlp() -> Model:
    return MLP(features=3, hidden=(8,), head=MixtureHead(2))


def pfn() -> Model:
    return PFN(constituents=3, features=3, phi=(8,), f=(8,), head=NormalHead())


def evidential() -> Model:
    return Evidential(MLP(features=3, hidden=(8,), head=EvidentialHead()), nodes=2)


INNER: dict[str, Callable[[], Model]] = {
    "MLP": mlp,
    "PFN": pfn,
    "Dropout": lambda: Dropout(mlp(), draws=4),
    "Laplace of a PFN": lambda: Laplace(pfn(), draws=4),
    "Evidential": evidential,
}
every = pytest.mark.parametrize("make", INNER.values(), ids=INNER.keys())


def jets() -> Labelled:
    generator = torch.Generator().manual_seed(2)
    counts = torch.arange(ROWS) % 4
    values = torch.randn(int(counts.sum()), 3, generator=generator)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    batch = Batch(torch.randn(ROWS, 3, generator=generator), Ragged(values, offsets))
    return Labelled(batch, torch.randn(ROWS, generator=generator))


@every
def test_everything_but_the_interval_is_that_of_the_model(make: Callable[[], Model]) -> None:
    torch.manual_seed(1)
    inner, sample = make().eval(), jets()
    model = Conformal(inner, groups=2).eval()
    with pytest.raises(ConfigError, match=r"not fitted; call finish\(training, held_out\)"):
        model.interval(Normal(torch.zeros(1, 3), 1.0))
    model.finish(sample, sample)
    inner.finish(sample, sample)
    members = model.members(sample.batch)
    torch.testing.assert_close(members.mean, inner.members(sample.batch).mean)
    torch.testing.assert_close(
        model.member_outputs(sample.batch), inner.member_outputs(sample.batch)
    )
    predicted, other = model(sample.batch), inner(sample.batch)
    assert torch.equal(model.outputs(sample.batch), inner.outputs(sample.batch))
    assert torch.equal(model.loss(predicted, sample.target), inner.loss(other, sample.target))
    regulariser = model.regulariser(predicted, sample.target, rows=7)
    assert torch.equal(regulariser, inner.regulariser(other, sample.target, rows=7))
    low, high = model.interval(members)
    assert low.shape == high.shape == (ROWS,)
    assert (low + high).tolist() == pytest.approx([1.0] * ROWS)
    # Of the rows of the fit themselves ceil(level (n + 1)) = 9 are inside in each group of 12; the
    # ninth is at an end, where rounding decides, so that 8 are further inside than rounding goes.
    mixture: Any = pooled(members)
    place = mixture.cdf(sample.target)
    beyond = torch.minimum(place - low, high - place)
    assert [(beyond > slack).sum().item() for slack in (-ROUNDING, ROUNDING)] == [2 * 9, 2 * 8]


@every
def test_state_and_pickle_carry_the_interval(make: Callable[[], Model]) -> None:
    torch.manual_seed(1)
    sample, inner = jets(), make()
    model = Conformal(inner, groups=3).eval()
    model.finish(sample, sample)
    expected = model.interval(model.members(sample.batch))
    config = json.loads(json.dumps(model.config))
    assert config.pop("model")["name"] == type(inner).__name__
    other = Conformal(make(), **config).eval()
    other.load_state_dict(model.state_dict())
    for again in (other, pickle.loads(pickle.dumps(model))):
        found = again.interval(again.members(sample.batch))
        assert torch.equal(torch.stack(found), torch.stack(expected))
    row = slice(5, 6)
    alone = model.interval(model.members(sample.batch.select(row)))
    assert torch.equal(alone[0], expected[0][row])
