"""The graph against torch: what the Athena tool gets is what hepcalib computes."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from hepcalib import calibration
from hepcalib.batch import Batch
from hepcalib.exceptions import ConfigError
from hepcalib.export import athena_outputs, write_onnx
from hepcalib.features import Inputs
from hepcalib.models import (
    MLP,
    PFN,
    Bayesian,
    Conformal,
    DeepEnsemble,
    Labelled,
    MixtureHead,
    NormalHead,
    RepulsiveEnsemble,
)
from hepcalib.models.layers import ACTIVATIONS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from hepcalib.bundles import Bundle
    from hepcalib.models import Model

    Save = Callable[..., Bundle]
    Make = Callable[..., MLP]

onnx = pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")

SCALE = 0.15  # of the head: the unit of the means
ALLOWED = 1e-5


def evaluate(path: Path | bytes, features: Any) -> dict[str, NDArray[np.float32]]:
    source = path if isinstance(path, bytes) else str(path)
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"features": np.asarray(features)}), strict=True))


def unlike(seen: dict[str, Any], expected: Any) -> float:
    """Largest difference relative to the number, or to its unit if that is larger."""
    units = {"mus": SCALE, "sigmas": 1.0, "alphas": 1.0}
    return max(
        float(np.max(np.abs(seen[k] - e) / np.maximum(np.abs(e), units[k]), initial=0.0))
        for k, e in expected.items()
    )


def by_torch(bundle: Bundle, batch: Batch, **options: Any) -> dict[str, NDArray[Any]]:
    found = athena_outputs(bundle, batch, **options)._asdict()
    return {name: value.numpy() for name, value in found.items()}


def made(kind: str, network: MLP) -> Model:
    if kind == "Bayesian":
        return Bayesian(network, draws=6, initial_log_variance=-6.0)
    if kind == "Conformal":
        model = Conformal(Bayesian(network, draws=6, initial_log_variance=-6.0)).eval()
        random = torch.Generator().manual_seed(8)
        features = torch.randn(200, 15, generator=random)
        known = Labelled(Batch(features), torch.randn(200, generator=random))
        model.finish(known, known)
        return model
    if kind.endswith("Ensemble"):
        torch.manual_seed(6)
        ensemble = {"DeepEnsemble": DeepEnsemble, "RepulsiveEnsemble": RepulsiveEnsemble}[kind](
            network, members=4
        )
        with torch.no_grad():
            for parameter in ensemble.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        return ensemble
    return network


@pytest.mark.parametrize("raw_inputs", [False, True])
@pytest.mark.parametrize(
    "kind", ["MLP", "Bayesian", "Conformal", "DeepEnsemble", "RepulsiveEnsemble"]
)
def test_the_graph_gives_what_torch_gives(
    mlp: Make, saved: Save, clusters: Any, tmp_path: Path, kind: str, *, raw_inputs: bool
) -> None:
    bundle = saved(mlp(), other=made(kind, mlp()))
    write_onnx(bundle, tmp_path / "x.onnx", raw_inputs=raw_inputs)
    raw = bundle.inputs.extract(clusters)
    batch = bundle.inputs(raw)
    for rows in (0, 1, 1000):
        given = (raw if raw_inputs else batch).select(slice(0, rows)).features
        seen = evaluate(tmp_path / "x.onnx", given)
        expected = by_torch(bundle, batch.select(slice(0, rows)))
        assert list(seen) == ["mus", "sigmas", "alphas"]
        assert {(v.shape, v.dtype.name) for v in seen.values()} == {((rows, 3), "float32")}
        assert unlike(seen, expected) < ALLOWED
    np.testing.assert_allclose(10.0 ** seen["mus"], 10.0 ** expected["mus"], rtol=ALLOWED)


@pytest.mark.parametrize("kind", ["MLP", "Bayesian"])
def test_a_hundred_thousand_clusters(mlp: Make, saved: Save, tmp_path: Path, kind: str) -> None:
    bundle = saved(mlp(), other=made(kind, mlp()))
    write_onnx(bundle, tmp_path / "x.onnx")
    features = torch.randn(100_000, 15, generator=torch.Generator().manual_seed(7))
    seen = evaluate(tmp_path / "x.onnx", features)
    assert unlike(seen, by_torch(bundle, Batch(features))) < ALLOWED
    alone = evaluate(tmp_path / "x.onnx", features[99_999:])
    assert unlike(alone, {name: value[99_999:] for name, value in seen.items()}) < ALLOWED


def test_outputs_are_those_of_the_head(
    mlp: Make, saved: Save, features: Batch, tmp_path: Path
) -> None:
    bundle = saved(mlp())
    write_onnx(bundle, tmp_path / "x.onnx")
    seen = evaluate(tmp_path / "x.onnx", features.features)
    mixture: Any = bundle.model(features)
    expected = {
        "mus": mixture.component_distribution.loc.numpy(),
        "sigmas": 2.0 * np.log(mixture.component_distribution.scale.numpy()),
        "alphas": mixture.mixture_distribution.probs.numpy(),
    }
    assert unlike(seen, expected) < ALLOWED
    np.testing.assert_allclose(seen["alphas"].sum(axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize("kind", ["Bayesian", "DeepEnsemble"])
def test_joined_members_keep_mean_and_total_variance(
    mlp: Make, saved: Save, features: Batch, tmp_path: Path, kind: str
) -> None:
    bundle = saved(mlp(), other=made(kind, mlp()))
    write_onnx(bundle, tmp_path / "x.onnx")
    seen = evaluate(tmp_path / "x.onnx", features.features)
    found = calibration.decompose(bundle.model.members(features))
    mean = (seen["alphas"] * seen["mus"]).sum(axis=1)
    apart = seen["mus"] - mean[:, None]
    variance = (seen["alphas"] * (np.exp(seen["sigmas"]) + apart**2)).sum(axis=1)
    np.testing.assert_allclose(mean, found.mean.detach(), rtol=1e-5, atol=1e-5 * SCALE)
    np.testing.assert_allclose(np.sqrt(variance), found.total.detach(), rtol=2e-5)
    # Without the spread of the members it would be the systematic uncertainty alone.
    assert np.abs(np.sqrt(variance) / found.systematic.detach().numpy() - 1).max() > 1e-3


def test_mean_weights(mlp: Make, saved: Save, features: Batch, tmp_path: Path) -> None:
    network = mlp()
    bundle = saved(made("Bayesian", network))
    write_onnx(bundle, tmp_path / "mean.onnx", draws="mean")
    write_onnx(bundle, tmp_path / "frozen.onnx")
    seen = evaluate(tmp_path / "mean.onnx", features.features)
    assert unlike(seen, by_torch(bundle, features, draws="mean")) < ALLOWED
    assert unlike(seen, by_torch(saved(network), features)) < ALLOWED
    frozen = evaluate(tmp_path / "frozen.onnx", features.features)
    assert unlike(seen, frozen) > 1e-2


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_activation(
    mlp: Make, saved: Save, features: Batch, tmp_path: Path, activation: str
) -> None:
    bundle = saved(mlp(activation=activation))
    write_onnx(bundle, tmp_path / "x.onnx")
    seen = evaluate(tmp_path / "x.onnx", features.features)
    assert unlike(seen, by_torch(bundle, features)) < ALLOWED


def test_log_variances_are_limited_as_in_the_head(mlp: Make, saved: Save, tmp_path: Path) -> None:
    network = mlp()
    with torch.no_grad():
        network.get_parameter("network.4.bias")[3:6] = torch.tensor([-60.0, 0.0, 60.0])
    write_onnx(saved(network), tmp_path / "x.onnx")
    seen = evaluate(tmp_path / "x.onnx", np.zeros((1, 15), np.float32))["sigmas"][0]
    expected = np.array([-20.0, 11.0]) + 2.0 * np.log(SCALE)
    np.testing.assert_allclose(seen[[0, 2]], expected, rtol=1e-6)


def test_nothing_in_the_file_is_random(mlp: Make, saved: Save, tmp_path: Path) -> None:
    bundle = saved(made("Bayesian", mlp()))
    for name in ("one.onnx", "two.onnx"):
        write_onnx(bundle, tmp_path / name)
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()
    model = onnx.load(tmp_path / "one.onnx")
    kinds = {node.op_type for node in model.graph.node}
    assert not {kind for kind in kinds if "Random" in kind or kind in {"Bernoulli", "Multinomial"}}
    notes = {entry.key: entry.value for entry in model.metadata_props}
    assert notes["bundle_sha256"] == bundle.sha256
    assert notes["draws"] == "frozen: 6"
    assert json.loads(notes["features"])[:2] == ["cluster.energy", "cluster.rapidity"]


def test_a_changed_weight_is_noticed(
    mlp: Make, saved: Save, features: Batch, tmp_path: Path
) -> None:
    bundle = saved(made("Bayesian", mlp()))
    write_onnx(bundle, tmp_path / "x.onnx")
    model = onnx.load(tmp_path / "x.onnx")
    largest = max(model.graph.initializer, key=lambda part: len(part.raw_data))
    values = onnx.numpy_helper.to_array(largest).copy()
    values.flat[values.size // 2] += 0.01
    largest.CopyFrom(onnx.numpy_helper.from_array(values, largest.name))
    seen = evaluate(model.SerializeToString(), features.features)
    assert unlike(seen, by_torch(bundle, features)) > ALLOWED


def test_a_graph_that_is_not_the_model_is_not_written(
    mlp: Make, saved: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = saved(mlp())
    outputs = bundle.model.outputs
    monkeypatch.setattr(bundle.model, "outputs", lambda batch: 1.0001 * outputs(batch))
    with pytest.raises(ConfigError, match=r"graph of a MLP differs from the model in 'mus' by"):
        write_onnx(bundle, tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


def test_what_the_tool_cannot_read_is_refused(
    mlp: Make, saved: Save, bundle: Callable[..., Path], clusters: Any, tmp_path: Path
) -> None:
    from hepcalib import bundles

    def refused(given: Bundle, match: str) -> None:
        with pytest.raises(ConfigError, match=match):
            write_onnx(given, tmp_path / "x.onnx")
        assert not list(tmp_path.glob("*.onnx"))

    refused(saved(mlp(head=MixtureHead(components=2))), r"needed: a MixtureHead of 3 components")
    refused(saved(mlp(head=NormalHead())), r"a NormalHead\(.*needed: a MixtureHead of 3")
    few = Inputs(features=["cluster.energy", "cluster.mu"])
    few.fit(few.extract(clusters))
    refused(saved(mlp(features=2), inputs=few), r"inputs cluster.energy, cluster.mu; needed:")
    jets = Bayesian(PFN(constituents=2, features=15, head=MixtureHead(components=3)), draws=2)
    refused(saved(mlp(), other=jets), "a PFN cannot be exported; needed: an MLP")
    tagger = bundles.load(bundle(tmp_path / "t", model="tagger"))
    refused(tagger, r"a tagger of jets, .*needed: log10 R of clusters")


def test_options_are_checked(mlp: Make, saved: Save, tmp_path: Path) -> None:
    wrong: Any = "random"
    with pytest.raises(ConfigError, match="draws is 'random'; needed: 'frozen' or 'mean'"):
        write_onnx(saved(mlp()), tmp_path / "x.onnx", draws=wrong)
    with pytest.raises(ConfigError, match="a DeepEnsemble has no mean weights"):
        write_onnx(
            saved(mlp(), other=made("DeepEnsemble", mlp())), tmp_path / "x.onnx", draws="mean"
        )


@pytest.mark.parametrize("library", ["onnx", "onnxruntime"])
def test_a_missing_library_is_named(
    mlp: Make, saved: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=r"pip install 'hepcalib\[onnx\]'"):
        write_onnx(saved(mlp()), tmp_path / "x.onnx")
