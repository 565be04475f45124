from __future__ import annotations

import json
from dataclasses import replace

import pytest

from hepcalib.run import Account, CheckedFile, Counts, Ledger, Problem

GOOD = Account(Counts(10, 10, 0, 0), Counts(2, 2, 0, 0), Counts(5.0, 5.0, 0.0, 0.0), ())
PROBLEM = Problem("a.root", "a.root: truncated", "failed", 4, 2.0, (0, 4))


def test_a_good_run() -> None:
    ledger = Ledger({"d": GOOD})
    assert ledger.balanced
    assert ledger.ok
    assert ledger.complaint() == ""


def test_weights_may_differ_by_rounding_only() -> None:
    rounded = replace(GOOD, sum_of_weights=Counts(5.0, 5.0 + 1e-12, 0.0, 0.0))
    assert rounded.balanced
    assert not replace(GOOD, sum_of_weights=Counts(5.0, 5.0 + 1e-6, 0.0, 0.0)).balanced


def test_weights_that_cancel_differ_by_the_rounding_of_their_parts() -> None:
    cancelled = replace(GOOD, sum_of_weights=Counts(1.1e-16, 5.6e-17, 0.0, 0.0))
    assert replace(cancelled, weight_scale=1.2).balanced
    assert not cancelled.balanced


@pytest.mark.parametrize(
    "broken",
    [
        replace(GOOD, events=Counts(10, 9, 0, 0)),
        replace(GOOD, events=Counts(10, 20, 0, 0)),
        replace(GOOD, chunks=Counts(2, 1, 0, 0)),
        replace(GOOD, sum_of_weights=Counts(5.0, 4.0, 0.0, 0.0)),
        replace(GOOD, problems=(PROBLEM._replace(events=None),)),
    ],
)
def test_what_does_not_balance(broken: Account) -> None:
    ledger = Ledger({"good": GOOD, "bad": broken})
    assert not ledger.balanced
    assert not ledger.ok
    assert "'bad'" in ledger.complaint()
    assert "'good'" not in ledger.complaint()


def test_failed_events_balance_but_are_not_ok() -> None:
    failed = Account(
        Counts(10, 6, 0, 4), Counts(2, 1, 0, 1), Counts(5.0, 3.0, 0.0, 2.0), (PROBLEM,)
    )
    ledger = Ledger({"d": failed})
    assert ledger.balanced
    assert not ledger.ok
    assert ledger.complaint() == "dataset 'd': failed: a.root: truncated"


def test_skipped_events_are_ok() -> None:
    skipped = Account(
        Counts(10, 6, 4, 0),
        Counts(2, 1, 1, 0),
        Counts(5.0, 3.0, 2.0, 0.0),
        (PROBLEM._replace(kind="skipped", events=None),),
    )
    assert Ledger({"d": skipped}).ok


def test_the_format_on_disk() -> None:
    account = replace(
        GOOD,
        problems=(PROBLEM, PROBLEM._replace(entries=None, events=None)),
        files=(CheckedFile("a.root", "12ab", True), CheckedFile("b.root", None, False)),
    )
    written = json.loads(json.dumps(Ledger({"d": account}).to_json(), allow_nan=False))
    assert written == {
        "balanced": False,
        "datasets": {
            "d": {
                "events": {"expected": 10, "processed": 10, "skipped": 0, "failed": 0},
                "chunks": {"expected": 2, "processed": 2, "skipped": 0, "failed": 0},
                "sum_of_weights": {
                    "expected": 5.0,
                    "processed": 5.0,
                    "skipped": 0.0,
                    "failed": 0.0,
                },
                "files": [
                    {"file": "a.root", "sha256": "12ab", "checked": True},
                    {"file": "b.root", "sha256": None, "checked": False},
                ],
                "problems": [
                    {
                        "file": "a.root",
                        "reason": "a.root: truncated",
                        "kind": "failed",
                        "events": 4,
                        "sum_of_weights": 2.0,
                        "entries": [0, 4],
                    },
                    {
                        "file": "a.root",
                        "reason": "a.root: truncated",
                        "kind": "failed",
                        "events": None,
                        "sum_of_weights": 2.0,
                        "entries": None,
                    },
                ],
            }
        },
    }
