"""What holds of every shipped processor."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

import cloudpickle
import numpy as np
import pytest
from coffea.processor import IterativeExecutor, Runner

from hepcalib import ntuples, processors, run
from hepcalib.exceptions import ConfigError
from hepcalib.study import Studied, Study

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from coffea.processor import ProcessorABC
    from matplotlib.figure import Figure

    Write = Callable[..., Path]


MODELS: dict[str, dict[str, str]] = {
    "ClusterCalibration": {"calibration": "cluster_response"},
    "ClusterStudy": {"BNN": "cluster_response", "Other": "cluster_response"},
    "DecorrelationComparison": {"plain": "tagger", "MoDe[1]": "tagger"},
    "JetCalibration": {"calibration": "jet_response"},
    "JetTagging": {"plain": "tagger", "decorrelated": "tagger"},
    "PriorIndependence": {"BNN": "cluster_response", "BNN_shifted": "cluster_response"},
    "PublishedCalibration": {},
    "TaggerComparison": {"one": "tagger", "another": "tagger"},
    "UncertainTagging": {"tagger": "bayesian_tagger"},
}


class Case(NamedTuple):
    """A processor with untrained models, and a file for it."""

    processor: ProcessorABC
    file: Path
    layout: str


@pytest.fixture(params=processors.__all__)
def case(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    bundle: Write,
    cluster_file: Write,
    jet_file: Write,
) -> Case:
    name = request.param
    found = getattr(processors, name)
    models = MODELS[name]
    paths = {role: bundle(tmp_path / role, model=model) for role, model in models.items()}
    if any("tagger" in model or model.startswith("jet") for model in models.values()):
        return Case(found(**paths), jet_file(tmp_path / "jets.root"), "flat_jets")
    published = np.geomspace(1.0, 9.0, 60, dtype=np.float32)
    file = cluster_file(tmp_path / "clusters.root", clusterECalib=published)
    options = {"stride": 1} if name == "ClusterStudy" else {}
    return Case(found(**paths, **options), file, "cluster_tree")


def our_run(case: Case, **options: Any) -> dict[str, Any]:
    dataset = run.scan_dataset("given", [case.file], case.layout)
    result = run.process(case.processor, [dataset], **options)
    assert result.ledger.ok
    return dict(result.output)


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compare histograms; predictions agree to 1e-5, so that one object may change its bin."""
    assert found.keys() == expected.keys()
    for name, histogram in expected.items():
        values, others = (h.view(flow=True)["value"] for h in (histogram, found[name]))
        assert others.sum() == pytest.approx(values.sum(), rel=1e-9)
        assert np.abs(others - values).sum() <= 2 * 1.5  # the largest weight


def figures_of(study: Study) -> list[Figure]:
    return list(study.figures.values())


def test_coffeas_own_runner_gives_the_same(case: Case) -> None:
    runner = Runner(
        IterativeExecutor(status=False), schema=ntuples.schema_of(case.layout), chunksize=20
    )
    files = {str(case.file): ntuples.LAYOUTS[case.layout].tree}
    metadata = {"layout": case.layout}
    output = runner({"given": {"files": files, "metadata": metadata}}, case.processor)
    assert_same(output, our_run(case))


def test_results_do_not_depend_on_chunks(case: Case) -> None:
    assert_same(our_run(case, chunk_size=7), our_run(case))


def test_processor_pickles(case: Case) -> None:
    again = cloudpickle.loads(cloudpickle.dumps(case.processor))
    assert len(cloudpickle.dumps(case.processor)) < 2000
    reference, found = our_run(case), our_run(case._replace(processor=again))
    assert all(found[name] == histogram for name, histogram in reference.items())


def test_histograms_are_filled_and_add_up(case: Case) -> None:
    once = our_run(case)
    assert all(histogram.sum(flow=True).value > 0 for histogram in once.values())
    twice = case.processor.postprocess({name: 2 * h for name, h in once.items()})
    assert set(twice) == set(once)


def test_study_of_what_was_filled(case: Case) -> None:
    found = type(case.processor)
    assert issubclass(found, Studied)
    study = found.study(our_run(case))
    assert study.metrics
    assert figures_of(study)
    assert all(isinstance(text, str) for text in study.summary.values())


def test_study_of_empty_histograms(case: Case) -> None:
    found = type(case.processor)
    assert issubclass(found, Studied)
    empty = {name: histogram.copy().reset() for name, histogram in our_run(case).items()}
    study = found.study(empty)
    assert figures_of(study)


def test_process_is_short(case: Case) -> None:
    source = textwrap.dedent(inspect.getsource(type(case.processor).process))
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    first = function.body[1]  # behind the docstring
    assert function.end_lineno is not None
    assert function.end_lineno - first.lineno + 1 <= 40


def test_an_unknown_device_is_refused(case: Case) -> None:
    found = type(case.processor)
    if "device" not in inspect.signature(found).parameters:
        pytest.skip(f"{found.__name__} applies no model")
    roles = MODELS[found.__name__]
    with pytest.raises(ConfigError, match=r"device: unknown value 'gpu'\. Known: auto, cpu"):
        found(**dict.fromkeys(roles), device="gpu")
