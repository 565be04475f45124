"""The multi-layer perceptron: one fixed set of features per object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from hepcalib.models.layers import dense, output_layer
from hepcalib.models.model import Model, checked, described

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from hepcalib.batch import Batch
    from hepcalib.models.heads import Head

__all__ = ["MLP"]


class MLP(Model):
    """Fully connected network on the features of an object.

    Args:
        features: Number of features per row.
        hidden: Widths of the hidden layers.
        head: What the outputs mean.
        activation: One of double_silu, elu, gelu, relu, shifted_tanh, silu, tanh.

    Raises:
        ConfigError: if a width is not positive or the activation is unknown.
    """

    def __init__(
        self,
        *,
        features: int,
        hidden: Sequence[int] = (64, 64),
        head: Head,
        activation: str = "silu",
    ) -> None:
        super().__init__()
        widths = [features, *hidden]
        self.features, self.hidden, self.activation = features, tuple(hidden), activation
        self.network = nn.Sequential(
            *dense(widths, activation=activation, where="MLP"),
            output_layer(widths[-1], head.outputs),
        )
        self.head = head

    @property
    def config(self) -> dict[str, Any]:
        """Constructor keywords, as JSON can hold them."""
        return {
            "features": self.features,
            "hidden": list(self.hidden),
            "head": described(self.head),
            "activation": self.activation,
        }

    def outputs(self, batch: Batch) -> Tensor:
        """Return the raw outputs, (rows, head.outputs).

        Raises:
            ShapeError: if the batch has another number of features.
        """
        values = checked(batch.features, self.features, model=self, what="features")
        raw: Tensor = self.network(values)
        return raw
