"""Scores from models, columns and decorrelators, and the handle that carries these to workers."""

from __future__ import annotations

import hashlib
import inspect
import json
import pickle
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest

from hepcalib.bundles import load
from hepcalib.decorrelation import METHODS, DesignedDecorrelation
from hepcalib.exceptions import BundleError, ConfigError, DataError
from hepcalib.inference import DecorrelatedTagger, Handle, Tagger, predict, tag, tag_each, tagging
from hepcalib.inference.tagging import decorrelator_text, resident_decorrelator

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

ROWS = 400


def jets(*, mass: tuple[float, float] = (50, 300)) -> ak.Array:
    """Two jets in each of 200 events, without constituents in every third one."""
    random = np.random.default_rng(1)
    counts = np.arange(ROWS) % 3
    constituents = ak.unflatten(random.uniform(1, 50, int(counts.sum())), counts)
    columns = {
        "pt": random.uniform(200, 600, ROWS),
        "eta": random.uniform(-2, 2, ROWS),
        "softdrop_mass": random.uniform(*mass, ROWS),
        "trimmed_mass": random.uniform(50, 300, ROWS),
        "constituents": ak.zip({"pt": constituents}),
    }
    return ak.unflatten(ak.zip(columns, depth_limit=1), 2)


@pytest.fixture
def made() -> DesignedDecorrelation:
    random = np.random.default_rng(2)
    mass, pt = random.uniform(50, 300, 2000), random.uniform(200, 600, 2000)
    score = random.normal(0.5 + 0.05 * np.log(mass**2 / pt), 0.1)
    return DesignedDecorrelation.fit(score, {"softdrop_mass": mass, "pt": pt})


@pytest.fixture
def file(tmp_path: Path, made: DesignedDecorrelation) -> Path:
    path = tmp_path / "flat.json"
    path.write_text(decorrelator_text("designed", made, {"of": "a test"}), encoding="utf-8")
    return path


def columns_of(events: ak.Array, *names: str) -> dict[str, Any]:
    return {name: np.asarray(ak.flatten(events[name])) for name in names}


def test_a_model_is_scored_changed_and_keeps_its_spread(
    file: Path, made: DesignedDecorrelation, bundle: Callable[..., Path], tmp_path: Path
) -> None:
    handle = Handle.of(bundle(tmp_path / "model", model="bayesian_tagger"))
    events = jets()
    plain = ak.flatten(predict(handle, events, device="cpu"))
    answer = tag(DecorrelatedTagger.of(file, tagger=handle), events, device="cpu")
    assert ak.num(answer).tolist() == [2] * 200
    flat, nuisances = ak.flatten(answer), columns_of(events, "softdrop_mass", "pt")
    score, spread = (np.asarray(plain[name], np.float64) for name in ("score", "score_stat"))
    assert flat["score"].to_list() == made(score, nuisances).tolist()
    width = 0.5 * (made(score + spread, nuisances) - made(score - spread, nuisances))
    assert np.asarray(flat["score_stat"]) == pytest.approx(width)
    assert width.max() > 0.01
    valid = np.asarray(plain["in_range"]) & made.in_range(nuisances)
    assert flat["in_range"].to_list() == valid.tolist()
    same = tag(handle, events, device="cpu")
    assert same.fields == answer.fields == ["score", "score_stat", "in_range"]
    assert ak.flatten(same["score"]).to_list() == plain["score"].to_list()


@pytest.mark.parametrize("rises", [True, False])
def test_a_column_is_scored(file: Path, made: DesignedDecorrelation, rises: bool) -> None:
    events = jets(mass=(250, 350))
    tagger = DecorrelatedTagger.of(file, column="trimmed_mass", rises=rises)
    answer = ak.flatten(tag(tagger, events))
    nuisances = columns_of(events, "softdrop_mass", "pt")
    old = columns_of(events, "trimmed_mass")["trimmed_mass"] * (1 if rises else -1)
    assert answer["score"].to_list() == made(old, nuisances).tolist()
    assert ak.all(answer["score_stat"] == 0)
    assert answer["in_range"].to_list() == made.in_range(nuisances).tolist()
    assert 0 < ak.sum(answer["in_range"]) < ROWS


def test_a_model_that_several_taggers_share_runs_once(
    file: Path, bundle: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = Handle.of(bundle(tmp_path / "model", model="bayesian_tagger"))
    other = Handle.of(bundle(tmp_path / "other", model="tagger"))
    taggers: dict[str, Tagger] = {
        "changed": DecorrelatedTagger.of(file, tagger=shared),
        "plain": shared,
        "changed again": DecorrelatedTagger.of(file, tagger=Handle(shared.path, shared.sha256)),
        "another": DecorrelatedTagger.of(file, tagger=other),
        "column": DecorrelatedTagger.of(file, column="trimmed_mass"),
        "loaded": load(shared.path),
    }
    events = jets()
    expected = {name: tag(tagger, events, device="cpu") for name, tagger in taggers.items()}
    runs: list[Any] = []

    def counted(model: Any, *arguments: Any, **keywords: Any) -> ak.Array:
        runs.append(model)
        return predict(model, *arguments, **keywords)

    monkeypatch.setattr(tagging, "predict", counted)
    answers = tag_each(taggers, events, device="cpu")
    assert runs == [shared, other, taggers["loaded"]]
    assert list(answers) == list(expected)
    for name, answer in answers.items():
        assert answer.to_list() == expected[name].to_list(), name
    assert answers["changed"]["score"].to_list() != answers["plain"]["score"].to_list()


def test_no_jets_have_no_scores(file: Path) -> None:
    tagger = DecorrelatedTagger.of(file, column="trimmed_mass")
    assert len(ak.flatten(tag(tagger, jets()[:0]))) == 0


def test_the_handle_is_small_and_the_file_is_read_once(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tagger = DecorrelatedTagger.of(file, column="trimmed_mass")
    content = pickle.dumps(tagger)
    assert len(content) < 1000 < file.stat().st_size
    again: DecorrelatedTagger = pickle.loads(content)
    assert again == tagger
    first = resident_decorrelator(tagger.path, tagger.sha256)
    monkeypatch.chdir(file.parent.parent)
    file.unlink()
    assert resident_decorrelator(again.path, again.sha256) is first
    assert len(ak.flatten(tag(again, jets()))) == ROWS


def test_bad_input_is_named(file: Path, bundle: Callable[..., Path], tmp_path: Path) -> None:
    tagger = DecorrelatedTagger.of(file, column="trimmed_mass")
    events = jets()
    for column, message in (
        ("trimmed_mass", "a.root: column 'trimmed_mass' is nan in row 3; needed: a finite score"),
        ("softdrop_mass", "a.root: nuisance 'softdrop_mass' is nan in row 3"),
    ):
        values = columns_of(events, column)[column].copy()
        values[3] = np.nan
        with pytest.raises(DataError, match=message):
            tag(tagger, ak.with_field(events, ak.unflatten(values, 2), column), where="a.root")
    with pytest.raises(DataError, match=r"a\.root: .*softdrop_mass"):
        tag(tagger, ak.without_field(events, "softdrop_mass"), where="a.root")
    with pytest.raises(ConfigError, match=r"a\.root: the model is no tagger"):
        tag(bundle(tmp_path / "model", model="jet_response"), events, where="a.root", device="cpu")


@pytest.mark.parametrize("method", METHODS)
def test_random_changes_of_a_decorrelator_are_errors_of_ours(method: str, tmp_path: Path) -> None:
    """Any value at any place of its state, and any bytes."""
    random = np.random.default_rng(44)
    mass, pt = random.uniform(50, 150, 1500), random.uniform(200, 600, 1500)
    nuisances = {"trimmed_mass": mass, "pt": pt} if method == "designed" else {"trimmed_mass": mass}
    short: dict[str, Any] = {"epochs": 1, "hidden": (3,)} if "hidden" in fit_options(method) else {}
    made = METHODS[method].fit(random.normal(mass / 100, 1), nuisances, **short)  # type: ignore[attr-defined]  # each class has its own
    text = decorrelator_text(method, made, {})
    file = tmp_path / "changed.json"
    values: list[Any] = [
        None,
        True,
        -1,
        0,
        2,
        10**12,
        0.5,
        1e-300,
        1e300,
        "",
        [],
        [1.0],
        [[1.0]],
        {},
    ]
    refused = 0
    for number in range(120):
        changed = json.loads(text)
        state = changed["state"] if number % 4 else changed
        keys = list(state)
        state[keys[random.integers(len(keys))]] = values[random.integers(len(values))]
        content = bytearray(json.dumps(changed).encode())
        if number % 3 == 0:
            content[random.integers(len(content))] = random.integers(256)
        file.write_bytes(content)
        try:
            resident_decorrelator(str(file), hashlib.sha256(content).hexdigest())
        except BundleError:
            refused += 1
    assert refused > 60
    file.write_text(text)
    again = resident_decorrelator(str(file), hashlib.sha256(text.encode()).hexdigest())
    assert again.state == json.loads(text)["state"] or again.state == made.state


def fit_options(method: str) -> Collection[str]:
    return inspect.signature(METHODS[method].fit).parameters.keys()  # type: ignore[attr-defined]  # as above


def test_a_decorrelator_is_a_regular_file(tmp_path: Path) -> None:
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    with pytest.raises(BundleError, match=r"zero\.json: cannot be read: it is a device"):
        DecorrelatedTagger.of(tmp_path / "zero.json")


def test_a_file_that_is_another_or_none_is_refused(file: Path, tmp_path: Path) -> None:
    tagger = DecorrelatedTagger.of(file, column="trimmed_mass")
    with pytest.raises(BundleError, match=r"nothing\.json: cannot be read: No such file"):
        DecorrelatedTagger.of(tmp_path / "nothing.json")
    text = file.read_text(encoding="utf-8")
    for changed, message in (
        (text.replace('"designed"', '"designd"'), "is no decorrelator: 'designd'"),
        (text.replace('"version": 1', '"version": 2'), "version 2; this program reads 1"),
        (text.replace('"slope"', '"slop"'), "is no decorrelator: .* state has"),
        (text[:-5], "is no decorrelator: "),
    ):
        file.write_text(changed, encoding="utf-8")
        with pytest.raises(BundleError, match=message):
            tag(DecorrelatedTagger.of(file, column="trimmed_mass"), jets())
        with pytest.raises(BundleError, match=f"sha256 .*, {tagger.sha256} was asked for"):
            tag(tagger, jets())
