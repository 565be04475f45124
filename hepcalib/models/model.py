"""What all models have in common: a batch in, a distribution of the target out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from hepcalib.exceptions import ShapeError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributions import Distribution

    from hepcalib.batch import Batch
    from hepcalib.models.heads import Head

__all__ = ["Model", "checked", "described"]


class Model(nn.Module, ABC):
    """A network that returns the distribution of the target of each row of a batch.

    Constructor keywords are the configuration. ``constituent_modules`` names the submodules that
    act on constituents: a wrapper that draws weights has to give those of a jet the same ones.
    """

    head: Head
    constituent_modules: ClassVar[tuple[str, ...]] = ()

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Constructor keywords, as JSON can hold them."""

    @abstractmethod
    def outputs(self, batch: Batch) -> Tensor:
        """Return the raw numbers the head turns into a distribution, (rows, head.outputs)."""

    def forward(self, batch: Batch) -> Distribution:
        """Return the distribution of the target, batch shape (rows,)."""
        distribution: Distribution = self.head(self.outputs(batch))
        return distribution

    def member_outputs(self, batch: Batch) -> Tensor:
        """Return the raw outputs of all members, (members, rows, head.outputs)."""
        return self.outputs(batch).unsqueeze(0)


def described(part: Model | Head) -> dict[str, Any]:
    """Return the name and the constructor keywords of a model or head."""
    return {"name": type(part).__name__, **part.config}


def checked(values: Tensor | None, width: int, *, model: Model, what: str) -> Tensor:
    """Return the inputs in the dtype of the model, once they have the width it was built for.

    Raises:
        ShapeError: if the inputs are absent or of another width.
    """
    if values is None or values.dim() != 2 or values.shape[1] != width:
        seen = "none" if values is None else f"shape {tuple(values.shape)}"
        msg = f"{type(model).__name__}: {what} of the batch: {seen}; needed: (..., {width})"
        raise ShapeError(msg)
    return values.to(next(model.parameters()).dtype)
