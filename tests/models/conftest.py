"""Small examples of every model, and jets with the constituents that each of them needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hepcalib.batch import Batch
from hepcalib.models import (
    EFN,
    GN2,
    MLP,
    PFN,
    Bayesian,
    BernoulliHead,
    BoostedTrees,
    CapsuleHead,
    Conformal,
    DeepEnsemble,
    Dropout,
    Evidential,
    EvidentialHead,
    FlowLikelihood,
    GaussianAnsatz,
    GeneralisedInversion,
    InversionHead,
    JetImages,
    Labelled,
    Laplace,
    LogNormalMixtureHead,
    LorentzNet,
    MixtureHead,
    Model,
    NormalHead,
    ParticleNet,
    ParticleNetLite,
    ParticleTransformer,
    PointHead,
    Recurrent,
    RepulsiveEnsemble,
)
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from hepcalib.models import Head

    Make = Callable[[], Model]
    OfHead = Callable[[Head], Model]
    LargestOf = Callable[[Callable[[], Tensor]], tuple[Tensor, int]]

COUNTS = (4, 0, 1, 7, 0, 2)  # constituents of each jet
DRAWS = 3  # members of the examples that have several

JETS: dict[str, OfHead] = {
    "EFN": lambda head: EFN(constituents=3, features=2, phi=(16, 16), f=(16,), head=head),
    "GN2": lambda head: GN2(
        constituents=3, features=2, embed=(8, 8), heads=2, blocks=2, pooled=8, f=(8,), head=head
    ),
    "JetImages": lambda head: JetImages(
        constituents=3, features=2, pixels=9, filters=(3, 4), kernels=(3, 2), pools=(2, 1), f=(8,),
        head=head, activation="silu",
    ),
    "LorentzNet": lambda head: LorentzNet(
        constituents=5, features=2, hidden=8, blocks=2, dropout=0.1, head=head
    ),
    "ParticleNet": lambda head: ParticleNet(
        constituents=4, features=2, k=3, edge_conv=((6, 6), (8, 8)), f=(8,), head=head
    ),
    "ParticleNetLite": lambda head: ParticleNetLite(
        constituents=4, features=2, k=2, edge_conv=((6, 6),), f=(8,), head=head
    ),
    "ParticleTransformer": lambda head: ParticleTransformer(
        constituents=6, features=2, embed=(8, 8), pair_embed=(4, 4), heads=2, blocks=2,
        class_blocks=1, head=head,
    ),
    "PFN": lambda head: PFN(constituents=3, features=2, phi=(16, 16), f=(16,), head=head),
    "Recurrent": lambda head: Recurrent(
        constituents=3, features=2, order=1, hidden=6, f=(8,), head=head
    ),
}  # fmt: skip
WRAPPED: dict[str, Callable[[OfHead], Model]] = {
    "Bayesian": lambda of: Bayesian(of(NormalHead()), draws=DRAWS),
    "Conformal": lambda of: Conformal(of(NormalHead()), groups=2),
    "DeepEnsemble": lambda of: DeepEnsemble(of(MixtureHead(2)), members=DRAWS),
    "Dropout": lambda of: Dropout(of(MixtureHead(2)), rate=0.3, draws=DRAWS),
    "Evidential": lambda of: Evidential(of(EvidentialHead()), nodes=2),
    "GaussianAnsatz": lambda of: GaussianAnsatz(of(NormalHead()), warmup=2),
    "GeneralisedInversion": lambda of: GeneralisedInversion(of(InversionHead(knots=4))),
    "Laplace": lambda of: Laplace(of(LogNormalMixtureHead(2)), draws=DRAWS),
    "RepulsiveEnsemble": lambda of: RepulsiveEnsemble(of(NormalHead()), members=DRAWS),
}


def _small(head: Head) -> MLP:
    return MLP(features=2, hidden=(16, 16), head=head)


def _headed(of: OfHead, head: Callable[[], Head]) -> Make:
    return lambda: of(head())


EXAMPLES: dict[str, Make] = {
    "BoostedTrees": lambda: BoostedTrees(
        features=2, head=BernoulliHead(), method="plain", trees=4, depth=2, subsample=1.0
    ),
    "MLP": lambda: _small(MixtureHead()),
    "FlowLikelihood": lambda: FlowLikelihood(
        features=2, head=NormalHead(), transforms=1, hidden=(8,), bins=4
    ),
    **{name: _headed(of, BernoulliHead) for name, of in JETS.items()},
    **{name: partial(wrapped, _small) for name, wrapped in WRAPPED.items()},
}
ALONE: dict[str, Make] = {
    "PFN without features": lambda: PFN(
        constituents=3, phi=(16,), f=(), head=NormalHead(), activation="gelu"
    ),
    "PFN of points": lambda: JETS["PFN"](PointHead()),
    "capsules of images": lambda: JETS["JetImages"](CapsuleHead(3, dimension=2)),
    "GRU": lambda: Recurrent(
        constituents=3, order=0, hidden=6, f=(), cell="gru", head=NormalHead()
    ),
    "images of the charge": lambda: JetImages(
        constituents=4, pixels=8, charged=3, rotate=False, filters=(3,), kernels=(3,), pools=(1,),
        f=(), head=BernoulliHead(),
    ),
    "LorentzNet of four-vectors": lambda: LorentzNet(
        constituents=4, hidden=8, blocks=1, head=NormalHead()
    ),
}  # fmt: skip
MORE: dict[str, Make] = {
    **ALONE,
    **{f"{name} of a PFN": partial(wrapped, JETS["PFN"]) for name, wrapped in WRAPPED.items()},
    "Conformal ensemble": lambda: Conformal(DeepEnsemble(_small(NormalHead()), members=DRAWS)),
    "Conformal Bayesian PFN": lambda: Conformal(
        Bayesian(JETS["PFN"](NormalHead()), draws=DRAWS, seed=5)
    ),
}


@dataclass(frozen=True)
class Example:
    """A small model, with jets to ask it about."""

    name: str
    make: Make

    def jets(self, counts: Sequence[int] = COUNTS, *, dtype: torch.dtype = torch.float32) -> Batch:
        """Jets of so many constituents, whose first columns are what the model computes with."""
        generator = torch.Generator().manual_seed(1)
        offsets = torch.tensor([0, *counts]).cumsum(0)
        parts = [part for part in self.make().modules() if isinstance(part, Model)]
        wanted = [part for part in parts if hasattr(part, "constituents")]
        names = wanted[0].leading if wanted else ()
        width = int(getattr(wanted[0], "constituents")) if wanted else 3  # noqa: B009  # not of every Model
        known = kinematics(offsets, generator)
        columns = [known[name.removeprefix("constituent.")] for name in names]
        others = torch.randn(int(offsets[-1]), width - len(names), generator=generator)
        values = torch.cat([*(column.unsqueeze(1) for column in columns), others], dim=1)
        features = torch.randn(len(counts), 2, generator=generator)
        return Batch(features, Ragged(values, offsets)).to(dtype=dtype)

    def labelled(self) -> Labelled:
        """Jets with targets that any model can have: a probability, or a positive response."""
        return Labelled(self.jets(), torch.linspace(0.1, 0.9, len(COUNTS)))

    def unfinished(self) -> Model:
        """The model with weights that matter: the last layer starts near zero."""
        torch.manual_seed(2)
        model = self.make().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() >= 2 and parameter.mean() > -5:  # not the log-variances
                    parameter.normal_(std=parameter.shape[-1] ** -0.5)
        return model

    def made(self) -> Model:
        """The same with what is fitted at the end of a training."""
        model = self.unfinished()
        model.finish(self.labelled(), self.labelled())
        return model

    @staticmethod
    @torch.no_grad()
    def everything(model: Model, batch: Batch) -> Tensor:
        """All that a prediction is made from, (rows, numbers)."""
        members = model.members(batch)
        parts = [model.outputs(batch), *model.member_outputs(batch), members.mean.T]
        parts += [members.variance.log().T] if not isinstance(model.head, PointHead) else []
        if not isinstance(model.head, BernoulliHead):
            parts += [probability.unsqueeze(1) for probability in model.interval(members)]
        return torch.cat(parts, dim=1)


def kinematics(offsets: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Return momenta [GeV] and places of pions in jets, by the names of the inputs."""
    items = int(offsets[-1])
    pt = 1.0 + 20.0 * torch.rand(items, generator=generator).square()
    y, phi = 0.25 * torch.randn(2, items, generator=generator)
    jets = Ragged(torch.stack([pt, pt * y, pt * phi], dim=1), offsets)
    total, *means = jets.repeat(jets.sum()).unbind(1)
    transverse = torch.hypot(pt, torch.tensor(0.14))
    return {
        "momentum_fraction": pt / total,
        "rapidity_offset": y - means[0] / total,
        "azimuth_offset": phi - means[1] / total,
        "energy": transverse * y.cosh(),
        "px": pt * phi.cos(),
        "py": pt * phi.sin(),
        "pz": transverse * y.sinh(),
    }


class _Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types for it
    """Remembers the size of the largest tensor [byte]."""

    size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        found = func(*args, **(kwargs or {}))
        for tensor in found if isinstance(found, (tuple, list)) else [found]:
            if isinstance(tensor, torch.Tensor):
                self.size = max(self.size, tensor.numel() * tensor.element_size())
        return found


@pytest.fixture
def largest_of() -> LargestOf:
    """Call a function; return what it returns, and the size of the largest tensor made [byte]."""

    def called(function: Callable[[], Tensor]) -> tuple[Tensor, int]:
        with _Largest() as largest:  # type: ignore[no-untyped-call]  # as above
            outputs = function()
        return outputs, largest.size

    return called


def _examples(made: dict[str, Make]) -> list[Example]:
    return [Example(name, make) for name, make in made.items()]


@pytest.fixture
def examples() -> dict[str, Make]:
    """One example of each model, by its name."""
    return EXAMPLES


@pytest.fixture
def jet_models() -> dict[str, OfHead]:
    """One example of each model of constituents, by its name."""
    return JETS


@pytest.fixture
def wrappers() -> dict[str, Callable[[OfHead], Model]]:
    """Each wrapper with a head that it can have, by its name."""
    return WRAPPED


@pytest.fixture(params=_examples(EXAMPLES | MORE), ids=lambda found: found.name)
def example(request: pytest.FixtureRequest) -> Example:
    """Each model and wrapper in turn."""
    found: Example = request.param
    return found


@pytest.fixture(
    params=_examples({name: lambda of=of: of(NormalHead()) for name, of in JETS.items()} | ALONE),
    ids=lambda found: found.name,
)
def of_jets(request: pytest.FixtureRequest) -> Example:
    """Each model of constituents in turn."""
    found: Example = request.param
    return found


@pytest.fixture(
    params=_examples(
        {
            f"{wrapper} of {name}": partial(wrapped, of)
            for wrapper, wrapped in WRAPPED.items()
            for name, of in JETS.items()
        }
    ),
    ids=lambda found: found.name,
)
def wrapped_one(request: pytest.FixtureRequest) -> Example:
    """Each model of constituents in each wrapper in turn."""
    found: Example = request.param
    return found
