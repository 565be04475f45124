"""What a model gives does not depend on settings of the process, which all stay as they are."""

from __future__ import annotations

import locale
import os
import random
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest
import torch

from hepcalib import bundles, decorrelation
from hepcalib.batch import Batch
from hepcalib.features import Inputs
from hepcalib.inference import mixtures, predict
from hepcalib.models import (
    MLP,
    Bayesian,
    BernoulliHead,
    Labelled,
    MixtureHead,
    Model,
    NormalHead,
    describe,
)
from hepcalib.settings import seeded
from hepcalib.training import Examples, TrainingOptions, train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from hepcalib.bundles import Bundle
    from tests.models.conftest import Example

ROWS = 30
OBJECTS = ["jet.eta", "jet.log_mass"]
ANY = ["delta_eta", "delta_phi", "log_pt", "log_energy"]


def jets() -> ak.Array:
    """Jets of 0 to 5 constituents."""
    generator = np.random.default_rng(70)
    counts = generator.integers(0, 6, ROWS)
    items = int(counts.sum())
    constituents = ak.zip(
        {
            "pt": generator.uniform(1, 50, items),
            "eta": generator.uniform(-1, 1, items),
            "phi": generator.uniform(-1, 1, items),
            "mass": np.full(items, 0.14),
        }
    )
    columns = {
        "pt": generator.uniform(200, 600, ROWS),
        "eta": generator.uniform(-1, 1, ROWS),
        "phi": generator.uniform(-1, 1, ROWS),
        "mass": generator.uniform(5, 200, ROWS),
        "constituents": ak.unflatten(constituents, counts),
    }
    return ak.zip(columns, depth_limit=1)


def inputs_of(model: Model) -> Inputs:
    """Inputs of as many features as the model has, the leading ones first."""
    spec = describe(model)
    while "model" in spec:
        spec = spec["model"]
    leading: Any = next(
        (part.leading for part in model.modules() if getattr(part, "leading", ())), ()
    )
    names = [*list(leading), *(f"constituent.{name}" for name in ANY)][
        : spec.get("constituents", 0)
    ]
    inputs = Inputs(features=OBJECTS[: spec["features"]], constituents=names)
    return inputs.fit(inputs.extract(jets()))


def saved(model: Model, path: Path, **options: Any) -> Path:
    tagger = isinstance(model.head, BernoulliHead)
    kind: Any = "tagger" if tagger else "response"
    return bundles.save(
        path, model, inputs_of(model), kind=kind, object="jet", name="m", **options
    ).path


def answers(bundle: Bundle) -> dict[str, NDArray[Any]]:
    found = predict(bundle, jets(), device="cpu")
    return {name: ak.to_numpy(found[name]) for name in found.fields}


def differing(one: dict[str, NDArray[Any]], other: dict[str, NDArray[Any]]) -> list[str]:
    assert one.keys() == other.keys()
    return [name for name in one if not np.array_equal(one[name], other[name])]


SETTINGS: dict[str, Callable[[ExitStack], Any]] = {
    "default dtype": lambda _: torch.set_default_dtype(torch.float64),
    "default device": lambda on: on.enter_context(torch.device("meta")),
    "random state": lambda _: torch.manual_seed(12345),
    "no gradients": lambda on: on.enter_context(torch.no_grad()),
    "inference mode": lambda on: on.enter_context(torch.inference_mode()),
    "automatic casts": lambda on: on.enter_context(torch.autocast("cpu", dtype=torch.bfloat16)),
    "precision of products": lambda _: torch.set_float32_matmul_precision("medium"),
    "anomalies": lambda on: on.enter_context(torch.autograd.set_detect_anomaly(mode=True)),
    "errors of numpy": lambda on: on.enter_context(np.errstate(all="raise")),
    "digits that are printed": lambda on: on.enter_context(np.printoptions(precision=1)),
    "locale": lambda _: locale.setlocale(locale.LC_ALL, "C"),
}


@contextmanager
def process(*names: str) -> Iterator[None]:
    """Change settings inside the block, and check at its end that they are what they were."""
    dtype, random_state, precision = (
        torch.get_default_dtype(),
        torch.get_rng_state(),
        torch.get_float32_matmul_precision(),
    )
    places = locale.setlocale(locale.LC_ALL)
    with ExitStack() as stack:
        stack.callback(torch.set_default_dtype, dtype)
        stack.callback(torch.set_rng_state, random_state)
        stack.callback(torch.set_float32_matmul_precision, precision)
        stack.callback(locale.setlocale, locale.LC_ALL, places)
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", UserWarning)  # of torch, about the anomalies
        for name in names:
            SETTINGS[name](stack)
        before = snapshot()
        yield
        after = snapshot()
        assert {name for name in before if before[name] != after[name]} == set()


def snapshot() -> dict[str, Any]:
    return {
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "random state of torch": torch.get_rng_state().tolist(),
        "random state of numpy": repr(np.random.get_state()),  # noqa: NPY002 - of others
        "random state": random.getstate(),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "casts": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "precision": (
            torch.get_float32_matmul_precision(),
            torch.backends.mkldnn.matmul.fp32_precision,  # type: ignore[attr-defined]  # torch has no types for it
            torch.backends.cuda.matmul.fp32_precision,
        ),
        "determinism": torch.are_deterministic_algorithms_enabled(),
        "anomalies": torch.is_anomaly_enabled(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "errors": (np.geterr(), np.geterrcall()),
        "printing": np.get_printoptions(),
        "warnings": list(warnings.filters),
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "locale": locale.setlocale(locale.LC_ALL),
    }


def test_predictions_do_not_depend_on_settings(example: Example, tmp_path: Path) -> None:
    path = saved(example.made(), tmp_path / "m")
    expected = answers(bundles.load(path))
    for names in (SETTINGS.keys() - {"inference mode"}, {"inference mode", "default dtype"}):
        with process(*names):
            loaded = bundles.load(path)
            found = answers(loaded)
        assert differing(found, expected) == []
        assert differing(answers(loaded), expected) == []  # and it was loaded as elsewhere


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_is_left_alone(name: str, tmp_path: Path) -> None:
    model = Bayesian(MLP(features=2, hidden=(8,), head=MixtureHead(2)), draws=3)
    path, inputs = saved(model, tmp_path / "m"), inputs_of(model)
    expected, density = answers(bundles.load(path)), mixtures(path, jets(), device="cpu")
    with process(name):
        assert differing(answers(bundles.load(path)), expected) == []
        for one, other in zip(mixtures(path, jets(), device="cpu"), density, strict=True):
            assert np.array_equal(np.asarray(one), np.asarray(other))
        bundles.save(tmp_path / "n", model, inputs, kind="response", object="jet", name="m")
    assert (tmp_path / "n" / "bundle.json").read_bytes() == (path / "bundle.json").read_bytes()


def test_threads_change_the_last_digits_only(tmp_path: Path) -> None:
    path = saved(Bayesian(MLP(features=2, head=MixtureHead()), draws=3), tmp_path / "m")
    expected, before = answers(bundles.load(path)), torch.get_num_threads()
    for threads in (1, 2):
        found = predict(bundles.load(path), jets(), threads=threads, device="cpu")
        assert torch.get_num_threads() == before
        for name, values in expected.items():
            np.testing.assert_allclose(ak.to_numpy(found[name]), values, rtol=1e-6, atol=1e-9)


def trained(model: Model, labelled: Labelled) -> dict[str, list[float]]:
    batch, target, *_ = labelled
    classes = (torch.arange(len(target)) % 2).to(torch.float32)
    samples = Examples(
        batch,
        classes if isinstance(model.head, BernoulliHead) else target,
        nuisance=torch.linspace(0.0, 1.0, len(target), dtype=torch.float32),
        background=classes == 0,
    )
    options = TrainingOptions(epochs=2, batch_size=4, threads=1, device="cpu")
    train(model, samples, samples, options=options)
    return {name: value.tolist() for name, value in model.state_dict().items()}


def test_trainings_do_not_depend_on_settings(example: Example) -> None:
    labelled, again = example.labelled(), example.unfinished()
    expected = trained(example.unfinished(), labelled)
    with process(*(SETTINGS.keys() - {"inference mode", "default device"})):
        assert trained(again, labelled) == expected


def test_a_gradient_is_found_in_inference_mode() -> None:
    model, again = (MLP(features=2, hidden=(8,), head=NormalHead()) for _ in range(2))
    again.load_state_dict(model.state_dict())
    labelled = Labelled(Batch(torch.ones(8, 2)), torch.linspace(0.0, 1.0, 8))
    expected = trained(model, labelled)
    with process("inference mode"):
        assert trained(again, labelled) == expected


@pytest.mark.parametrize("head", [NormalHead(), MixtureHead(2)])
def test_a_model_of_another_type_comes_back_in_it(head: Any, tmp_path: Path) -> None:
    """A model that was made and trained in double precision predicts so everywhere."""
    with process("default dtype"):
        with seeded(3):
            model = Bayesian(MLP(features=2, hidden=(8,), head=head), draws=3)
        assert next(model.parameters()).dtype == torch.float64
        path = saved(model, tmp_path / "m")
        expected = answers(bundles.load(path))
        loaded = bundles.load(path)
    again = bundles.load(path)
    assert next(again.model.parameters()).dtype == torch.float64
    assert differing(answers(again), expected) == []
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name])
        assert torch.equal(value, loaded.model.state_dict()[name])


@pytest.mark.parametrize("name", ["ConditionalFlow", "QuantileRegression"])
def test_decorrelators_do_not_depend_on_settings(name: str) -> None:
    method = getattr(decorrelation, name)
    generator = np.random.default_rng(3)
    mass = generator.uniform(50, 150, 400)
    score = generator.normal(mass / 100, 1.0)

    def fitted() -> Any:
        made = method.fit(score, {"mass": mass}, epochs=1, hidden=(4,))
        return made.state, made(score, {"mass": mass}).tolist()

    expected = fitted()
    with process(*(SETTINGS.keys() - {"inference mode"})):
        assert fitted() == expected
