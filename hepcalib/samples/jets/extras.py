"""The optional libraries behind the jets, imported only when jets are made."""

from __future__ import annotations

import functools
import importlib
from typing import Any

from hepcalib.exceptions import HepcalibError

__all__ = ["fastjet", "pythia"]


def pythia() -> Any:
    """Return the module pythia8mc (Pythia 8.3, arXiv:2203.11601).

    Raises:
        HepcalibError: if it is not installed.
    """
    return _extra("pythia8mc")


@functools.cache
def fastjet() -> Any:
    """Return the module fastjet (FastJet, arXiv:1111.6097), its banner switched off.

    Raises:
        HepcalibError: if it is not installed.
    """
    module = _extra("fastjet")
    module._swig.ClusterSequence.set_fastjet_banner_stream(None)
    return module


def _extra(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        msg = (
            f"samples.jets: the library '{name}' cannot be imported ({error}); "
            "simulating jets needs it. Install it with: pip install hepcalib[pythia]"
        )
        raise HepcalibError(msg) from error
