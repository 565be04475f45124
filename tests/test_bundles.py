from __future__ import annotations

import hashlib
import json
import os
import pickle
import resource
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.torch
import torch

import hepcalib
from hepcalib import bundles
from hepcalib.exceptions import BundleError, ConfigError
from hepcalib.features import Inputs
from hepcalib.models import MLP, PFN, Bayesian, BernoulliHead, MixtureHead, NormalHead

if TYPE_CHECKING:
    from collections.abc import Callable

    from hepcalib.bundles import Bundle

FEATURES = ["cluster.energy", "cluster.rapidity", "cluster.eng_frac_em"]


def cluster_inputs() -> Inputs:
    random = np.random.default_rng(40)
    inputs = Inputs(features=FEATURES)
    columns = {name: random.lognormal(0, 1, 500) for name in ("energy", "rapidity", "eng_frac_em")}
    return inputs.fit(inputs.extract(columns))


def save(path: Path, **changes: Any) -> Bundle:
    torch.manual_seed(41)
    plain = MLP(features=3, hidden=(8,), head=MixtureHead(components=2))
    keywords: dict[str, Any] = {
        "kind": "response",
        "object": "cluster",
        "name": "pions",
        "location": "median",
        "provenance": {"epochs": 3, "events": {10: "ten", 9: "nine"}, "sizes": (1, 2)},
        **changes,
    }
    model = keywords.pop("model", Bayesian(plain, draws=4))
    return bundles.save(path, model, keywords.pop("inputs", cluster_inputs()), **keywords)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Path(save(tmp_path / "pions").path)


def edit(path: Path, **changes: Any) -> None:
    """Change fields of bundle.json and sign it again, as another writer would; None removes."""
    file = path / "bundle.json"
    fields = {**json.loads(file.read_bytes()), **changes}
    fields = {key: value for key, value in fields.items() if value is not None}
    fields.pop("sha256")
    canonical = json.dumps(fields, sort_keys=True, indent=2) + "\n"
    fields["sha256"] = hashlib.sha256(canonical.encode()).hexdigest()
    file.write_text(json.dumps(fields, sort_keys=True, indent=2) + "\n")


def with_weights(path: Path, content: bytes) -> None:
    """Replace the weights, with the digest that belongs to them."""
    (path / "weights.safetensors").write_bytes(content)
    edit(path, weights_sha256=hashlib.sha256(content).hexdigest())


def test_round_trip_is_exact(tmp_path: Path) -> None:
    saved = save(tmp_path / "deep" / "pions")
    loaded = bundles.load(tmp_path / "deep" / "pions")
    assert loaded.sha256 == saved.sha256 == bundles.sha256_of(saved.path)
    assert loaded.spec == saved.spec
    raw = loaded.inputs.extract({name.partition(".")[2]: np.array([0.5, 3.0]) for name in FEATURES})
    for attribute in ("member_outputs", "outputs"):
        results = [
            getattr(bundle.model, attribute)(bundle.inputs(raw)) for bundle in (saved, loaded)
        ]
        assert torch.equal(*results)
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert loaded.spec.provenance == {
        "epochs": 3,
        "events": {"10": "ten", "9": "nine"},
        "sizes": [1, 2],
    }
    assert loaded.spec.hepcalib == hepcalib.__version__


def test_identity_depends_on_content_alone(tmp_path: Path) -> None:
    first = save(tmp_path / "a")
    assert save(tmp_path / "b").sha256 == first.sha256
    for change in ({"provenance": {"epochs": 4}}, {"location": "mode"}, {"name": "kaons"}):
        assert save(tmp_path / "c", **change).sha256 != first.sha256
    other = MLP(features=3, hidden=(8,), head=NormalHead())
    assert save(tmp_path / "c", model=other).sha256 != first.sha256


def test_folder_holds_two_files(path: Path) -> None:
    assert sorted(file.name for file in path.iterdir()) == ["bundle.json", "weights.safetensors"]
    assert [file.name for file in path.parent.iterdir()] == ["pions"]


def test_set_models_with_object_features_round_trip(tmp_path: Path) -> None:
    inputs = Inputs(features=["jet.eta"], constituents=["constituent.log_pt"])
    inputs.load_state_dict({key: torch.ones_like(v) for key, v in inputs.state_dict().items()})
    model = PFN(constituents=1, features=1, phi=(4,), f=(4,), head=BernoulliHead())
    bundle = save(tmp_path / "tagger", model=model, inputs=inputs, kind="tagger", object="jet")
    assert bundles.load(bundle.path).inputs.config == inputs.config


def test_loaded_bundle_can_be_pickled(path: Path) -> None:
    bundle = bundles.load(path)
    again = pickle.loads(pickle.dumps(bundle))
    assert again.sha256 == bundle.sha256
    assert again.inputs.definition == bundle.inputs.definition


@pytest.mark.parametrize("name", ["bundle.json", "weights.safetensors"])
def test_every_flipped_byte_is_refused(path: Path, name: str) -> None:
    random = np.random.default_rng(42)
    file, content = path / name, (path / name).read_bytes()
    for place in random.integers(0, len(content), 150):
        damaged = bytearray(content)
        damaged[place] ^= int(random.integers(1, 256))
        file.write_bytes(damaged)
        with pytest.raises(BundleError, match=name.replace(".", r"\.")):
            bundles.load(path)
    file.write_bytes(content)
    assert bundles.load(path).spec.name == "pions"


@pytest.mark.parametrize("name", ["bundle.json", "weights.safetensors"])
def test_truncated_empty_and_longer_files_are_refused(path: Path, name: str) -> None:
    file, content = path / name, (path / name).read_bytes()
    for damaged in (content[:-1], content[: len(content) // 2], b"", content + b"\n"):
        file.write_bytes(damaged)
        with pytest.raises(BundleError, match=str(file)):
            bundles.load(path)


@pytest.mark.parametrize("name", ["bundle.json", "weights.safetensors"])
def test_missing_files_are_named(path: Path, name: str) -> None:
    (path / name).unlink()
    with pytest.raises(BundleError, match=rf"{path / name}: cannot be read"):
        bundles.load(path)


def test_other_versions_are_refused_naming_both(path: Path) -> None:
    edit(path, version=2)
    with pytest.raises(BundleError, match=r"bundle.json: .* version 2; hepcalib .* version 1"):
        bundles.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"locaton": "mode"}, "locaton: Extra inputs are not permitted"),
        ({"kind": "regression"}, "kind: Input should be 'response' or 'tagger'"),
        ({"name": None}, "name: Field required"),
        ({"model": {"name": "MPL"}}, "unknown model 'MPL'.*Did you mean 'MLP'"),
        ({"model": {"name": "os.system"}}, "unknown model 'os.system'"),
        ({"inputs": {"features": []}}, "needed: features and constituents"),
        (
            {"inputs": {"features": [{"name": "cluster.enregy"}], "constituents": []}},
            "unknown feature 'cluster.enregy'",
        ),
        ({"weights_sha256": "0" * 64}, "weights.safetensors: sha256 is"),
        ({"version": True}, "version"),
    ],
)
def test_specifications_of_something_else_are_refused(
    path: Path, changes: dict[str, Any], message: str
) -> None:
    edit(path, **changes)
    with pytest.raises(BundleError, match=message):
        bundles.load(path)


def test_features_defined_differently_are_refused(path: Path) -> None:
    inputs = json.loads((path / "bundle.json").read_bytes())["inputs"]
    inputs["features"][0]["transforms"][0]["floor"] = 0.5
    edit(path, inputs=inputs)
    with pytest.raises(BundleError, match=r"the bundle has .*0.5.*this version of hepcalib has"):
        bundles.load(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "{", "\u00e9", "[" * 100_000])
def test_other_json_is_refused(path: Path, text: str) -> None:
    (path / "bundle.json").write_text(text, encoding="latin-1")
    with pytest.raises(BundleError, match=r"bundle\.json"):
        bundles.load(path)


def test_an_edited_specification_is_refused(path: Path) -> None:
    file = path / "bundle.json"
    file.write_text(file.read_text().replace('"median"', '"mode"'))
    with pytest.raises(BundleError, match="does not agree with its own sha256"):
        bundles.load(path)


class Bomb:
    exploded = False

    def __reduce__(self) -> tuple[Any, ...]:
        return setattr, (Bomb, "exploded", True)


def test_pickles_are_refused_and_never_run(path: Path, tmp_path: Path) -> None:
    with_weights(path, pickle.dumps(Bomb()))
    with pytest.raises(BundleError, match=r"weights\.safetensors: does not hold the weights"):
        bundles.load(path)
    file = tmp_path / "model.pt"
    torch.save({"bomb": Bomb()}, file)
    with pytest.raises(BundleError, match=r"a bundle is a folder"):
        bundles.load(file)
    assert not Bomb.exploded
    pickle.loads(pickle.dumps(Bomb()))  # the negative control
    assert Bomb.exploded


def test_weights_of_another_model_are_refused(path: Path) -> None:
    weights = safetensors.torch.load((path / "weights.safetensors").read_bytes())
    for changed in (
        {**weights, "model.extra": torch.zeros(1)},
        {**weights, "other": torch.zeros(1)},
        dict(list(weights.items())[1:]),
        {**weights, "inputs.ranges": torch.zeros(4, 2)},
    ):
        with_weights(path, safetensors.torch.save(changed))
        with pytest.raises(BundleError, match="does not hold the weights that"):
            bundles.load(path)
    with_weights(path, safetensors.torch.save(weights))
    assert bundles.load(path).spec.name == "pions"


def test_a_bundle_can_be_replaced_but_nothing_else(path: Path, tmp_path: Path) -> None:
    before = bundles.sha256_of(path)
    assert save(path, name="kaons").sha256 == bundles.sha256_of(path) != before
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.tex").write_text("unique")
    with pytest.raises(BundleError, match="exists and is no bundle"):
        save(folder)
    assert (folder / "chapter.tex").read_text() == "unique"


@pytest.mark.parametrize("operation", ["write_bytes", "rename"])
def test_interrupted_writes_leave_the_old_bundle(
    path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    before = bundles.sha256_of(path)
    original = getattr(Path, operation)

    def full(self: Path, *arguments: Any) -> Any:
        if "new" in {self.name, self.parent.name} and self.name != "bundle.json":
            raise OSError(28, "No space left on device")
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Path, operation, full)
        with pytest.raises(BundleError, match=r"cannot be written: .*No space left"):
            save(path, name="kaons")
    assert bundles.load(path).sha256 == before
    assert [file.name for file in path.parent.iterdir()] == ["pions"]


@pytest.mark.parametrize(
    "provenance", [{"loss": float("nan")}, {"when": object()}, {("a", "b"): 1}]
)
def test_provenance_must_be_json(tmp_path: Path, provenance: dict[Any, Any]) -> None:
    with pytest.raises(BundleError, match="provenance cannot be written as JSON"):
        save(tmp_path / "pions", provenance=provenance)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"object": "jet"}, "the inputs describe a cluster, the bundle shall be of a jet"),
        ({"kind": "tagger"}, "kind 'tagger' with a MixtureHead"),
        (
            {"model": MLP(features=3, hidden=(), head=BernoulliHead())},
            "kind 'response' with a BernoulliHead",
        ),
        ({"inputs": Inputs(features=FEATURES)}, "the inputs are not fitted"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        save(tmp_path / "pions", **changes)


HOSTILE: dict[str, Callable[[Path], None]] = {
    "a link to zeros": lambda file: file.symlink_to("/dev/zero"),
    "a pipe": os.mkfifo,
    "a folder": lambda file: file.mkdir(),
    "a hole of a terabyte": lambda file: os.truncate(file, file.write_bytes(b"") or 1 << 40),
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("name", ["bundle.json", "weights.safetensors"])
def test_what_is_no_file_of_a_bundle_is_refused(path: Path, name: str, what: str) -> None:
    (path / name).unlink()
    HOSTILE[what](path / name)
    with pytest.raises(BundleError, match=rf"{name}: (cannot be read|is larger than)"):
        bundles.load(path)


def specification(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "bundle.json").read_bytes())["model"]
    return found


LARGE = 10**8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"draws": LARGE}, "draws is 100000000.*1 to 4,096"),
        ({"draws": 2.5}, "draws: 2.5; needed: int"),
        ({"draws": True}, "draws: True; needed: int"),
        ({"prior_precision": "1"}, "prior_precision: '1'; needed: float"),
        ({"seed": -1}, "seed -1"),
        ({"model": {"hidden": [LARGE]}}, "900,000,000 weights"),
        ({"model": {"hidden": [2**62, 2**62]}}, r"bundle\.json: "),
        ({"model": {"hidden": [1] * 20_000}}, "too many parts"),
        ({"model": {"hidden": [[8]]}}, r"hidden: .*; needed: Sequence\[int\]"),
        ({"model": {"features": LARGE}}, "800,000,048 weights"),
        ({"name": "MLP", "hidden": [LARGE]}, "does not hold the weights"),
        ({"model": {"features": 2}}, "does not hold the weights"),
        ({"model": {"head": {"name": "MixtureHead", "components": LARGE}}}, "weights are"),
        ({"name": "DeepEnsemble", "members": LARGE}, "at least 1, at most 1000"),
        ({"name": "Dropout", "draws": LARGE}, "draws is 100000000"),
        ({"name": "Dropout", "draws": 4096, "model": {"hidden": [40_000]}}, "numbers; needed"),
        ({"name": "Evidential", "nodes": LARGE}, r"bundle\.json: "),
        ({"name": "Laplace", "draws": LARGE}, "draws is 100000000"),
        ({"name": "Conformal", "groups": LARGE}, "does not hold the weights"),
    ],
)
def test_a_model_that_is_too_large_is_not_made(
    path: Path, change: dict[str, Any], message: str
) -> None:
    """Whatever it says, a bundle takes about as much memory as its weights."""
    spec = specification(path)
    inner = {**spec["model"], **change.get("model", {})}
    if "name" in change:
        spec = {}
    changed = {**spec, **change, "model": inner}
    if change.get("name") == "MLP":
        changed = {**inner, "hidden": change["hidden"]}
    edit(path, model=changed)
    before = peak_memory()
    with pytest.raises(BundleError, match=message):
        bundles.load(path)
    assert peak_memory() - before < 200


def peak_memory() -> float:
    """The most memory that this process has had [MiB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "tagger"}, "kind 'tagger' with a MixtureHead"),
        ({"object": "jet", "quantity": "pt"}, "the inputs describe a cluster"),
        ({"quantity": "mass"}, "a cluster has no 'mass'"),
        ({"quantity": None}, "does not say whose response"),
        ({"location": "response_mean", "target": "response"}, "needs 'log10_response'"),
    ],
)
def test_what_does_not_fit_the_model_is_not_loaded(
    path: Path, changes: dict[str, Any], message: str
) -> None:
    edit(path, **changes)
    with pytest.raises(BundleError, match=message):
        bundles.load(path)


def test_inputs_without_constants_are_not_loaded(path: Path) -> None:
    weights = safetensors.torch.load((path / "weights.safetensors").read_bytes())
    weights["inputs.ranges"] = torch.full_like(weights["inputs.ranges"], torch.nan)
    with_weights(path, safetensors.torch.save(weights))
    with pytest.raises(BundleError, match="the inputs are not fitted"):
        bundles.load(path)


def test_random_changes_of_a_signed_specification_are_errors_of_ours(path: Path) -> None:
    """What a hostile writer can say: any value at any place."""
    fields = json.loads((path / "bundle.json").read_bytes())
    random = np.random.default_rng(43)
    values = [None, True, -1, 0, 2, 10**12, 0.5, 1e300, "", "MLP", [], [1], {}, {"name": "MLP"}]
    for _ in range(300):
        changed = json.loads(json.dumps(fields))
        place: Any = changed
        while True:
            keys = list(place.keys() if isinstance(place, dict) else range(len(place)))
            key = keys[random.integers(len(keys))]
            inner = place[key]
            if not isinstance(inner, dict | list) or not inner or random.random() < 0.3:
                break
            place = inner
        place[key] = values[random.integers(len(values))]
        edit(path, **changed)
        with suppress(BundleError):  # and no other error
            bundles.load(path)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int64])
def test_weights_of_another_type(path: Path, dtype: torch.dtype) -> None:
    """Floats of any kind come back, those in double precision in that; integers are refused."""
    weights = safetensors.torch.load((path / "weights.safetensors").read_bytes())
    changed = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in weights.items()
    }
    with_weights(path, safetensors.torch.save(changed))
    if not dtype.is_floating_point:
        with pytest.raises(BundleError, match=r"is torch.int64 of shape .*; needed: torch.float32"):
            bundles.load(path)
        return
    model = bundles.load(path).model
    wanted = torch.float64 if dtype == torch.float64 else torch.float32
    assert {value.dtype for value in model.parameters()} == {wanted}
