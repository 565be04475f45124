from __future__ import annotations

import copy
import json
import pickle
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hepcalib import models
from hepcalib.batch import Batch
from hepcalib.exceptions import ConfigError
from hepcalib.models import (
    MLP,
    PFN,
    Bayesian,
    BernoulliHead,
    MixtureHead,
    Model,
    NormalHead,
    build,
    describe,
    ensembles,
    repulsion,
)
from hepcalib.models.ensembles import DeepEnsemble
from hepcalib.models.repulsion import RepulsiveEnsemble
from hepcalib.ragged import Ragged
from hepcalib.training import Examples, TrainingOptions, train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MEMBERS = 3

ARCHITECTURES: dict[str, Callable[[], Model]] = {
    "MLP": lambda: MLP(features=2, hidden=(8, 8), head=MixtureHead(2)),
    "MLP tagger": lambda: MLP(features=2, hidden=(), head=BernoulliHead()),
    "PFN": lambda: PFN(constituents=3, features=2, phi=(8,), f=(8,), head=NormalHead()),
    "PFN tagger": lambda: PFN(constituents=3, phi=(8,), f=(8,), head=BernoulliHead()),
}
ENSEMBLES: dict[str, Callable[[Model], DeepEnsemble]] = {
    "deep": lambda model: DeepEnsemble(model, members=MEMBERS),
    "repulsive": lambda model: RepulsiveEnsemble(model, members=MEMBERS, prior_precision=2.0),
}
architectures = pytest.mark.parametrize("make", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
wrappers = pytest.mark.parametrize("wrap", ENSEMBLES.values(), ids=ENSEMBLES.keys())


def jets(rows: int = 40) -> tuple[Batch, Tensor]:
    """Jets, and the class of each, 0 or 1."""
    generator = torch.Generator().manual_seed(2)
    counts = torch.arange(rows) % 4
    values = torch.randn(int(counts.sum()), 3, generator=generator)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    features = torch.randn(rows, 2, generator=generator)
    return Batch(features, Ragged(values, offsets)), (torch.arange(rows) % 2).float()


def network(model: DeepEnsemble, member: int) -> Model:
    """The architecture with the parameters of one member."""
    found = build(describe(model.model)).to(next(model.parameters()).dtype)
    state = {name: value[member].detach() for name, value in model.stacked().items()}
    found.load_state_dict(state)
    return found.train(model.training)


def randomised(model: DeepEnsemble) -> DeepEnsemble:
    """The model with weights that matter: the last layer starts near zero."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    return model


def descend(
    model: Model, batches: list[tuple[Batch, Tensor]], optimizer: type[torch.optim.Optimizer]
) -> None:
    keywords: dict[str, Any] = {"lr": 0.01, "weight_decay": 0.1}
    descent = optimizer(model.parameters(), **keywords)
    model.train()
    for batch, target in batches:
        descent.zero_grad()
        predicted = model(batch)
        loss = model.loss(predicted, target).mean()
        (loss + model.regulariser(predicted, target, rows=100)).backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        descent.step()


@wrappers
@architectures
@pytest.mark.parametrize("training", [True, False])
def test_one_distribution_per_member_and_row(
    make: Callable[[], Model], wrap: Callable[[Model], DeepEnsemble], training: bool
) -> None:
    model, (batch, target) = randomised(wrap(make())).train(training), jets()
    raw = model.member_outputs(batch)
    assert raw.shape == (MEMBERS, batch.rows, model.head.outputs)
    for member in range(MEMBERS):
        torch.testing.assert_close(raw[member], network(model, member).outputs(batch))
    assert raw.std(0).min() > 1e-4  # the members differ
    torch.testing.assert_close(model.outputs(batch), raw[0])
    assert model(batch).batch_shape == model.members(batch).batch_shape == raw.shape[:2]
    losses = model.loss(model(batch), target)
    assert losses.shape == raw.shape[:2]
    lone = network(model, 2)
    torch.testing.assert_close(losses[2], lone.loss(lone(batch), target))


@architectures
def test_the_first_weights_depend_on_seed_and_member_only(make: Callable[[], Model]) -> None:
    model = make()
    state = torch.get_rng_state()
    first = DeepEnsemble(model, members=2, seed=1).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    more = DeepEnsemble(make(), members=4, seed=1).state_dict()
    other = DeepEnsemble(model, members=2, seed=2).state_dict()
    for name, value in first.items():
        assert torch.equal(more[name][:2], value)
        if value.abs().max() > 0:  # biases of the last layer start at 0
            assert not torch.equal(value[0], value[1])
            assert not torch.equal(other[name][0], value[0])
    # As wide as those of a lone network: nothing is drawn for M networks at once.
    deviations = {name: value.std(correction=0) for name, value in model.named_parameters()}
    many = DeepEnsemble(model, members=200).stacked()
    for name, deviation in deviations.items():
        if len(many[name][0].flatten()) > 40:
            assert many[name].std().item() == pytest.approx(deviation.item(), rel=0.25)


@architectures
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_members_are_trained_as_if_alone(
    make: Callable[[], Model], optimizer: type[torch.optim.Optimizer]
) -> None:
    model = DeepEnsemble(make().double(), members=MEMBERS)
    alone = [network(model, member) for member in range(MEMBERS)]
    batch, target = jets()
    rows = [slice(start, start + 10) for start in (0, 10, 20, 30)] * 3
    batches = [(batch.select(part), target[part].double()) for part in rows]
    start = model.member_outputs(batch).detach()
    for each in (model, *alone):
        descend(each, batches, optimizer)
    outputs = torch.stack([lone.outputs(batch) for lone in alone])
    assert (outputs - start).abs().max() > 1e-3
    for member, lone in enumerate(alone):
        for name, value in lone.named_parameters():
            # Adam divides by gradients, which are sums in another order, of down to 1e-6.
            torch.testing.assert_close(model.stacked()[name][member], value, rtol=1e-7, atol=1e-8)


def test_in_evaluation_the_gradient_is_that_of_the_mean() -> None:
    model, (batch, target) = DeepEnsemble(ARCHITECTURES["MLP"](), members=MEMBERS), jets()
    gradients = []
    for training in (True, False):
        model.train(training).zero_grad()
        model.loss(model(batch), target).mean().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        gradients.append([parameter.grad for parameter in model.parameters()])
    for trained, evaluated in zip(*gradients, strict=True):
        assert trained is not None
        assert evaluated is not None
        torch.testing.assert_close(trained, MEMBERS * evaluated)


@wrappers
@architectures
def test_gradient_reaches_every_parameter(
    make: Callable[[], Model], wrap: Callable[[Model], DeepEnsemble]
) -> None:
    model, (batch, target) = randomised(wrap(make())), jets()
    model.loss(model(batch), target).mean().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.flatten(1).abs().amax(1).min() > 0, name


@wrappers
@architectures
def test_description_weights_and_copies_give_the_same_model(
    make: Callable[[], Model],
    wrap: Callable[[Model], DeepEnsemble],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for module, name in ((ensembles, "DeepEnsemble"), (repulsion, "RepulsiveEnsemble")):
        monkeypatch.setattr(models, name, getattr(module, name), raising=False)
        monkeypatch.setattr(models, "__all__", [*models.__all__, name])
    model, (batch, target) = randomised(wrap(make())), jets()
    model.loss(model(batch), target).mean().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    outputs = model.eval().member_outputs(batch)
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert torch.equal(again.member_outputs(batch), outputs)
    spec = json.loads(json.dumps(describe(model)))
    built = build(spec).eval()
    assert type(built) is type(model)
    assert describe(built) == spec
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    state = load_file(tmp_path / "weights.safetensors")
    assert all(name.startswith("networks.") for name in state)
    assert {len(value) for value in state.values()} == {MEMBERS}
    built.load_state_dict(state)
    assert torch.equal(built.member_outputs(batch), outputs)


def test_the_model_is_copied_and_its_precision_kept() -> None:
    model = ARCHITECTURES["PFN"]().double()
    before = copy.deepcopy(model.state_dict())
    ensemble = DeepEnsemble(model, members=2)
    randomised(ensemble)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    batch, _ = jets()
    assert ensemble.member_outputs(batch).dtype == torch.float64
    assert ensemble.float().member_outputs(batch).dtype == torch.float32


class Shifted(MLP):
    """A network with a buffer, and one linear layer that is used twice."""

    def __init__(self, *, shift: float) -> None:
        super().__init__(features=2, hidden=(2,), head=NormalHead())
        self.again = self.network[0]
        self.shift = nn.Buffer(torch.tensor(shift))

    @property
    def config(self) -> dict[str, Any]:
        return {"shift": self.shift.item()}

    def outputs(self, batch: Batch) -> Tensor:
        assert batch.features is not None
        raw: Tensor = self.network(self.again(batch.features)) + self.shift
        return raw


def test_each_member_has_its_buffers_and_a_layer_that_is_used_twice_stays_one() -> None:
    model, (batch, _) = randomised(DeepEnsemble(Shifted(shift=3.0), members=2)), jets()
    assert model.state_dict()["statistics.shift"].tolist() == [3.0, 3.0]
    model.stacked_buffers()["shift"][1] = 4.0
    raw = model.member_outputs(batch)
    torch.testing.assert_close(model.outputs(batch), raw[0])
    for member in range(2):
        lone = Shifted(shift=3.0 + member)
        state = {name: value[member].detach() for name, value in model.stacked().items()}
        lone.load_state_dict(state, strict=False)
        torch.testing.assert_close(raw[member], lone.outputs(batch))


@wrappers
@architectures
def test_the_training_loop_lowers_the_loss(
    make: Callable[[], Model], wrap: Callable[[Model], DeepEnsemble]
) -> None:
    model, (batch, target) = wrap(make()), jets(400)
    assert batch.features is not None
    target = (batch.features[:, 0] + 0.3 * batch.features[:, 1] > 0).float()
    if model.model.config.get("features") == 0:
        assert batch.constituents is not None
        target = (batch.constituents.sum()[:, 0] > 0).float()
    examples = Examples(batch, target)
    options = TrainingOptions(epochs=8, batch_size=50, learning_rate=0.02, device="cpu", threads=1)
    history = train(model, examples, examples, options=options)
    assert not model.training
    start = wrap(make()).eval()
    with torch.no_grad():
        before, after = (found.loss(found(batch), target).mean(1) for found in (start, model))
    assert (after < before - 0.1).all()  # each member has learnt
    assert history.best.validation_nll == pytest.approx(after.mean().item(), rel=1e-4)
    regulariser = model.regulariser(model(batch), target, rows=400).item()
    assert (regulariser > 0) == isinstance(model, RepulsiveEnsemble)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"members": 0}, "DeepEnsemble: members is 0; needed: a whole number, at least 1"),
        ({"members": 2.5}, "members is 2.5"),
        ({"members": "ten"}, "members is 'ten'"),
        ({"seed": -1}, "seed is -1; needed: a whole number, at least 0"),
    ],
)
def test_bad_values_are_refused(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DeepEnsemble(ARCHITECTURES["MLP"](), **keywords)


def test_models_with_members_of_their_own_are_refused() -> None:
    plain = ARCHITECTURES["MLP"]()
    for model in (Bayesian(plain), DeepEnsemble(plain)):
        with pytest.raises(ConfigError, match=f"{type(model).__name__} has its own .*member_outp"):
            DeepEnsemble(model)
    with pytest.raises(ConfigError, match="DeepEnsemble has its own"):
        RepulsiveEnsemble(DeepEnsemble(plain))
    with pytest.raises(ConfigError, match="MLP has no parameters"):
        DeepEnsemble(DeepEnsemble(plain).model)
