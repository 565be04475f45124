"""Random changes to the shipped configurations: one line of an error, or what can be run."""

from __future__ import annotations

import copy
import math
import random
import shutil
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from rich.console import Console

from hepcalib.config import load
from hepcalib.exceptions import HepcalibError, ScopeWarning
from hepcalib.pipeline.stages import show_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONFIGS = sorted((Path(__file__).parents[2] / "analysis_configs").glob("*.yaml"))
IN_THE_SUITE = 300 // len(CONFIGS) + 1  # of each configuration
ALL = 3000

# Values of every kind, of which most are wrong in most places.
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 2**31, 2**63, 10**30, -(10**30), 0.0, 0.5, -2.5, 1e-300),
    *(1e300, math.nan, math.inf, -math.inf, "", " ", "x", "none", "12", "1e-3", "é", "名前", "a/b"),
    *(
        "../up",
        "a.b",
        "a\nb",
        "\t",
        "\x00",
        "\x1b[31m",
        "%s {x} ${HOME}",
        "${",
        "x" * 500,
        "*",
        "~",
    ),
    *([], [[]], [None], [0], [1, 1], [2, 1], [math.nan, 1.0], ["x"], [{}], [[1, 2], [3]], {}),
    *({"name": "x"}, {"name": 1}, {"x": {"y": {}}}, {1: 2}, {"": ""}, {"from": "quickstart.yaml"}),
)
# Words that mean something somewhere, so that they pass the first check of a wrong place.
WORDS = (
    *("response", "tagger", "cluster", "jet", "auto", "cuda", "event", "flat_pt", "mean", "mode"),
    *("MLP", "PFN", "EFN", "GN2", "Bayesian", "DeepEnsemble", "Laplace", "BoostedTrees"),
    *("NormalHead", "BernoulliHead", "MixtureHead", "PointHead", "EvidentialHead"),
    *("cluster.energy", "jet.log_pt", "constituent.log_pt", "mass", "softdrop_mass", "mu", "label"),
    *("weight", "true_energy", "constituents.pt", "distance_correlation", "adversary", "designed"),
    *("log10_truth", "response_mode", "flat_jets", "cluster_tree", "nanoaod", "pion_clusters"),
    *("processors:JetTagging", "processors:ClusterCalibration", "processors:nothing", "os:path"),
)
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
TEXT = "\t\n :#-[]{},&*!|>'\"%@`\\\x00\x07\u2028\ufeffé"
MOST_CHANGES = 3

Place = tuple[Any, Any]  # a mapping or list, and the key or number in it


def changed(text: str, *, seed: int) -> str:
    """Return a YAML text with one to three changes, the same ones for the same seed."""
    rng = random.Random(seed)
    if rng.random() < 0.2:
        return _other_text(text, rng)
    document = copy.deepcopy(yaml.load(text, Loader=LOADER))
    for _ in range(rng.randint(1, MOST_CHANGES)):
        places = list(_places(document))
        if places:
            rng.choice(CHANGES)(rng, places)
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def _places(node: Any) -> Iterator[Place]:
    inside = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in list(inside):
        yield node, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _delete(rng: random.Random, places: list[Place]) -> None:
    room, key = rng.choice(places)
    del room[key]


def _replace(rng: random.Random, places: list[Place]) -> None:
    room, key = rng.choice(places)
    room[key] = copy.deepcopy(rng.choice(VALUES))


def _other_word(rng: random.Random, places: list[Place]) -> None:
    texts = [(room, key) for room, key in places if isinstance(room[key], str)]
    room, key = rng.choice(texts or places)
    room[key] = rng.choice(WORDS)


def _other_number(rng: random.Random, places: list[Place]) -> None:
    numbers = [(r, k) for r, k in places if isinstance(r[k], int | float)]
    room, key = rng.choice(numbers or places)
    value = room[key] if isinstance(room[key], int | float) else 1
    room[key] = rng.choice([-value, value * 1000, value / 3, 0, str(value), [value], bool(value)])


def _swap(rng: random.Random, places: list[Place]) -> None:
    (one, key), (other, name) = rng.choice(places), rng.choice(places)
    one[key], other[name] = copy.deepcopy(other[name]), copy.deepcopy(one[key])


def _copy_over(rng: random.Random, places: list[Place]) -> None:
    (one, key), (other, name) = rng.choice(places), rng.choice(places)
    one[key] = copy.deepcopy(other[name])


def _another_entry(rng: random.Random, places: list[Place]) -> None:
    """Give a reference the name of something else that there is, of whatever kind."""
    names = [key for room, key in places if isinstance(room, dict)]
    texts = [(room, key) for room, key in places if isinstance(room[key], str)]
    room, key = rng.choice(texts or places)
    room[key] = rng.choice(names or ["x"])


def _rename(rng: random.Random, places: list[Place]) -> None:
    named = [(room, key) for room, key in places if isinstance(room, dict)]
    if named:
        room, key = rng.choice(named)
        room[rng.choice([_typo(str(key), rng), rng.choice(WORDS), "", 7])] = room.pop(key)


def _mistype(rng: random.Random, places: list[Place]) -> None:
    texts = [(room, key) for room, key in places if isinstance(room[key], str)]
    if texts:
        room, key = rng.choice(texts)
        room[key] = _typo(room[key], rng)


def _extend(rng: random.Random, places: list[Place]) -> None:
    room, _ = rng.choice(places)
    value = copy.deepcopy(rng.choice(VALUES))
    if isinstance(room, list):
        room.insert(rng.randrange(len(room) + 1), value)
    else:
        room[rng.choice(WORDS)] = value


def _shuffle(rng: random.Random, places: list[Place]) -> None:
    lists = [room[key] for room, key in places if isinstance(room[key], list)]
    if lists:
        chosen = rng.choice(lists)
        rng.shuffle(chosen)
        if chosen and rng.random() < 0.5:
            chosen.append(copy.deepcopy(rng.choice(chosen)))


def _wrap(rng: random.Random, places: list[Place]) -> None:
    room, key = rng.choice(places)
    for _ in range(rng.choice([1, 1, 2, 60])):
        room[key] = rng.choice([[room[key]], {"name": room[key]}, {"model": room[key]}])


def _graft(rng: random.Random, places: list[Place]) -> None:
    """Put a whole section into another one."""
    sections = [(room, key) for room, key in places if isinstance(room[key], dict)]
    (one, key), (other, name) = rng.choice(sections), rng.choice(sections)
    one[key][name] = copy.deepcopy(other[name])


def _typo(word: str, rng: random.Random) -> str:
    at = rng.randrange(len(word) + 1)
    letter = rng.choice("aeinrst_-. 0\n")
    return rng.choice([word[:at] + word[at + 1 :], word[:at] + letter + word[at:], word.upper()])


def _other_text(text: str, rng: random.Random) -> str:
    """Change the text itself, with no regard for YAML."""
    lines = text.splitlines(keepends=True)
    at, letter = rng.randrange(len(text)), rng.randrange(len(lines))
    changes: list[Callable[[], str]] = [
        lambda: text[:at] + rng.choice(TEXT) + text[at:],
        lambda: text[:at] + text[at + 1 :],
        lambda: text[:at],
        lambda: text[:at] + text[at + rng.randrange(80) :],
        lambda: "".join([*lines[:letter], lines[letter], *lines[letter:]]),
        lambda: "".join([*lines[:letter], "  " + lines[letter], *lines[letter + 1 :]]),
        lambda: "".join([*lines[:letter], lines[letter].lstrip(), *lines[letter + 1 :]]),
        lambda: "".join([*lines[:letter], "---\n", *lines[letter:]]),
        lambda: "".join(rng.sample(lines, len(lines))),
        lambda: text.replace("&", "*", 1) if "&" in text else text.replace(":", "", 1),
    ]
    return rng.choice(changes)()


CHANGES = (
    *(_delete, _replace, _replace, _replace, _other_word, _other_word, _other_number),
    *(_other_number, _swap, _copy_over, _another_entry, _another_entry, _rename, _mistype),
    *(_extend, _shuffle, _wrap, _graft),
)


def judged(folder: Path, name: str, *, seed: int) -> bool:
    """Tell whether a dry run accepts a change; what it refuses, it refuses in one line."""
    path = folder / "changed.yaml"
    text = (folder / name).read_text(encoding="utf-8")
    path.write_text(changed(text, seed=seed), encoding="utf-8")
    try:
        loaded = load(path, variables={"HEPCALIB_DATA": str(folder)})
        show_plan(loaded, console=Console(file=StringIO()))
    except HepcalibError as error:
        message = str(error)
        assert message.isprintable(), f"{name}, seed {seed}: {message!r}"
        assert len(message) < 2000, f"{name}, seed {seed}: {message}"
        return False
    return True


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the shipped configurations, in which nothing else is made."""
    for path in CONFIGS:
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tried(folder: Path, name: str, number: int) -> int:
    """Return how many of so many changes are accepted, and see that none makes anything."""
    before = {path.name for path in folder.iterdir()} | {"changed.yaml"}
    accepted = sum(judged(folder, name, seed=seed) for seed in range(number))
    assert {path.name for path in folder.iterdir()} == before
    return accepted


@pytest.mark.filterwarnings(f"ignore::{ScopeWarning.__module__}.ScopeWarning")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", [path.name for path in CONFIGS])
def test_some_changes(folder: Path, name: str) -> None:
    assert tried(folder, name, IN_THE_SUITE) < IN_THE_SUITE


@pytest.mark.validation
@pytest.mark.filterwarnings(f"ignore::{ScopeWarning.__module__}.ScopeWarning")
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", [path.name for path in CONFIGS])
def test_all_changes(folder: Path, name: str) -> None:
    assert 0 < tried(folder, name, ALL) < ALL / 2


def test_the_same_seed_is_the_same_change() -> None:
    text = CONFIGS[-1].read_text(encoding="utf-8")
    texts = [changed(text, seed=seed) for seed in range(10)]
    assert texts == [changed(text, seed=seed) for seed in range(10)]
    assert len(set(texts)) == 10
