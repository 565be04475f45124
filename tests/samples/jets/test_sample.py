from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest

from hepcalib.exceptions import ConfigError
from hepcalib.samples.jets import Calorimeter, Detector, simulate
from hepcalib.samples.jets.branches import BRANCHES
from hepcalib.samples.jets.draws import BLOCK
from hepcalib.samples.jets.particles import wrap

if TYPE_CHECKING:
    from hepcalib.samples.jets.sample import ProcessName

Sample = dict[str, Any]

POOL = 100
KINEMATICS = ("pt", "eta", "phi", "mass")
ROUNDING = 2.0**-23  # of a number stored as float32; of those from 2 to 4 in their unit
# Of the samples of jets.yaml: medians of the response above 250 GeV and its standard deviation,
# shares of soft-drop masses within 20 GeV of 83 GeV, correlations of mu with N_PV and rho.
QUIET, PILED_UP, SPREAD = 0.942, 1.006, 0.064
W_NEAR, QCD_NEAR = 0.784, 0.139
CORRELATION = {"nPV": 0.795, "rho": 0.786}


def median_error(values: np.ndarray[Any, Any]) -> float:
    """Standard error of the median of about normal values."""
    return float(np.sqrt(0.5 * np.pi) * np.std(values) / np.sqrt(len(values)))


def flat(sample: Sample, branch: str) -> np.ndarray[Any, Any]:
    return np.asarray(ak.flatten(sample[branch]))


def identical(left: Sample, right: Sample) -> bool:
    return list(left) == list(right) and all(
        ak.array_equal(left[name], right[name], equal_nan=True) for name in left
    )


@pytest.mark.parametrize("name", ["qcd", "wprime", "top"])
def test_branches_types_and_lengths(name: str, request: pytest.FixtureRequest) -> None:
    sample: Sample = request.getfixturevalue(name)
    assert list(sample) == list(BRANCHES)
    for branch, kind in BRANCHES.items():
        assert np.asarray(ak.flatten(sample[branch], axis=None)).dtype == np.dtype(kind)
        assert len(sample[branch]) == len(sample["event"])
        assert np.all(np.isfinite(np.asarray(ak.flatten(sample[branch], axis=None))))
    assert sample["event"].tolist() == list(range(len(sample["event"])))
    assert np.all(sample["genWeight"] > 0)
    assert set(flat(sample, "PFCand_pdgId")) <= {211, -211, 22, 130, 11, -11, 13, -13}


@pytest.mark.parametrize("name", ["qcd", "wprime", "top"])
def test_linked_candidates_sum_to_their_jet(name: str, request: pytest.FixtureRequest) -> None:
    sample: Sample = request.getfixturevalue(name)
    for event in range(len(sample["event"])):
        jet = np.asarray(sample["JetPFCand_jetIdx"][event])
        link = np.asarray(sample["JetPFCand_pfCandIdx"][event])
        pt, eta, phi, mass = (
            np.asarray(sample[f"PFCand_{x}"][event], np.float64)[link] for x in KINEMATICS
        )
        jets = len(sample["Jet_pt"][event])
        px, py, pz, energy = (
            np.bincount(jet, weights=x, minlength=jets)
            for x in (
                pt * np.cos(phi),
                pt * np.sin(phi),
                pt * np.sinh(eta),
                np.sqrt((pt * np.cosh(eta)) ** 2 + mass**2),
            )
        )
        summed = np.hypot(px, py)
        stored = {x: np.asarray(sample[f"Jet_{x}"][event], np.float64) for x in KINEMATICS}
        np.testing.assert_allclose(summed, stored["pt"], rtol=ROUNDING)
        np.testing.assert_allclose(np.arcsinh(pz / summed), stored["eta"], rtol=0, atol=ROUNDING)
        assert np.all(np.abs(wrap(np.arctan2(py, px) - stored["phi"])) < ROUNDING)
        squared = energy**2 - summed**2 - pz**2
        np.testing.assert_allclose(np.sqrt(squared), stored["mass"], rtol=ROUNDING)
        assert np.all(np.diff(jet) >= 0)
        assert np.all(np.diff(pt)[np.diff(jet) == 0] <= 0)
        assert sorted(link) == list(range(len(sample["PFCand_pt"][event])))


def test_jets_are_those_asked_for(qcd: Sample) -> None:
    pt = qcd["Jet_pt"]
    assert np.all(flat(qcd, "Jet_pt") > 170)
    assert np.all(np.abs(flat(qcd, "Jet_eta")) < 2.5)
    assert ak.all(pt[:, :-1] >= pt[:, 1:])
    most = flat(qcd, "Jet_mass") * (1 + ROUNDING)
    assert np.all(flat(qcd, "Jet_msoftdrop") <= most)
    assert np.all(flat(qcd, "Jet_mtrimmed") <= most)
    area = flat(qcd, "Jet_area")
    assert np.all((area > 0) & (area <= np.pi * 0.8**2 * (1 + ROUNDING)))


def test_generator_jets_match_once_and_nearby(qcd: Sample) -> None:
    index = qcd["Jet_genJetIdx"]
    # 0.998 of the jets of a large sample; three standard deviations.
    assert ak.mean(index >= 0) > 0.998 - 3 * np.sqrt(0.998 * 0.002 / ak.sum(ak.num(index)))
    for event in range(len(index)):
        matched = np.flatnonzero(np.asarray(index[event]) >= 0)
        links = np.asarray(index[event])[matched]
        assert len(set(links)) == len(links)
        d_eta = np.asarray(qcd["Jet_eta"][event])[matched]
        d_eta = d_eta - np.asarray(qcd["GenJet_eta"][event])[links]
        d_phi = np.asarray(qcd["Jet_phi"][event])[matched]
        d_phi = wrap(d_phi - np.asarray(qcd["GenJet_phi"][event])[links])
        assert np.all(np.hypot(d_eta, d_phi) < 0.4)


def response(sample: Sample, *, above: float) -> np.ndarray[Any, Any]:
    matched = sample["Jet_genJetIdx"] >= 0
    gen = sample["GenJet_pt"][sample["Jet_genJetIdx"][matched]]
    ratio = sample["Jet_pt"][matched] / gen
    return np.asarray(ak.flatten(ratio[gen > above]))


def test_response_needs_a_calibration(qcd: Sample) -> None:
    quiet = simulate("qcd", 40, seed=3, mu=0.0, pool=1)
    without, with_pile_up = response(quiet, above=250), response(qcd, above=250)
    assert abs(np.median(without) - QUIET) < 3 * median_error(without)
    assert abs(np.median(with_pile_up) - PILED_UP) < 3 * median_error(with_pile_up)
    error = np.hypot(median_error(without), median_error(with_pile_up))
    assert np.median(with_pile_up) - np.median(without) > 3 * error
    tolerance = 3 / np.sqrt(2 * len(with_pile_up))
    assert np.std(with_pile_up) == pytest.approx(SPREAD, rel=tolerance)
    perfect = Detector(
        efficiency=1.0,
        efficiency_slope=0.0,
        efficiency_density=1e9,
        track_constant=0.0,
        track_curvature=0.0,
        h_over_e=1.0,
        gap_loss=0.0,
        ecal=Calorimeter(0.0, 0.0, 0.0, 0.0, 360),
        hcal=Calorimeter(0.0, 0.0, 0.0, 0.0, 72),
    )
    ideal = response(simulate("qcd", 40, seed=3, mu=0.0, pool=1, detector=perfect), above=250)
    assert np.median(ideal) == pytest.approx(1.0, abs=3 * median_error(ideal))


def test_soft_drop_mass_peaks_at_the_w(wprime: Sample, qcd: Sample) -> None:
    def near(sample: Sample, label: int) -> tuple[float, int]:
        mass = flat(sample, "Jet_msoftdrop")[flat(sample, "Jet_label") == label]
        return float(np.mean(np.abs(mass - 83) < 20)), len(mass)

    signal, jets = near(wprime, 1)
    background, others = near(qcd, 0)
    assert jets > 60 * 0.818 - 3 * np.sqrt(60 * 0.818 * 0.182)  # as often there is one
    assert signal > W_NEAR - 3 * np.sqrt(W_NEAR * (1 - W_NEAR) / jets)
    assert background < QCD_NEAR + 3 * np.sqrt(QCD_NEAR * (1 - QCD_NEAR) / others)
    error = np.sqrt(0.25 / jets + 0.25 / others)
    assert signal - background > 3 * error


def test_labels_of_the_processes(qcd: Sample, wprime: Sample, top: Sample) -> None:
    assert set(flat(qcd, "Jet_label")) == {0}
    assert set(flat(wprime, "Jet_label")) <= {-1, 1}
    assert set(flat(top, "Jet_label")) == {-1, 1, 2}
    tops = flat(top, "Jet_label") == 2
    # 174 GeV in a large sample, where a share of 0.0186 per GeV has about this mass.
    error = 0.5 / (0.0186 * np.sqrt(tops.sum()))
    assert abs(np.median(flat(top, "Jet_msoftdrop")[tops]) - 174) < 3 * error


def test_flavours_of_the_processes(qcd: Sample, wprime: Sample, top: Sample) -> None:
    assert {1, 21} <= set(flat(qcd, "Jet_flavour")) <= {0, 1, 4, 5, 21}
    for sample, label, code in ((wprime, 1, 24), (top, 1, 24), (top, 2, 6)):
        flavour = flat(sample, "Jet_flavour")
        assert np.array_equal(flavour == code, flat(sample, "Jet_label") == label)
    rest = flat(top, "Jet_flavour")[flat(top, "Jet_label") == -1]
    known = rest[rest != 0]
    # A top decays to a b quark: 0.686 of these jets in a large sample.
    assert np.mean(known == 5) > 0.686 - 3 * np.sqrt(0.686 * 0.314 / len(known))


def test_pile_up_shows_in_vertices_and_density(qcd: Sample) -> None:
    for name, expected in CORRELATION.items():
        found = np.corrcoef(qcd["mu"], qcd[name])[0, 1]
        error = 1 / np.sqrt(len(qcd["mu"]) - 3)  # of Fisher's z
        assert np.arctanh(found) == pytest.approx(np.arctanh(expected), abs=3 * error)
    quiet = simulate("qcd", 5, seed=3, mu=0.0, pool=1)
    assert quiet["nPV"].tolist() == [1] * 5
    assert np.all(quiet["mu"] == 0.0)
    assert np.max(quiet["rho"]) < np.min(qcd["rho"])


def test_weights_restore_the_falling_spectrum(qcd: Sample, wprime: Sample) -> None:
    leading = np.asarray(ak.fill_none(ak.max(qcd["GenJet_pt"], axis=1), 0.0))
    weight = qcd["genWeight"]
    mean, falling = np.mean(leading), np.average(leading, weights=weight)
    assert mean > 300 > falling
    error = np.sqrt(np.sum((weight * (leading - falling)) ** 2)) / np.sum(weight)
    assert mean - falling > 3 * np.hypot(error, np.std(leading) / np.sqrt(len(leading)))
    assert np.all(wprime["genWeight"] == 1.0)


def test_sample_does_not_depend_on_the_workers() -> None:
    shown: list[tuple[int, int]] = []
    events = BLOCK + 10
    one = simulate("wprime", events, seed=5, pool=20)
    two = simulate(
        "wprime", events, seed=5, pool=20, workers=2, progress=lambda *done: shown.append(done)
    )
    assert identical(one, two)
    assert shown == [(BLOCK, events), (events, events)]


def test_sample_does_not_depend_on_the_range_it_is_made_in() -> None:
    whole = simulate("top", BLOCK + 6, seed=5, pool=20)
    cut = BLOCK - 7
    parts = [
        simulate("top", cut, seed=5, pool=20),
        simulate("top", 13, seed=5, pool=20, first=cut),
    ]
    assert isinstance(parts[1]["event"], np.ndarray)
    assert isinstance(parts[1]["Jet_pt"], ak.Array)
    joined = {name: ak.concatenate([part[name] for part in parts]) for name in whole}
    assert identical({name: ak.Array(column) for name, column in whole.items()}, joined)


def test_another_seed_or_process_is_another_sample() -> None:
    first, second = (simulate("qcd", 3, seed=seed, pool=20) for seed in (1, 2))
    other = simulate("top", 3, seed=1, pool=20)
    assert not np.any(first["genWeight"] == second["genWeight"])
    assert not np.any(first["mu"] == second["mu"])
    assert not np.any(first["mu"] == other["mu"])


def test_events_without_jets_and_no_events(qcd: Sample) -> None:
    few = simulate("qcd", 8, seed=3, pool=20, min_pt=500.0)
    assert 0 < ak.sum(ak.num(few["Jet_pt"]) == 0) < 8
    assert ak.all(ak.num(few["PFCand_pt"])[ak.num(few["Jet_pt"]) == 0] == 0)
    bare = simulate("qcd", 2, seed=3, pool=20, min_pt=5000.0)
    empty = simulate("qcd", 0, seed=3)
    assert ak.sum(ak.num(bare["Jet_pt"])) == 0
    for branch in BRANCHES:
        inner = ak.type(ak.Array(qcd[branch])).content
        assert ak.type(ak.Array(bare[branch])).content == inner
        assert ak.type(ak.Array(empty[branch])) == ak.types.ArrayType(inner, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"process": "wprine"}, "unknown process 'wprine'.*Did you mean 'wprime'"),
        ({"events": -1}, "events is -1; allowed: 0 or more"),
        ({"first": -2}, "first is -2"),
        ({"seed": -1}, "seed is -1"),
        ({"pool": 0}, "pool is 0; allowed: 1 or more"),
        ({"workers": 0}, "workers is 0"),
        ({"mu": -1.0}, "mu is"),
        ({"mu": (40.0, float("nan"))}, "mu is"),
        ({"radius": 0.0}, "radius is 0.0"),
        ({"min_pt": 5.0}, "min_pt is 5.0; allowed: 50 GeV or more"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"process": "qcd", "events": 1, "seed": 1} | arguments
    with pytest.raises(ConfigError, match=message):
        simulate(given.pop("process"), given.pop("events"), **given)


def test_nothing_is_printed_and_nothing_imported_early() -> None:
    program = (
        "import sys; from hepcalib.samples.jets import simulate\n"
        "assert not {'fastjet', 'pythia8mc', 'loky'} & set(sys.modules)\n"
        "assert len(simulate('qcd', 1, seed=1, pool=1)['event']) == 1\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.validation
@pytest.mark.parametrize("process", ["qcd", "wprime", "top"])
def test_response_and_masses_of_a_larger_sample(process: ProcessName) -> None:
    sample = simulate(process, 1500, seed=21, workers=2)
    matched = sample["Jet_genJetIdx"] >= 0
    assert ak.mean(matched) > 0.99
    gen = sample["GenJet_pt"][sample["Jet_genJetIdx"][matched]]
    ratio = sample["Jet_pt"][matched] / gen
    mu = ak.broadcast_arrays(sample["mu"], ratio)[0]
    medians = []
    for low, high in ((200, 300), (300, 400), (400, 600), (600, 900)):
        chosen = (gen > low) & (gen < high)
        medians.append(np.median(ak.flatten(ratio[chosen])))
        quiet, busy = (np.median(ak.flatten(ratio[chosen & x])) for x in ((mu < 35), (mu > 45)))
        assert busy > quiet
    assert np.all(np.diff(medians) < 0)
    label, mass = flat(sample, "Jet_label"), flat(sample, "Jet_msoftdrop")
    pt = flat(sample, "Jet_pt")
    wanted, low, high, least, most = {
        "qcd": (0, 60, 105, 0.05, 0.25),
        "wprime": (1, 60, 105, 0.7, 1.0),
        "top": (2, 130, 220, 0.6, 1.0),
    }[process]
    jets = mass[(label == wanted) & (pt > 300)]
    assert least < np.mean((jets > low) & (jets < high)) < most
