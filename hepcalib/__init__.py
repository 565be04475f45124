"""Detector calibration and jet tagging with uncertainty-aware machine learning, inside coffea."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
