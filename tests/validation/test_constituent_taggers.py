"""Models of constituents on the same W and QCD jets: the order that the field knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Record = Callable[[str, object], None]

pytestmark = [pytest.mark.validation, pytest.mark.timeout(14_400)]

TAGGERS = ("EFN", "PFN", "GN2", "ParticleNet-Lite", "ParticleNet")
ORDER = (("ParticleNet-Lite", "PFN"), ("ParticleNet", "PFN"), ("PFN", "EFN"))


@pytest.fixture(scope="module")
def finished(full_run: Callable[..., Any]) -> Any:
    return full_run("constituent_taggers", "--workers", "2")


@pytest.fixture(scope="module")
def merits(finished: Any) -> Any:
    return finished.metrics["comparison"]["merit"]


@pytest.mark.parametrize("tagger", TAGGERS)
def test_every_tagger_separates(merits: Any, record_property: Record, tagger: str) -> None:
    found = merits[tagger]
    record_property("AUC", round(found["auc"], 4))
    record_property("AUC error", round(found["auc_error"], 4))
    pairs = zip(found["rejections"], found["rejection_errors"], strict=True)
    record_property("R50, R30", [f"{value:.1f} +- {error:.1f}" for value, error in pairs])
    assert found["signal_entries"] > 5000
    assert found["background_entries"] > 5000
    # Better than a coin, by far more than the error: the control of what the order means.
    assert found["auc"] > 0.5 + 50 * found["auc_error"]


@pytest.mark.parametrize(("better", "other"), ORDER)
def test_order(merits: Any, record_property: Record, better: str, other: str) -> None:
    """No pair is the other way round by more than two standard errors.

    The taggers saw the same jets, so that the error of their difference is smaller than this one.
    """
    difference = merits[better]["auc"] - merits[other]["auc"]
    error = float(np.hypot(merits[better]["auc_error"], merits[other]["auc_error"]))
    record_property("difference of the AUC", f"{difference:.4f} +- {error:.4f}")
    assert difference > -2 * error


def test_the_other_way_round_is_refused(merits: Any) -> None:
    """Two taggers whose difference is large cannot be swapped unseen."""
    with pytest.raises(AssertionError):
        test_order(merits, lambda _name, _value: None, "EFN", "PFN")


def test_no_jet_is_lost(finished: Any) -> None:
    for name, dataset in finished.ledger["datasets"].items():
        events = dataset["events"]
        assert events["processed"] == events["expected"] > 0, name
