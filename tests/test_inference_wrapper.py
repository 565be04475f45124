"""The wrapper in coffea's own analyses, and the examples of its page."""

from __future__ import annotations

import pickle
import re
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest
import torch

from hepcalib import bundles, inference, ntuples
from hepcalib.batch import Batch
from hepcalib.exceptions import BundleError, DataError
from hepcalib.features import Inputs
from hepcalib.inference import Handle, RaggedWrapper
from hepcalib.models import PFN, BernoulliHead
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from hepcalib.bundles import Bundle

PAGE = (Path(__file__).parents[1] / "docs" / "inference.md").read_text(encoding="utf-8")
KEYS = ("delta_eta", "delta_phi", "log_pt_fraction")


def example(name: str) -> str:
    """The code block of the page that begins with a comment of this name."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    (found,) = [block for block in blocks if block.startswith(f"# {name}\n")]
    return str(found)


@pytest.fixture
def tagger(tmp_path: Path) -> Bundle:
    """An untrained tagger whose scores differ from jet to jet."""
    torch.manual_seed(1)
    inputs = Inputs(constituents=[f"constituent.{key}" for key in KEYS])
    inputs.fit(Batch(constituents=Ragged(torch.randn(100, len(KEYS)), torch.arange(101))))
    model = PFN(constituents=len(KEYS), phi=(8, 8), f=(8,), head=BernoulliHead())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.2)
    return bundles.save(
        tmp_path / "tagger", model, inputs, kind="tagger", object="jet", name="tagger"
    )


def jets() -> ak.Array:
    constituents = [[{"pt": 30.0, "eta": 0.3, "phi": 1.0}, {"pt": 9.0, "eta": 0.1, "phi": 0.8}], []]
    return ak.zip(
        {"pt": [40.0, 30.0], "eta": [0.2, 1.0], "phi": [1.0, 2.0], "constituents": constituents},
        depth_limit=1,
    )


class Renamed(RaggedWrapper):
    """Takes jets and their particles one by one, and returns the scores alone."""

    def prepare_awkward(self, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        kinematics, particles = args
        return (ak.with_field(kinematics, particles, "constituents"),), kwargs

    def postprocess_awkward(self, results: Any, *args: Any, **kwargs: Any) -> Any:
        assert set(kwargs) <= {"where"}
        return results.score[: len(args[0])]


def test_standard_columns_are_predicted(tagger: Bundle) -> None:
    wrapper = RaggedWrapper(tagger.path)
    expected = inference.predict(tagger, jets())
    for same in (wrapper, RaggedWrapper(tagger), RaggedWrapper(Handle.of(tagger.path))):
        assert ak.array_equal(same(jets()), expected)
    events = ak.unflatten(jets(), [0, 2, 0])
    assert ak.num(wrapper(events)).tolist() == [0, 2, 0]


def test_arguments_and_results_are_prepared(tagger: Bundle) -> None:
    own = jets()[["pt", "eta", "phi"]]
    scores = Renamed(tagger)(own, jets().constituents)
    assert ak.array_equal(scores, inference.predict(tagger, jets()).score)
    with pytest.raises(DataError, match=r"^x.root: "):
        Renamed(tagger)(own[["pt", "eta"]], jets().constituents, where="x.root")


def test_options_are_those_of_predict(tagger: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    def spy(*_: Any, **options: Any) -> ak.Array:
        seen.append(options)
        return jets()

    monkeypatch.setattr("hepcalib.inference.wrapper.predict", spy)
    RaggedWrapper(tagger, device="cpu", block=10)(jets())
    assert seen == [{"device": "cpu", "block": 10}]


def test_it_is_small_and_can_be_pickled(tagger: Bundle) -> None:
    wrapper = Renamed(tagger, threads=1)
    wrapper(jets()[["pt", "eta", "phi"]], jets().constituents)
    payload = pickle.dumps(wrapper)
    assert len(payload) < 1000
    again = pickle.loads(payload)
    assert (again.handle, again.options) == (wrapper.handle, {"threads": 1})
    with pytest.raises(BundleError, match="cannot be read"):
        RaggedWrapper("nowhere")


def test_the_first_example_of_the_page_runs(
    tagger: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tagger.path.parent)
    names: dict[str, Any] = {}
    exec(example("standalone"), names)
    assert ak.array_equal(names["answer"], inference.predict(tagger, names["jets"]))
    assert np.isfinite(names["answer"].score.to_numpy()).all()


def test_the_processor_of_the_page_runs_on_cms_jets(
    tagger: Bundle, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tagger.path.parent
    shutil.copy(data / "cms_pfnano.root", folder)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"__name__": "example"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # coffea's own, on branches of this file
        exec(example("processor"), names)
    output = names["output"]
    # the candidates of AK4 jets by their links in the file, without coffea's schema
    layout = ntuples.LAYOUTS["pfnano"]
    columns = {
        name: column._replace(branch=column.branch.replace("FatJet_", "Jet_"), factors=())
        for name, column in layout.columns.items()
        if name.startswith("constituents.") or name in {"eta", "phi"}
    }
    columns["pt"] = layout.columns["pt"]._replace(
        branch="Jet_pt", factors=(ntuples.Factor("Jet_rawFactor", complement=True),)
    )
    columns["pt_published"] = layout.columns["pt"]._replace(branch="Jet_pt", factors=())
    assert layout.candidates is not None
    links = layout.candidates._replace(
        links="JetPFCands", jet="JetPFCands_jetIdx", candidate="JetPFCands_pFCandsIdx"
    )
    plain = ntuples.Layout("plain", "Events", "jet", columns, "Jet", candidates=links)
    jets = ak.flatten(ntuples.read(folder / "cms_pfnano.root", plain))
    scores = inference.predict(tagger, jets[jets.pt_published > 30]).score
    assert output["jets"] == len(scores) > 20
    assert output["score"].values().sum() == len(scores)
    expected, _ = np.histogram(scores, bins=20, range=(0, 1))
    np.testing.assert_array_equal(output["score"].values(), expected)
    assert len(np.unique(scores)) > 20
