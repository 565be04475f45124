"""The probability of one of two classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.distributions import Bernoulli

from hepcalib.models.heads.head import Head

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BernoulliHead"]


class BernoulliHead(Head):
    r"""The probability of being signal from its logit.

    .. math:: P(y = 1) = 1 / (1 + e^{-a})
    """

    outputs = 1

    def distribution(self, raw: Tensor) -> Bernoulli:
        """Return the Bernoulli distribution."""
        return Bernoulli(logits=raw.squeeze(-1), validate_args=False)
