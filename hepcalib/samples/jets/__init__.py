"""Simulated jets: Pythia 8, pile-up, a parametrised detector, FastJet."""

from __future__ import annotations

from hepcalib.samples.jets.detector import Calorimeter, Detector
from hepcalib.samples.jets.sample import simulate

__all__ = ["Calorimeter", "Detector", "simulate"]
