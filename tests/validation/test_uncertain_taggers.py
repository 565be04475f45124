"""A Bayesian tagger beside independent networks, and what shifted constituents do to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.special import expit, logit

if TYPE_CHECKING:
    from collections.abc import Callable

    Record = Callable[[str, object], None]

pytestmark = [pytest.mark.validation, pytest.mark.timeout(7200)]

TRUTHS = ("background", "signal")


@pytest.fixture(scope="module")
def finished(full_run: Callable[..., Any]) -> Any:
    return full_run("uncertain_taggers", "--workers", "2")


@pytest.fixture(scope="module")
def found(finished: Any) -> Any:
    return finished.metrics["uncertain"]


def test_widths_are_those_of_independent_networks(found: Any, record_property: Record) -> None:
    """The standard deviation of ten values is known to 24 %, its median over jets is 3 % low."""
    ratio = found["width_ratio"]
    record_property("median", f"{ratio['median']:.3f} +- {ratio['median_error']:.3f}")
    record_property("in bins of the score", [round(value, 3) for value in ratio["ratio"]])
    assert abs(ratio["median"] - 1.0) < 0.1


def test_scores_are_nearly_probabilities(found: Any, record_property: Record) -> None:
    """Much nearer than those of half the logit would be, the control."""
    scores = found["reliability"]["tagger"]
    record_property("expected calibration error", round(scores["error"], 4))
    record_property("if right", round(scores["error_if_right"], 4))
    mean, fraction, share = (np.array(scores[name]) for name in ("score", "fraction", "share"))
    timid = np.abs(fraction - expit(0.5 * logit(mean)))
    assert scores["error"] < 0.5 * (share * timid).sum()


@pytest.mark.parametrize("truth", TRUTHS)
def test_the_mean_score_is_that_of_a_normal_logit(found: Any, truth: str) -> None:
    assert abs(found["probit"][truth]["mean"][0]) < 0.005


@pytest.mark.parametrize("truth", TRUTHS)
def test_the_logit_moves_with_the_hardest_constituent(
    found: Any, record_property: Record, truth: str
) -> None:
    """Toy I: linear in small shifts: opposite ones, of 2 %, have opposite effects."""
    moved = np.array(found["hardest_logit_mean"][truth]["mean"])
    record_property("mean change of the logit", moved.round(4).tolist())
    assert (np.diff(moved) > 0).all() or (np.diff(moved) < 0).all()
    np.testing.assert_allclose(moved[2], -moved[3], rtol=0.15)


@pytest.mark.parametrize("truth", TRUTHS)
def test_the_logit_spreads_with_the_scales_of_the_regions(
    found: Any, record_property: Record, truth: str
) -> None:
    """Toy II: the standard deviation is proportional to that of the scales, up to second order.

    It is known to less than 1 %; the largest scale is 10 %.
    """
    widths = np.array(found["regions_logit_mean"][truth]["width"])
    record_property("standard deviation of the change", widths.round(4).tolist())
    np.testing.assert_allclose(widths / widths[0], np.array([0.02, 0.05, 0.1]) / 0.02, rtol=0.1)


def test_no_jet_is_lost(finished: Any) -> None:
    for name, dataset in finished.ledger["datasets"].items():
        events = dataset["events"]
        assert events["processed"] == events["expected"] > 0, name
