"""Processors that count jets in ranks: row by row, or with ranks that a survey gave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest
from coffea.processor import IterativeExecutor, Runner

from hepcalib import hists, inference, metrics, ntuples, run
from hepcalib.decorrelation import DesignedDecorrelation
from hepcalib.inference import DecorrelatedTagger
from hepcalib.inference.tagging import decorrelator_text
from hepcalib.pipeline.analyses import Joined
from hepcalib.processors import (
    ClusterCalibration,
    DecorrelationComparison,
    JetTagging,
    TaggerComparison,
)
from hepcalib.run import surveying
from hepcalib.study import plain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from coffea.processor import ProcessorABC

    Write = Callable[..., Path]

JETS = 3000


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, jet_file: Write, bundle: Write
) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("ranked")
    file = jet_file(folder / "jets.root", counts=[1, 3] * (JETS // 4), sizes=[2] * JETS)
    return file, bundle(folder / "b", model="tagger")


def processed(processor: ProcessorABC, file: Path, **options: Any) -> dict[str, Any]:
    dataset = run.scan_dataset("given", [file], "flat_jets")
    result = run.process(processor, [dataset], **options)
    assert result.ledger.ok
    return dict(result.output)


def of_rows(file: Path, model: Path) -> tuple[float, float]:
    """Return AUC and R50 of the scores, sorted."""
    jets = ak.flatten(ntuples.read(file, "flat_jets"))
    score, label = np.asarray(inference.predict(model, jets).score), np.asarray(jets.label)
    signal, background = np.sort(score[label == 1]), score[label == 0]
    auc = (
        np.searchsorted(signal, background, side="left")
        + np.searchsorted(signal, background, side="right")
    ).mean() / (2.0 * signal.size)
    cut = np.quantile(signal, 0.5)
    return 1.0 - auc, 1.0 / (background > cut).mean()


def test_merits_are_those_of_the_scores_however_they_are_run(
    made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An untrained network gives all jets about the same score."""
    file, model = made
    scores = np.asarray(inference.predict(model, ak.flatten(ntuples.read(file, "flat_jets"))).score)
    assert np.ptp(scores) < 0.2
    auc, rejection = of_rows(file, model)
    processor = TaggerComparison(one=model, weights="none")
    runner = Runner(
        IterativeExecutor(status=False), schema=ntuples.schema_of("flat_jets"), chunksize=400
    )
    files = {str(file): ntuples.LAYOUTS["flat_jets"].tree}
    own = runner({"given": {"files": files, "metadata": {"layout": "flat_jets"}}}, processor)
    outputs = {
        "rows": processed(processor, file, chunk_size=300),
        "coffea": own,
    }
    monkeypatch.setattr(surveying, "WHOLE", 100)
    monkeypatch.setattr(surveying, "SAMPLE", 600)
    outputs["survey"] = processed(processor, file, chunk_size=300)
    for name, output in outputs.items():
        found = metrics.tagger_merits(output["score_pt"], replicas=50)["one"]
        assert found.auc == pytest.approx(auc, abs=1e-4), name
        assert found.rejections[0] == pytest.approx(rejection, abs=0.1 * found.rejection_errors[0])
        assert output["score_pt"].sum(flow=True).value == JETS - _others(file), name


def _others(file: Path) -> int:
    labels = np.asarray(ak.flatten(ntuples.read(file, "flat_jets")).label)
    return int((labels > 1).sum())


def test_each_chunk_gives_histograms_behind_a_survey(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, model = made
    columns = str(tmp_path / "columns")
    joined = Joined(
        {
            "tagging": JetTagging(plain=model, decorrelated=model, columns=columns),
            "compared": DecorrelationComparison(one=model, slices={"pt": (200, 400, 700)}),
            "unused": JetTagging(plain=model, decorrelated=model),
            "clusters": ClusterCalibration(calibration=model),
        },
        datasets={"tagging": ["given"], "compared": ["given"], "unused": [], "clusters": []},
    )
    rows = processed(joined, file, chunk_size=300)
    monkeypatch.setattr(surveying, "WHOLE", 100)
    seen = list[tuple[Any, Joined]]()
    kept = Joined.informed

    def informed(self: Joined, output: Any) -> Joined:
        seen.append((output, kept(self, output)))
        return seen[-1][1]

    monkeypatch.setattr(Joined, "informed", informed)
    found = processed(joined, file, chunk_size=300)
    ((output, learnt),) = seen
    assert set(output) >= {"tagging/rows", "compared/rows"}
    assert learnt.analyses["tagging"].ranks[0].bins == 2000
    assert learnt.analyses["compared"].ranks[1].bins == 500
    assert learnt.analyses["unused"].ranks is None
    assert joined.analyses["tagging"].ranks is None
    assert found.keys() == rows.keys()
    for name, histogram in rows.items():
        sums = [
            np.asarray(h.project(h.axes[-1].name).values(flow=True))
            for h in (found[name], histogram)
        ]
        np.testing.assert_allclose(sums[0], sums[1], rtol=1e-9)
    merged = ntuples.merge_parts(tmp_path / "columns" / "given", tmp_path / "merged.root")
    assert merged == JETS  # the survey has left no part


def test_a_stored_score_and_an_old_tagger_need_nothing_else(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    """A column of the file, here of values pushed together, is a tagger as any."""
    file, _ = made
    jets = ak.flatten(ntuples.read(file, "flat_jets"))
    made_ = DesignedDecorrelation.fit(
        np.asarray(jets.eta, dtype=np.float64),
        {name: np.asarray(jets[name], dtype=np.float64) for name in ("softdrop_mass", "pt")},
        rho_range=(2.0, 6.0),
        bins=5,
    )
    path = tmp_path / "line.json"
    path.write_text(decorrelator_text("designed", made_, {}), encoding="utf-8")
    tagger = DecorrelatedTagger.of(path, column="eta")
    score = np.asarray(inference.tag(tagger, jets).score)
    label = np.asarray(jets.label)
    output = processed(
        DecorrelationComparison(one=tagger, weights="none", mass_range=(0, 1e4)), file
    )
    found = metrics.decorrelation_merits(output["score_mass"], replicas=5)["one"]
    pairs = score[label == 1][:, None] - score[label == 0][None, :]
    assert found.auc == pytest.approx((pairs > 0).mean() + 0.5 * (pairs == 0).mean(), abs=1e-4)


def test_a_score_that_is_nan_costs_its_chunk(
    made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, model = made
    kept = inference.tag

    def tag(*arguments: Any, **options: Any) -> ak.Array:
        answer = kept(*arguments, **options)
        return ak.with_field(
            answer, np.where(np.arange(len(answer)) == 3, np.nan, answer.score), "score"
        )

    monkeypatch.setattr(inference, "tag", tag)
    dataset = run.scan_dataset("given", [file], "flat_jets")
    ledger = run.process(TaggerComparison(one=model), [dataset]).ledger
    assert not ledger.ok
    assert "tagger 'one': score nan in row 3 is outside [0, 1]" in ledger.complaint()


@pytest.mark.parametrize(("kind", "survey"), [(JetTagging, True), (DecorrelationComparison, False)])
def test_a_monotone_map_of_the_score_changes_no_figure_of_merit(
    kind: type[ProcessorABC],
    survey: bool,
    made: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file, model = made
    if survey:
        monkeypatch.setattr(surveying, "WHOLE", 100)
        monkeypatch.setattr(surveying, "SAMPLE", 600)
    options = {"slices": {"pt": (200, 700)}} if kind is DecorrelationComparison else {}
    processor = kind(plain=model, decorrelated=model, **options)
    found = [plain(dict(kind.study(processed(processor, file)).metrics))]
    kept = inference.tag_each

    def tag_each(*arguments: Any, **options: Any) -> dict[str, ak.Array]:
        answers = kept(*arguments, **options)
        return {
            name: ak.with_field(answer, 0.4 + 0.002 * np.asarray(answer.score) ** 3, "score")
            for name, answer in answers.items()
        }

    monkeypatch.setattr(inference, "tag_each", tag_each)
    found.append(plain(dict(kind.study(processed(processor, file)).metrics)))
    scores = [one.pop("score", None) for one in found]  # how often which score is given
    assert found[0] == found[1]
    assert scores[0] is None or scores[0] != scores[1]
    assert np.isfinite(found[0]["merit" if "merit" in found[0] else "roc"]["plain"]["auc"])


def test_rows_of_other_taggers_do_not_add() -> None:
    one, two = (
        hists.score_rows(
            {name: [0.5]}, labels={"signal": np.array([True])}, weight=[1.0], values={}
        )
        for name in ("a", "b")
    )
    with pytest.raises(Exception, match="they must be the same"):
        one + two
    assert len(one + one) == 2
