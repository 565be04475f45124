"""What a processor's constructor is annotated with is what a configuration may give it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hepcalib.exceptions import ConfigError
from hepcalib.pipeline.checks import check

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hepcalib.config import Loaded

    Load = Callable[..., Loaded]

OWN = """
from __future__ import annotations
from typing import TYPE_CHECKING, Any
from coffea.processor import ProcessorABC
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    import nowhere

class Own(ProcessorABC):
    def __init__(
        self, *, number: int = 1, share: float = 0.5, cuts: Mapping[str, Sequence[float]] = {},
        pair: tuple[float, float] | None = None, flag: bool = False, anything: Any = None,
        unknown: nowhere.Type = None, bare=None, device: str = "auto", **others: float,
    ) -> None:
        self.device = device
        if others.get("fails"):
            raise KeyError("inside")
    def process(self, events): return {}
    def postprocess(self, accumulator): return accumulator

class NoTypes(ProcessorABC):
    def __init__(self, **options): pass
    def process(self, events): return {}
    def postprocess(self, accumulator): return accumulator
"""


@pytest.fixture
def own(loaded: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN, encoding="utf-8")
    (tmp_path / f"{name}_broken.py").write_text("import this is no python\n", encoding="utf-8")
    (tmp_path / f"{name}_leaves.py").write_text("raise SystemExit(3)\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))

    def load(suffix: str, **options: Any) -> Loaded:
        analysis = {"processor": f"{name}{suffix}", "datasets": ["d"], "options": options}
        datasets = {"d": {"files": ["a.root"], "layout": "cluster_tree"}}
        return loaded(datasets=datasets, analyses={"x": analysis})

    return load


@pytest.mark.parametrize(
    "options",
    [
        {"number": 3, "share": 1, "cuts": {"pt": [1, 2.5]}, "pair": [0, 1], "flag": True},
        {"pair": None, "anything": {"x": [1]}, "unknown": [1], "bare": "x", "more": 2},
    ],
)
def test_what_fits(own: Load, options: dict[str, Any]) -> None:
    check(own(":Own", **options))
    check(own(":NoTypes", **options))


@pytest.mark.parametrize(
    ("option", "value", "needed"),
    [
        ("number", "3", "int"),
        ("number", True, "int"),
        ("number", 2.5, "int"),
        ("number", None, "int"),
        ("share", "x", "float"),
        ("share", [1.0], "float"),
        ("cuts", [1, 2], "Mapping"),
        ("cuts", {"pt": "12"}, "Mapping"),
        ("cuts", {"pt": [1, "x"]}, "Mapping"),
        ("pair", [1], "tuple"),
        ("pair", [1, 2, 3], "tuple"),
        ("pair", "ab", "tuple"),
        ("flag", 1, "bool"),
        ("flag", "yes", "bool"),
        ("more", "x", "float"),
    ],
)
def test_what_does_not_fit(own: Load, option: str, value: Any, needed: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(own(":Own", **{option: value}))
    message = str(caught.value)
    assert f": analyses.x.options.{option}: {value!r} where {needed}" in message
    assert message.isprintable()


@pytest.mark.parametrize(
    ("processor", "options", "expected"),
    [
        (":Own", {"fails": 1}, "fails with KeyError: 'inside'"),
        (":Own", {"device": "cuda"}, r"options\.device: device 'cuda'"),
        (":Missing", {}, "has no processor 'Missing'"),
        ("_broken:Own", {}, "fails when it is imported: SyntaxError"),
        ("_leaves:Own", {}, "fails when it is imported: SystemExit"),
        ("_nowhere:Own", {}, "no module"),
    ],
)
def test_a_processor_that_cannot_be_made(
    own: Load,
    processor: str,
    options: dict[str, Any],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match=expected):
        check(own(processor, **options))


def of_clusters(loaded: Load, processor: str, models: dict[str, str], **options: Any) -> Loaded:
    model = {
        "kind": "response",
        "object": "cluster",
        "datasets": ["d"],
        "inputs": {"features": ["cluster.energy"]},
        "network": {"name": "MLP", "hidden": [4], "head": {"name": "NormalHead"}},
    }
    return loaded(
        samples={"s": {"kind": "topoclusters", "clusters": 500, "seed": 1}},
        datasets={"d": {"sample": "s"}},
        models={"m": model},
        scans={"scan": {"model": "m", "key": "training.examples", "values": [10, 20]}},
        analyses={
            "x": {
                "processor": f"processors:{processor}",
                "datasets": ["d"],
                "models": models,
                "options": options,
            }
        },
    )


@pytest.mark.parametrize(
    ("processor", "models", "options", "expected"),
    [
        ("ClusterCalibration", {"calibration": "scan"}, {}, "the scan 'scan' where Handle"),
        ("ClusterStudy", {"M": "m", "training_size": "m"}, {}, "the model 'm' where Mapping"),
        ("ClusterStudy", {"M": "scan"}, {}, r"models\.M: the scan 'scan' where Handle"),
        ("ClusterStudy", {"M": "m"}, {"strid": 3}, "takes no 'strid'.*Did you mean 'stride'"),
        ("ClusterStudy", {"M": "m"}, {"M": "x"}, "there is a model of the role 'M'|takes no 'M'"),
        ("ClusterStudy", {"M": "m"}, {"stride": "3"}, r"options\.stride: '3' where int"),
        ("ClusterStudy", {"M": "m"}, {"compare": "M"}, r"options\.compare: 'M' where Sequence"),
        ("ClusterCalibration", {}, {"calibration": "m"}, "is a model; give it among the models"),
    ],
)
def test_models_where_they_belong(
    loaded: Load, processor: str, models: dict[str, str], options: dict[str, Any], expected: str
) -> None:
    check(of_clusters(loaded, "ClusterStudy", {"M": "m", "training_size": "scan"}, stride=3))
    with pytest.raises(ConfigError, match=expected):
        check(of_clusters(loaded, processor, models, **options))
