"""Precision and compilation of a prediction."""

from __future__ import annotations

import shutil
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest
import torch

from hepcalib import bundles
from hepcalib.batch import Batch
from hepcalib.exceptions import ConfigError
from hepcalib.features import Inputs
from hepcalib.inference import evaluation, predict
from hepcalib.inference.precision import _compiled
from hepcalib.models import PFN, Bayesian, BernoulliHead, MixtureHead
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from hepcalib.bundles import Bundle
    from hepcalib.models import Model

KEYS = ["constituent.delta_eta", "constituent.delta_phi", "constituent.log_pt"]


def jets(rows: int = 200) -> ak.Array:
    random = np.random.default_rng(1)
    counts = random.integers(0, 60, rows)
    items = int(counts.sum())
    constituents = ak.zip(
        {
            "pt": random.exponential(5.0, items) + 0.1,
            "eta": random.normal(0, 0.3, items),
            "phi": random.normal(0, 0.3, items),
        }
    )
    own = {"pt": np.full(rows, 200.0), "eta": np.zeros(rows), "phi": np.zeros(rows)}
    return ak.zip({**own, "constituents": ak.unflatten(constituents, counts)}, depth_limit=1)


def save(path: Path, model: Model, *, kind: Any) -> Bundle:
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, parameter.shape[-1] ** -0.5)
    inputs = Inputs(constituents=KEYS)
    inputs.fit(inputs.extract(jets()))
    return bundles.save(path, model, inputs, kind=kind, object="jet", name="model")


@pytest.fixture
def tagger(tmp_path: Path) -> Bundle:
    model = PFN(constituents=3, phi=(64, 64), f=(64,), head=BernoulliHead())
    return save(tmp_path / "tagger", model, kind="tagger")


def rounding_deviation(model: PFN, batch: Batch) -> NDArray[np.float64]:
    r"""Standard deviation of each logit where bfloat16 rounds by chance, to first order.

    .. math:: \sigma^2 = \frac{u^2}{3} \sum_v \left(v \frac{\partial a}{\partial v}\right)^2

    The sum is over all that is rounded: the parameters, what Phi and F begin with, and what their
    linear layers return. A product of matrices adds up in single precision. An error is uniform
    within half a unit of the last of eight bits, which is at most u = 2^-8 of the value.
    """
    rounded: list[torch.Tensor] = []

    def keep(value: torch.Tensor) -> None:
        value.retain_grad()
        rounded.append(value)

    linear = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
    hooks = [layer.register_forward_hook(lambda *given: keep(given[2])) for layer in linear]
    hooks += [model.f.register_forward_hook(lambda *given: keep(given[1][0]))]
    variances, parameters = [], list(model.parameters())
    jets = batch.constituents
    assert jets is not None
    for first, last in pairwise(jets.offsets.tolist()):
        rounded.clear()
        values = jets.values[first:last].clone().requires_grad_()
        logit = model.outputs(Batch(constituents=Ragged(values, torch.tensor([0, last - first]))))
        model.zero_grad()
        logit.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        terms = [v.detach() * v.grad for v in (*parameters, *rounded, values) if v.grad is not None]
        variances.append(sum(float(term.double().square().sum()) for term in terms))
    for hook in hooks:
        hook.remove()
    unit = torch.finfo(torch.bfloat16).eps / 2
    return unit * np.sqrt(np.array(variances) / 3)


def test_bfloat16_rounds_to_eight_bits(tagger: Bundle) -> None:
    single = predict(tagger, jets(), device="cpu")
    half = predict(tagger, jets(), device="cpu", precision="bfloat16")
    model, batch = tagger.model, tagger.inputs(tagger.inputs.extract(jets()))
    assert isinstance(model, PFN)
    deviation = rounding_deviation(model, batch)
    pulls = np.asarray(half.logit_mean - single.logit_mean) / deviation
    assert np.abs(pulls).max() < 5
    assert np.sqrt(np.mean(pulls**2)) > 0.1  # the control: it is not single precision
    assert ak.array_equal(half.in_range, single.in_range)
    again = predict(tagger, jets(), device="cpu")
    assert ak.array_equal(again, single)  # nothing stays behind in the model

    with torch.no_grad():
        for parameter in model.parameters():  # the control: four bits of the weights are too few
            parameter.copy_(parameter.to(torch.float8_e4m3fn))
        coarse = model.outputs(batch).squeeze(1).numpy()
    assert np.abs((coarse - np.asarray(single.logit_mean)) / deviation).max() > 5


def test_the_head_stays_in_single_precision() -> None:
    seen = []

    class Watched(MixtureHead):
        def distribution(self, raw: torch.Tensor) -> Any:
            seen.append(raw.dtype)
            return super().distribution(raw)

    model = PFN(constituents=3, phi=(8,), f=(8,), head=Watched(components=2)).eval()
    batch = Batch(constituents=Ragged(torch.randn(20, 3), torch.tensor([0, 5, 5, 20])))
    for wrapped in (model, Bayesian(model, draws=3).eval()):
        with torch.inference_mode():
            members = evaluation(wrapped, precision="bfloat16")(batch)
        assert members.mean.dtype == torch.float32
    assert seen == [torch.float32] * 2
    assert not model.head._forward_pre_hooks


def test_sums_of_many_constituents_are_accumulated_in_single_precision() -> None:
    """In bfloat16 a sum of ones ends at 256."""
    model = PFN(constituents=1, phi=(1,), f=(1,), head=BernoulliHead()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.0 if parameter.dim() == 1 else 1.0)
    batch = Batch(constituents=Ragged(torch.ones(1000, 1), torch.tensor([0, 1000])))
    with torch.inference_mode():
        members = evaluation(model, precision="bfloat16")(batch)
    assert float(members.logits) == pytest.approx(1000, rel=2**-8)  # type: ignore[attr-defined]  # of a Bernoulli


def test_unknown_precisions_are_refused(tagger: Bundle) -> None:
    with pytest.raises(ConfigError, match=r"unknown precision 'float16'.*bfloat16"):
        predict(tagger, jets(), precision="float16")


def test_a_model_is_compiled_once(tagger: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def compile_(function: Any, *, dynamic: bool) -> Any:
        assert dynamic  # blocks have any size
        compiled.append(function)
        return function

    monkeypatch.setattr(torch, "compile", compile_)
    _compiled.cache_clear()
    for _ in range(2):
        found = predict(tagger, jets(), device="cpu", compile=True)
    _compiled.cache_clear()
    assert compiled == [PFN.members]
    assert ak.array_equal(found, predict(tagger, jets(), device="cpu"))


@pytest.mark.validation
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a compiler")
@pytest.mark.filterwarnings("ignore")  # of torch's compiler, about itself
def test_a_compiled_model_agrees(tagger: Bundle) -> None:
    expected = predict(tagger, jets(), device="cpu")
    for block in (None, 100):
        found = predict(tagger, jets(), device="cpu", compile=True, block=block)
        # logits of about 1 are sums of numbers of either sign
        np.testing.assert_allclose(found.logit_mean, expected.logit_mean, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found.score, expected.score, rtol=1e-5)
