"""What a specification would make, without the memory and the time of making it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hepcalib.exceptions import ConfigError
from hepcalib.models.registry import build

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hepcalib.models.model import Model

__all__ = ["outline"]

# A ParticleTransformer takes 500, an ensemble of ten of them 8000.
OPERATIONS = 30_000


def outline(spec: Mapping[str, Any]) -> Model:
    """Return the model of a specification with shapes instead of numbers, on the device "meta".

    It takes no memory, however large the model, and stops at one of too many parts.

    Args:
        spec: As for ``build``.

    Raises:
        ConfigError: as ``build``, and if the model has too many parts.
    """
    # The search for anomalies looks at numbers, of which there are none.
    with torch.device("meta"), torch.autograd.set_detect_anomaly(mode=False), _Counted():
        return build(spec)


class _Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types for it
    """Counts what torch does and ends it when there is too much of it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above
        self.left = OPERATIONS

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.left -= 1
        if self.left < 0:
            msg = f"the model has too many parts: more than {OPERATIONS} operations make it"
            raise ConfigError(msg)
        return func(*args, **(kwargs or {}))
