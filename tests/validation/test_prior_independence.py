"""Which calibrations move with the spectrum they were trained on: exact problems, and clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
import torch

from hepcalib.batch import Batch
from hepcalib.calibration.numerical_inversion import NumericalInversion
from hepcalib.models import MLP
from hepcalib.models.inversion import GeneralisedInversion, InversionHead
from hepcalib.samples.gaussian import GaussianProblem, Sample, simulate_gaussian
from hepcalib.training import Examples, TrainingOptions, train

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Fit = Callable[[Sample], Callable[[Floats], Floats]]
    Record = Callable[[str, object], None]

pytestmark = [pytest.mark.validation, pytest.mark.timeout(7200)]

NOMINAL = GaussianProblem(mean=-1.0, width=4.0, noise=2.0)
SHIFTED = NOMINAL._replace(mean=1.0)
ALLOWED = 0.003  # of the width
POPULATED = 1000  # effective entries of a bin


def inversion(statistic: Literal["mean", "median", "mode"]) -> Fit:
    def fit(sample: Sample) -> Callable[[Floats], Floats]:
        inside = np.abs(sample.true) < 8.0
        return NumericalInversion.fit(
            sample.true[inside],
            sample.measured[inside],
            edges=np.linspace(-8.0, 8.0, 5),
            statistic=statistic,
            spacing="linear",
        ).apply

    return fit


def generalised(statistic: str) -> Fit:
    def fit(sample: Sample) -> Callable[[Floats], Floats]:
        scale = float(np.hypot(NOMINAL.width, NOMINAL.noise))
        rows, held_out = len(sample.true), len(sample.true) // 20
        torch.manual_seed(1)
        head = InversionHead(knots=2, low=-2.0, high=2.0, scale=NOMINAL.width)
        model = GeneralisedInversion(MLP(features=1, hidden=(1,), head=head), statistic=statistic)
        batch = Batch(torch.from_numpy(sample.measured[:, None] / scale).float())
        examples = Examples(batch, torch.from_numpy(sample.true).float())
        train(
            model,
            examples.select(torch.arange(held_out, rows)),
            examples.select(torch.arange(held_out)),
            options=TrainingOptions(epochs=5, batch_size=rows // 200, learning_rate=1e-2),
        )

        def apply(measured: Floats) -> Floats:
            with torch.no_grad():
                found = model(Batch(torch.from_numpy(measured[:, None] / scale).float())).mean
            return np.asarray(found.double())

        return apply

    return fit


def regression(sample: Sample) -> Callable[[Floats], Floats]:
    line = np.polyfit(sample.measured, sample.true, 1)
    return lambda measured: np.asarray(np.polyval(line, measured))


def shift(fit: Fit, rows: int) -> float:
    """Mean shift on one test sample from the nominal to the shifted training, in widths."""
    test = simulate_gaussian(NOMINAL._replace(mean=0.0), 200_000, seed=11)
    nominal, shifted = (
        fit(simulate_gaussian(problem, rows, seed=12))(test.measured)
        for problem in (NOMINAL, SHIFTED)
    )
    return float((shifted - nominal).mean()) / NOMINAL.noise


@pytest.mark.parametrize(
    ("method", "fit", "rows"),
    [
        ("inversion of the mean", inversion("mean"), 8_000_000),
        ("inversion of the median", inversion("median"), 8_000_000),
        ("inversion of the mode", inversion("mode"), 8_000_000),
        ("generalised, median", generalised("median"), 2_000_000),
        ("generalised, mean", generalised("mean"), 2_000_000),
    ],
)
def test_conditioning_on_the_truth_does_not_see_the_prior(
    method: str, fit: Fit, rows: int, record_property: Record
) -> None:
    found = shift(fit, rows)
    record_property(f"shift, {method} [widths]", round(found, 5))
    assert abs(found) < ALLOWED


def test_regression_sees_the_prior_by_the_closed_form(record_property: Record) -> None:
    found, expected = shift(regression, 2_000_000), 2.0 * (1.0 - NOMINAL.slope) / NOMINAL.noise
    record_property("shift, MSE regression [widths]", round(found, 5))
    assert abs(found - expected) < ALLOWED
    assert abs(found) > 50 * ALLOWED


@pytest.fixture(scope="module")
def study(full_run: Callable[..., Any]) -> Any:
    return full_run("prior_independence", "--workers", "2").metrics["closure"]


def training_shift(study: Any, method: str, part: str = "shift") -> Floats:
    populated = np.array(study["closure"][method]["entries"]) >= POPULATED
    shifts = np.array(study["training_shift_median"][method][part], dtype=float)
    found: Floats = np.abs(shifts[populated])
    return found


@pytest.mark.parametrize("method", ["NI", "GNI"])
def test_inversions_of_clusters_stay(study: Any, method: str, record_property: Record) -> None:
    shifts = training_shift(study, method)
    record_property(f"largest shift, {method} [%]", round(100 * float(shifts.max()), 3))
    assert shifts.max() < 0.005


@pytest.mark.parametrize("method", ["Ansatz", "Flow"])
def test_likelihoods_of_clusters_move_less(
    study: Any, method: str, record_property: Record
) -> None:
    own, reference = training_shift(study, method), training_shift(study, "MSE")
    means = [round(100 * float(shifts.mean()), 3) for shifts in (own, reference)]
    record_property(f"mean shift, {method} and MSE [%]", means)
    record_property(f"shift in each bin, {method} [%]", np.round(100 * own, 2).tolist())
    assert own.mean() < reference.mean() / 3


def test_the_flow_moves_less_in_each_bin(study: Any) -> None:
    """By a third of what regression does, within three statistical errors."""
    own, reference = training_shift(study, "Flow"), training_shift(study, "MSE")
    errors = [training_shift(study, method, "error") for method in ("Flow", "MSE")]
    assert np.all(own < reference / 3 + 3 * np.hypot(errors[0], errors[1] / 3))
    assert np.any(training_shift(study, "MAE") > reference / 3 + 3 * np.hypot(*errors))


@pytest.mark.parametrize("method", ["BNN", "MSE", "MAE"])
def test_posteriors_of_clusters_move(study: Any, method: str, record_property: Record) -> None:
    """The exact median of R given x moves by 0.4 to 2.7 % with this change of the spectrum."""
    shifts = training_shift(study, method)
    record_property(f"mean shift, {method} [%]", round(100 * float(shifts.mean()), 3))
    record_property(f"largest shift, {method} [%]", round(100 * float(shifts.max()), 3))
    assert shifts.max() > 0.015


@pytest.mark.parametrize("spectrum", ["uniform", "log_uniform", "exponential"])
def test_closure_in_truth_bins_does_not_depend_on_the_test_spectrum(
    study: Any, spectrum: str, record_property: Record
) -> None:
    """Within three statistical errors in bins of the truth; by many in bins of the calibrated.

    The errors are those of two test samples, but it is one and the same: what is left in bins a
    factor 2 to 4 wide is the spectrum inside the bin.
    """
    pulls = {}
    for binned_in in ("truth", "reco"):
        populated = np.array(study[f"closure_{binned_in}_{spectrum}"]["GNI"]["entries"])
        moved = study[f"test_shift_{binned_in}_{spectrum}"]["GNI"]
        shifts, errors = (np.array(moved[key], dtype=float) for key in ("shift", "error"))
        kept = populated >= POPULATED
        pulls[binned_in] = float(np.abs(shifts / errors)[kept].max())
        record_property(
            f"largest shift to {spectrum}, {binned_in} bins [%]",
            round(100 * float(np.abs(shifts[kept]).max()), 3),
        )
    assert pulls["truth"] < 3
    assert pulls["reco"] > 5
