"""A score that separates nothing is noticed."""

from __future__ import annotations

import warnings

import pytest
import torch

from hepcalib.batch import Batch
from hepcalib.exceptions import CollapseWarning
from hepcalib.training import Epoch, Examples, History
from hepcalib.training.collapse import validation_auc, warn_of_collapse


def sample(rows: int, *, weighted: bool) -> Examples:
    generator = torch.Generator().manual_seed(3)
    return Examples(
        Batch(torch.zeros(rows, 1)),
        (torch.arange(rows) % 3 == 0).float(),
        weight=torch.rand(rows, generator=generator) - 0.1 if weighted else None,
    )


def history(auc: float) -> History:
    return History(
        [
            Epoch(
                epoch=1,
                train_nll=0.0,
                regulariser=0.0,
                penalty=0.0,
                validation_nll=0.0,
                validation_penalty=0.0,
                strength=1.0,
                criterion=0.0,
                validation_auc=auc,
            )
        ]
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_the_area_is_that_of_all_pairs(weighted: bool) -> None:
    examples = sample(200, weighted=weighted)
    score = (torch.arange(200) * 37 % 11).float() / 11 + 0.3 * examples.target  # with ties
    weight = torch.ones(200) if examples.weight is None else examples.weight
    signal = examples.target > 0.5
    above = (score[signal, None] - score[None, ~signal]).sign().double()
    pairs = weight[signal, None].double() * weight[None, ~signal].double()
    expected = float((pairs * (1 + above) / 2).sum() / pairs.sum())
    assert validation_auc(score, examples) == pytest.approx(expected, rel=1e-12)
    assert validation_auc(-score, examples) == pytest.approx(1 - expected, rel=1e-12)


def test_the_area_of_a_constant_or_of_no_weight_is_a_half() -> None:
    examples = sample(9, weighted=False)
    assert validation_auc(torch.zeros(9), examples) == 0.5
    nothing = examples._replace(weight=1 - examples.target)
    assert validation_auc(examples.target, nothing) == 0.5


@pytest.mark.parametrize("auc", [0.5, 0.17, 0.51])
def test_a_collapse_is_said(auc: float) -> None:
    with pytest.warns(CollapseWarning, match=rf"epoch 1, .* {auc:.3f} .* begins at 0\.5"):
        warn_of_collapse(history(auc), sample(900, weighted=False))


def test_separation_is_not_a_collapse() -> None:
    """Three deviations of 300 and 600 jets are 0.061; 0.05 is enough in any case."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_collapse(history(0.551), sample(900, weighted=False))
        warn_of_collapse(history(0.52), sample(9_000, weighted=False))
