from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily, Normal, StudentT

from hepcalib.batch import Batch
from hepcalib.calibration import pooled, quantile
from hepcalib.exceptions import ConfigError, TrainingError
from hepcalib.models import MLP, BernoulliHead, Head, Model
from hepcalib.models.conformal import LEAST_TAIL, Conformal
from hepcalib.models.evidential import EvidentialHead
from hepcalib.models.model import Labelled

LEVEL = 0.6827
ROWS = 24


class Columns(Head):
    """Mean and standard deviation, or those of two equal parts, as they are."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def distribution(self, raw: Tensor) -> Normal | MixtureSameFamily:
        if self.outputs == 2:
            return Normal(raw[..., 0], raw[..., 1], validate_args=False)
        means, deviations = raw.chunk(2, -1)
        return MixtureSameFamily(
            Categorical(torch.ones_like(means), validate_args=False),
            Normal(means, deviations, validate_args=False),
            validate_args=False,
        )


class Known(Model):
    """Predicts what the features say; its one parameter does nothing."""

    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.head = Columns(outputs)

    @property
    def config(self) -> dict[str, Any]:
        return {}

    def outputs(self, batch: Batch) -> Tensor:
        assert batch.features is not None
        return batch.features


class TwoMembers(Known):
    """Two members beside the prediction, half a unit apart."""

    def member_outputs(self, batch: Batch) -> Tensor:
        shift = torch.tensor([0.5, 0.0], dtype=torch.float64)
        return torch.stack([self.outputs(batch) - shift, self.outputs(batch) + shift])


def predictions(rows: int, *, seed: int, width: float = 1.0) -> Labelled:
    """N(x, (width s)^2) is predicted; the truth has the scale s of the second column, heavy tails.

    Where s is large the tails are heavier.
    """
    torch.manual_seed(seed)
    mean = torch.randn(rows, dtype=torch.float64)
    scale = 0.5 + torch.rand(rows, dtype=torch.float64)
    heavy: Any = StudentT(torch.tensor(3.0, dtype=torch.float64))
    noise = torch.where(scale > 1.0, heavy.sample((rows,)), torch.randn(rows, dtype=torch.float64))
    return Labelled(Batch(torch.stack([mean, width * scale], 1)), mean + scale * noise)


def covered(model: Model, sample: Labelled) -> Tensor:
    """Whether the target is inside the interval, (rows,)."""
    members = model.members(sample.batch)
    low, high = model.interval(members)
    mixture: Any = pooled(members)
    place = mixture.cdf(sample.target)
    inside: Tensor = (place >= low) & (place <= high)
    return inside


def coverage(model: Model, sample: Labelled) -> float:
    return covered(model, sample).double().mean().item()


def finished(model: Conformal, sample: Labelled) -> Conformal:
    model.eval().finish(sample, sample)
    return model


@pytest.mark.parametrize("width", [0.5, 2.0])
@pytest.mark.parametrize("inner", [Known, TwoMembers])
def test_coverage_of_a_wrong_model_is_the_level(width: float, inner: type[Known]) -> None:
    rows = 20_000
    held_out, test = (predictions(rows, seed=seed, width=width) for seed in (1, 2))
    found = coverage(finished(Conformal(inner()), held_out), test)
    # binomial error of the test and of the held-out rows
    tolerance = 5 * (2 * LEVEL * (1 - LEVEL) / rows) ** 0.5
    assert found == pytest.approx(LEVEL, abs=tolerance)
    assert coverage(inner(), test) != pytest.approx(LEVEL, abs=0.05)


def test_another_level() -> None:
    held_out, test = (predictions(20_000, seed=seed, width=0.5) for seed in (1, 2))
    found = coverage(finished(Conformal(Known(), level=0.95), held_out), test)
    assert found == pytest.approx(0.95, abs=5 * (2 * 0.95 * 0.05 / 20_000) ** 0.5)


def test_coverage_holds_in_each_group() -> None:
    rows, groups = 40_000, 4
    held_out, test = (predictions(rows, seed=seed) for seed in (3, 4))
    model = finished(Conformal(Known(), groups=groups), held_out)
    assert test.batch.features is not None
    order = test.batch.features[:, 1].argsort()
    tolerance = 5 * (2 * LEVEL * (1 - LEVEL) * groups / rows) ** 0.5
    inside = covered(model, test)[order].double().view(groups, -1).mean(1)
    assert inside.tolist() == pytest.approx([LEVEL] * groups, abs=tolerance)
    one = covered(finished(Conformal(Known()), held_out), test)[order]
    together = one.double().view(groups, -1).mean(1).tolist()
    assert together != pytest.approx([LEVEL] * groups, abs=tolerance)
    assert len(set(model.tail.tolist())) == groups


@pytest.mark.parametrize("rows", [4, 9, 15])
def test_coverage_of_few_rows_is_that_of_exchangeability(rows: int) -> None:
    repeats = 4000
    torch.manual_seed(5)
    targets = torch.randn(repeats, rows + 1, dtype=torch.float64)
    zeros = torch.zeros(rows, dtype=torch.float64)
    held_out = Labelled(Batch(torch.stack([zeros, zeros + 0.7], 1)), zeros)
    model, inside = Conformal(Known()).eval(), 0
    place = torch.special.ndtr(targets[:, -1] / 0.7)
    tails = torch.special.ndtr(-targets[:, :-1].abs() / 0.7)
    for repeat in range(repeats):
        tail = model._fitted_tail(tails[repeat], zeros + 1.0)
        inside += bool(tail <= place[repeat] <= 1 - tail)
    found, error = inside / repeats, (LEVEL * (1 - LEVEL) / repeats) ** 0.5
    assert LEVEL - 4 * error <= found <= LEVEL + 1 / (rows + 1) + 4 * error
    naive = torch.quantile(tails, 1 - LEVEL, dim=1, interpolation="higher")
    without = ((place >= naive) & (place <= 1 - naive)).double().mean().item()
    assert without < LEVEL - 4 * error  # without the new row: too narrow
    model.finish(held_out, held_out._replace(target=targets[0, :-1]))
    assert model.tail.item() == pytest.approx(model._fitted_tail(tails[0], zeros + 1.0))


def test_rank_is_the_ceiling_of_the_level_of_all_rows_and_the_new_one() -> None:
    model = Conformal(Known(), level=0.5)
    tails = torch.tensor([0.1, 0.4, 0.2, 0.3, 0.05, 0.45, 0.15, 0.25, 0.35], dtype=torch.float64)
    ones = torch.ones(9, dtype=torch.float64)
    # (9 + 1) / 2 = 5 targets nearest to the median
    assert model._fitted_tail(tails, ones) == 0.25
    assert model._fitted_tail(tails, 7.0 * ones) == 0.25
    assert Conformal(Known(), level=0.9)._fitted_tail(tails, ones) == 0.05
    assert Conformal(Known(), level=0.91)._fitted_tail(tails, ones) == 0.0
    twice = torch.where(tails > 0.3, 2.0, 1.0).double()  # sums 2, 4, 6, 7 of 12; needed 6.67
    assert model._fitted_tail(tails, twice) == 0.3
    negative = torch.where(tails == 0.2, -1.0, 1.0).double()  # 4.0 needed 3.89, then 5, 4, ...
    assert model._fitted_tail(tails, negative) == 0.3


def test_weights_move_the_interval_to_the_rows_that_count() -> None:
    held_out, test = (predictions(20_000, seed=seed, width=0.5) for seed in (6, 7))
    assert held_out.batch.features is not None
    assert test.batch.features is not None
    heavy = (held_out.batch.features[:, 1] > 0.5).double()
    model = finished(Conformal(Known()), held_out._replace(weight=3.0 * heavy))
    inside = covered(model, test)[test.batch.features[:, 1] > 0.5].double()
    tolerance = 5 * (4 * LEVEL * (1 - LEVEL) / 20_000) ** 0.5
    assert inside.mean().item() == pytest.approx(LEVEL, abs=tolerance)
    assert coverage(model, test) > LEVEL + tolerance  # too wide for the others


def test_interval_has_a_largest_width_and_says_so() -> None:
    sample = predictions(1000, seed=8, width=1e-3)
    model = finished(Conformal(Known(), groups=2), sample)
    assert model.clipped.tolist() == [True, True]
    low, high = model.interval(model.members(sample.batch))
    assert low.dtype == torch.float64
    assert low.tolist() == [LEAST_TAIL] * 1000
    assert (high < 1).all()
    edge = quantile(pooled(model.members(sample.batch)), high[0].item())
    assert edge.isfinite().all()
    few = finished(Conformal(Known(), level=0.95), predictions(10, seed=9))
    assert few.clipped.tolist() == [True]
    assert finished(Conformal(Known()), predictions(10, seed=9)).clipped.tolist() == [False]


def test_equal_deviations_leave_no_group_without_an_interval() -> None:
    sample = predictions(500, seed=10)
    assert sample.batch.features is not None
    sample.batch.features[:, 1] = 1.0
    model = finished(Conformal(Known(), groups=3), sample)
    assert not model.clipped.any()
    one = finished(Conformal(Known()), sample)
    assert model.tail.tolist() == [one.tail.item()] * 3


def test_block_size_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = predictions(100, seed=11)
    expected = finished(Conformal(Known(4), groups=2), doubled(sample)).state_dict()
    monkeypatch.setattr("hepcalib.models.conformal.BLOCK", 7)
    found = finished(Conformal(Known(4), groups=2), doubled(sample)).state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def doubled(sample: Labelled) -> Labelled:
    """The same predictions as mixtures of two equal parts."""
    assert sample.batch.features is not None
    return sample._replace(batch=Batch(sample.batch.features.repeat_interleave(2, 1)))


def test_mixtures_are_the_same_as_their_one_part() -> None:
    sample = predictions(100, seed=11)
    one = finished(Conformal(Known()), sample).tail
    torch.testing.assert_close(finished(Conformal(Known(4)), doubled(sample)).tail, one)


def test_impossible_samples_are_refused() -> None:
    sample = predictions(10, seed=12)
    none = Labelled(sample.batch.select(slice(0, 0)), sample.target[:0])
    with pytest.raises(TrainingError, match="0 of 0 held-out rows"):
        Conformal(Known()).finish(sample, none)
    target = sample.target.clone()
    target[3] = torch.nan
    with pytest.raises(TrainingError, match="9 of 10 held-out rows have a finite"):
        Conformal(Known()).finish(sample, sample._replace(target=target))


def test_impossible_wrappers_are_refused() -> None:
    with pytest.raises(ConfigError, match="the model is a tagger"):
        Conformal(MLP(features=3, head=BernoulliHead()))
    with pytest.raises(ConfigError, match="Conformal: the model predicts Evidence; needed: Normal"):
        Conformal(MLP(features=2, head=EvidentialHead()))
    with pytest.raises(ConfigError, match="Conformal: Conformal has intervals of its own"):
        Conformal(Conformal(Known()))
    for keywords, message in (
        ({"level": 0.0}, "level is 0"),
        ({"level": 1.0}, "level is 1"),
        ({"groups": 0}, "groups 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            Conformal(Known(), **keywords)
