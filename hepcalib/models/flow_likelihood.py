"""Maximum likelihood from a conditional flow: p(features | z), and the z at which it is largest."""

from __future__ import annotations

import functools
import itertools
import math
import sys
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from hepcalib.exceptions import ConfigError, TrainingError
from hepcalib.models.heads import NormalHead
from hepcalib.models.likelihood_peak import LikelihoodPeak, find_peak
from hepcalib.models.model import Model, checked, described

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.distributions import Normal

    from hepcalib.batch import Batch
    from hepcalib.models.heads import Head
    from hepcalib.models.model import Labelled

__all__ = ["FeatureLikelihood", "FlowLikelihood"]

MOST_NODES, MOST_WEIGHTS = 10_000, 1 << 24
BLOCK = 4096  # pairs of a row and a z at a time, so that what belongs to them stays in the cache


class FlowLikelihood(Model):
    r"""Maximum-likelihood estimate of z, whatever the spectrum of z in the training sample.

    .. math:: \hat z = \arg\max_z \ln p(x | z), \quad
        \ln p(x | z_\pm) = \ln p(x | \hat z) - \tfrac{1}{2}, \quad \sigma = (z_+ - z_-) / 2

    p(x|z) is a normalising flow: an affine and then spline autoregressive transformations of the
    features, with z as context. A training maximises it; a prediction is N(z_hat, sigma^2).

    With ``modelled`` it describes only the first features u and is given the others v: p(u|v, z)
    does not depend on the spectrum of z either, not even on how it varies with v. One measured
    energy with 14 features given is easier to learn than 15, and takes a tenth of the time; what
    is lost is what v alone tells about z.

    The likelihood is scanned over the whole range of z in the training sample, which ``finish``
    learns, and refined around the highest point. It needs ``nodes`` + 15 evaluations of the flow
    per row; the distance of two nodes should not exceed about three sigma, or a narrow maximum may
    be missed. An estimate at the end of the range stays there, which leaves medians in bins of z
    as they are; z_+ and z_- may lie a little outside.

    A flow cannot describe features with a discrete value: its density would grow without limit and
    drown the dependence on z. In training the modelled ones get normal noise of width ``noise``, so
    that p(x|z) is the density blurred by as much, at a discrete value its probability over the
    noise. A prediction sees no noise. Those that are given may be of any kind. Modelled features
    must be of mean 0 and standard deviation 1.

    Reference: arXiv:2404.18992, arXiv:1906.04032 (splines).

    Args:
        features: Number of features per row.
        modelled: Number of features that the likelihood is of, the first ones; None for all.
        head: A NormalHead, whose shift and scale are mean and standard deviation of z.
        transforms: Number of spline transformations.
        hidden: Widths of the hidden layers of each transformation's network.
        bins: Number of bins of a spline.
        nodes: Number of points of the scan.
        noise: Standard deviation of the noise.

    Raises:
        ConfigError: if the head is no NormalHead or a number is out of range.
    """

    head: NormalHead
    range: Tensor

    def __init__(
        self,
        *,
        features: int,
        modelled: int | None = None,
        head: Head,
        transforms: int = 2,
        hidden: Sequence[int] = (64, 64),
        bins: int = 8,
        nodes: int = 24,
        noise: float = 0.01,
    ) -> None:
        super().__init__()
        described_features = features if modelled is None else modelled
        for name, value, least, most in (
            ("features", features, 1, math.inf),
            ("modelled", described_features, 1, features),
            ("transforms", transforms, 0, math.inf),
            ("bins", bins, 2, math.inf),
            ("nodes", nodes, 3, MOST_NODES),
            ("noise", noise, 0.0, sys.float_info.max),
        ):
            if not least <= value <= most:
                msg = f"FlowLikelihood: {name} is {value}; needed: {least} to {most}"
                raise ConfigError(msg)
        if not isinstance(head, NormalHead):
            msg = f"FlowLikelihood: head is a {type(head).__name__}; needed: NormalHead"
            raise ConfigError(msg)
        self.head, self.features, self.modelled = head, features, modelled
        self.transforms, self.hidden, self.bins = transforms, tuple(hidden), bins
        self.nodes, self.noise = nodes, noise
        _require_size(self, described_features)
        self.flow = _flow(self, described_features)
        self.register_buffer("range", torch.tensor([-5.0, 5.0]))  # in units of the head

    @property
    def config(self) -> dict[str, Any]:
        """Constructor keywords, as JSON can hold them."""
        names = ("features", "modelled", "transforms", "bins", "nodes", "noise")
        numbers = {name: getattr(self, name) for name in names}
        return {**numbers, "hidden": list(self.hidden), "head": described(self.head)}

    def forward(self, batch: Batch) -> FeatureLikelihood:
        """Return the likelihood of the rows; its ``log_prob`` of z is ln p(x | z)."""
        return FeatureLikelihood(self, self._values(batch))

    def outputs(self, batch: Batch) -> Tensor:
        """Return estimate and ln of its variance for the NormalHead, (rows, 2); no gradient."""
        return self.raw_peak(self._values(batch))

    def peak(self, batch: Batch) -> LikelihoodPeak:
        """Return the estimates with their asymmetric intervals, in the unit of z; no gradient."""
        found = self._peak(self._values(batch))
        return LikelihoodPeak(*(self.head.shift + self.head.scale * part for part in found))

    def finish(self, training: Labelled, held_out: Labelled) -> None:
        """Learn the range of z from the training sample.

        Raises:
            TrainingError: if all z are the same.
        """
        del held_out
        low, high = (end.item() for end in torch.aminmax(training.target))
        if not low < high:
            msg = f"FlowLikelihood: the targets reach from {low} to {high}; needed: a range"
            raise TrainingError(msg)
        self.range.copy_(self.scaled(torch.stack(torch.aminmax(training.target))))

    def scaled(self, target: Tensor) -> Tensor:
        """Return z in units of the head."""
        return (target - self.head.shift) / self.head.scale

    def log_likelihood(self, features: Tensor, z: Tensor) -> Tensor:
        """Return ln p(x | z).

        Args:
            features: The x.
            z: In units of the head.

        Shapes:
            features: (..., features); z: (...) -> (...)
        """
        modelled = features[..., : self.modelled]
        given = features[..., modelled.shape[-1] :]
        context = torch.cat([z.unsqueeze(-1), given], dim=-1)
        y, ladj = self.flow(context).call_and_ladj(modelled)
        result: Tensor = ladj - 0.5 * (y.square() + math.log(2 * math.pi)).sum(-1)
        return result

    def _values(self, batch: Batch) -> Tensor:
        values = checked(batch.features, self.features, model=self, what="features")
        if self.training and self.noise:
            modelled = values[:, : self.modelled]
            blurred = modelled + self.noise * torch.randn_like(modelled)
            values = torch.cat([blurred, values[:, modelled.shape[1] :]], dim=1)
        return values

    def raw_peak(self, features: Tensor) -> Tensor:
        """Return what ``outputs`` returns, of checked features."""
        found = self._peak(features)
        return torch.stack([found.estimate, 2 * found.sigma.log()], dim=1)

    @torch.no_grad()
    def _peak(self, features: Tensor) -> LikelihoodPeak:
        low, high = self.range.tolist()
        grid = torch.linspace(low, high, self.nodes, dtype=torch.float32).to(features)
        found = [
            find_peak(functools.partial(self._on_points, block), grid, rows=len(block))
            for block in torch.split(features, max(BLOCK // self.nodes, 1))
            if len(block)
        ] or [LikelihoodPeak(*features.new_zeros(3, 0))]
        return LikelihoodPeak(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    def _on_points(self, features: Tensor, z: Tensor) -> Tensor:
        return self.log_likelihood(features.unsqueeze(1).expand(-1, z.shape[1], -1), z)


class FeatureLikelihood(Distribution):
    """The likelihood of z of each row: ``log_prob`` is ln p(x | z), normalised in x.

    Mean and variance are the estimate of z and its squared uncertainty, found when asked for.

    Args:
        model: The flow.
        features: (rows, features).
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, model: FlowLikelihood, features: Tensor) -> None:
        super().__init__(features.shape[:1], validate_args=False)
        self._model, self._features = model, features

    def log_prob(self, value: Tensor) -> Tensor:
        """Return ln p(x | z), (rows,) -> (rows,)."""
        z = self._model.scaled(value).to(self._features)
        parts = zip(torch.split(self._features, BLOCK), torch.split(z, BLOCK), strict=True)
        return torch.cat([self._model.log_likelihood(*part) for part in parts if len(part[0])])

    @property
    def mean(self) -> Tensor:
        """The z of the largest likelihood, (rows,)."""
        return self._normal.mean

    @property
    def variance(self) -> Tensor:
        """Its squared uncertainty, (rows,)."""
        return self._normal.variance

    @functools.cached_property
    def _normal(self) -> Normal:
        return self._model.head.distribution(self._model.raw_peak(self._features))


def _flow(model: FlowLikelihood, modelled: int) -> nn.Module:
    """Return affine and then spline transformations, in alternating order of the features.

    The affine one takes up the mean and the width, that splines, which act on [-5, 5], shall not.
    """
    from zuko.flows import MaskedAutoregressiveTransform
    from zuko.lazy import LazyComposedTransform
    from zuko.transforms import MonotonicRQSTransform

    bins = model.bins
    spline = {"univariate": MonotonicRQSTransform, "shapes": ((bins,), (bins,), (bins - 1,))}
    with torch.device("cpu"):  # what is masked depends on numbers, which no outline has
        order = torch.arange(modelled)
        layers = [
            MaskedAutoregressiveTransform(
                modelled,
                context=1 + model.features - modelled,
                order=order if number % 2 else order.flip(0),
                hidden_features=model.hidden,
                activation=nn.SiLU,
                **(spline if number else {}),
            )
            for number in range(model.transforms + 1)
        ]
    composed: nn.Module = LazyComposedTransform(*layers)
    return composed


def _require_size(model: FlowLikelihood, modelled: int) -> None:
    """Refuse networks that are far larger than any use has."""
    widths = (model.features + 1, *model.hidden, modelled * (3 * model.bins - 1))
    weights = (model.transforms + 1) * sum(a * b for a, b in itertools.pairwise(widths))
    if weights > MOST_WEIGHTS:
        msg = f"FlowLikelihood: {weights:,} weights; needed: at most {MOST_WEIGHTS:,}"
        raise ConfigError(msg)
