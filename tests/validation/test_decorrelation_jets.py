"""Every way of decorrelation on the same W and QCD jets: what is lost, and what still sculpts.

The strength of a penalty is the one that the configuration gives its model, not the best of its
scan on these jets.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml

from hepcalib.metrics import methods, training_name

if TYPE_CHECKING:
    from collections.abc import Callable

    Record = Callable[[str, object], None]
    Row = dict[str, float]

pytestmark = [pytest.mark.validation, pytest.mark.timeout(7200)]

CONFIG: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[2] / "analysis_configs" / "decorrelation.yaml").read_text(
        encoding="utf-8"
    )
)
METHODS = (
    "Plain", "Planed", "DDT", "kNN", "Adversary", "DisCo", "MoDe0", "MoDe1", "MoDe2", "Flow",
    "uBoost", "Constituents",
)  # fmt: skip
PENALISED = ("DisCo", "MoDe0")
NEEDED = 100.0  # 1/JSD [1/bits] of what passes against what fails
SHARE = 1 / 3  # of the rejection of the plain tagger


@pytest.fixture(scope="module")
def finished(full_run: Callable[..., Any]) -> Any:
    return full_run("decorrelation", "--workers", "2")


@pytest.fixture(scope="module")
def study(finished: Any) -> Any:
    return finished.metrics["comparison"]


def nominal(method: str) -> str:
    """The training of a method at the strength of its model."""
    if method not in PENALISED:
        return method
    strength = CONFIG["models"][method.lower()]["penalty"]["strength"]
    return training_name(method, kind="strength", value=strength)


def seeds(table: dict[str, Row], method: str) -> list[Row]:
    """The rows of the five trainings of a method that differ in the seed only."""
    trainings = methods(table)[f"{method} seeds"].trainings
    assert len(trainings) == 5
    return [table[training] for training in trainings]


def shown(row: Row, column: str) -> str:
    return f"{row[column]:.1f} +- {row[f'{column}_error']:.1f}"


def recorded(record_property: Record, name: str, row: Row) -> None:
    record_property(f"R50, {name}", shown(row, "R50"))
    record_property(f"1/JSD, {name}", shown(row, "one_over_jsd"))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_in_the_table(study: Any, record_property: Record, method: str) -> None:
    for training in methods(study["table"])[method].trainings:
        row = study["table"][training]
        recorded(record_property, training, row)
        assert np.isfinite([row["auc"], row["R50"], row["one_over_jsd"]]).all()


def test_the_plain_tagger_sculpts(study: Any, record_property: Record) -> None:
    """The control: it is far from what the others must reach, and a third of it is no coin."""
    row = study["table"]["Plain"]
    recorded(record_property, "plain", row)
    assert row["one_over_jsd"] + 5 * row["one_over_jsd_error"] < NEEDED
    assert SHARE * row["R50"] > 2.0  # what a coin has


@pytest.mark.parametrize("method", [*PENALISED, "Flow"])
def test_sculpts_nothing_and_still_separates(
    study: Any, record_property: Record, method: str
) -> None:
    name, plain = nominal(method), study["table"]["Plain"]
    row = study["table"][name]
    recorded(record_property, name, row)
    record_property("1/JSD if independent", round(row["one_over_jsd_independent"]))
    record_property("share of the plain R50", round(row["R50"] / plain["R50"], 3))
    of_convention = study["conventions"]["bits, pass/fail"][name]
    assert row["one_over_jsd"] == pytest.approx(of_convention["one_over"])
    assert row["one_over_jsd_independent_low"] > NEEDED  # there are enough jets to see it
    assert row["one_over_jsd"] > NEEDED
    assert row["R50"] >= SHARE * plain["R50"]


@pytest.mark.parametrize("method", [*PENALISED, "Flow"])
def test_every_seed_does_too(study: Any, record_property: Record, method: str) -> None:
    least = SHARE * study["table"]["Plain"]["R50"]
    rows = spread(study["table"], method, record_property)
    reached = [row["one_over_jsd"] > NEEDED and row["R50"] >= least for row in rows]
    record_property("seeds that reach it", f"{sum(reached)} of {len(rows)}")
    assert all(reached)


def test_spread_of_the_adversary(study: Any, record_property: Record) -> None:
    """Beside those above: recorded, whatever it is; the seeds did make different networks."""
    rows = spread(study["table"], "Adversary", record_property)
    assert np.isfinite([[row["R50"], row["one_over_jsd"]] for row in rows]).all()
    assert len({row["auc"] for row in rows}) == len(rows)


def spread(table: dict[str, Row], method: str, record_property: Record) -> list[Row]:
    """Record and return the rows of all seeds of a method."""
    rows, mean = seeds(table, method), table[f"{method} seeds, mean of seeds"]
    for name, column in (("R50", "R50"), ("1/JSD", "one_over_jsd")):
        values = [row[column] for row in rows]
        assert mean[f"{column}_spread"] == pytest.approx(np.std(values, ddof=1))
        record_property(f"{name}, {method}, each seed", [round(value, 1) for value in values])
        record_property(f"spread of {name}, {method}", round(mean[f"{column}_spread"], 1))
    return rows


def test_no_event_is_lost(finished: Any) -> None:
    assert finished.ledger["balanced"] is True
    for name, dataset in finished.ledger["datasets"].items():
        events = dataset["events"]
        assert events["processed"] == events["expected"] > 0, name
